"""Kubernetes bearer tokens: the cluster is asked whose they are, and its answers are remembered for seconds."""

import asyncio
import hashlib
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from typing import Any, Final, Generic, NamedTuple, TypeVar

from agentjob_gateway import errors
from agentjob_gateway.caller import Caller, Limits
from agentjob_gateway.errors import RETRY_SECONDS, Unavailable
from agentjob_gateway.keyring import not_valid
from agentjob_kube.client import Client, Object
from agentjob_kube.errors import ApiError, Forbidden
from agentjob_kube.resources import TOKEN_REVIEWS, ResourceType

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

YES_SECONDS: Final = 10.0
"""How long a yes of the cluster's is remembered: as long a right or a token that was taken away still counts."""
NO_SECONDS: Final = 5.0
"""How long a no is: as long one that was given has to wait."""
MAX_TOKENS: Final = 1_000
"""Tokens that are remembered, by their hashes: as many that hold, and as many that do not."""
MAX_ASKED: Final = 50
"""Questions that wait for their answers at once."""
MAX_NEW: Final = 40
"""With so many, only those are asked any more that had a yes before: anybody can ask one by making up a token."""

_BEARER: Final = re.compile(r"[-A-Za-z0-9._~+/]+=*")
"""What a bearer token may look like (RFC 6750, 2.1); what does not is not worth a question."""
_SERVICE_ACCOUNT: Final = re.compile(r"system:serviceaccount:([^:]+):[^:]+")
log = logging.getLogger(__name__)


class _Known(NamedTuple, Generic[V]):
    answer: V
    until: float


class Recent(Generic[K, V]):
    """Answers remembered for seconds, each asked for once however many wait for it. Errors are not remembered.

    As many of each answer are remembered: no number of noes makes a yes forgotten.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._yes: OrderedDict[K, _Known[V]] = OrderedDict()
        self._no: OrderedDict[K, _Known[V]] = OrderedDict()
        self._asked: dict[K, asyncio.Task[V]] = {}

    async def answer(self, key: K, ask: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """The answer that is remembered, or that `ask` gives; raises what `ask` raises.

        An answer that is true in the sense of `bool` is a yes. Who stops waiting does not stop the question.

        Raises:
            Unavailable: MAX_ASKED others are being asked for; or MAX_NEW, and this one had no yes that is remembered.
        """
        for remembered in (self._yes, self._no):
            known = remembered.get(key)
            if known is not None and known.until > self._clock():
                remembered.move_to_end(key)
                return known.answer
        if (task := self._asked.get(key)) is None:
            if len(self._asked) >= (MAX_ASKED if key in self._yes else MAX_NEW):
                raise Unavailable("the cluster is asked as much as it may be at once", retry_after=RETRY_SECONDS)
            task = self._asked[key] = asyncio.create_task(ask())
            task.add_done_callback(partial(self._keep, key))
        return await asyncio.shield(task)

    def _keep(self, key: K, task: asyncio.Task[V]) -> None:
        del self._asked[key]
        if task.cancelled() or task.exception() is not None:
            return  # those who wait are told
        answer = task.result()
        same, other = (self._yes, self._no) if answer else (self._no, self._yes)
        other.pop(key, None)
        same[key] = _Known(answer, self._clock() + (YES_SECONDS if answer else NO_SECONDS))
        same.move_to_end(key)
        if len(same) > self._most:
            same.popitem(last=False)


class Reviews:
    """Questions to the cluster about tokens and rights."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._refused: set[ResourceType] = set()

    async def status(self, kind: ResourceType, spec: Object) -> Object:
        """What the cluster answers to a review.

        Raises:
            Unavailable: it gave no answer, or the gateway has no right to ask.
        """
        try:
            review = await self._client.create(kind, "", {"spec": spec})
        except Forbidden as error:
            raise self._turned_away(kind, error) from error
        except ApiError as error:
            problem = errors.of(error)
            if isinstance(problem, Unavailable):
                raise problem from error
            raise Unavailable(f"the cluster takes no {kind.plural}", retry_after=RETRY_SECONDS) from error
        self._refused.discard(kind)
        answer: Object = review.get("status") or {}
        return answer

    def _turned_away(self, kind: ResourceType, error: Forbidden) -> Unavailable:
        """Tells whoever runs the gateway, once until it goes well again: nobody else can mend it."""
        why = f"the gateway may not create {kind.plural}.{kind.group}; bind it to ClusterRole system:auth-delegator"
        if kind not in self._refused:
            log.error("Kubernetes users are turned away: %s (%s)", why, error)
        self._refused.add(kind)
        return Unavailable(why, retry_after=RETRY_SECONDS)


class Tokens:
    """Whose a token is."""

    def __init__(self, reviews: Reviews, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._reviews = reviews
        self._limits = limits
        self._recent: Recent[bytes, Caller | None] = Recent(MAX_TOKENS, clock)

    async def caller(self, token: str) -> Caller:
        """The Kubernetes user who comes with this token.

        Raises:
            Unauthenticated: it is no token of the cluster's, or it has expired.
            Unavailable: the cluster cannot be asked, or not so much at once.
        """
        if not _BEARER.fullmatch(token):
            raise not_valid()
        caller = await self._recent.answer(hashlib.sha256(token.encode()).digest(), partial(self._review, token))
        if caller is None:
            raise not_valid()
        return caller

    async def _review(self, token: str) -> Caller | None:
        return user(await self._reviews.status(TOKEN_REVIEWS, {"token": token}), self._limits)


def user(status: Object, limits: Limits) -> Caller | None:
    """Who a TokenReview's status speaks of; None when the token does not hold."""
    found: Object = status.get("user") or {}
    username: str = found.get("username") or ""
    if status.get("authenticated") is not True or not username:
        return None
    account = _SERVICE_ACCOUNT.fullmatch(username)
    return Caller(
        name=f"user:{username}",
        limits=limits,
        namespace=account[1] if account else None,
        groups=tuple(found.get("groups") or ()),
        username=username,
        uid=found.get("uid") or "",
        extra=tuple(sorted((name, tuple(values)) for name, values in (found.get("extra") or {}).items())),
    )
