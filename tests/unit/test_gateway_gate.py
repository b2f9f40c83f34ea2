"""Who is let in and how far: keys in a directory that changes, answers that are remembered, roles and namespaces."""

import asyncio
import base64
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agentjob_gateway.caller import Caller, Limits, Role, Verb
from agentjob_gateway.errors import Unauthenticated, Unavailable
from agentjob_gateway.gate import MAX_FILE_BYTES, MAX_FILES, Authenticator, Gate, KeyDirectory
from agentjob_gateway.keyring import RANDOM_BYTES, Minted, Terms, mint
from agentjob_gateway.tokens import MAX_ASKED, MAX_NEW, NO_SECONDS, YES_SECONDS, Recent, Reviews, user
from agentjob_kube.client import Client
from agentjob_kube.wire import HttpTransport

NOW = datetime(2026, 11, 22, 10, 0, 0, tzinfo=UTC)
LIMITS = Limits(requests_per_minute=600, concurrent_jobs=50, streams=100)
SIGNING = bytes(range(32))


class Clock:
    """A time that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def minted(seed: int = 0) -> Minted:
    terms = Terms.model_validate({"name": f"key{seed}", "namespace": "agents", "role": "submit"})
    return mint(terms, NOW, bytes(range(seed, seed + RANDOM_BYTES)))


class Mount:
    """A directory as the kubelet writes a Secret into it: beside, and then all at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._version = 0

    def write(self, **files: bytes) -> None:
        self._version += 1
        target = self.path / f"..version_{self._version}"
        target.mkdir()
        for name, content in files.items():
            (target / name).write_bytes(content)
        (self.path / "..data_tmp").symlink_to(target.name)
        (self.path / "..data_tmp").rename(self.path / "..data")

    def write_keys(self, *keys: Minted) -> None:
        self.write(**{key.key.file: key.key.document() for key in keys})


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    return Mount(tmp_path)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(mount: Mount, clock: Clock) -> KeyDirectory:
    return KeyDirectory(mount.path, clock)


def ids(keys: KeyDirectory) -> set[str]:
    return set(keys.keyring().keys)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_key_that_is_added_or_taken_away_is_known_within_a_second(
    mount: Mount, keys: KeyDirectory, clock: Clock
) -> None:
    one, two = minted(0), minted(40)
    mount.write_keys(one)
    assert ids(keys) == {one.key.id}

    mount.write_keys(two)
    assert ids(keys) == {one.key.id}  # not looked again yet
    clock.now += 1.0

    assert ids(keys) == {two.key.id}


def test_files_that_no_kubelet_writes_are_read_again_as_well(tmp_path: Path, clock: Clock) -> None:
    one, two = minted(0), minted(40)
    (tmp_path / one.key.file).write_bytes(one.key.document())
    keys = KeyDirectory(tmp_path, clock)
    assert ids(keys) == {one.key.id}

    (tmp_path / two.key.file).write_bytes(two.key.document())
    (tmp_path / one.key.file).write_bytes(b"broken")
    clock.now += 1.0

    assert ids(keys) == {two.key.id}


def test_without_a_directory_there_are_no_keys() -> None:
    assert (ids(KeyDirectory(None)), KeyDirectory(None).signing_key()) == (set(), None)


