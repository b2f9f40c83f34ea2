"""Who asks, and what they may do. Pure."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What an API key is for. Each role may do what those before it may."""

    READ = "read"
    """See the jobs of its namespace and watch them."""
    SUBMIT = "submit"
    """Make jobs as well, and cancel or delete those that this key has made."""
    ADMIN = "admin"
    """Cancel or delete any job of its namespace."""


class Verb(StrEnum):
    """What is done with jobs. Of a Kubernetes user, the right to the verb in brackets on AgentJobs is asked for."""

    GET = "get"
    """See or watch one (get)."""
    LIST = "list"
    """See all (list)."""
    SUBMIT = "create"
    """Make one (create)."""
    CANCEL = "patch"
    """Stop one (patch)."""
    DELETE = "delete"
    """Take one away (delete)."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one caller may take."""

    requests_per_minute: int
    concurrent_jobs: int
    streams: int


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Somebody whose credential holds."""

    name: str
    """`key:<name>` or `user:<username>`: as it stands on the jobs they make, in the log and in the audit."""
    limits: Limits
    role: Role | None = None
    """Of an API key; None for a Kubernetes user, whose rights the cluster knows."""
    namespace: str | None = None
    """Of an API key, or of the service account that a Kubernetes user is; None for other users."""
    groups: tuple[str, ...] = ()
    """Of a Kubernetes user."""
    username: str = ""
    """Of a Kubernetes user."""
    uid: str = ""
    """Of a Kubernetes user."""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Of a Kubernetes user: what else authentication says, by which authorizers may narrow what a token is good for."""


def permits(role: Role, verb: Verb, *, is_own: bool) -> bool:
    """Whether a role goes as far as a verb on a job that the caller has made, or has not."""
    match verb:
        case Verb.GET | Verb.LIST:
            return True
        case Verb.SUBMIT:
            return role is not Role.READ
        case Verb.CANCEL | Verb.DELETE:
            return role is Role.ADMIN or (role is Role.SUBMIT and is_own)
