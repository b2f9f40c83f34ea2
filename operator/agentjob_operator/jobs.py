"""Jobs as the API server sends them."""

import logging
from collections.abc import Mapping

from pydantic import ValidationError

from agentjob_api.job import AgentJob
from agentjob_api.names import Key
from agentjob_kube.errors import ApiError

log = logging.getLogger(__name__)


class UnreadableError(ApiError):
    """A job is there that this version of the operator cannot read: nothing is to be done about it."""


def about(key: Key) -> dict[str, str | int]:
    """What a log line says of whose it is."""
    return {"namespace": key.namespace, "job": key.name}


def parse(key: Key, body: Mapping[str, object]) -> AgentJob | None:
    """A job as the API server sends it; None, and an error in the log, for one that this version cannot read."""
    try:
        return AgentJob.model_validate(body)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, item["loc"])) for item in error.errors(include_input=False))
        log.error("This version of the operator cannot read the job; unexpected: %s", fields, extra=about(key))  # noqa: TRY400
        return None
