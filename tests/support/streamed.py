"""Jobs to watch through a gateway, what comes of watching one, and doors at which only few can be watched."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from agentjob_gateway.app import Entrance, application
from agentjob_gateway.cache import JobCache
from agentjob_gateway.caller import Limits
from agentjob_gateway.census import Census
from agentjob_gateway.channel import TUNING
from agentjob_gateway.doors import Doors
from agentjob_gateway.gate import Authenticator, Gate, KeyDirectory
from agentjob_gateway.hub import Hub
from agentjob_gateway.jobs import Jobs
from agentjob_gateway.limits import Rates, Streams
from agentjob_gateway.metrics import Metrics
from agentjob_gateway.routes import CLAUDE
from agentjob_gateway.serve import now
from agentjob_gateway.tickets import Tickets
from agentjob_gateway.tokens import Reviews
from event_source import Event, EventSource
from served import NAMESPACE, Answer, Door, Served

WHOLE = ["fix/1-1", "fix/1-2", "fix/1-3", "fix/end"]
"""Ids of the events of the job `fix` once it is finished."""


async def make(door: Door, place: Served, name: str = "fix") -> None:
    body = {"name": name, "spec": {"prompt": "x"}}
    assert (await door.ask("POST", "/v1/jobs", place.key(), json=body)).status == 201


async def finish(place: Served, name: str = "fix") -> None:
    """Lets the job's agent say three things and succeed."""
    await place.agents.start(name=name)
    place.agents.say(1, 2, name=name)
    await place.agents.finish(3, name=name)


async def finished(door: Door, place: Served, name: str = "fix") -> None:
    await make(door, place, name)
    await finish(place, name)


def events(answer: Answer) -> list[Event]:
    return EventSource().read(answer.body.encode()).events


def ids(answer: Answer) -> list[str]:
    return [event.last_event_id for event in events(answer) if event.type != "state"]


@asynccontextmanager
async def small(place: Served, channels: int) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    """A client at doors where so many jobs are watched at most, and that close where a create has no answer."""

    async def close(_: float) -> None:
        await hub.shutdown()

    limits = Limits(requests_per_minute=60, concurrent_jobs=5, streams=5)
    keys, cache, census = KeyDirectory(place.keys), JobCache((NAMESPACE,)), Census()
    cache.listeners.append(census.heard)
    hub = Hub(place.client, cache, TUNING._replace(channels=channels))
    rights = Gate(Reviews(place.client))
    jobs = Jobs(client=place.client, cache=cache, census=census, rights=rights, queue_depth=10, sleep=close)
    known = Authenticator(keys=keys, tokens=None, limits=limits, clock=now)
    doors = Doors(jobs=jobs, hub=hub, streams=Streams(), tickets=Tickets(keys.signing_key))
    app = application(doors, Entrance(authenticator=known, rates=Rates(), metrics=Metrics()), CLAUDE, 1024)
    async with TestClient(TestServer(app), headers={"Authorization": f"Bearer {place.key()}"}) as client:
        try:
            yield client
        finally:
            await hub.shutdown()
