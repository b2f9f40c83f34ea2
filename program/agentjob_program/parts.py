"""A server's parts: run together, ended together."""

import asyncio
import signal
from collections.abc import Coroutine, Sequence
from typing import Any


def listen(stopped: asyncio.Event) -> None:
    """Takes SIGTERM and SIGINT: they set the event."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)


async def run(parts: Sequence[Coroutine[Any, Any, None]], stopped: asyncio.Event) -> None:
    """Runs the parts until one ends or `stopped` is set; then ends every one.

    Raises:
        Exception: what a part has ended with.
    """
    tasks = [asyncio.create_task(part) for part in parts]
    stop = asyncio.create_task(stopped.wait())
    try:
        ended, _ = await asyncio.wait([*tasks, stop], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (*tasks, stop):
            task.cancel()
        await asyncio.gather(*tasks, stop, return_exceptions=True)
    for task in ended:
        task.result()
