"""What a submission becomes, and when a repetition is one."""

from typing import Any

import pytest

from agentjob_api.names import ANNOTATION_REQUEST, ANNOTATION_SUBMITTED_BY, MAX_JOB_NAME
from agentjob_gateway.caller import Caller, Limits, Role, Verb, permits
from agentjob_gateway.errors import BadRequest, Clash, Problem, Unprocessable
from agentjob_gateway.submission import Submission, check_name, check_same, checked_key, manifest

Object = dict[str, Any]

LIMITS = Limits(requests_per_minute=60, concurrent_jobs=5, streams=5)
CI = Caller(name="key:ci", limits=LIMITS, role=Role.SUBMIT, namespace="agents")
BOT = Caller(name="key:bot", limits=LIMITS, role=Role.SUBMIT, namespace="agents")
WORD = "0123456789abcdef" * 2


def made(caller: Caller = CI, namespace: str = "agents", word: str = WORD, **asked: Any) -> Object:
    given = {"spec": {"prompt": "Mend."}, "request": "r-1", **asked}
    return manifest(Submission(**given), caller, namespace, word)


def name_of(body: Object) -> str:
    name: str = body["metadata"]["name"]
    return name


def test_a_job_says_who_asked_for_it_and_with_which_request() -> None:
    annotations = made()["metadata"]["annotations"]
    assert (annotations[ANNOTATION_SUBMITTED_BY], annotations[ANNOTATION_REQUEST]) == ("key:ci", "r-1")


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        pytest.param({"idempotency_key": "a"}, {"idempotency_key": "a"}, True, id="the same key"),
        pytest.param({"idempotency_key": "a"}, {"idempotency_key": "b"}, False, id="another key"),
        pytest.param({"idempotency_key": "a"}, {"idempotency_key": "a", "caller": BOT}, False, id="another caller"),
        pytest.param(
            {"idempotency_key": "a"}, {"idempotency_key": "a", "namespace": "other"}, False, id="another namespace"
        ),
        pytest.param({}, {"word": "f" * 32}, False, id="no key"),
        pytest.param({"name": "fix"}, {"name": "fix", "word": "f" * 32}, True, id="a name of one's own"),
    ],
)
def test_a_job_is_named_by_its_name_or_its_key(first: Object, second: Object, is_same: bool) -> None:
    names = [name_of(made(**{"word": WORD, **asked})) for asked in (first, second)]
    assert (names[0] == names[1]) is is_same
    assert all(len(name) <= MAX_JOB_NAME for name in names)


@pytest.mark.parametrize(
    ("there", "wanted", "problem"),
    [
        pytest.param({"idempotency_key": "a"}, {"idempotency_key": "a", "request": "r-2"}, None, id="a repetition"),
        pytest.param(
            {"idempotency_key": "a", "spec": {"prompt": "x", "suspend": True}},
            {"idempotency_key": "a", "spec": {"suspend": True, "prompt": "x"}},
            None,
            id="the same in another order",
        ),
        pytest.param(
            {"idempotency_key": "a"},
            {"idempotency_key": "a", "spec": {"prompt": "Other."}},
            Unprocessable,
            id="the key used for something else",
        ),
        pytest.param(
            {"idempotency_key": "a"},
            {"idempotency_key": "a", "labels": {"team": "x"}},
            Unprocessable,
            id="the key used with other labels",
        ),
        pytest.param({"name": "fix"}, {"name": "fix", "word": "f" * 32}, Clash, id="a name that is taken"),
        pytest.param(
            {"name": "fix", "caller": BOT}, {"name": "fix", "word": WORD}, Clash, id="a name that somebody else took"
        ),
    ],
)
def test_a_repetition_is_told_from_another_submission(
    there: Object, wanted: Object, problem: type[Problem] | None
) -> None:
    if problem is None:
        check_same(made(**there), made(**wanted))
        return
    with pytest.raises(problem, match=name_of(made(**wanted))):
        check_same(made(**there), made(**wanted))


@pytest.mark.parametrize(
    ("known", "is_refused"),
    [
        pytest.param(None, False, id="a key that was never used"),
        pytest.param("fix", False, id="a key of the same name"),
        pytest.param("mend", True, id="a key of another name"),
    ],
)
def test_a_key_is_for_one_name(known: str | None, is_refused: bool) -> None:
    wanted = made(name="fix", idempotency_key="a")
    if not is_refused:
        check_name(wanted, known)
        return
    with pytest.raises(Unprocessable, match="it was used for job 'mend' with another body"):
        check_name(wanted, known)


def nested(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels - 1):
        found = [found]
    return found


@pytest.mark.parametrize(
    ("value", "words"),
    [
        pytest.param(nested(300), "Recursion limit reached", id="deeper than can be written"),
        pytest.param(nested(1000), "Recursion limit reached", id="as deep as can be read"),
        pytest.param(nested(250), "Recursion limit reached", id="so deep that an answer around it is too deep"),
        pytest.param(2**64, "Integer exceeds 64-bit range", id="a number with too many digits"),
        pytest.param("\udcff", "not valid UTF-8", id="bytes that are no text"),
    ],
)
def test_what_cannot_be_passed_on_is_refused_by_its_field(value: object, words: str) -> None:
    with pytest.raises(Unprocessable, match=rf"^spec\.agent: .*{words}"):
        made(spec={"prompt": "Mend.", "agent": value})


def test_what_is_nested_within_reason_is_for_the_cluster_to_judge() -> None:
    assert made(spec={"agent": nested(200)})["spec"]["agent"] == nested(200)


def test_a_job_made_with_kubectl_is_nobodys_repetition() -> None:
    with pytest.raises(Clash, match="there is a job 'fix' already"):
        check_same({"metadata": {"name": "fix"}}, made(name="fix"))


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "café"])
def test_a_key_that_no_header_should_carry_is_refused(key: str) -> None:
    with pytest.raises(BadRequest, match="Idempotency-Key: expected"):
        checked_key(key)


@pytest.mark.parametrize(
    ("role", "verb", "own", "others"),
    [
        pytest.param(Role.READ, Verb.GET, True, True, id="who reads sees all"),
        pytest.param(Role.READ, Verb.LIST, True, True, id="who reads lists all"),
        pytest.param(Role.READ, Verb.SUBMIT, False, False, id="who reads makes none"),
        pytest.param(Role.READ, Verb.CANCEL, False, False, id="who reads stops none"),
        pytest.param(Role.SUBMIT, Verb.SUBMIT, True, True, id="who submits makes jobs"),
        pytest.param(Role.SUBMIT, Verb.CANCEL, True, False, id="who submits stops their own"),
        pytest.param(Role.SUBMIT, Verb.DELETE, True, False, id="who submits deletes their own"),
        pytest.param(Role.ADMIN, Verb.CANCEL, True, True, id="who administers stops any"),
        pytest.param(Role.ADMIN, Verb.DELETE, True, True, id="who administers deletes any"),
    ],
)
def test_a_role_goes_so_far(role: Role, verb: Verb, own: bool, others: bool) -> None:
    assert (permits(role, verb, is_own=True), permits(role, verb, is_own=False)) == (own, others)
