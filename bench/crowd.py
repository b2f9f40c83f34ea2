"""Many clients on this machine, in a few processes of their own, and the one that reads the Pod's log itself."""

import asyncio
import json
import re
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import aiohttp

from bench.place import Address
from deploy.kind.errors import ClusterError
from deploy.stack import ROOT

Delays = Mapping[int, list[int]]
"""Nanoseconds from printing to reading, one for each reader, by seq."""

PROCESSES = 2
SETTLE_SECONDS = 1.0
"""From the opening of the last stream to the beginning of what is measured."""
OPEN_SECONDS = 60
LOG_LINE = re.compile(rb'"seq":(\d+),[^{]*\{"type":"assistant","at":(\d+),')
MILLION = 1_000_000


class Crowd(NamedTuple):
    """What a crowd is to do."""

    address: Address
    requests: Sequence[str]
    """What the clients send, in turn: as many of them each."""
    readers: int
    stalled: int = 0
    """Clients beside them that read nothing."""
    stalled_request: str = ""
    """What those send."""
    processes: int = PROCESSES

    def orders(self, number: int) -> dict[str, Any]:
        """The part of a process."""
        return {
            "host": self.address.host,
            "port": self.address.port,
            "requests": list(self.requests),
            "stalled_request": self.stalled_request,
            "readers": share(self.readers, self.processes, number),
            "stalled": share(self.stalled, self.processes, number),
        }


def share(whole: int, parts: int, number: int) -> int:
    """How much of a whole is the part with this number, counted from 0."""
    return whole // parts + (number < whole % parts)


def request(path: str, headers: Mapping[str, str]) -> str:
    """A request as it is sent."""
    lines = (f"GET {path} HTTP/1.1", "Host: bench", *(f"{name}: {value}" for name, value in headers.items()))
    return "\r\n".join((*lines, "", ""))


class Opened:
    """A crowd that watches."""

    def __init__(self, processes: list[asyncio.subprocess.Process]) -> None:
        self._processes = processes

    async def delays(self, begin: float, end: float) -> Delays:
        """Of everything that is printed between two times, in seconds since 1970."""
        found: defaultdict[int, list[int]] = defaultdict(list)
        for process in self._processes:
            _tell(process, [int(begin * 1e9), int(end * 1e9)])
        for process in self._processes:
            for seq, delays in json.loads(await _heard(process, end - time.time() + OPEN_SECONDS)).items():
                found[int(seq)] += delays
        return found


@asynccontextmanager
async def opened(crowd: Crowd) -> AsyncIterator[Opened]:
    """A crowd whose streams are all open while the block runs."""
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(_process(crowd.orders(each))) for each in range(crowd.processes)]
        for process in processes:
            await _heard(process, OPEN_SECONDS)
        yield Opened(processes)


@asynccontextmanager
async def _process(orders: Mapping[str, Any]) -> AsyncIterator[asyncio.subprocess.Process]:
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "bench.readers")
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=pipe, stdout=pipe, limit=2**28)
    try:
        _tell(process, orders)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _tell(process: asyncio.subprocess.Process, what: object) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(what).encode() + b"\n")


async def _heard(process: asyncio.subprocess.Process, seconds: float) -> bytes:
    assert process.stdout is not None
    async with asyncio.timeout(seconds):
        line = await process.stdout.readline()
    if not line:
        raise ClusterError("A process of clients has ended; it says why above")
    return line


class Single:
    """One client with aiohttp in this process: of the log through the API server, or of the gateway's stream."""

    def __init__(self, session: aiohttp.ClientSession, url: str, pattern: re.Pattern[bytes]) -> None:
        self.latest = 0
        self.printed: dict[int, int] = {}
        """When each line was printed, by seq."""
        self.seen: dict[int, int] = {}
        """Nanoseconds to reading, by seq."""
        self.has_begun = asyncio.Event()
        self._session = session
        self._url = url
        self._pattern = pattern

    async def run(self, headers: Mapping[str, str]) -> None:
        """Reads until it is cancelled."""
        rest, limits = b"", aiohttp.ClientTimeout(total=None)
        async with self._session.get(self._url, headers=headers, timeout=limits) as answer:
            answer.raise_for_status()
            async for piece in answer.content.iter_any():
                now, data = time.time_ns(), rest + piece
                cut = data.rfind(b"\n") + 1
                for seq, at in self._pattern.findall(data[:cut]):
                    self.latest = int(seq)
                    self.printed[self.latest], self.seen[self.latest] = int(at), now - int(at)
                    self.has_begun.set()
                rest = data[cut:]

    def delays(self, begin: float, end: float) -> Delays:
        """Of everything that was printed between two times, in seconds since 1970."""
        return {seq: [self.seen[seq]] for seq, at in self.printed.items() if begin <= at / 1e9 < end}


@asynccontextmanager
async def follows(single: Single, headers: Mapping[str, str]) -> AsyncIterator[None]:
    """A single client that reads while the block runs, and has had something before it does."""
    task = asyncio.create_task(single.run(headers))
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            await single.has_begun.wait()
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