def test_what_cannot_be_read_leaves_what_was_known_and_is_said_once(
    mount: Mount, keys: KeyDirectory, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = minted(0), minted(40)
    mount.write_keys(one)
    assert ids(keys) == {one.key.id}

    (mount.path / "..data").unlink()
    (mount.path / "..data").symlink_to("..gone")
    for _ in range(3):
        clock.now += 1.0
        assert ids(keys) == {one.key.id}
    found = warnings(caplog)
    assert len(found) == 1
    assert found[0].startswith("The API keys cannot be read, those known are kept: ")
    assert found[0].endswith("..gone: No such file or directory")

    mount.write_keys(two)
    clock.now += 1.0
    assert ids(keys) == {two.key.id}


def test_a_directory_that_comes_later_is_read_then(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    keys = KeyDirectory(tmp_path / "keys", clock)
    assert ids(keys) == set()
    assert "No such file or directory" in warnings(caplog)[0]

    (tmp_path / "keys").mkdir()
    one = minted()
    Mount(tmp_path / "keys").write_keys(one)
    clock.now += 1.0

    assert ids(keys) == {one.key.id}


def test_what_is_wrong_in_the_directory_is_said_once_a_change_and_never_in_its_own_words(
    mount: Mount, keys: KeyDirectory, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    one = minted()
    files = {"a.json": b'"hunter2"', "big.json": b"hunter2" * MAX_FILE_BYTES, "tickets.key": b"hunter2"}
    mount.write(**files, **{one.key.file: one.key.document()})

    for _ in range(3):
        assert ids(keys) == {one.key.id}
        clock.now += 1.0

    assert warnings(caplog) == [
        "Left out of the API keys: big.json: longer than 16384 bytes",
        "Left out of the API keys: tickets.key: expected 32 bytes as base64",
        "Left out of the API keys: a.json: the file: Input should be an object",
    ]
    mount.write(**files)
    assert ids(keys) == set()
    assert len(warnings(caplog)) == 6
    assert "hunter2" not in caplog.text


def test_no_more_files_are_read_than_there_should_be(
    mount: Mount, keys: KeyDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    one = minted()
    mount.write(**{f"{number:04}": b"" for number in range(MAX_FILES)}, **{one.key.file: one.key.document()})

    assert ids(keys) == set()
    assert warnings(caplog) == ["Left out of the API keys: 1 files, of more than 1000"]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        pytest.param(base64.b64encode(SIGNING), SIGNING, id="32 bytes"),
        pytest.param(base64.b64encode(SIGNING) + b"\n", SIGNING, id="with the newline of an editor"),
        pytest.param(base64.b64encode(SIGNING[1:]), None, id="fewer"),
        pytest.param(SIGNING, None, id="not as base64"),
        pytest.param(b"", None, id="nothing"),
    ],
)
def test_the_key_that_signs_tickets_is_32_bytes_or_there_is_none(
    mount: Mount, keys: KeyDirectory, content: bytes, found: bytes | None
) -> None:
    mount.write(**{"tickets.key": content})

    assert keys.signing_key() == found


def authenticator(keys: KeyDirectory) -> Authenticator:
    return Authenticator(keys=keys, tokens=None, limits=LIMITS, clock=lambda: NOW)


async def test_a_key_lets_its_caller_in(mount: Mount, keys: KeyDirectory) -> None:
    one = minted()
    mount.write_keys(one)

    assert (await authenticator(keys).caller(one.text)).name == "key:key0"


@pytest.mark.parametrize("credential", ["", "aj_", minted(1).text, "ey.some.jwt"])
async def test_nothing_else_does_where_kubernetes_tokens_are_not_taken(keys: KeyDirectory, credential: str) -> None:
    with pytest.raises(Unauthenticated, match="the credential is not valid"):
        await authenticator(keys).caller(credential)


def key_caller(role: Role) -> Caller:
    return Caller(name="key:ci", limits=LIMITS, role=role, namespace="agents")


YES = {Verb.GET, Verb.LIST}


@pytest.mark.parametrize(
    ("role", "is_own", "verbs"),
    [
        pytest.param(Role.READ, False, YES, id="who reads sees"),
        pytest.param(Role.READ, True, YES, id="who reads sees their own, from when they could make some"),
        pytest.param(Role.SUBMIT, False, YES | {Verb.SUBMIT}, id="who submits makes jobs"),
        pytest.param(Role.SUBMIT, True, set(Verb), id="who submits stops their own"),
        pytest.param(Role.ADMIN, False, set(Verb), id="an admin stops any"),
        pytest.param(Role.ADMIN, True, set(Verb), id="an admin stops their own"),
    ],
)
async def test_a_key_goes_as_far_as_its_role_in_its_own_namespace(role: Role, is_own: bool, verbs: set[Verb]) -> None:
    gate, caller = Gate(unasked()), key_caller(role)

    assert {verb for verb in Verb if await gate.allows(caller, verb, "agents", is_own=is_own)} == verbs
    assert not {verb for verb in Verb if await gate.allows(caller, verb, "other", is_own=is_own)}


def unasked() -> Reviews:
    """Reviews of a cluster that must not be asked."""

    class Nobody(HttpTransport):
        def __init__(self) -> None:
            pass

        async def send(self, request: object) -> bytes:
            raise AssertionError(request)

    return Reviews(Client(Nobody()))


def status(username: str, **more: Any) -> dict[str, Any]:
    return {"authenticated": True, "user": {"username": username, "groups": ["g"], "uid": "u"}, **more}


@pytest.mark.parametrize(
    ("username", "namespace"),
    [
        pytest.param("jane@example.com", None, id="a person"),
        pytest.param("system:serviceaccount:team-a:bot", "team-a", id="a service account"),
        pytest.param("system:node:worker-1", None, id="a node"),
        pytest.param("system:serviceaccount:team-a", None, id="what only begins like a service account"),
        pytest.param("me:system:serviceaccount:team-a:bot", None, id="what only ends like one"),
    ],
)
def test_a_kubernetes_user_is_who_the_cluster_says(username: str, namespace: str | None) -> None:
    assert user(status(username), LIMITS) == Caller(
        name=f"user:{username}", limits=LIMITS, namespace=namespace, groups=("g",), username=username, uid="u"
    )


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"authenticated": False, "user": {}}, id="a no"),
        pytest.param(status("jane", authenticated=False), id="a no with a name"),
        pytest.param(status("jane", authenticated="true"), id="a word for a yes"),
        pytest.param({"user": {"username": "jane"}}, id="a name alone"),
        pytest.param({"authenticated": True, "user": {}}, id="a yes without a name"),
        pytest.param({"authenticated": True}, id="a yes without anybody"),
    ],
)
def test_without_a_clear_yes_nobody_is_anybody(answer: dict[str, Any]) -> None:
    assert user(answer, LIMITS) is None


