"""Jobs' lives from their first write to their last, and what must have come of them, whatever went wrong meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from agentjob_api.reasons import Reason
from agentjob_kube.resources import AGENT_JOBS
from operated import Operated, told, until

BROKEN = told(Reason.AGENT_ERROR, message="It broke.")
STOPPED = told(Reason.CANCELLED, stopped=True, message="stopped before the agent had ended")
TIME_TO_LIVE = 600
"""Seconds; less than the deadline of a job, by which others may be late then."""
LONGEST_FIRST_WAIT = 10
"""Seconds that a job backs off after its first failure."""
POD, STATUS = "create pods", "update agentjobs/status"
STOP, GONE = "patch pods", "delete pods"


class End(NamedTuple):
    """How a job has ended."""

    phase: str
    reasons: tuple[Reason, ...]
    """Why each attempt ended."""
    failed: int
    cost: str | None


@dataclass(frozen=True)
class Life:
    """One job's life."""

    live: Callable[[Operated], Awaitable[None]]
    """A person, a scheduler and a kubelet do their parts."""
    writes: tuple[str, ...]
    """What an operator writes that is not disturbed, in order."""
    end: End | None
    """How the job has ended; None when it was deleted before."""
    attempts: int = 1
    spec: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pods(self) -> list[str]:
        """All that are ever made, each once."""
        return [f"fix-{number}" for number in range(1, self.attempts + 1)]


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
        attempts=2,
    ),
    "is suspended while it works, and let go": Life(
        suspended,
        (POD, STATUS, STOP, STATUS, GONE, STATUS, POD, STATUS, STATUS, GONE),
        End("Succeeded", (Reason.SUSPENDED, Reason.COMPLETED), 0, "0.0254"),
        attempts=2,
    ),
    "is cancelled while it works": Life(
        cancelled,
        (POD, STATUS, STOP, STATUS, GONE),
        End("Cancelled", (Reason.CANCELLED,), 0, "0.0127"),
    ),
    "is deleted while it works": Life(deleted, (POD, STATUS, GONE), None),
    "loses its Pod, and succeeds with another": Life(
        taken_away,
        (POD, STATUS, STATUS, POD, STATUS, STATUS, GONE),
        End("Succeeded", (Reason.NODE_LOST, Reason.COMPLETED), 0, "0.0127"),
        attempts=2,
    ),
}
