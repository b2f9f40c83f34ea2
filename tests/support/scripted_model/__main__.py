"""`python -m scripted_model --port 8080`: the scripted model as a program; SIGTERM ends it."""

import argparse
import asyncio
import json
import signal
import sys
from typing import Any

from aiohttp import web

from scripted_model.plots import PLOTS
from scripted_model.server import ScriptedModel


def print_line(line: dict[str, Any]) -> None:
    """Log to stdout, one JSON object a line."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def serve(host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(ScriptedModel(PLOTS, print_line).app(), access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    print_line({"event": "listening", "addresses": [list(address[:2]) for address in runner.addresses]})
    await stop.wait()
    await runner.cleanup()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="scripted_model", description=__doc__)
    parser.add_argument("--host", default="0.0.0.0", help="address to listen on (default: all)")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on; 0 takes a free one (default: 8080)")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.host, arguments.port))


if __name__ == "__main__":
    main()
