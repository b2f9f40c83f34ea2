"""All routes: what leads where, and what the API's description says of it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web
from pydantic import BaseModel

from agentjob_api.phases import Phase
from agentjob_gateway import rest, shapes, stream
from agentjob_gateway.caller import Verb
from agentjob_gateway.doors import MAX_WAIT

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Parameter:
    """A parameter of a request."""

    name: str
    place: str
    """query, header or path."""
    meaning: str
    schema: Mapping[str, object] = field(default_factory=lambda: {"type": "string"})


@dataclass(frozen=True, kw_only=True)
class Route:
    """One route."""

    method: str
    path: str
    handler: Handler
    summary: str
    body: type[BaseModel] | None = None
    needs_body: bool = True
    """Whether that has to be there."""
    answers: Mapping[int, type[BaseModel] | str]
    """By status: the shape of the JSON, or in a sentence what comes instead."""
    parameters: tuple[Parameter, ...] = ()
    is_open: bool = False
    """Whether everybody may ask, without a credential."""
    takes_ticket: bool = False
    """Whether a ticket opens it."""
    changes: str | None = None
    """What the audit calls the change that is asked for here; None where nothing is changed."""


NAMESPACE: Final = Parameter(
    "namespace", "query", "Where to work, for Kubernetes users; an API key works in its own namespace."
)
JOB: Final = Parameter("id", "path", "The job's id.")
IDEMPOTENCY: Final = Parameter(
    "Idempotency-Key",
    "header",
    "A word of the client's for this submission: repeated with the same word and body, it makes no second job.",
    {"type": "string", "minLength": 1, "maxLength": 255},
)
WAIT: Final = Parameter(
    "wait",
    "query",
    "Seconds to wait for the job's end before answering.",
    {"type": "number", "minimum": 0, "maximum": MAX_WAIT, "default": 0},
)
LAST: Final = Parameter(
    "Last-Event-ID", "header", "The id of the last event that the client has got: it goes on there."
)
TICKET: Final = Parameter("ticket", "query", "A ticket instead of the header Authorization.")
EVENTS: Final = (
    "Server-sent events: each of the agent's messages as it comes, then [DONE], or an object with `error`. The runner's"
    " notices are events of the type `agentjob`, changes of the job's phase of the type `state`, lines that are lost"
    " of the type `gap`."
)
OVER: Final = "The client has seen all of it."

CLAUDE: Final = (
    Route(
        method="POST",
        path="/claude",
        handler=rest.post_claude,
        changes=Verb.SUBMIT,
        summary="Submit a task",
        body=shapes.Task,
        answers={202: shapes.Accepted},
        parameters=(IDEMPOTENCY, NAMESPACE),
    ),
    Route(
        method="GET",
        path="/claude/jobs/{id}",
        handler=rest.get_claude,
        summary="Poll a job",
        answers={200: shapes.Poll},
        parameters=(JOB, WAIT, NAMESPACE),
    ),
    Route(
        method="POST",
        path="/claude/stream",
        handler=stream.post_stream,
        changes=Verb.SUBMIT,
        summary="Submit a task and watch it",
        body=shapes.Task,
        answers={200: EVENTS, 204: OVER},
        parameters=(IDEMPOTENCY, LAST, NAMESPACE),
    ),
    Route(
        method="GET",
        path="/claude/stream",
        handler=stream.get_stream,
        changes=Verb.SUBMIT,
        summary="Watch a job, or submit a task and watch it, for a browser's EventSource",
        answers={200: EVENTS, 204: OVER},
        parameters=(
            Parameter("job_id", "query", "A job that is there."),
            Parameter("prompt", "query", "A task, where no job_id is given."),
            TICKET,
            IDEMPOTENCY,
            LAST,
            NAMESPACE,
        ),
        takes_ticket=True,
    ),
)
V1: Final = (
    Route(
        method="POST",
        path="/v1/jobs",
        handler=rest.post_job,
        changes=Verb.SUBMIT,
        summary="Make a job",
        body=shapes.NewJob,
        answers={201: shapes.Job, 200: shapes.Job},
        parameters=(IDEMPOTENCY, NAMESPACE),
    ),
    Route(
        method="GET",
        path="/v1/jobs",
        handler=rest.list_jobs,
        summary="List jobs, the latest first",
        answers={200: shapes.JobList},
        parameters=(
            Parameter("phase", "query", "Only jobs in this phase.", {"enum": [phase.value for phase in Phase]}),
            Parameter("label", "query", "Only jobs with this label, as NAME=VALUE; may be given several times."),
            Parameter(
                "limit",
                "query",
                "Jobs on a page, which ends before the one with which its jobs would take more than"
                f" {rest.MAX_PAGE_MIB} MiB; it has one at least.",
                {"type": "integer", "minimum": 1, "maximum": rest.MAX_PAGE, "default": rest.PAGE},
            ),
            Parameter("cursor", "query", "The `next` of the page before."),
            NAMESPACE,
        ),
    ),
    Route(
        method="GET",
        path="/v1/jobs/{id}",
        handler=rest.get_job,
        summary="Get a job",
        answers={200: shapes.Job},
        parameters=(JOB, WAIT, NAMESPACE),
    ),
    Route(
        method="DELETE",
        path="/v1/jobs/{id}",
        handler=rest.delete_job,
        changes=Verb.DELETE,
        summary="Delete a job, stopping its agent",
        answers={204: "The job is gone, or on its way."},
        parameters=(JOB, NAMESPACE),
    ),
    Route(
        method="POST",
        path="/v1/jobs/{id}/cancel",
        handler=rest.cancel_job,
        changes=Verb.CANCEL,
        summary="Cancel a job: its agent is stopped and heard to its end",
        answers={202: shapes.Job},
        parameters=(JOB, NAMESPACE),
    ),
    Route(
        method="GET",
        path="/v1/jobs/{id}/events",
        handler=stream.get_events,
        summary="Watch a job, also one that has ended",
        answers={200: EVENTS, 204: OVER},
        parameters=(JOB, TICKET, LAST, NAMESPACE),
        takes_ticket=True,
    ),
    Route(
        method="POST",
        path="/v1/tickets",
        handler=stream.post_ticket,
        changes=stream.TICKET_GIVEN,
        summary="Get a ticket for one job, for clients that cannot send a header",
        body=shapes.TicketRequest,
        needs_body=False,
        answers={201: shapes.TicketAnswer},
        parameters=(IDEMPOTENCY, NAMESPACE),
    ),
)


def mcp_route(handler: Handler) -> Route:
    """The route of the MCP door, which describes itself to its clients."""
    return Route(
        method="POST",
        path="/mcp",
        handler=handler,
        changes="mcp",
        summary="The Model Context Protocol over streamable HTTP: agents as tools of other agents",
        answers={200: "A message of the protocol, or a stream of them."},
        parameters=(NAMESPACE,),
    )
