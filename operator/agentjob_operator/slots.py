"""Which of the jobs that wait starts next, and where each of them stands. Pure.

A job waits, or has a slot, or neither. Slots are limited over the installation and in each namespace. A slot that is
free goes to a job of the highest priority that waits; of these, to the namespace that has the fewest slots for its
weight; there, to the oldest job. Namespaces that have all they may have are passed over.

Every change costs a search among the waiting jobs of a namespace, every slot and every place in the queue one step or
one search for each namespace.
"""

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from datetime import datetime
from typing import NamedTuple

from agentjob_api.names import Key
from agentjob_api.status import QueueStatus, Standing
from agentjob_operator.settings import LimitsSettings
from agentjob_operator.world import QueueView


class Turn(NamedTuple):
    """When a waiting job's turn is among those of its namespace: turns sort as the jobs start."""

    urgency: int
    """Its priority, the other way round."""
    created: datetime
    uid: str
    key: Key


class Tally(NamedTuple):
    """How a namespace stands."""

    waiting: int
    oldest: datetime | None
    """When the oldest job that waits was created."""
    taken: int
    """Slots."""


class Queue:
    """Jobs that wait and jobs that have slots, by namespace. It is told of every change of either."""

    def __init__(self, limits: LimitsSettings) -> None:
        self.limits = limits
        self._turns: dict[Key, Turn] = {}
        self._lines: dict[str, list[Turn]] = {}
        """By namespace, in order."""
        self._works: dict[Key, bool] = {}
        """Who has a slot, and whether it works: otherwise it was admitted, and is to start."""
        self._taken: Counter[str] = Counter()

    def works(self, key: Key) -> None:
        """A job is at work: it has a slot, whether there was one or not."""
        self._leave(key)
        self._take(key, works=True)

    def waits(self, turn: Turn) -> None:
        """A job waits. One that was admitted has its slot, and does not wait again."""
        if self._works.get(turn.key) is False or self._turns.get(turn.key) == turn:
            return
        self.rests(turn.key)
        self._turns[turn.key] = turn
        insort(self._lines.setdefault(turn.key.namespace, []), turn)

    def rests(self, key: Key) -> None:
        """A job neither waits nor works, for now or for ever."""
        self._leave(key)
        if self._works.pop(key, None) is not None:
            self._taken[key.namespace] -= 1

    def admit(self) -> list[Key]:
        """Gives all slots that are free to jobs that wait; who got one, in order."""
        admitted: list[Key] = []
        while (turn := self._next()) is not None:
            self._leave(turn.key)
            self._take(turn.key, works=False)
            admitted.append(turn.key)
        return admitted

    def is_admitted(self, key: Key) -> bool:
        """Whether a job has a slot and is to start."""
        return self._works.get(key) is False

    def view(self, key: Key) -> QueueView:
        """How one job stands."""
        turn = self._turns.get(key)
        return QueueView(has_room=key in self._works, place=None if turn is None else self._place(turn))

    def tally(self, namespace: str) -> Tally:
        """How a namespace stands. It looks at each job that waits there."""
        line = self._lines.get(namespace, [])
        oldest = min((turn.created for turn in line), default=None)
        return Tally(len(line), oldest, self._taken[namespace])

    def _take(self, key: Key, *, works: bool) -> None:
        if key not in self._works:
            self._taken[key.namespace] += 1
        self._works[key] = works

    def _leave(self, key: Key) -> None:
        if (turn := self._turns.pop(key, None)) is None:
            return
        line = self._lines[key.namespace]
        del line[bisect_left(line, turn)]
        if not line:
            del self._lines[key.namespace]

    def _next(self) -> Turn | None:
        if self.limits.running is not None and len(self._works) >= self.limits.running:
            return None
        heads = (line[0] for namespace, line in self._lines.items() if self._free(namespace))
        return min(heads, key=self._precedence, default=None)

    def _precedence(self, head: Turn) -> tuple[int, float, Turn]:
        namespace = head.key.namespace
        # Equal shares are equal as floats, too: each is the float that is nearest to it.
        return head.urgency, self._taken[namespace] / self.limits.weight(namespace), head

    def _free(self, namespace: str) -> int:
        """How many of those that wait in a namespace could start, as far as that alone is concerned."""
        limit, waiting = self.limits.of(namespace), len(self._lines[namespace])
        return waiting if limit is None else min(waiting, max(0, limit - self._taken[namespace]))

    def _place(self, turn: Turn) -> QueueStatus:
        """Where a job stands: after all that would start before it if slots became free and no job came or ended.

        Those that exceed what their namespace may have come after all others, in the order in which they would start
        if it might have more.
        """
        own = turn.key.namespace
        index = bisect_left(self._lines[own], turn)
        waits_for_namespace = index >= self._free(own)
        ahead = index
        for other in self._lines.keys() - {own}:
            before, free = self._before(turn, index, other), self._free(other)
            ahead += max(before, free) if waits_for_namespace else min(before, free)
        reason = Standing.NAMESPACE_FULL if waits_for_namespace else Standing.INSTALLATION_FULL
        return QueueStatus(position=1 + ahead, reason=reason)

    def _before(self, turn: Turn, index: int, other: str) -> int:
        """How many of another namespace start before the job that is so far behind in its own, but for limits.

        As they start one after the other, the n-th of a namespace finds n more slots taken there than there are now.
        All that wait are therefore in the order of urgency, then share, then age; this counts by the first two.
        """
        line, own = self._lines[other], turn.key.namespace
        more_urgent = bisect_left(line, turn.urgency, key=_urgency)
        as_urgent = bisect_right(line, turn.urgency, key=_urgency)
        share = (self._taken[own] + index) * self.limits.weight(other)
        even, rest = divmod(share, self.limits.weight(own))
        nth = even - self._taken[other]
        if rest or (more_urgent <= nth < as_urgent and line[nth] < turn):
            nth += 1
        return min(max(nth, more_urgent), as_urgent)


def _urgency(turn: Turn) -> int:
    return turn.urgency
