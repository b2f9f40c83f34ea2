"""What becomes of the store when actions are carried out on an API server that answers as a test has it."""

import json
from collections.abc import AsyncGenerator
from typing import Any

from agentjob_api.job import AgentJob
from agentjob_kube.client import Client
from agentjob_kube.errors import ApiError, Conflict, NotFound, ServerError
from agentjob_kube.transport import Request
from agentjob_operator.act import Actor
from agentjob_operator.act_pod import PodActor
from agentjob_operator.metrics import Metrics
from agentjob_operator.settings import RunnerSettings
from agentjob_operator.store import Store
from agentjob_operator.world import Action, Decision
from worlds import at, job, pod, running, world

NOT_FOUND = NotFound("gone", status=404)
CONFLICT = Conflict("another one", status=409)
AWAY = ServerError("away", status=503)


class Answers:
    """A transport with one answer for each method; DELETE and PATCH answer as after success where none is given."""

    def __init__(self, **answers: dict[str, Any] | ApiError) -> None:
        self._answers = answers
        self.requests: list[Request] = []

    async def send(self, request: Request) -> bytes:
        self.requests.append(request)
        answer = self._answers.get(request.method, {"kind": "Status"})
        if isinstance(answer, ApiError):
            raise answer
        return json.dumps(answer).encode()

    async def lines(self, request: Request) -> AsyncGenerator[list[bytes], None]:
        yield [await self.send(request)]


def known() -> Store:
    """A store that knows the job and its Pod."""
    store = Store()
    store.put_job(job())
    store.put_pod(pod(agent=running()))
    return store


def actor(answers: Answers, store: Store) -> Actor:
    metrics = Metrics(lambda: store.jobs, lambda: 0, lambda: True)
    runner = RunnerSettings.model_validate({"image": "r:1"})
    client = Client(answers)
    pods = PodActor(client=client, store=store, runner=runner, clock=lambda: at(5))
    return Actor(client=client, store=store, pods=pods, metrics=metrics, clock=lambda: at(5))


async def act(answers: Answers, *actions: Action, store: Store | None = None, of: AgentJob | None = None) -> Store:
    """The store after these actions."""
    store = store or known()
    await actor(answers, store).act(world(of or job()), Decision(actions=actions))
    return store


def as_sent(of: AgentJob, **meta: Any) -> dict[str, Any]:
    """A job as the API server sends it."""
    sent = of.model_dump(mode="json", exclude_none=True)
    return {**sent, "metadata": {**sent["metadata"], **meta}}
