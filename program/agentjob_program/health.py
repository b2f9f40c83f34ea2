"""/healthz, /readyz and /metrics."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from agentjob_program import logs


@asynccontextmanager
async def served(registry: CollectorRegistry, is_ready: Callable[[], bool], port: int) -> AsyncIterator[int]:
    """Serves on all addresses while the block runs; gives the port, which matters when 0 was asked for."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        if is_ready():
            return web.Response(text="ok\n")
        text = "not ready: what is in the cluster has not been listed yet, or was not heard of for minutes\n"
        return web.Response(status=503, text=text)

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
