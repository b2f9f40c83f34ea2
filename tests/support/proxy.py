"""A proxy before a gateway on loopback: Traefik."""

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Final

import aiohttp

from operated import until

TIMEOUT_SECONDS: Final = 3
"""For which a client may be silent, or take to send a request: far less than is usual, and than between heartbeats."""
WITHIN: Final = 60.0
"""Seconds for the start."""


class Traefik:
    """Traefik before one gateway, as usual but for short timeouts, and compressing whatever it may but events."""

    def __init__(self, program: Path, folder: Path, port: int, gateway: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._command = (program, f"--configFile={folder}/traefik.yaml")
        timeouts = {"readTimeout": TIMEOUT_SECONDS, "idleTimeout": TIMEOUT_SECONDS}
        usual = {
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
            "entryPoints": {
                "web": {"address": f"127.0.0.1:{port}", "transport": {"respondingTimeouts": timeouts}},
            },
            "providers": {"file": {"filename": f"{folder}/routes.yaml"}},
        }
        routes = {
            "routers": {"all": {"rule": "PathPrefix(`/`)", "service": "gateway", "middlewares": ["compress"]}},
            "services": {"gateway": {"loadBalancer": {"servers": [{"url": gateway}]}}},
            "middlewares": {"compress": {"compress": {"excludedContentTypes": ["text/event-stream"]}}},
        }
        # YAML is what Traefik reads, and JSON is YAML.
        (folder / "traefik.yaml").write_text(json.dumps(usual))
        (folder / "routes.yaml").write_text(json.dumps({"http": routes}))

    async def start(self) -> None:
        """Returns once the gateway is reached through it."""
        self._process = await asyncio.create_subprocess_exec(*self._command, stdout=subprocess.DEVNULL)

        async def is_reached() -> bool:
            assert self._process.returncode is None, "Traefik has ended; it says why above"
            try:
                async with aiohttp.request("GET", f"{self.url}/openapi.json") as answer:
                    return answer.status == 200
            except aiohttp.ClientConnectionError:
                return False

        await until(is_reached, WITHIN)

    async def kill(self) -> None:
        self._process.kill()
        await self._process.wait()
