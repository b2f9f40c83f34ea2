"""When this process first saw what others' clocks have stamped: where its own is ahead, no time is over at once.

An object's times are those of the API server, an ended container's those of its node. What is to last for a while from
then on lasts so long by this process's clock as well, from when it knew.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime

from agentjob_api.names import Key
from agentjob_operator.pod import PodView
from agentjob_operator.world import World


@dataclass
class Sightings:
    """First times, by job, and by uid and what was seen; as long as the job or a Pod of it is known."""

    _first: dict[Key, dict[tuple[str, str], datetime]] = field(default_factory=dict)

    def forget(self, namespace: str) -> None:
        """Forgets what is known of the jobs of a namespace."""
        self._first = {key: times for key, times in self._first.items() if key.namespace != namespace}

    def noted(self, world: World) -> World:
        """A world with when its Pods, their ends and that of the job were first seen."""
        before = self._first.pop(world.key, {})
        now: dict[tuple[str, str], datetime] = {}

        def first(uid: str, what: str) -> datetime:
            return now.setdefault((uid, what), before.get((uid, what), world.now))

        def seen(pod: PodView) -> PodView:
            ended = first(pod.uid, "ended") if pod.has_ended else None
            return replace(pod, seen=first(pod.uid, "made"), seen_ended=ended)

        found = replace(world, pods=tuple(map(seen, world.pods)))
        if world.job is not None:
            uid, is_final = world.job.metadata.uid, world.job.status.phase.is_final
            # One that had ended before is as old as it says: nothing is kept longer for a restart.
            if not is_final:
                first(uid, "unfinished")
            elif (uid, "unfinished") in before or (uid, "finished") in before:
                found = replace(found, finished=first(uid, "finished"))
        if now:
            self._first[world.key] = now
        return found
