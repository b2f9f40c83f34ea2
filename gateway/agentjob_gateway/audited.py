"""Jobs' lines on their way to who reads all of them, with the audit listening."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from agentjob_api.lines import Line
from agentjob_api.names import Key
from agentjob_gateway.audit import Audit
from agentjob_gateway.reading import Gap
from agentjob_gateway.record import Lines
from agentjob_gateway.sse import START, Position


class Audited:
    """Lines of which the audit tells the tools that agents have used; each job is to be read once at a time."""

    def __init__(self, source: Lines, audit: Audit) -> None:
        self._source = source
        self._audit = audit

    async def lines(
        self, key: Key, uid: str, after: Position, settled: Position = START
    ) -> AsyncGenerator[Line | Gap, None]:
        """What the source gives."""
        try:
            async with aclosing(self._source.lines(key, uid, after, settled)) as items:
                async for item in items:
                    if isinstance(item, Line):
                        self._audit.line(key.namespace, key.name, uid, item)
                    yield item
        finally:
            self._audit.ended(uid)
