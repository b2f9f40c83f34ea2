"""Conversations in which the API itself fails: `always`, or as many times as the marker says, and then it answers."""

from scripted_model.faults import ALWAYS, Break, EventName, cut, refuse
from scripted_model.replies import reply, text
from scripted_model.scripts import Plot, Task, Times, script

AT_LAST = text("It worked at last.")


@script()
def overloaded(_: Task, times: Times = ALWAYS) -> Plot:
    """529 overloaded."""
    yield refuse(529, "overloaded_error", "Overloaded", times=times)
    yield [AT_LAST]


@script()
def server_error(_: Task, times: Times = ALWAYS) -> Plot:
    """500 internal server error."""
    yield refuse(500, "api_error", "Internal server error", times=times)
    yield [AT_LAST]


@script()
def rate_limited(_: Task, retry_after: int = 1, times: Times = 1) -> Plot:
    """429 with retry-after; Claude Code waits for at most 60 seconds and gives up at once beyond."""
    words = "This request would exceed your organization's rate limit"
    yield refuse(429, "rate_limit_error", words, retry_after=retry_after, times=times)
    yield [AT_LAST]


@script()
def bad_key(_: Task, times: Times = ALWAYS) -> Plot:
    """401 for a key that is not valid."""
    yield refuse(401, "authentication_error", "invalid x-api-key", times=times)
    yield [AT_LAST]


@script()
def billing(_: Task) -> Plot:
    """402 for an account that is out of money."""
    yield refuse(402, "billing_error", "Your credit balance is too low", times=ALWAYS)


@script()
def bad_request(_: Task) -> Plot:
    """400 for a request that is in order."""
    yield refuse(400, "invalid_request_error", "the scripted model does not like it", times=ALWAYS)


@script()
def cut_stream(_: Task, times: Times = ALWAYS, after: EventName = "message_start") -> Plot:
    """Reset the connection in the middle of the answer."""
    long_answer = reply(text("This answer never comes to its end, because the connection breaks before."))
    yield cut(long_answer, after=after, times=times)
    yield [AT_LAST]


@script()
def broken_stream(_: Task, times: Times = ALWAYS) -> Plot:
    """Begin a stream well and then report an error in it."""
    words = reply(text("This answer ends with an error."))
    yield Break(reply=words, status=529, kind="overloaded_error", message="Overloaded", times=times)
    yield [AT_LAST]
