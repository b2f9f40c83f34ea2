"""The whole gateway: everything made once, handed down, and run until one part fails or it is told to stop."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from agentjob_gateway import archiving, mcp, openapi
from agentjob_gateway.app import Entrance, application
from agentjob_gateway.cache import STALE_SECONDS, JobCache
from agentjob_gateway.caller import Limits
from agentjob_gateway.census import Census
from agentjob_gateway.channel import TUNING
from agentjob_gateway.doors import CALLER, REQUEST, Doors
from agentjob_gateway.gate import Authenticator, Gate, KeyDirectory
from agentjob_gateway.hub import Hub
from agentjob_gateway.jobs import Jobs
from agentjob_gateway.limits import Rates, Streams
from agentjob_gateway.mcp_calls import Calls, Pace
from agentjob_gateway.metrics import Metrics
from agentjob_gateway.routes import CLAUDE, V1, mcp_route
from agentjob_gateway.settings import Settings
from agentjob_gateway.tickets import Tickets
from agentjob_gateway.tokens import Reviews, Tokens
from agentjob_kube.client import Client
from agentjob_kube.connect import Connection, Observer
from agentjob_kube.wire import HttpTransport
from agentjob_program import health, logs, parts

HANG_UP_SECONDS: Final = 5.0
"""How long requests that are being answered may take at the very end."""
IDLE_SECONDS: Final = 620.0
"""After so long without a request, also without a first one, a connection is closed: load balancers, which close theirs
after 600 s at most, are to be first, or a request may meet the end of its connection."""
log = logging.getLogger(__name__)


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


async def serve(
    settings: Settings, connect: Callable[[Observer], Awaitable[Connection]], stopped: asyncio.Event
) -> None:
    """Runs until `stopped` is set, or until SIGTERM or SIGINT; then leads its clients elsewhere, and hangs up.

    Raises:
        ArchiveError: there can be no archive where the settings say.
        Exception: whatever one of the parts ended with. The process is then to end too, and to be started again.
    """
    parts.listen(stopped)
    metrics = Metrics()
    archive = archiving.opened(settings)
    connection = await connect(metrics.api_request)
    async with connection.session() as session:
        client = Client(HttpTransport(session, connection.server))
        cache = JobCache(tuple(settings.namespaces))
        peers = archiving.peers_of(settings)
        hub = Hub(client, cache, TUNING._replace(is_alone=peers.is_alone), archive)
        metrics.show(hub.counts, {"jobs": lambda: len(cache), "age": cache.age, "lag": hub.lag_seconds})
        async with (
            health.served(metrics.registry, lambda: is_ready(cache), settings.metrics_port, stopped.is_set),
            _doors_open(settings, client, cache, hub, metrics),
        ):
            log.info("Serving AgentJobs in %s", ", ".join(settings.namespaces))
            watches = [cache.run(client, namespace) for namespace in settings.namespaces]
            drained = _drained(stopped, settings.drain_seconds, cache, hub)
            archived = archiving.parts(archiving.Place(settings, client, cache, hub, metrics, peers), archive)
            await parts.run([*watches, *archived, hub.run(), drained], asyncio.Event())
    log.info("Stopped")


def is_ready(cache: JobCache) -> bool:
    """Whether clients can be answered here: all jobs are known, and what is known is not old, where it can be read."""
    return cache.synced.is_set() and cache.age(cache.readable()) < STALE_SECONDS


async def _drained(stopped: asyncio.Event, seconds: float, cache: JobCache, hub: Hub) -> None:
    """Returns once this gateway was told to stop and its clients have been led elsewhere.

    Not ready any more, it gets no new clients as soon as that has gone round; only then are those that watch told to
    come back, or they would come back here.
    """
    await stopped.wait()
    log.info("Draining")
    await asyncio.sleep(seconds)
    cache.close()
    await hub.shutdown()


@asynccontextmanager
async def _doors_open(
    settings: Settings, client: Client, cache: JobCache, hub: Hub, metrics: Metrics
) -> AsyncIterator[None]:
    """The doors, open while the block runs."""
    limits = Limits(**settings.limits.model_dump())
    keys, reviews = KeyDirectory(settings.keys_directory), Reviews(client)
    census = Census()
    cache.listeners.append(census.heard)
    jobs = Jobs(client=client, cache=cache, census=census, rights=Gate(reviews), queue_depth=settings.queue_depth)
    tokens = Tokens(reviews, limits) if settings.kubernetes_tokens else None
    streams = Streams()
    doors = Doors(jobs=jobs, hub=hub, streams=streams, tickets=Tickets(keys.signing_key))
    calls = Calls(jobs=jobs, hub=hub, streams=streams, pace=Pace())
    origins = frozenset(settings.cors_origins)
    tools = mcp.Door(calls, lambda request: request[CALLER], lambda request: request[REQUEST], origins)
    entrance = Entrance(
        authenticator=Authenticator(keys=keys, tokens=tokens, limits=limits, clock=now),
        rates=Rates(),
        metrics=metrics,
        cors_origins=origins,
    )
    table = (*CLAUDE, *V1, *openapi.routes((*CLAUDE, *V1)))
    app = application(doors, entrance, (*table, mcp_route(tools.post)), settings.max_body_bytes)
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=logs.http_server(),
        keepalive_timeout=IDLE_SECONDS,
        shutdown_timeout=HANG_UP_SECONDS,
    )
    async with tools.running():
        await runner.setup()
        try:
            await web.TCPSite(runner, None, settings.port).start()
            yield
        finally:
            await runner.cleanup()
