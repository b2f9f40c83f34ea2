"""Tickets: what they carry, and which are refused."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from agent_jobs import agent_job
from agentjob_api.names import ANNOTATION_SUBMISSION
from agentjob_gateway.caller import Caller, Limits, Role
from agentjob_gateway.errors import Unauthenticated, Unavailable
from agentjob_gateway.submission import mark_of
from agentjob_gateway.tickets import Ticket, Tickets

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
TICKETS = Tickets(lambda: b"k" * 32)
LIMITS = Limits(requests_per_minute=60, concurrent_jobs=5, streams=5)
KEY = Caller(name="key:ci", limits=LIMITS, role=Role.SUBMIT, namespace="agents")
USER = Caller(
    name="user:eve", limits=LIMITS, username="eve", uid="u-1", groups=("dev", "ops"), extra=(("scopes", ("get",)),)
)


def ticket(caller: Caller = KEY, job: str | None = "fix") -> Ticket:
    return Ticket(caller=caller, expires=int(NOW.timestamp()) + 300, nonce="n-1", namespace="agents", job=job)


@pytest.mark.parametrize("caller", [pytest.param(KEY, id="an API key"), pytest.param(USER, id="a Kubernetes user")])
@pytest.mark.parametrize(
    ("job", "uid"),
    [
        pytest.param("fix", "u-7", id="of a job"),
        pytest.param("fix", None, id="of a job's name"),
        pytest.param(None, None, id="of a job to be made"),
    ],
)
def test_a_ticket_comes_back_as_it_was_given(caller: Caller, job: str | None, uid: str | None) -> None:
    given = replace(ticket(caller, job), uid=uid)
    assert TICKETS.check(TICKETS.sign(given), NOW) == given


def test_a_ticket_fits_an_address_as_it_stands() -> None:
    assert TICKETS.sign(ticket()).replace(".", "").replace("-", "").replace("_", "").isalnum()


def changed(text: str) -> str:
    """The ticket with another first letter in its body."""
    return ("f" if text[0] != "f" else "g") + text[1:]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param(".", id="a dot"),
        pytest.param("nonsense", id="nonsense"),
        pytest.param("café.é", id="letters that base64 has not"),
        pytest.param("\udcff.\udcff", id="bytes that are no text"),
        pytest.param(changed(TICKETS.sign(ticket())), id="a changed body"),
        pytest.param(TICKETS.sign(ticket()).partition(".")[0] + ".", id="no signature"),
        pytest.param(Tickets(lambda: b"x" * 32).sign(ticket()), id="another installation's"),
    ],
)
def test_what_was_not_signed_here_is_not_valid(text: str) -> None:
    with pytest.raises(Unauthenticated, match="the ticket is not valid"):
        TICKETS.check(text, NOW)


def test_a_ticket_is_over_after_its_time() -> None:
    text = TICKETS.sign(ticket())
    TICKETS.check(text, NOW + timedelta(seconds=299))
    with pytest.raises(Unauthenticated, match="the ticket is over"):
        TICKETS.check(text, NOW + timedelta(seconds=300))


DAY = 24 * 60 * 60


@pytest.mark.parametrize(
    ("job", "back_to", "age", "is_taken"),
    [
        pytest.param("fix", "fix", 300, True, id="who comes back to its job is let in"),
        pytest.param("fix", "fix", 299 + DAY, True, id="so it is for a day"),
        pytest.param("fix", "fix", 300 + DAY, False, id="after a day it is not"),
        pytest.param("fix", "other", 300, False, id="to another job nobody comes back"),
        pytest.param("fix", "", 300, False, id="who begins comes too late"),
        pytest.param(None, "job-1", 300, True, id="the job that was made with it is looked up"),
        pytest.param(None, "", 300, False, id="no job is made with it any more"),
    ],
)
def test_with_a_ticket_that_is_over_its_client_may_come_back(
    job: str | None, back_to: str, age: int, is_taken: bool
) -> None:
    given, now = ticket(job=job), NOW + timedelta(seconds=age)
    if is_taken:
        assert TICKETS.check(TICKETS.sign(given), now, back_to) == given
        return
    with pytest.raises(Unauthenticated, match="the ticket is over"):
        TICKETS.check(TICKETS.sign(given), now, back_to)


def test_no_ticket_can_be_given_before_there_is_a_key_to_sign_with() -> None:
    with pytest.raises(Unavailable, match=r"the entry tickets\.key, 32 random bytes as base64, is missing"):
        Tickets(lambda: None).sign(ticket())


@pytest.mark.parametrize(
    ("uid", "name", "is_for"),
    [
        pytest.param("uid-fix", "fix", True, id="the job that it names"),
        pytest.param("uid-fix", "other", False, id="not one of another name"),
        pytest.param("uid-before", "fix", False, id="not a later one of the same name"),
        pytest.param(None, "fix", True, id="without a uid, whichever has the name"),
        pytest.param(None, "other", False, id="without a uid, also none of another name"),
    ],
)
def test_a_ticket_is_for(uid: str | None, name: str, *, is_for: bool) -> None:
    assert replace(ticket(), uid=uid).is_for(agent_job(name)) == is_for


def test_a_ticket_without_a_job_is_for_the_one_that_was_made_with_it() -> None:
    given = ticket(job=None)
    mark = mark_of(KEY, "agents", given.idempotency_key)
    assert given.is_for(agent_job("a", annotations={ANNOTATION_SUBMISSION: mark}))
    assert not replace(given, nonce="n-2").is_for(agent_job("a", annotations={ANNOTATION_SUBMISSION: mark}))
    assert not given.is_for(agent_job("made-with-kubectl"))
