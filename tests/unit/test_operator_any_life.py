"""Whatever befalls Pods, operator and job in whatever order: attempts are numbered, paid for and counted once."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agentjob_api.job import AgentJob
from agentjob_api.names import pod_name
from agentjob_api.outcome import Outcome
from agentjob_api.reasons import Reason, RetryClass
from agentjob_api.status import AttemptStatus
from agentjob_operator import rules
from agentjob_operator.decide import decide
from agentjob_operator.pod import TAINTED, Note, PodView, Running, Terminated
from agentjob_operator.world import Action, CreatePod, DeletePod, RecordEvent, StopPod, World
from worlds import T0, job, pod, told, world

FAILURES = (Reason.AGENT_ERROR, Reason.RATE_LIMITED, Reason.WORKSPACE_ERROR)
TAKEN = (Note("Evicted", "The node was low on resource: memory."), Note("Terminated", "shutdown"))
COSTS = st.decimals(0, 5, places=4).map(lambda amount: format(amount, "f"))
LIFE = timedelta(seconds=1800) + rules.OVERDUE_AFTER
"""How long a Pod may work at most, though nobody hears of its node."""
ALL = 4
"""Writes of a decision at most: a status, and what is done about Pods."""
MOST_LOOKS = 300
"""Within so many looks, a job that nobody suspends has ended."""


class AnyLife(RuleBasedStateMachine):
    """One job, its Pods as the API server has them, and an operator that may end between any two of its writes."""

    @initialize(limit=st.integers(0, 5), is_taken=st.booleans())
    def submit(self, limit: int, is_taken: bool) -> None:
        self.is_taken = is_taken
        """How its last attempts end."""
        self.now = T0 + timedelta(seconds=1)
        self.job: AgentJob = job(backoffLimit=limit)
        self.pods: dict[str, PodView] = {}
        self.made: list[int] = []
        """Numbers of all Pods that ever were, in order."""
        self.paid = Decimal(0)
        """What runners have told that were heard, each once."""
        self.closed: dict[int, Reason] = {}

    # The cluster

    def _change(self, which: PodView, **fields: Any) -> None:
        self.pods[which.name] = replace(which, **fields)

    def _working(self) -> list[PodView]:
        return [each for each in self.pods.values() if not each.has_ended]

    def _begins(self, which: PodView) -> None:
        agent = which.agent or Running(self.now)
        self._change(which, node="node-1", started=which.started or self.now, agent=agent)

    def _ends(self, which: PodView, reason: Reason | None, cost: str, note: Note | None = None) -> None:
        """The agent ends by itself, or by this of its node; without a reason, it leaves nothing."""
        stopped = note is not None or which.stop_asked is not None
        left = told(Reason.CANCELLED if stopped else reason, cost_usd=cost, stopped=stopped) if reason else None
        started = which.agent.started if isinstance(which.agent, Running) else self.now
        code = 0 if reason is Reason.COMPLETED and not stopped else 1
        agent = Terminated(code, "Error", left.to_json() if left else "", started, self.now)
        self._change(which, node="node-1", started=which.started or self.now, agent=agent, phase="Failed", end=note)

    @precondition(lambda self: self._working())
    @rule(reason=st.sampled_from((None, *FAILURES)), cost=COSTS)
    def an_agent_fails(self, reason: Reason | None, cost: str) -> None:
        self._ends(self._working()[0], reason, cost)

    @precondition(lambda self: self._working() and self.job.status.attempt_count > 3)
    @rule(reason=st.sampled_from((Reason.COMPLETED, Reason.MAX_TURNS)), cost=COSTS)
    def an_agent_ends_for_good(self, reason: Reason, cost: str) -> None:
        self._ends(self._working()[0], reason, cost)

    @precondition(lambda self: self._working())
    @rule(note=st.sampled_from(TAKEN), cost=COSTS)
    def a_node_takes_an_agent_away(self, note: Note, cost: str) -> None:
        self._ends(self._working()[0], Reason.CANCELLED, cost, note)

    @precondition(lambda self: self._working())
    @rule()
    def an_agent_starts(self) -> None:
        self._begins(self._working()[0])

    @precondition(lambda self: self._working())
    @rule()
    def a_node_takes_a_pod(self) -> None:
        found = self._working()[0]
        self._change(found, node="node-1", started=found.started or self.now)

    @precondition(lambda self: self._working())
    @rule()
    def a_pod_is_deleted_by_hand(self) -> None:
        self._change(self._working()[0], deleting=True)

    @precondition(lambda self: self._working())
    @rule()
    def kubernetes_gives_a_node_up(self) -> None:
        found = self._working()[0]
        by = found.gone_by or self.now + rules.GRACE
        self._change(found, node="node-1", deleting=True, gone_by=by, disruption=Note(TAINTED, "unreachable"))

    @precondition(lambda self: self.pods)
    @rule(data=st.data())
    def a_pod_is_gone(self, data: st.DataObject) -> None:
        del self.pods[data.draw(st.sampled_from(sorted(self.pods)))]

    @rule(seconds=st.sampled_from((5, 70, 400, 2_500)))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    # A person

    def _spec(self, **changes: object) -> None:
        meta = self.job.metadata.model_copy(update={"generation": self.job.metadata.generation + 1})
        spec = self.job.spec.model_copy(update=changes)
        self.job = self.job.model_copy(update={"metadata": meta, "spec": spec})

    @rule(suspend=st.booleans())
    def a_person_suspends_or_lets_go(self, suspend: bool) -> None:
        self._spec(suspend=suspend)

    @rule(looks=st.integers(0, 3))
    def a_person_suspends_for_a_moment(self, looks: int) -> None:
        self._spec(suspend=True)
        self.the_operator_looks(looks)
        self._spec(suspend=False)

    @rule(seconds=st.integers(100_000, 200_000))
    def a_person_changes_a_time_to_live(self, seconds: int) -> None:
        self._spec(ttl_seconds_after_finished=seconds)

    @precondition(lambda self: self.job.status.attempt_count > 3)
    @rule()
    def a_person_cancels(self) -> None:
        self._spec(cancel=True)

    # The operator

    def _world(self) -> World:
        return world(self.job, *self.pods.values(), now=self.now)

    @rule(times=st.integers(1, 3))
    def the_operator_looks(self, times: int) -> None:
        for _ in range(times):
            self.the_operator_looks_and_is_killed(ALL)

    @rule(writes=st.integers(0, ALL - 1))
    def the_operator_looks_and_is_killed(self, writes: int) -> None:
        """It carries out the first so many writes of its decision."""
        decision = decide(self._world())
        if decision.status is not None:
            if writes == 0:
                return
            writes -= 1
            self._hears(decision.status.attempts)
            self.job = self.job.model_copy(update={"status": decision.status})
        for action in decision.actions[:writes]:
            self._act(action)

    def _hears(self, attempts: list[AttemptStatus]) -> None:
        for each in attempts:
            if each.reason is None or each.number in self.closed:
                continue
            self.closed[each.number] = each.reason
            if (found := self.pods.get(each.pod)) is not None and isinstance(found.agent, Terminated):
                left = found.agent.message
                self.paid += Decimal(Outcome.model_validate_json(left).cost_usd if left else 0)

    def _act(self, action: Action) -> None:
        match action:
            case CreatePod(number):
                begun = [max(each.created, each.started or each.created) for each in self._working()]
                assert all(self.now >= begin + LIFE for begin in begun), "a Pod may still work"
                self._make(number)
            case StopPod(found):
                self._change(self.pods[found.name], stop_asked=self.now)
            case DeletePod(found):
                self._delete(found)
            case _:
                assert isinstance(action, RecordEvent)

    def _make(self, number: int) -> None:
        name = pod_name("fix", number)
        assert name not in self.pods
        self.made.append(number)
        fields = {"name": name, "uid": f"pod-{len(self.made)}", "attempt": number, "created": self.now}
        self.pods[name] = pod(**fields, node=None, started=None)

    def _delete(self, found: PodView) -> None:
        assert not found.deleting or rules.is_lost(found, self.now)
        if found.node is None or found.has_ended or found.deleting:
            del self.pods[found.name]
        else:
            self._change(found, deleting=True, gone_by=self.now + rules.GRACE)

    # What always holds

    @invariant()
    def attempts_are_numbered_without_gaps(self) -> None:
        status = self.job.status
        assert sorted(set(self.made)) == list(range(1, len(set(self.made)) + 1))
        assert sorted(self.closed) == list(range(1, len(self.closed) + 1))
        assert [each.number for each in status.attempts] == list(
            range(status.attempt_count - len(status.attempts) + 1, status.attempt_count + 1)
        )

    @invariant()
    def a_number_is_never_used_again_once_it_is_recorded(self) -> None:
        assert len([each for each in self.pods.values() if each.attempt > self.job.status.attempt_count]) <= 1

    @invariant()
    def every_attempt_is_paid_for_once(self) -> None:
        assert Decimal(self.job.status.cost_usd or 0) == self.paid

    @invariant()
    def what_failed_of_itself_is_counted(self) -> None:
        others = {Reason.COMPLETED, Reason.CANCELLED, Reason.SUSPENDED}
        failed = [each for each in self.closed.values() if each not in others and each.retry_class != RetryClass.FREE]
        assert self.job.status.failed_count == len(failed)
        assert len(failed) <= self.job.spec.backoff_limit + 1

    def teardown(self) -> None:
        """Left alone by persons, and with nodes that do their work, the job ends."""
        if not hasattr(self, "job"):
            return
        self._spec(suspend=False)
        for _ in range(MOST_LOOKS):
            if self.job.status.phase.is_final:
                return
            self.the_operator_looks(1)
            self.now += timedelta(seconds=60)
            for each in self._working():
                if each.deleting:
                    del self.pods[each.name]
                else:
                    self._ends(each, Reason.RATE_LIMITED, "0.5", TAKEN[0] if self.is_taken else None)
        raise AssertionError(f"the job has not ended: {self.job.status}")


AnyLife.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestAnyLife = AnyLife.TestCase
