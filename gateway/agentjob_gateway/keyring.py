"""API keys: what one is, what is kept of it, and who comes with one. Pure: time and randomness are parameters.

A key's text is `aj_<id>_<secret>`: an id of 8 characters [a-z0-9], and 32 random bytes as base64url without padding.
It is shown once. Kept is a document of JSON per key, which holds the SHA-256 of the text: 256 random bits cannot be
searched, so that a slow hash would cost every request and buy nothing.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, NamedTuple

from pydantic import AwareDatetime, Field, ValidationError

from agentjob_api.fields import ObjectName
from agentjob_gateway.caller import Caller, Limits, Role
from agentjob_gateway.errors import Unauthenticated
from agentjob_program.settings import Section

PREFIX: Final = "aj_"
"""How every key begins, and no Kubernetes token: those are JWTs, or what an administrator chose."""
DOCUMENT: Final = ".json"
"""How the file name of a key's document ends; the key's id stands before it."""
SIGNING_KEY: Final = "tickets.key"
"""The file beside the documents with 32 random bytes as base64, which sign tickets."""
ID_LENGTH: Final = 8
SECRET_BYTES: Final = 32
RANDOM_BYTES: Final = ID_LENGTH + SECRET_BYTES
"""Random bytes that make a key."""
_NEVER: Final = datetime.max.replace(tzinfo=UTC)
_ID_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
_NOBODY: Final = "0" * 64
"""Compared with where no key has the id: whether an id exists cannot be told from the time that an answer takes."""

Amount = Annotated[int, Field(ge=1, le=1_000_000)]
KeyName = Annotated[ObjectName, Field(max_length=63)]


class Terms(Section):
    """What a key is good for."""

    name: KeyName
    """Who has it. Keys of one name are one caller: the old one and the one that takes its place."""
    namespace: ObjectName
    """The only namespace it reaches."""
    role: Role
    """What it may do there."""
    expires_at: AwareDatetime | None = None
    """From when on it is no longer taken."""
    requests_per_minute: Amount | None = None
    """Instead of the installation's own, as the two below."""
    concurrent_jobs: Amount | None = None
    """Jobs of its that have not ended."""
    streams: Amount | None = None
    """Streams that it holds open, calls of run_claude_agent among them."""


class ApiKey(Terms):
    """What is kept of a key. A field that is not known is an error: it may be a limit of what the key is good for."""

    id: Annotated[str, Field(pattern=rf"^[a-z0-9]{{{ID_LENGTH}}}$")]
    """Which key it is; no secret."""
    hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of the key's text, in hexadecimal."""
    created_at: AwareDatetime
    """When it was made."""

    @property
    def file(self) -> str:
        """Name of its document."""
        return self.id + DOCUMENT

    def document(self) -> bytes:
        """What is kept, as JSON."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()

    def has_expired(self, now: datetime) -> bool:
        """Whether it is no longer taken."""
        return self.expires_at is not None and self.expires_at <= now

    def limits(self, defaults: Limits) -> Limits:
        """Its own limits, and the installation's where it has none."""
        return Limits(
            requests_per_minute=self.requests_per_minute or defaults.requests_per_minute,
            concurrent_jobs=self.concurrent_jobs or defaults.concurrent_jobs,
            streams=self.streams or defaults.streams,
        )


class Minted(NamedTuple):
    """A key that was just made: the only place with its text."""

    text: str
    key: ApiKey


class Rotation(NamedTuple):
    """A key that takes the place of others."""

    minted: Minted
    ending: tuple[ApiKey, ...]
    """The others, with their end."""
    expired: tuple[ApiKey, ...]
    """Those that nobody can use any more."""


