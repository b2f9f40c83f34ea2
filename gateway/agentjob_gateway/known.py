"""One job, as this process knows it from its cache."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any, Final

from agentjob_api.lines import Line
from agentjob_api.names import Key
from agentjob_api.status import Archival
from agentjob_gateway import answers
from agentjob_gateway.cache import JobCache
from agentjob_gateway.history import ArchiveError, History, SilentError, in_time

Object = dict[str, Any]

ANSWER_SECONDS: Final = 2.0
"""So long the history is waited for where all who follow a job that goes on are held up by it."""
SILENT_SECONDS: Final = 30.0
"""After no answer in that time it is not asked again for so long where they would be."""
_NOTHING: Final[Object] = {"status": {}}
"""A job of which nothing was heard yet."""
log = logging.getLogger(__name__)


class Known:
    """Looks into the cache each time it is asked, and for what is no longer in the cluster into the history."""

    def __init__(self, cache: JobCache, key: Key, uid: str, history: History | None = None) -> None:
        self.key = key
        self._cache = cache
        self._uid = uid
        self._history = history
        self._latest: Object | None = None
        self._silent_until = float("-inf")
        """Until when the history is not asked by whom it may not hold up, on the event loop's clock."""

    @property
    def job(self) -> Object:
        """As it stands, or stood last."""
        found = self._cache.get(self.key)
        if found is not None and found["metadata"]["uid"] == self._uid:
            self._latest = found
        return self._latest or _NOTHING

    @property
    def is_gone(self) -> bool:
        """Whether it was deleted. Before its like were listed, one of which nothing was heard may still be there."""
        found = self._cache.get(self.key)
        if found is not None:
            return bool(found["metadata"]["uid"] != self._uid)
        return self._latest is not None or self._cache.is_listed(self.key.namespace)

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return answers.phase(self.job).is_final

    @property
    def attempts(self) -> int:
        """How many attempts there have been, the latest included."""
        status = self.job["status"]
        numbers: list[int] = [each["number"] for each in status.get("attempts", ())]
        return max([*numbers, int(status.get("attemptCount", 0))])

    @property
    def has_all(self) -> bool:
        """Whether it has ended, and every line of it is in the history."""
        return self._history is not None and answers.archival(self.job) == Archival.ARCHIVED

    @property
    def is_kept(self) -> bool:
        """Whether there is a history at all."""
        return self._history is not None

    @property
    def facts(self) -> dict[str, str]:
        """What a line of the log says of it."""
        return {"namespace": self.key.namespace, "job": self.key.name}

    def has_ended(self, attempt: int) -> bool:
        """Whether an attempt is over: nothing more will be in its log."""
        over = self.is_gone or self.is_final or attempt < self.attempts
        return over or self._of(attempt).get("completionTime") is not None

    def may_have_run(self, attempt: int) -> bool:
        """Whether there may be lines of an attempt: its agent has started, or nobody knows any more."""
        found = self._of(attempt)
        return not found or found.get("startTime") is not None

    def _of(self, attempt: int) -> Object:
        """The record of an attempt; {} when the status has none, or none any more."""
        attempts = self.job["status"].get("attempts", ())
        return next((each for each in attempts if each["number"] == attempt), {})

    async def last(self, attempt: int) -> Line | None:
        """The last line of an attempt in the history; None where there is none, or no answer in a moment."""
        if self._history is None:
            return None
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._history.last(self.key.namespace, self._uid, attempt)
        except ArchiveError as error:
            log.info("Looking for where the archive ends: %s", error, extra=self.facts)
        except TimeoutError:
            log.info("Looking for where the archive ends: no answer in %g s", ANSWER_SECONDS, extra=self.facts)
        return None

    async def past(self, attempt: int, after: int) -> AsyncGenerator[Line, None]:
        """The lines of an attempt after a seq, as far as they are in the history; none where there is no history.

        Raises:
            ArchiveError: they cannot be had at the moment.
        """
        if self._history is None:
            return
        async with aclosing(self._history.lines(self.key.namespace, self._uid, attempt, after)) as found:
            async for line in found:
                yield line

    async def soon(self, attempt: int, after: int) -> AsyncGenerator[Line, None]:
        """As `past`, for whom the history may not hold up.

        Raises:
            SilentError: it does not answer in a moment, or has not done so lately.
            ArchiveError: they cannot be had at the moment.
        """
        clock = asyncio.get_running_loop().time
        if clock() < self._silent_until:
            raise SilentError("no answer lately")
        try:
            async with aclosing(in_time(self.past(attempt, after), lambda: ANSWER_SECONDS)) as found:
                async for line in found:
                    yield line
        except SilentError:
            self._silent_until = clock() + SILENT_SECONDS
            raise

    async def change(self, seconds: float) -> None:
        """Returns at its next change, or after so many seconds."""
        if self._cache.is_closing:
            await asyncio.sleep(seconds)  # the cache makes nobody wait any more, and nothing may run hot
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._cache.change(self.key)
