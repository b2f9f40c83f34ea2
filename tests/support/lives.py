"""Jobs' lives from their first write to their last, and what must have come of them, whatever went wrong meanwhile."""

import asyncio
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial

from agentjob_api.reasons import Reason
from agentjob_kube.resources import AGENT_JOBS, PODS
from agentjob_operator.failing import STUCK_AFTER
from came_to import FAKE, Results, timed
from disturbed import Disturbed, End, Life, disturbed
from fault_proxy import Refused, Rule
from operated import Operated, told, until

BROKEN = told(Reason.AGENT_ERROR, message="It broke.")
STOPPED = told(Reason.CANCELLED, stopped=True, message="stopped before the agent had ended")
TIME_TO_LIVE = 600
"""Seconds; less than the deadline of a job, by which others may be late then."""
LONGEST_WAIT = 60
"""Seconds from one look at a job that fails to the next."""
LONGEST_FIRST_WAIT = 10
"""Seconds that a job backs off after its first failure."""
AHEAD = "first"
"""A job that was there before."""
POD, STATUS = "create pods", "update agentjobs/status"
STOP, GONE = "patch pods", "delete pods"


Placed = AbstractAsyncContextManager[Disturbed]
"""Where an operator is at work while the block runs."""


async def works(op: Operated, pod: str = "fix-1") -> None:
    """An agent starts, and works for its time."""
    await op.run_agent(pod)
    await op.until_status(phase="Running", podName=pod)
    await asyncio.sleep(op.work_seconds)


async def ends_well(op: Operated, pod: str = "fix-1") -> None:
    """An agent works to its end."""
    await works(op, pod)
    await op.end_agent(told(text="Done."), name=pod)
    await op.until_status(phase="Succeeded")
    await op.until_no_pod(pod)


async def once(op: Operated) -> None:
    """Succeeds, and is deleted in the end."""
    await ends_well(op)
    await op.later(TIME_TO_LIVE)

    async def is_gone() -> bool:
        return "fix" not in [item["metadata"]["name"] for item in await op.items(AGENT_JOBS)]

    await until(is_gone, op.within)


async def fails(op: Operated) -> None:
    """Fails for good."""
    await works(op)
    await op.end_agent(BROKEN, code=1)
    await op.until_status(phase="Failed")
    await op.until_no_pod()


async def twice(op: Operated) -> None:
    """Fails once, and succeeds then."""
    await works(op)
    await op.end_agent(BROKEN, code=1)
    await goes_on(op)


async def goes_on(op: Operated) -> None:
    """An agent has failed: another one succeeds."""
    await op.until_ready_says("BackOff")
    await op.until_no_pod()
    await op.later(LONGEST_FIRST_WAIT)
    # For an operator whose clock is ahead, a Pod that was made this moment takes its time: that is said, once.
    await op.until_ready_says("Starting")
    await ends_well(op, "fix-2")


async def suspended(op: Operated) -> None:
    """Is suspended while it works, let go, and succeeds."""
    await works(op)
    await op.change(suspend=True)
    await op.pod(generation=2)
    await op.end_agent(STOPPED, phase="Failed")
    await op.until_ready_says("Suspended")
    await op.until_no_pod()
    await op.change(suspend=False)
    await ends_well(op, "fix-2")


async def cancelled(op: Operated) -> None:
    """Is cancelled while it works."""
    await works(op)
    await op.change(cancel=True)
    await op.pod(generation=2)
    await op.end_agent(STOPPED, phase="Failed")
    await op.until_status(phase="Cancelled")
    await op.until_no_pod()


async def deleted(op: Operated) -> None:
    """Is deleted while it works."""
    await works(op)
    await op.delete()
    await op.until_no_pod()


async def taken_away(op: Operated) -> None:
    """Its first Pod is deleted by somebody."""
    await works(op)
    await op.remove_pod()
    await ends_well(op, "fix-2")


async def made_again(op: Operated) -> None:
    """Is deleted while it works, and another one of its name is there at once, which succeeds."""
    await works(op)
    first = (await op.pod())["metadata"]["uid"]
    await op.delete()
    await op.submit()

    async def has_another() -> bool:
        return first not in [item["metadata"]["uid"] for item in await op.items(PODS)]

    await until(has_another, op.within)
    await ends_well(op)


async def full(op: Operated) -> None:
    """As many jobs run as may."""
    await op.submit(AHEAD)
    await op.pod(f"{AHEAD}-1")


