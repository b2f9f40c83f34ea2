"""What a stream may ask for lines that the cluster has no more."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final, Protocol

from agentjob_api.lines import Line
from agentjob_gateway.reading import Gap, Items

AT_ONCE: Final = 20
"""Lines that are given together."""


class ArchiveError(Exception):
    """Lines cannot be kept, or cannot be had, at the moment; the message has the store's own words for it."""


class DamagedError(ArchiveError):
    """Some lines cannot be had any more, whenever one asks: what they are kept in is damaged, as the message says."""


class SilentError(ArchiveError):
    """There was no answer in the time that it was waited for."""


class History(Protocol):
    """Lines that are kept beside the cluster."""

    async def last(self, namespace: str, uid: str, attempt: int) -> Line | None:
        """The last line that is kept of an attempt that may go on; None when there is none.

        Raises:
            ArchiveError: it cannot be had at the moment.
        """
        ...

    def lines(self, namespace: str, uid: str, attempt: int, after: int) -> AsyncGenerator[Line, None]:
        """The lines of a job's attempt whose seq is greater than `after`, each once, in order; some may be missing.

        Raises:
            ArchiveError: they cannot be had at the moment. What was given is right.
            DamagedError: some cannot be had any more. All others were given.
        """
        ...


async def in_time(lines: AsyncGenerator[Line, None], seconds: Callable[[], float]) -> AsyncGenerator[Line, None]:
    """Lines, each of which is waited for as long as it is said to when it is asked for. What is late is cancelled.

    Raises:
        SilentError: the next did not come in time. What was given is right.
        ArchiveError: as the lines do.
    """
    async with aclosing(lines):
        while True:
            left = seconds()
            try:
                async with asyncio.timeout(left):
                    line = await anext(lines, None)
            except TimeoutError:
                raise SilentError(f"no answer in {left:.3g} s") from None
            if line is None:
                return
            yield line


async def together(items: AsyncGenerator[Line | Gap, None]) -> Items:
    """Lines and gaps that come one by one.

    Raises:
        ArchiveError: as the items do. All that came before it was given.
    """
    lines: list[Line] = []
    try:
        async with aclosing(items):
            async for item in items:
                if isinstance(item, Line):
                    lines.append(item)
                if lines and (isinstance(item, Gap) or len(lines) == AT_ONCE):
                    yield lines
                    lines = []
                if isinstance(item, Gap):
                    yield item
    except ArchiveError:
        if lines:
            yield lines
        raise
    if lines:
        yield lines
