"""The model, scripted: a Messages API for tests and the demo, to which the real Claude Code talks.

    async with scripted_model.running() as model:
        …                                             # Claude Code with ANTHROPIC_BASE_URL=model.url
        assert model.requests[0].script == "say-hello"
        assert model.violations == []

A conversation chooses its script with `[script: NAME ARGUMENT…]` in its first prompt. The scripts are in `plots/`,
how one is written is in `scripts.py`. As a program: `python -m scripted_model --port 8080`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from scripted_model.plots import PLOTS
from scripted_model.records import Recorded
from scripted_model.scripts import Answer, Plot, Script, Task, script
from scripted_model.server import ScriptedModel

__all__ = ["Answer", "Plot", "Recorded", "Script", "ScriptedModel", "Task", "running", "script"]


@asynccontextmanager
async def running(*own: Script) -> AsyncIterator[ScriptedModel]:
    """Serve all plots, and a test's own scripts, on a free port of 127.0.0.1."""
    model = ScriptedModel(PLOTS.adding(*own))
    runner = web.AppRunner(model.app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        model.url = f"http://{host}:{port}"
        yield model
    finally:
        await runner.cleanup()
