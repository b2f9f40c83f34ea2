"""One job, as this process knows it from its cache."""

import asyncio
from contextlib import suppress
from typing import Any, Final

from agentjob_api.names import Key
from agentjob_gateway import answers
from agentjob_gateway.cache import JobCache

Object = dict[str, Any]

_NOTHING: Final[Object] = {"status": {}}
"""A job of which nothing was heard yet."""


class Known:
    """Looks into the cache each time it is asked."""

    def __init__(self, cache: JobCache, key: Key, uid: str) -> None:
        self.key = key
        self._cache = cache
        self._uid = uid
        self._latest: Object | None = None

    @property
    def job(self) -> Object:
        """As it stands, or stood last."""
        found = self._cache.get(self.key)
        if found is not None and found["metadata"]["uid"] == self._uid:
            self._latest = found
        return self._latest or _NOTHING

    @property
    def is_gone(self) -> bool:
        """Whether it was deleted. Before all jobs were listed, one of which nothing was heard may still be there."""
        found = self._cache.get(self.key)
        if found is not None:
            return bool(found["metadata"]["uid"] != self._uid)
        return self._latest is not None or self._cache.synced.is_set()

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

    async def change(self, seconds: float) -> None:
        """Returns at its next change, or after so many seconds."""
        if self._cache.is_closing:
            await asyncio.sleep(seconds)  # the cache makes nobody wait any more, and nothing may run hot
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._cache.change(self.key)