async def queued(op: Operated) -> None:
    """Waits until there is room, and succeeds."""
    await op.until_status(phase="Queued")
    await op.delete(AHEAD)
    await ends_well(op)


async def refusing(op: Disturbed) -> None:
    """The API server makes no Pods. The rule is the first: what it refuses, no other one sees."""
    op.proxy.rules.insert(0, Rule("create", "pods", Refused(500), times=math.inf))


async def stuck(op: Disturbed) -> None:
    """Says that nothing can be done about it, until its Pod can be made, and succeeds then."""

    async def says_so() -> bool:
        return "ReconcileFailure" in [each["type"] for each in (await op.status()).get("conditions", ())]

    async def is_tried_until_it_says_so() -> bool:
        tries = len(op.refused())

        async def is_tried() -> bool:
            return len(op.refused()) > tries or await says_so()

        await until(is_tried, op.within)
        if await says_so():
            return True
        await op.later(STUCK_AFTER.total_seconds())  # one that has just started has to find it out for itself
        return False

    await until(is_tried_until_it_says_so, op.within)
    op.proxy.rules.pop(0)
    await op.later(LONGEST_WAIT)
    await op.pod()

    async def takes_it_back() -> bool:
        return not await says_so()

    await until(takes_it_back, op.within)
    await ends_well(op)


LIVES: Mapping[str, Life] = {
    "succeeds, and goes in time": Life(
        once,
        (POD, STATUS, STATUS, GONE, "delete agentjobs"),
        End("Succeeded", (Reason.COMPLETED,), 0, "0.0127"),
        spec={"ttlSecondsAfterFinished": TIME_TO_LIVE},
    ),
    "fails for good": Life(
        fails,
        (POD, STATUS, STATUS, "create events", GONE),
        End("Failed", (Reason.AGENT_ERROR,), 1, "0.0127"),
        spec={"backoffLimit": 0},
    ),
    "fails, and succeeds at its second attempt": Life(
        twice,
        (POD, STATUS, STATUS, GONE, POD, STATUS, STATUS, STATUS, GONE),
        End("Succeeded", (Reason.AGENT_ERROR, Reason.COMPLETED), 1, "0.0254"),
        pods=("fix-1", "fix-2"),
    ),
    "is suspended while it works, and let go": Life(
        suspended,
        (POD, STATUS, STOP, STATUS, GONE, STATUS, POD, STATUS, STATUS, GONE),
        End("Succeeded", (Reason.SUSPENDED, Reason.COMPLETED), 0, "0.0254"),
        pods=("fix-1", "fix-2"),
    ),
    "is cancelled while it works": Life(
        cancelled,
        (POD, STATUS, STOP, STATUS, GONE),
        End("Cancelled", (Reason.CANCELLED,), 0, "0.0127"),
    ),
    "is deleted while it works": Life(deleted, (POD, STATUS, GONE), None),
    "is deleted while it works, and made again at once": Life(
        made_again,
        (POD, STATUS, GONE, POD, STATUS, STATUS, GONE),
        End("Succeeded", (Reason.COMPLETED,), 0, "0.0127"),
        pods=("fix-1", "fix-1"),
    ),
    "waits for room behind another": Life(
        queued,
        (POD, STATUS, GONE, POD, STATUS, STATUS, GONE),
        End("Succeeded", (Reason.COMPLETED,), 0, "0.0127"),
        before=full,
        settings={"limits": {"running": 1}},
    ),
    "says that nothing can be done about it, and goes on": Life(
        stuck,
        (STATUS, POD, STATUS, STATUS, STATUS, GONE),
        End("Succeeded", (Reason.COMPLETED,), 0, "0.0127"),
        before=refusing,
    ),
    "loses its Pod, and succeeds with another": Life(
        taken_away,
        (POD, STATUS, STATUS, POD, STATUS, STATUS, GONE),
        End("Succeeded", (Reason.NODE_LOST, Reason.COMPLETED), 0, "0.0127"),
        pods=("fix-1", "fix-2"),
    ),
}


async def usual(results: Results, name: str, where: str = FAKE, place: Callable[..., Placed] | None = None) -> float:
    """Seconds of an undisturbed life in a place, by default the fake cluster, which is lived once in a session."""
    if (where, name) not in results.usual:
        life = LIVES[name]
        async with (place or disturbed)(**life.settings) as op:
            await op.is_watching()
            with timed(partial(results.usual.__setitem__, (where, name))):
                await op.lives(life)
            await op.nothing_was_lost_or_doubled(life)
            assert op.proxy.writes("fix", AHEAD) == [*life.writes]
    return results.usual[where, name]
