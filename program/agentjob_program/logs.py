"""The log: one JSON object per line, kopf's own lines too. No prompt and no secret is ever passed to it."""

import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from aiohttp import web
from aiohttp.http import HttpProcessingError

from agentjob_program.settings import LogLevel

FACTS: Final = (
    *("namespace", "job", "attempt", "phase", "reason"),
    *("request", "method", "route", "status", "seconds", "caller"),
)
"""What a line says about a job or a request, where it speaks of one: passed as `extra`."""

log = logging.getLogger(__name__)


class JsonFormatter(logging.Formatter):
    """One record as one JSON object: time, level, logger, message, the facts, and the traceback of an error."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its newline."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (ref := getattr(record, "k8s_ref", None)) is not None:  # kopf's way of saying which object it speaks of
            line |= {"namespace": ref.get("namespace"), "job": ref.get("name")}
        line |= {fact: getattr(record, fact) for fact in FACTS if hasattr(record, fact)}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode(errors="replace")


def configure(level: LogLevel) -> None:
    """Sends every logger of this process to stdout, from this level on."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.value.upper(), handlers=[handler], force=True)
    if level is not LogLevel.DEBUG:
        # kopf's every step, and a line per request of our own server, are for debugging.
        for noisy in ("kopf", "aiohttp.access"):
            logging.getLogger(noisy).setLevel(logging.WARNING)


def http_server() -> logging.Logger:
    """The logger for a server of aiohttp's: its own one prints the line of a request that it cannot parse.

    Whatever stands in that line goes with it: a prompt, a ticket, a key.
    """
    found = logging.getLogger(f"{__name__}.http")
    found.addFilter(_without_the_request)  # once, however often it is added
    return found


def _without_the_request(record: logging.LogRecord) -> bool:
    """Puts a line without the error's words in the place of one about a request that cannot be parsed."""
    error = record.exc_info[1] if record.exc_info else None
    if not any(isinstance(found, HttpProcessingError | web.RequestPayloadError) for found in _chain(error)):
        return True
    log.info("%s: %s", record.getMessage(), type(error).__name__)
    return False


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that a traceback of it tells of."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