@dataclass(frozen=True)
class Keyring:
    """The keys that are known."""

    keys: Mapping[str, ApiKey] = field(default_factory=dict)
    """By id."""

    def named(self, name: str) -> tuple[ApiKey, ...]:
        """All keys of a name."""
        return tuple(key for key in self.keys.values() if key.name == name)

    def caller(self, credential: str, now: datetime, defaults: Limits) -> Caller:
        """Who comes with this key.

        Raises:
            Unauthenticated: no key has this text, or it has expired; which of both is not told.
        """
        key = self.keys.get(credential.removeprefix(PREFIX)[:ID_LENGTH])
        holds = hmac.compare_digest(digest(credential), _NOBODY if key is None else key.hash)
        if key is None or not holds or key.has_expired(now):
            raise not_valid()
        return Caller(name=_caller(key), limits=key.limits(defaults), role=key.role, namespace=key.namespace)

    def knows(self, caller: Caller, now: datetime) -> bool:
        """Whether some key lets this caller in still, to the same namespace and as the same role."""
        wanted = (caller.name, caller.namespace, caller.role)
        return any(
            (_caller(key), key.namespace, key.role) == wanted and not key.has_expired(now) for key in self.keys.values()
        )


def _caller(key: ApiKey) -> str:
    return f"key:{key.name}"


def not_valid() -> Unauthenticated:
    """What everybody is told whose credential does not hold: the same words, whatever is wrong with it."""
    return Unauthenticated("the credential is not valid; send a valid one as `Authorization: Bearer CREDENTIAL`")


def digest(text: str) -> str:
    """SHA-256 in hexadecimal. A header's bytes that are no UTF-8 come as surrogates, and go into it as they came."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def mint(terms: Terms, now: datetime, randomness: bytes) -> Minted:
    """A key with these terms, out of RANDOM_BYTES bytes that nobody can guess."""
    identifier = "".join(_ID_LETTERS[byte % len(_ID_LETTERS)] for byte in randomness[:ID_LENGTH])
    secret = base64.urlsafe_b64encode(randomness[ID_LENGTH:RANDOM_BYTES]).rstrip(b"=").decode()
    text = f"{PREFIX}{identifier}_{secret}"
    own = {"id": identifier, "hash": digest(text), "created_at": now.replace(microsecond=0)}
    return Minted(text, ApiKey.model_validate({**terms.model_dump(include=set(Terms.model_fields)), **own}))


def rotate(keys: Iterable[ApiKey], overlap: timedelta, now: datetime, randomness: bytes) -> Rotation:
    """A key on the terms of the newest of these, for as long as that was made for; the others end after the overlap."""
    keys = tuple(keys)
    # Of two of one second, the one that was not given its end by a rotation is the newer.
    newest = max(keys, key=lambda key: (key.created_at, key.expires_at or _NEVER))
    now = now.replace(microsecond=0)
    expires = now + (newest.expires_at - newest.created_at) if newest.expires_at else None
    end = now + overlap
    alive = [key for key in keys if not key.has_expired(now)]
    return Rotation(
        mint(newest.model_copy(update={"expires_at": expires}), now, randomness),
        tuple(key.model_copy(update={"expires_at": min(key.expires_at or end, end)}) for key in alive),
        tuple(key for key in keys if key.has_expired(now)),
    )


def parse(files: Mapping[str, bytes]) -> tuple[Keyring, tuple[str, ...]]:
    """The keys in a directory's files by name, and what is wrong with those that are left out.

    Files that do not end in `.json` are none of a key's. A complaint names the file and the field, never a value.
    """
    keys: dict[str, ApiKey] = {}
    complaints: list[str] = []
    for name, content in sorted(files.items()):
        if not name.endswith(DOCUMENT):
            continue
        try:
            key = ApiKey.model_validate_json(content)
        except ValidationError as error:
            complaints.append(f"{name}: {problems(error)}")
            continue
        if key.file == name:
            keys[key.id] = key
        else:
            complaints.append(f"{name}: expected the file of this key's id to be named {key.file}")
    return Keyring(keys), tuple(complaints)


def problems(error: ValidationError) -> str:
    """What is wrong with which fields, without their values."""
    found = error.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, item['loc'])) or 'the file'}: {item['msg']}" for item in found)
