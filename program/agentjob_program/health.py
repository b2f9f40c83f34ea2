"""/healthz, /readyz and /metrics."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from agentjob_program import logs

NOT_LISTED: Final = "not ready: what is in the cluster has not been listed yet, or was not heard of for minutes\n"
STOPPING: Final = "not ready: it was told to stop, and leads its clients elsewhere\n"


def _never() -> bool:
    return False


@asynccontextmanager
async def served(
    registry: CollectorRegistry,
    is_ready: Callable[[], bool],
    port: int,
    is_stopping: Callable[[], bool] = _never,
) -> AsyncIterator[int]:
    """Serves on all addresses while the block runs; gives the port, which matters when 0 was asked for.

    Ready is what is ready and not about to stop.
    """

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        if is_stopping():
            return web.Response(status=503, text=STOPPING)
        return web.Response(text="ok\n") if is_ready() else web.Response(status=503, text=NOT_LISTED)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None, logger=logs.http_server(), shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, None, port).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