class Asked:
    """Something to ask, which answers when it is let."""

    def __init__(self, answer: Any) -> None:
        self.times = 0
        self.answer = answer
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> Any:
        self.times += 1
        await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def turns() -> None:
    """Lets everything run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("answer", "seconds"), [pytest.param("jane", YES_SECONDS, id="a yes"), pytest.param(None, NO_SECONDS, id="a no")]
)
async def test_an_answer_is_remembered_for_its_time(clock: Clock, answer: Any, seconds: float) -> None:
    recent, asked = Recent[str, Any](10, clock), Asked(answer)
    for _ in range(2):
        assert await recent.answer("key", asked) == answer
        clock.now += seconds - 0.1
    assert asked.times == 1

    clock.now += 0.2 - (seconds - 0.1)
    await recent.answer("key", asked)

    assert asked.times == 2


async def test_however_many_wait_it_is_asked_once(clock: Clock) -> None:
    recent, asked = Recent[str, str](10, clock), Asked("jane")
    asked.gate.clear()
    waiting = [asyncio.create_task(recent.answer("key", asked)) for _ in range(100)]
    await turns()
    asked.gate.set()

    assert await asyncio.gather(*waiting) == ["jane"] * 100
    assert asked.times == 1


async def test_an_error_goes_to_all_who_wait_and_is_not_remembered(clock: Clock) -> None:
    recent, asked = Recent[str, str](10, clock), Asked(Unavailable("away"))
    asked.gate.clear()
    waiting = [asyncio.create_task(recent.answer("key", asked)) for _ in range(3)]
    await turns()
    asked.gate.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(each) for each in found] == [Unavailable] * 3

    asked.answer = "jane"

    assert await recent.answer("key", asked) == "jane"


@pytest.mark.parametrize("answer", ["jane", Unavailable("away")], ids=["an answer", "an error"])
async def test_who_goes_away_takes_the_answer_from_nobody(clock: Clock, answer: Any) -> None:
    recent, asked = Recent[str, str](10, clock), Asked(answer)
    asked.gate.clear()
    first, second = (asyncio.create_task(recent.answer("key", asked)) for _ in range(2))
    await turns()
    first.cancel()
    await turns()
    asked.gate.set()

    found = await asyncio.gather(second, return_exceptions=True)
    assert found[0] is answer
    assert asked.times == 1


async def test_an_error_that_nobody_waits_for_any_more_is_no_defect(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    recent, asked = Recent[str, str](10, clock), Asked(Unavailable("away"))
    asked.gate.clear()
    only = asyncio.create_task(recent.answer("key", asked))
    await turns()
    only.cancel()
    await turns()
    asked.gate.set()
    await turns()

    assert warnings(caplog) == []


async def test_what_was_asked_for_least_recently_is_forgotten_first(clock: Clock) -> None:
    recent = Recent[int, str](3, clock)
    asked = [Asked("yes") for _ in range(4)]
    for number in (0, 1, 2, 0, 3, 0, 2, 3):
        await recent.answer(number, asked[number])
    assert [each.times for each in asked] == [1, 1, 1, 1]

    await recent.answer(1, asked[1])

    assert asked[1].times == 2


async def test_no_number_of_noes_makes_a_yes_forgotten(clock: Clock) -> None:
    recent, yes = Recent[int, Any](3, clock), Asked("jane")
    await recent.answer(0, yes)
    for number in range(1, 10):
        await recent.answer(number, Asked(None))

    assert await recent.answer(0, yes) == "jane"
    assert yes.times == 1


@pytest.mark.parametrize("answers", [("jane", None), (None, "jane")], ids=["a no after a yes", "a yes after a no"])
async def test_the_last_answer_counts(clock: Clock, answers: tuple[Any, Any]) -> None:
    recent = Recent[str, Any](3, clock)
    for answer in answers:
        clock.now += YES_SECONDS
        await recent.answer("key", Asked(answer))

    assert await recent.answer("key", Asked("nobody is asked")) == answers[1]


async def test_only_so_many_questions_wait_at_once_and_those_known_need_none(clock: Clock) -> None:
    recent, asked, known = Recent[int, str](MAX_ASKED * 2, clock), Asked("yes"), Asked("jane")
    await recent.answer(-1, known)
    asked.gate.clear()
    waiting = [asyncio.create_task(recent.answer(number, asked)) for number in range(MAX_NEW)]
    await turns()
    with pytest.raises(Unavailable) as refused:
        await recent.answer(MAX_NEW, asked)
    again = asyncio.create_task(recent.answer(0, asked))
    assert await recent.answer(-1, known) == "jane"
    asked.gate.set()

    assert (await asyncio.gather(*waiting, again), asked.times) == (["yes"] * (MAX_NEW + 1), MAX_NEW)
    assert refused.value.retry_after is not None
    assert await recent.answer(MAX_NEW, asked) == "yes"


async def test_no_number_of_made_up_tokens_keeps_those_out_who_were_let_in_before(clock: Clock) -> None:
    recent, known, made_up = Recent[int, str | None](MAX_ASKED * 2, clock), Asked("jane"), Asked(None)
    users = range(MAX_ASKED - MAX_NEW)
    for user_number in users:
        await recent.answer(user_number, known)
    clock.now += YES_SECONDS
    made_up.gate.clear()
    known.gate.clear()
    strangers = [asyncio.create_task(recent.answer(MAX_ASKED + number, made_up)) for number in range(MAX_ASKED)]
    await turns()
    again = [asyncio.create_task(recent.answer(user_number, known)) for user_number in users]
    await turns()
    known.gate.set()
    made_up.gate.set()

    assert await asyncio.gather(*again) == ["jane"] * len(users)
    turned_away = [found for found in await asyncio.gather(*strangers, return_exceptions=True) if found is not None]
    assert [type(found) for found in turned_away] == [Unavailable] * (MAX_ASKED - MAX_NEW)
