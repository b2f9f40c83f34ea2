"""Every way in which the API server says no has a type of its own, and keeps its words."""

import json

import pytest

from agentjob_kube import errors
from agentjob_kube.backoff import Backoff


def answer(reason: str, message: str = "no", **details: object) -> bytes:
    return json.dumps({"kind": "Status", "reason": reason, "message": message, "details": details}).encode()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        pytest.param(400, answer("BadRequest"), errors.Invalid, id="a request that cannot be read"),
        pytest.param(401, answer("Unauthorized"), errors.Unauthorized, id="a wrong credential"),
        pytest.param(403, answer("Forbidden", "x is forbidden: exceeded quota"), errors.Forbidden, id="a quota"),
        pytest.param(
            403,
            answer(
                "Forbidden", 'pods "fix-1" is forbidden: User "system:serviceaccount:a:b" cannot get resource "pods"'
            ),
            errors.NoRight,
            id="no right to it",
        ),
        pytest.param(
            422,
            answer(
                "Invalid",
                "pods \"fix-1\" is forbidden: ValidatingAdmissionPolicy 'team' with binding 'all' denied request: no",
            ),
            errors.Forbidden,
            id="an admission policy",
        ),
        pytest.param(
            400,
            answer("", 'admission webhook "pods.example.com" denied the request: no team'),
            errors.Forbidden,
            id="an admission webhook that says nothing of the status",
        ),
        pytest.param(
            422,
            answer("Invalid", 'pods "fix-1" is forbidden: admission webhook "a.b" denied the request: spec is invalid'),
            errors.Forbidden,
            id="an admission webhook that calls it invalid",
        ),
        *(
            pytest.param(
                status,
                answer(reason, 'admission webhook "a.b" denied the request: not now'),
                errors.Forbidden,
                id=f"an admission webhook that calls it {reason}",
            )
            for status, reason in ((404, "NotFound"), (409, "Conflict"), (409, "AlreadyExists"), (410, "Gone"))
        ),
        *(
            pytest.param(
                403,
                answer("Forbidden", f'{rule}: pods is forbidden: User "a" cannot create resource "pods"'),
                errors.Forbidden,
                id=f"{who} that speaks of a right",
            )
            for who, rule in (
                ("an admission webhook", 'admission webhook "a.b" denied the request'),
                ("an admission policy", "pods \"fix-1\" is forbidden: ValidatingAdmissionPolicy 'team' denied request"),
            )
        ),
        pytest.param(
            403,
            answer("Forbidden", 'pods is forbidden: User "a" cannot list resource "pods"'),
            errors.NoRight,
            id="no right to all of them",
        ),
        pytest.param(
            403,
            answer("Forbidden", 'forbidden: User "a" cannot get path "/x"'),
            errors.NoRight,
            id="no right to a path",
        ),
        pytest.param(
            422,
            answer(
                "Invalid",
                'Pod "fix-1" is invalid: metadata.labels: Invalid value: '
                '"x \\"y\\" is forbidden: admission webhook \\"z\\" denied the request"',
            ),
            errors.Invalid,
            id="a wrong field that speaks like an admission rule",
        ),
        pytest.param(404, answer("NotFound"), errors.NotFound, id="nothing there"),
        pytest.param(409, answer("Conflict"), errors.Conflict, id="changed since it was read"),
        pytest.param(409, answer("AlreadyExists"), errors.AlreadyExists, id="the name is taken"),
        pytest.param(410, answer("Expired"), errors.Gone, id="a version that is no longer kept"),
        pytest.param(413, answer("RequestEntityTooLarge"), errors.Invalid, id="too large"),
        pytest.param(418, b"", errors.Refused, id="anything else below 500"),
        pytest.param(422, answer("Invalid"), errors.Invalid, id="a wrong field"),
        pytest.param(429, answer("TooManyRequests"), errors.TooManyRequests, id="too many requests"),
        pytest.param(500, answer("InternalError"), errors.ServerError, id="a failure of the server"),
        pytest.param(502, b"<html>bad gateway</html>", errors.ServerError, id="a proxy's page"),
        pytest.param(404, b"<html>no such cluster</html>", errors.ServerError, id="a proxy's page that knows nothing"),
        pytest.param(400, b"400 Bad Request", errors.ServerError, id="a proxy's page that takes no request"),
        pytest.param(409, b'{"error": "busy"}', errors.ServerError, id="a proxy's JSON"),
        pytest.param(504, answer("Timeout"), errors.ServerError, id="etcd is slow"),
    ],
)
def test_an_answer_becomes_the_error_that_fits(status: int, body: bytes, expected: type[errors.Refused]) -> None:
    error = errors.refused(status, body)

    assert type(error) is expected
    assert error.status == status


