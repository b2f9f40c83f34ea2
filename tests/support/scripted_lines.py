"""A job's lines as a test wants them to come."""

import asyncio
from collections.abc import AsyncGenerator

from agentjob_api.lines import Line
from agentjob_api.names import Key
from agentjob_gateway.errors import Unavailable
from agentjob_gateway.reading import Gap
from agentjob_gateway.sse import START, Position


class Script:
    """Lines as a hub would give them: those that come at once, and those that come when a test says so."""

    def __init__(self, *items: Line | Gap) -> None:
        self.items = list(items)
        self.asked: list[Position] = []
        self.settled: list[Position] = []
        self.given = 0
        self.is_over = True
        self.breaks_off = False
        self._news = asyncio.Event()

    async def lines(
        self, key: Key, uid: str, after: Position, settled: Position = START
    ) -> AsyncGenerator[Line | Gap, None]:
        assert (key, uid) == (Key("agents", "fix"), "uid-fix")
        self.asked.append(after)
        self.settled.append(settled)
        at = 0
        while True:
            while at < len(self.items):
                item = self.items[at]
                at += 1
                seq = item.seq if isinstance(item, Line) else item.last
                if seq is None or Position(item.attempt, seq) > after:
                    self.given += 1
                    yield item
                    await asyncio.sleep(0)
            if self.breaks_off:
                raise Unavailable("broken off", retry_after=1)
            if self.is_over:
                return
            await self._news.wait()
            self._news.clear()

    def say(self, *items: Line | Gap, is_over: bool = False) -> None:
        self.items.extend(items)
        self.is_over = is_over
        self._news.set()
