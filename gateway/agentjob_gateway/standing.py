"""Where a job stands, and what its stream ends with, as who watches is told."""

from typing import Any

from agentjob_api.phases import Phase
from agentjob_gateway import answers, sse
from agentjob_gateway.known import Known

Object = dict[str, Any]


def state(job: Object) -> tuple[tuple[str, str], bytes]:
    """Where a job stands: in two words, and as a chunk."""
    status = job["status"]
    ready: Object = next((each for each in status.get("conditions", ()) if each["type"] == "Ready"), {})
    phase, reason = answers.phase(job).value, ready.get("reason", "")
    return (phase, reason), sse.chunked(sse.state(phase, reason, ready.get("message", "")))


def closing(known: Known) -> bytes:
    """The last event of a job's stream, as a chunk."""
    job, name = known.job, known.key.name
    phase = answers.phase(job)
    if phase is Phase.SUCCEEDED:
        return sse.chunked(sse.done(name))
    if not phase.is_final:
        return sse.chunked(sse.failed(name, "The job was deleted before it had ended.", "Deleted"))
    failure: Object = job["status"].get("failure") or {}
    sentence = answers.failure(job) or f"The job has ended as {phase}."
    return sse.chunked(sse.failed(name, sentence, failure.get("reason", phase.value)))