ETCD = "etcdserver: request timed out, possibly due to previous leader failure"
WEBHOOK = 'Internal error occurred: failed calling webhook "pods.example.com": rpc error: context deadline exceeded'


@pytest.mark.parametrize(
    ("status", "body", "may_be_done"),
    [
        pytest.param(504, answer("Timeout", "Timeout: request did not complete"), True, id="the API server's own time"),
        pytest.param(500, answer("", ETCD), True, id="a leader of etcd that has gone"),
        pytest.param(500, answer("", "rpc error: code = Unavailable desc = closing"), True, id="a member that has"),
        pytest.param(502, b"<html>bad gateway</html>", True, id="a proxy that was cut off"),
        pytest.param(500, answer("InternalError", WEBHOOK), False, id="not a webhook that fails"),
        pytest.param(503, answer("ServiceUnavailable"), False, id="not an API server that takes none"),
        pytest.param(404, b"<html>no such cluster</html>", False, id="not a proxy that passes nothing on"),
        pytest.param(429, answer("TooManyRequests"), False, id="not a limit"),
    ],
)
def test_what_was_asked_for_may_be_done_all_the_same_after(status: int, body: bytes, may_be_done: bool) -> None:
    assert errors.refused(status, body).may_be_done == may_be_done


@pytest.mark.parametrize(
    ("body", "header", "seconds"),
    [
        pytest.param(answer("TooManyRequests"), "7", 7.0, id="the header"),
        pytest.param(answer("TooManyRequests", retryAfterSeconds=3), None, 3.0, id="the details"),
        pytest.param(answer("TooManyRequests", retryAfterSeconds=3), "7", 7.0, id="the header before the details"),
        pytest.param(answer("TooManyRequests"), "Wed, 21 Oct 2026 07:28:00 GMT", 0.0, id="a date is not used"),
        pytest.param(answer("TooManyRequests"), "-5", 0.0, id="never less than nothing"),
        pytest.param(answer("TooManyRequests"), "3600", 50.0, id="never an hour, as a proxy under maintenance would"),
        pytest.param(answer("TooManyRequests", retryAfterSeconds=2**31 - 1), None, 50.0, id="nor what a webhook likes"),
        pytest.param(answer("TooManyRequests"), "9" * 400, 50.0, id="nor more seconds than a number holds"),
        pytest.param(answer("TooManyRequests"), "inf", 0.0, id="what is no number of seconds is not used"),
        pytest.param(b"[1]", None, 0.0, id="JSON of another shape"),
    ],
)
def test_the_server_may_say_when_to_come_back(body: bytes, header: str | None, seconds: float) -> None:
    assert errors.refused(429, body, header).retry_after == seconds


@pytest.mark.parametrize(
    ("body", "text"),
    [
        pytest.param(answer("Forbidden", "exceeded quota: pods"), "exceeded quota: pods", id="the server's message"),
        pytest.param(b"<html>" + b"x" * 9000, "<html>" + "x" * 494, id="the beginning of something else"),
        pytest.param(b"", "HTTP status 403", id="the status where there is nothing"),
        pytest.param(b"\xff\xfe", "��", id="what is no text"),
    ],
)
def test_an_error_speaks_in_the_servers_words(body: bytes, text: str) -> None:
    assert str(errors.refused(403, body)) == text


@pytest.mark.parametrize("failures", range(1, 60))
def test_waiting_doubles_up_to_a_bound_and_is_spread(failures: int) -> None:
    backoff = Backoff(first=0.5, most=30.0)

    delays = {backoff.delay(failures) for _ in range(50)}

    most = min(30.0, 0.5 * 2 ** (failures - 1))
    assert most / 2 <= min(delays) < max(delays) <= most


def test_what_the_server_asked_for_is_kept_to_beyond_the_bound() -> None:
    assert Backoff(first=0.5, most=30.0).delay(1, at_least=90.0) == 90.0
