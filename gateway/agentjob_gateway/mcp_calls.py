"""What the tools of the MCP door do: jobs are made, waited for with a word of progress now and then, and cancelled."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractContextManager, aclosing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from mcp.server.context import ServerRequestContext
from mcp.server.session import ServerSession
from mcp.types import CallToolRequestParams, CallToolResult
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

from agentjob_api.lines import Line
from agentjob_api.names import Key
from agentjob_gateway import answers, audit, mcp_tools
from agentjob_gateway.asgi import Exchange
from agentjob_gateway.audit import Deed
from agentjob_gateway.cache import key_of
from agentjob_gateway.caller import Caller, Verb
from agentjob_gateway.errors import Missing, Problem, TooMany, Unavailable
from agentjob_gateway.jobs import Submitted
from agentjob_gateway.limits import Streams
from agentjob_gateway.mcp_tools import Cancel, Get, Run, Submit
from agentjob_gateway.sse import START, Position
from agentjob_gateway.submission import Submission, mark_of

Object = dict[str, Any]
Context = ServerRequestContext[Any, Any]

CALL: Final = "agentjob.call"
"""Where the scope of a request holds its `Call`."""
log = logging.getLogger(__name__)


class Jobs(Protocol):
    """What is done with jobs; see jobs.py. Every method raises `errors.Problem` and nothing else."""

    async def namespace(self, caller: Caller, asked: str | None, verb: Verb) -> str:
        """Where a caller works."""
        ...

    async def submit(self, caller: Caller, namespace: str, submission: Submission) -> Submitted:
        """Makes a job, or finds the one that the same submission has made."""
        ...

    async def ended(self, key: Key, seconds: float) -> Object:
        """A job once it has ended, or as it stands after so many seconds, or when this gateway is about to stop."""
        ...

    async def cancel(self, caller: Caller, key: Key, request: str) -> Object:
        """A job that is to be stopped. `request` is the request's id."""
        ...


class Hub(Protocol):
    """Where the lines of jobs come from, and what counts the streams of this process; see hub.py."""

    def lines(self, key: Key, uid: str, after: Position) -> AsyncGenerator[object, None]:
        """Every `Line` of a job after a position, as it comes, and whatever else there is to tell in between."""
        ...

    def counted(self) -> AbstractContextManager[None]:
        """Counts a stream while the block runs."""
        ...


class Pace(NamedTuple):
    """How often things are done, in seconds."""

    least: float = 0.2
    """From one word of progress to the next, at least."""
    most: float = 15.0
    """And at most: proxies and clients give up what is silent for long."""
    look: float = 30.0
    """How long one wait for a job's end takes, before the next."""
    again: tuple[float, ...] = (0.1, 0.5, 2.0)
    """Before a job that cannot be cancelled is tried again: it may just be made, perhaps through another replica."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One message of a client's."""

    caller: Caller
    request: str
    """Id of the HTTP request."""
    namespace: str | None
    """Where the client wants to work, when it says so."""
    session: str | None
    exchange: Exchange


