"""What a person asks for: the types of `AgentJob.spec`, with their bounds and the rules of the API server."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from agentjob_api.fields import KeyRef, ObjectName, Quantity, Text, Word
from agentjob_api.model import Resource, Rule, checked
from agentjob_api.runner import RunnerSpec

MAX_PROMPT = 131_072
"""Characters of a prompt. With the workspace's files it travels in a Pod annotation, which holds 256 KiB in all."""
MAX_FILE = 65_536
MAX_FILES = 64
DAY = 86_400


class PermissionMode(StrEnum):
    """What the agent may do without asking. Nobody is there to be asked: what would ask is denied."""

    BYPASS_PERMISSIONS = "bypassPermissions"
    """Every tool runs."""
    ACCEPT_EDITS = "acceptEdits"
    """Files may be edited; other tools run when `allowedTools` names them."""
    PLAN = "plan"
    """Read and plan, change nothing."""
    DONT_ASK = "dontAsk"
    """Only what `allowedTools` names runs."""
    DEFAULT = "default"
    """Claude Code's own rules."""


class SettingSource(StrEnum):
    """A place from which Claude Code reads settings."""

    USER = "user"
    """The home directory of the runner image."""
    PROJECT = "project"
    """The workspace: `.claude/settings.json` and `CLAUDE.md`."""


class Transport(StrEnum):
    """How an MCP server is reached."""

    HTTP = "http"
    """Streamable HTTP."""
    SSE = "sse"
    """Server-sent events (the older transport)."""
    STDIO = "stdio"
    """A program in the agent's container."""


class PromptSource(Resource):
    """Where a prompt is read from when the Pod starts; at most 128 KiB, what Linux allows one environment variable."""

    config_map_key_ref: KeyRef | None = None
    """A key of a ConfigMap."""
    secret_key_ref: KeyRef | None = None
    """A key of a Secret."""

    rules: ClassVar = (
        Rule(
            "has(self.configMapKeyRef) != has(self.secretKeyRef)",
            "promptFrom takes exactly one of configMapKeyRef and secretKeyRef",
        ),
    )


class HeaderSource(Resource):
    """An HTTP header whose value is a secret."""

    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[-A-Za-z0-9]+$")]
    """Name of the header."""
    secret_key_ref: KeyRef
    """Where its value is kept."""


class McpServer(Resource):
    """An MCP server offered to the agent."""

    type: Transport
    """How the server is reached."""
    url: Annotated[str, Field(max_length=2048, pattern=r"^https?://\S+$")] | None = None
    """Its address, for http and sse."""
    command: Word | None = None
    """The program to start, for stdio."""
    args: Annotated[list[Text], Field(max_length=64)] = []
    """Arguments of the program."""
    headers: Annotated[dict[str, Text], Field(max_length=32)] = {}
    """HTTP headers that are no secret."""
    headers_from: Annotated[list[HeaderSource], Field(max_length=16)] = []
    """HTTP headers that are."""
    env: Annotated[dict[str, Text], Field(max_length=64)] = {}
    """Environment of the program."""

    rules: ClassVar = (
        Rule(
            "self.type == 'stdio' ? (has(self.command) && !has(self.url)) : (has(self.url) && !has(self.command))",
            "a stdio server takes command and no url, an http or sse server takes url and no command",
        ),
    )


class AgentSpec(Resource):
    """How Claude Code is run. The names are those of its own options."""

    model: Word | None = None
    """The model; without it, the default of the installation or of Claude Code."""
    fallback_model: Word | None = None
    """The model to go on with when the first is overloaded."""
    max_turns: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Turns after which the attempt ends with the reason MaxTurns."""
    append_system_prompt: Annotated[str, Field(max_length=32_768)] | None = None
    """Added to Claude Code's system prompt, after the workspace's CLAUDE.md."""
    permission_mode: PermissionMode = PermissionMode.BYPASS_PERMISSIONS
    """What the agent may do without asking; the Pod is its sandbox."""
    allowed_tools: Annotated[list[Word], Field(max_length=256)] = []
    """Tools that need no permission."""
    disallowed_tools: Annotated[list[Word], Field(max_length=256)] = []
    """Tools that are taken away, also under bypassPermissions."""
    setting_sources: Annotated[list[SettingSource], Field(max_length=2)] = [SettingSource.USER, SettingSource.PROJECT]
    """Where settings are read from."""
    mcp_servers: Annotated[dict[str, McpServer], Field(max_length=32)] = {}
    """MCP servers beside those of the workspace's .mcp.json; a server of the same name here wins."""
    include_partial_messages: bool = False
    """Whether the stream carries the model's answers piece by piece as well."""


