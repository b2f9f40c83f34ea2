"""The shapes of what goes through the doors as JSON: what the API's description says of them."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from agentjob_api.spec import AgentJobSpec
from agentjob_api.status import AgentJobStatus


class Shape(BaseModel):
    """A JSON object with just these members."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid")


class Task(AgentJobSpec):
    """A task for an agent: the job's spec, of which the prompt is enough."""

    model_config = ConfigDict(extra="forbid")

    goes_on: Annotated[Literal[False], Field(alias="continue")] = False
    """Whether to go on with the conversation before. It cannot be done here."""


class Accepted(Shape):
    """A job that was made."""

    job_id: str
    """The job's id: the name of its AgentJob."""
    status: Literal["pending", "in_progress", "completed", "failed"]
    """Where it stands."""


class Tokens(Shape):
    """Tokens of all models together, as the Messages API names them."""

    input_tokens: int
    """Tokens read, not counting those from the cache."""
    output_tokens: int
    """Tokens written."""
    cache_read_input_tokens: int
    """Tokens read from the cache."""
    cache_creation_input_tokens: int
    """Tokens written to the cache."""


class Answer(Shape):
    """What the agent answered, and what it took."""

    output: str
    """The answer."""
    usage: Tokens
    """Tokens."""
    cost_usd: float
    """US dollars."""


class Poll(Accepted):
    """A job as `/claude` tells of it."""

    result: Answer | None = None
    """The answer; not there while there is none."""
    error: str | None = None
    """Why the job did not succeed; only there when it did not."""
    created_at: datetime
    """When it was made."""
    started_at: datetime | None = None
    """When its agent started."""
    completed_at: datetime | None = None
    """When it ended."""


class NewJob(Shape):
    """A job to be made."""

    name: str | None = None
    """Its name; without one it gets one."""
    labels: dict[str, str] = {}
    """Its labels."""
    spec: AgentJobSpec
    """As in the resource."""


class Job(Shape):
    """A job as `/v1` tells of it."""

    id: str
    """The name of its AgentJob."""
    namespace: str
    """The namespace of its AgentJob."""
    uid: str
    """No other job ever has the same."""
    createdAt: datetime  # noqa: N815 - as in the resource
    """When it was made."""
    labels: dict[str, str]
    """Its labels."""
    submittedBy: str | None  # noqa: N815
    """Who has made it, for one that came through the gateway."""
    spec: AgentJobSpec
    """What was asked for."""
    status: AgentJobStatus
    """What became of it."""


class JobList(Shape):
    """A page of jobs, the latest first."""

    items: list[Job]
    """The jobs: not always as many as `limit` allows, also where more follow."""
    next: str | None = None
    """The `cursor` of the page after this one; not there on the last."""


class TicketRequest(Task):
    """What a ticket is to be for: a job that is there, or a task, or, with neither, a job that is made with it."""

    job_id: Annotated[str | None, Field(alias="job_id")] = None
    """A job that is there. Of a task, the job is made at once."""


class TicketAnswer(Shape):
    """Leave to watch one job; it is set as a cookie as well."""

    ticket: str
    """For `?ticket=`."""
    job_id: str | None
    """The job it is for; null when that is still to be made."""
    expires_in: int
    """Seconds within which a stream is to be opened with it. Who has had events may come back for a day after that."""


class ProblemBody(BaseModel):
    """An error, as RFC 9457 has it."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="allow")

    type: str
    """about:blank: the status says what kind of problem it is."""
    title: str
    """The status in words."""
    status: int
    """The HTTP status."""
    detail: str
    """What is wrong, and the way out."""
    error: str
    """The same in short, for clients that look for this."""
    request_id: str
    """The request's id, also in the header X-Request-Id and in the gateway's log."""