class News:
    """The latest word about a job; who takes them slower than they come gets only the last."""

    def __init__(self, text: str) -> None:
        self._text: str | None = text
        self._is_there = asyncio.Event()
        self._is_there.set()

    def put(self, text: str) -> None:
        """Has something to tell."""
        self._text = text
        self._is_there.set()

    async def take(self, seconds: float) -> str | None:
        """What has not been taken before; None when nothing has come within these seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_there.wait()
        self._is_there.clear()
        text, self._text = self._text, None
        return text


@dataclass(frozen=True, kw_only=True)
class Calls:
    """The tools at work."""

    jobs: Jobs
    hub: Hub
    streams: Streams
    """Of each caller, in all doors together."""
    pace: Pace
    cancelling: set[asyncio.Task[None]] = field(default_factory=set)
    """Jobs that are being cancelled for requests that are over."""

    async def tool(self, context: Context, params: CallToolRequestParams) -> CallToolResult:
        """A tool's answer. Whatever the model may act on is an answer too, and not an error of the protocol.

        Raises:
            MCPError: there is no such tool.
        """
        assert context.request is not None, "over HTTP there is a request"
        call: Call = context.request.scope[CALL]
        try:
            return await self._tool(context, call, mcp_tools.arguments(params.name, params.arguments))
        except Problem as problem:
            _tell_refused(call, params, problem)
            return mcp_tools.failed(problem.detail)

    async def _tool(self, context: Context, call: Call, asked: mcp_tools.Asked) -> CallToolResult:
        match asked:
            case Run():
                with self._held(call.caller), self._cancelled_with(context, call) as word:
                    return await self._end(context, await self._make(call, word, asked))
            case Submit():
                with self._cancelled_with(context, call) as word:
                    return mcp_tools.told(answers.submitted(await self._make(call, word, asked)))
            case Get(job_id=name, wait_seconds=seconds):
                namespace = await self.jobs.namespace(call.caller, call.namespace, Verb.GET)
                return mcp_tools.told(answers.poll(await self.jobs.ended(Key(namespace, name), seconds)))
            case Cancel(job_id=name):
                namespace = await self.jobs.namespace(call.caller, call.namespace, Verb.CANCEL)
                job = await self.jobs.cancel(call.caller, Key(namespace, name), call.request)
                return mcp_tools.told(answers.submitted(job))

    async def _make(self, call: Call, word: str, asked: Run | Submit) -> Object:
        """The job that is called by a word."""
        namespace, name = await self._key(call, word, Verb.SUBMIT)
        submission = Submission(spec=mcp_tools.spec(asked), name=name, idempotency_key=word, request=call.request)
        return (await self.jobs.submit(call.caller, namespace, submission)).job

    async def _key(self, call: Call, word: str, verb: Verb) -> Key:
        namespace = await self.jobs.namespace(call.caller, call.namespace, verb)
        return Key(namespace, f"mcp-{mark_of(call.caller, namespace, word)}")

    async def _end(self, context: Context, job: Object) -> CallToolResult:
        """The answer about a job once it has ended; until then, progress to a client that wants it."""
        if "progress_token" not in (context.meta or {}):
            return await self._answer(key_of(job))
        news = News(answers.phase(job))
        async with asyncio.TaskGroup() as tasks:
            read = tasks.create_task(self._read(job, news))
            report = tasks.create_task(self._report(context.session, news))
            answer = await self._answer(key_of(job))
            read.cancel()
            report.cancel()
        return answer

    async def _answer(self, key: Key) -> CallToolResult:
        while True:
            asked_at = time.monotonic()
            try:
                job = await self.jobs.ended(key, self.pace.look)
            except Problem as problem:
                return mcp_tools.failed(problem.detail)
            if answers.phase(job).is_final:
                return mcp_tools.outcome(job)
            if time.monotonic() - asked_at < self.pace.look / 2:
                return mcp_tools.failed(
                    f"The gateway restarts; job {key.name} goes on. Wait for it with get_claude_agent_job."
                )

    async def _read(self, job: Object, news: News) -> None:
        with suppress(Problem):  # the job's end comes without its lines, too
            async with aclosing(self.hub.lines(key_of(job), job["metadata"]["uid"], START)) as lines:
                async for line in lines:
                    if isinstance(line, Line) and (text := mcp_tools.said(line.message)) is not None:
                        news.put(text)

    async def _report(self, session: ServerSession, news: News) -> None:
        """Passes the latest word on, not too often and not too seldom, for ever."""
        started, count = time.monotonic(), 0
        while True:
            text = await news.take(self.pace.most) or f"still working, {time.monotonic() - started:.0f} s"
            count += 1
            await session.report_progress(count, message=text)
            await asyncio.sleep(self.pace.least)

    @contextmanager
    def _held(self, caller: Caller) -> Iterator[None]:
        """Counts a call that waits for its agent as a stream of the caller's.

        Raises:
            TooMany: the caller has as many open as they may.
        """
        try:
            close = self.streams.open(caller)
        except TooMany as full:
            raise TooMany(f"{full}, or use submit_claude_agent and wait with get_claude_agent_job") from full
        try:
            with self.hub.counted():
                yield
        finally:
            close()

    @contextmanager
    def _cancelled_with(self, context: Context, call: Call) -> Iterator[str]:
        """What the job of a request is called; it is cancelled where the client cancels the request by hanging up."""
        assert context.request_id is not None, "what is called has an id"
        # Outside a session, no other request is the same.
        word = mcp_tools.word(call.session or secrets.token_hex(16), context.request_id)
        try:
            yield word
        except asyncio.CancelledError:
            if call.exchange.was_left and context.protocol_version in MODERN_PROTOCOL_VERSIONS:
                self.cancel(call, word)
            raise

    def cancel(self, call: Call, word: str) -> None:
        """Has the job cancelled that is called by a word, however long that takes: the request does not wait for it."""
        task = asyncio.create_task(self._cancel(call, word))
        self.cancelling.add(task)
        task.add_done_callback(self.cancelling.discard)

    async def _cancel(self, call: Call, word: str) -> None:
        problem: Problem | None = None
        for pause in (0.0, *self.pace.again):
            await asyncio.sleep(pause)
            try:
                await self.jobs.cancel(call.caller, await self._key(call, word, Verb.CANCEL), call.request)
            except (Missing, Unavailable) as found:
                problem = found
            except Problem as found:
                problem = found
                break
            else:
                return
        assert problem is not None, "it was tried at least once"
        log.info("A client has cancelled what cannot be: %s", problem, extra={"request": call.request})
        audit.refused(_deed(call, Verb.CANCEL, None), problem)


def _tell_refused(call: Call, params: CallToolRequestParams, problem: Problem) -> None:
    """Tells the audit of a tool that was to change something."""
    change = mcp_tools.CHANGES.get(mcp_tools.ARGUMENTS[params.name])
    if change is not None:
        audit.refused(_deed(call, change, (params.arguments or {}).get("job_id")), problem)


def _deed(call: Call, change: Verb, job: object) -> Deed:
    return Deed(
        caller=call.caller,
        what=change,
        namespace=call.namespace or call.caller.namespace,
        job=job if isinstance(job, str) else None,
        request=call.request,
    )
