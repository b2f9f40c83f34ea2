"""What a client is told when something goes wrong."""

import pytest

from agentjob_gateway import errors
from agentjob_gateway.errors import Problem, TooMany, Unauthenticated
from agentjob_kube.errors import ApiError, Unreachable, refused


def status(code: int, reason: str = "", seconds: str | None = None) -> ApiError:
    said = f'{{"kind": "Status", "reason": "{reason}", "message": "its own words"}}'
    return refused(code, said.encode(), seconds)


@pytest.mark.parametrize(
    ("error", "kind", "words", "retry_after"),
    [
        pytest.param(status(400), errors.Unprocessable, "its own words", None, id="an unknown field"),
        pytest.param(status(422), errors.Unprocessable, "its own words", None, id="a rule that is broken"),
        pytest.param(status(403), errors.NotAllowed, "its own words", None, id="a quota"),
        pytest.param(
            refused(
                403, b'{"message": "agentjobs is forbidden: User \\"us\\" cannot create resource \\"agentjobs\\""}'
            ),
            errors.Unavailable,
            "does not let the gateway",
            2,
            id="a right of the gateway's",
        ),
        pytest.param(status(404), errors.Missing, "its own words", None, id="a job that is gone"),
        pytest.param(
            refused(404, b"404 page not found"), errors.Unavailable, "cannot be reached", 2, id="a page in its place"
        ),
        pytest.param(status(409), errors.Clash, "its own words; read it again", None, id="a change by somebody else"),
        pytest.param(status(409, "AlreadyExists"), errors.Clash, "its own words", None, id="a name that is taken"),
        pytest.param(status(429, "", "7"), errors.Unavailable, "the cluster is busy", 7, id="a busy cluster"),
        pytest.param(status(500), errors.Unavailable, "cannot be reached", 2, id="a broken cluster"),
        pytest.param(status(401), errors.Unavailable, "gateway's own credential", 2, id="its own credential"),
        pytest.param(Unreachable("host 10.0.0.1"), errors.Unavailable, "cannot be reached", 2, id="no answer"),
    ],
)
def test_the_api_servers_errors_are_told_where_the_client_can_act(
    error: ApiError, kind: type[Problem], words: str, retry_after: float | None
) -> None:
    problem = errors.of(error)
    assert type(problem) is kind
    assert words in problem.detail
    assert problem.retry_after == retry_after
    assert "10.0.0.1" not in problem.detail


def test_a_problem_has_the_members_of_the_standard_and_the_words_in_short() -> None:
    assert TooMany("no more", retry_after=1.2, more={"limit": 5}).body("r-1") == {
        "type": "about:blank",
        "title": "Too Many Requests",
        "status": 429,
        "detail": "no more",
        "error": "no more",
        "request_id": "r-1",
        "limit": 5,
    }


@pytest.mark.parametrize(("seconds", "header"), [(0.0, "1"), (1.2, "2"), (59.6, "60")])
def test_a_client_is_told_whole_seconds_and_never_none(seconds: float, header: str) -> None:
    assert TooMany("no more", retry_after=seconds).headers() == {"Retry-After": header}


def test_who_is_not_known_is_told_so_in_one_word_and_how_to_be() -> None:
    problem = Unauthenticated("no key")
    assert (problem.body("r")["error"], problem.body("r")["detail"]) == ("Unauthorized", "no key")
    assert problem.headers() == {"WWW-Authenticate": 'Bearer realm="agentjob"'}
