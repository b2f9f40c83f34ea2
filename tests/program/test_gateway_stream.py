"""Streams that lose no line: a hub on a fake cluster, real connections on loopback, and everything that goes wrong."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from event_source import Event
from fake_cluster import Fault
from fake_cluster.refusals import Refusal
from operated import NAMESPACE, until
from watched import Replica, Watched, backing_off, begun, last_line, line, nobody_watches, numbered, running, watched

POD = (NAMESPACE, "fix-1")
TEXT = b"unable to retrieve container logs for containerd://abc"


@pytest.fixture
async def at() -> AsyncIterator[Watched]:
    async with watched() as found:
        yield found


async def test_a_job_is_watched_from_its_submission_to_its_end(at: Watched) -> None:
    replica = await at.replica()
    await at.submit()
    viewer = await at.watch(replica)
    await at.start()
    at.say(1, 2)
    await viewer.until_lines(2)
    await at.finish(3)
    await viewer.until_end()

    assert viewer.lines == numbered(1, 2, 3)
    assert sorted(each.type for each in viewer.source.events) == ["agentjob", *["message"] * 3, *["state"] * 3]
    assert viewer.of("state") == [
        {"phase": "Pending", "reason": "", "message": ""},
        {"phase": "Running", "reason": "Running", "message": "The agent works in Pod fix-1."},
        {"phase": "Succeeded", "reason": "Completed", "message": "The agent has finished."},
    ]
    assert viewer.source.events[-1] == viewer.closing == Event("message", "[DONE]", "fix/end")
    assert 2_000 <= (viewer.source.retry or 0) <= 5_000
    assert viewer.response.headers["Content-Type"] == "text/event-stream"
    assert viewer.response.headers["Cache-Control"] == "no-cache, no-transform"
    assert viewer.response.headers["X-Accel-Buffering"] == "no"


async def cut(at: Watched) -> None:
    at.cluster.cut_log(*POD)


async def cut_in_a_line(at: Watched) -> None:
    whole = line(4)
    at.print(whole[:40])
    at.cluster.cut_log(*POD)
    at.print(whole[40:])


async def end(at: Watched) -> None:
    at.cluster.end_log(*POD)


async def end_often(at: Watched) -> None:
    for _ in range(5):
        at.cluster.end_log(*POD)


async def rotate(at: Watched) -> None:
    at.cluster.rotate_log(*POD)


async def text_for_a_log(at: Watched) -> None:
    at.cluster.leave_text(*POD, TEXT)
    at.cluster.end_log(*POD)


async def text_between(at: Watched) -> None:
    at.print(b"npm WARN deprecated\n\xff\xfe\n{}\n")


async def refuse(at: Watched) -> None:
    for code in (500, 503, 429, 403, 404, 400):
        at.cluster.fail(Fault("get", "pods/log", refusal=Refusal(code, "TestsOwn", "not now")))
    at.cluster.cut_log(*POD)


async def say_again(at: Watched) -> None:
    at.say(1, 2, 3, 3, 2, 1)


async def cut_watches(at: Watched) -> None:
    at.cluster.cut_watches()


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(cut, id="the log is cut"),
        pytest.param(cut_in_a_line, id="the log is cut in the middle of a line"),
        pytest.param(end, id="the log ends, and the agent works on"),
        pytest.param(end_often, id="the log ends again and again"),
        pytest.param(rotate, id="the log is rotated"),
        pytest.param(text_for_a_log, id="there is an error's text for a log"),
        pytest.param(text_between, id="there is other text between the lines"),
        pytest.param(refuse, id="the API server refuses for a while"),
        pytest.param(say_again, id="lines come twice"),
        pytest.param(cut_watches, id="the watch of jobs is cut"),
    ],
)
async def test_every_line_comes_once_and_in_order_though(
    at: Watched, fault: Callable[[Watched], Awaitable[None]]
) -> None:
    replica, viewer = await begun(at)
    await fault(at)
    at.say(*([5] if fault is cut_in_a_line else [4, 5]))
    await viewer.until_lines(5)
    await at.finish(6)
    await viewer.until_end()

    assert viewer.lines == numbered(1, 2, 3, 4, 5, 6)
    assert (viewer.of("gap"), viewer.closing and viewer.closing.data) == ([], "[DONE]")
    assert replica.hub.counts.skipped >= (3 if fault is text_between else 0)


async def test_lines_come_though_their_container_waited_when_they_were_asked_for(at: Watched) -> None:
    replica = await at.replica()
    await at.submit()
    await at.make_pod()
    await at.set_status(running(1))
    viewer = await at.watch(replica)
    await until(lambda: asked(at, 3))
    await at.start()
    at.say(1)
    await at.finish(2)

    assert (await viewer.until_end()).lines == numbered(1, 2)


async def asked(at: Watched, count: int) -> bool:
    return at.logs_asked() >= count


async def test_lines_that_are_nowhere_any_more_are_told_as_lost(at: Watched) -> None:
    replica, viewer = await begun(at)
    at.cluster.rotate_log(*POD)
    at.say(6)
    await at.finish(7)
    await viewer.until_end()
    await until(lambda: nobody_watches(replica))
    late, back = [await (await at.watch(replica, after)).until_end() for after in ("", "1-4")]

    assert viewer.lines == numbered(1, 2, 3, 6, 7)
    assert [viewer.of("gap"), late.of("gap"), back.of("gap")] == [
        [{"attempt": 1, "from": 4, "to": 5}],
        [{"attempt": 1, "from": 1, "to": 5}],
        [{"attempt": 1, "from": 5, "to": 5}],
    ]
    assert late.lines == back.lines == numbered(6, 7)


async def test_all_attempts_are_one_stream(at: Watched) -> None:
    _, viewer = await begun(at)
    at.print(last_line(4))
    await at.end_container()
    await at.start(2)
    at.say(1, 2, attempt=2)
    await at.finish(3, attempt=2)

    assert (await viewer.until_end()).lines == numbered(1, 2, 3, 4) + numbered(1, 2, 3, attempt=2)


async def test_a_stream_goes_on_while_its_job_is_between_attempts_and_says_so(at: Watched) -> None:
    _, viewer = await begun(at)
    at.print(last_line(4))
    await at.end_container()
    await at.set_status(backing_off(1))

    async def is_told() -> bool:
        return "BackOff" in [each["reason"] for each in viewer.of("state")]

    await until(is_told)
    assert not viewer.has_ended
    await at.remove_pod()
    await at.start(2)
    await at.finish(1, attempt=2)

    assert (await viewer.until_end()).lines == numbered(1, 2, 3, 4) + numbered(1, attempt=2)
    assert [each["phase"] for each in viewer.of("state")][-3:] == ["Pending", "Running", "Succeeded"]


async def test_a_pod_that_is_deleted_is_heard_to_its_end(at: Watched) -> None:
    _, viewer = await begun(at)
    at.say(4)
    await viewer.until_lines(4)
    await at.remove_pod()
    failure = {"reason": "NodeLost", "message": "Pod fix-1 was deleted while the agent worked."}
    await at.set_status(running(1) | {"phase": "Failed", "failure": failure})
    await viewer.until_end()

    assert viewer.lines == numbered(1, 2, 3, 4)
    assert viewer.of("gap") == [{"attempt": 1, "from": 5, "to": None}]
    assert viewer.closing is not None
    assert json.loads(viewer.closing.data) == {"error": failure["message"], "reason": "NodeLost"}


async def test_an_error_s_text_for_the_log_of_a_pod_that_is_gone_is_no_line(at: Watched) -> None:
    replica, viewer = await begun(at)
    await at.finish(4)
    await viewer.until_end()
    await at.remove_pod()
    await until(lambda: nobody_watches(replica))
    at.cluster.leave_text(*POD, TEXT)
    late = await (await at.watch(replica, "1-2")).until_end()

    assert late.lines == []
    assert late.of("gap") == [{"attempt": 1, "from": 3, "to": None}]
    assert (late.closing and late.closing.data) == "[DONE]"


async def test_a_job_that_is_deleted_ends_its_streams(at: Watched) -> None:
    _, viewer = await begun(at)
    await at.delete()
    await at.remove_pod()
    await viewer.until_end()

    assert viewer.lines == numbered(1, 2, 3)
    assert viewer.closing is not None
    assert json.loads(viewer.closing.data)["reason"] == "Deleted"


ALL = [*numbered(1, 2, 3), *numbered(1, 2, attempt=2)]


async def two_attempts(at: Watched) -> Replica:
    """A finished job of two attempts."""
    replica = await at.replica()
    await at.submit()
    await at.start()
    at.say(1, 2)
    at.print(last_line(3))
    await at.end_container()
    await at.start(2)
    at.say(1, attempt=2)
    await at.finish(2, attempt=2)
    return replica


async def test_who_comes_back_goes_on_at_the_position(at: Watched) -> None:
    replica = await two_attempts(at)
    for number, position in enumerate(ALL):
        again = await (await at.watch(replica, position)).until_end()
        assert again.lines == ALL[number + 1 :], position
        assert (again.of("gap"), again.closing and again.closing.data) == ([], "[DONE]")
        assert all(each.last_event_id for each in again.source.events), "cut off now, it would begin anew"


async def test_who_comes_back_goes_on_though_others_watch_from_elsewhere(at: Watched) -> None:
    replica = await two_attempts(at)
    viewers = [await at.watch(replica, position) for position in ("2-1", "", *ALL[:2])]

    assert [(await each.until_end()).lines for each in viewers] == [ALL[4:], ALL, ALL[1:], ALL[2:]]


@pytest.mark.parametrize("position", ["1-900", "900-1"])
async def test_a_position_beyond_the_end_gets_the_end(at: Watched, position: str) -> None:
    replica = await two_attempts(at)
    viewer = await (await at.watch(replica, position)).until_end()

    assert viewer.lines == (ALL[3:] if position == "1-900" else [])
    assert (viewer.closing and viewer.closing.data) == "[DONE]"


async def test_who_has_all_is_told_not_to_come_again(at: Watched) -> None:
    replica = await two_attempts(at)

    assert (await at.watch(replica, "end")).response.status == 204