# Forbidden, because the API server then leaves the value, and with it the credential, out of its answer.
GIT_URL_RULES = (
    Rule(
        r"self.matches('^https?://[^/\\s]+(/\\S*)?$')",
        "must be an http:// or https:// address without blanks",
        "FieldValueForbidden",
    ),
    Rule(
        "!self.matches('^[^/]*//[^/]*@')",
        "must not carry a credential: keep it in a Secret and name that in secretRef",
        "FieldValueForbidden",
    ),
)
GIT_REF_RULE = Rule(r"self.matches('^[^-\\s]\\S*$')", "must be a branch, tag or commit: no blanks, no - in front")


class GitSource(Resource):
    """A repository to clone into the workspace."""

    url: Annotated[str, Field(max_length=2048, json_schema_extra=checked(*GIT_URL_RULES))]
    """http or https, without a credential in it: that belongs in secretRef."""
    ref: Annotated[str, Field(max_length=255, json_schema_extra=checked(GIT_REF_RULE))] | None = None
    """Branch, tag or commit; without it, the repository's default branch."""
    depth: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Commits of history to fetch; without it, all."""
    secret_ref: ObjectName | None = None
    """A Secret with the keys `username` and `password` (or a token as the password); the agent never sees it."""


PATHS_RULE = Rule(
    "self.all(path, !path.matches('(^|/)[.]{0,2}(/|$)|[[:cntrl:]]') && size(bytes(path)) <= 255)",
    "paths must be relative, without empty, . or .. parts and control characters, and at most 255 bytes long",
)


class WorkspaceSpec(Resource):
    """What lies in the agent's working directory when it starts."""

    git: GitSource | None = None
    """A repository to clone."""
    files: Annotated[
        dict[str, Annotated[str, Field(max_length=MAX_FILE)]],
        Field(max_length=MAX_FILES, json_schema_extra=checked(PATHS_RULE)),
    ] = {}
    """Small files by relative path, laid over what is there: .mcp.json, CLAUDE.md, inputs."""
    claim_name: ObjectName | None = None
    """An existing PersistentVolumeClaim to work in, instead of an emptyDir."""
    size_limit: Quantity = "5Gi"
    """Size of the emptyDir; a Pod that outgrows it is evicted."""

    rules: ClassVar = (
        Rule("!(has(self.git) && has(self.claimName))", "workspace takes at most one of git and claimName"),
    )


class AgentJobSpec(Resource):
    """One task for an agent."""

    prompt: Annotated[str, Field(min_length=1, max_length=MAX_PROMPT)] | None = None
    """The task."""
    prompt_from: PromptSource | None = None
    """Or where it is kept."""
    agent: AgentSpec = AgentSpec()
    """How Claude Code is run."""
    workspace: WorkspaceSpec = WorkspaceSpec()
    """What the agent finds in its working directory."""
    active_deadline_seconds: Annotated[int, Field(ge=1, le=7 * DAY)] = 1800
    """Seconds an attempt may take, from the Pod's start; then the agent is stopped and the job fails."""
    backoff_limit: Annotated[int, Field(ge=0, le=100)] = 2
    """Attempts after the first: with one more that fails of itself, the job fails. Those that the cluster took away do
    not count, but ten of them in a row are the end as well; nor do those that were suspended."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=3650 * DAY)] = 30 * DAY
    """Seconds the job is kept after it ended."""
    ttl_seconds_after_failed: Annotated[int, Field(ge=0, le=3650 * DAY)] | None = None
    """The same for a job that failed or was cancelled; without it, ttlSecondsAfterFinished."""
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    """Which of the jobs that wait for room start first: those of the highest priority. It stops none that runs."""
    suspend: bool = False
    """Whether the job waits. An agent that works is stopped with its time of grace; when this is taken back, another
    attempt starts."""
    cancel: bool = False
    """Whether the job is to be stopped. It cannot be taken back."""
    runner: RunnerSpec = RunnerSpec()
    """The Pod in which the agent runs."""

    rules: ClassVar = (
        Rule("has(self.prompt) != has(self.promptFrom)", "spec takes exactly one of prompt and promptFrom"),
        Rule("!oldSelf.cancel || self.cancel", "cancel cannot be taken back", "FieldValueForbidden"),
    )


MUTABLE = frozenset({"suspend", "cancel", "priority", "ttlSecondsAfterFinished", "ttlSecondsAfterFailed"})
"""Fields of the spec that may change after creation. All others are immutable."""
