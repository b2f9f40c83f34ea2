"""How the API server is reached and who we are to it: in a Pod, or with a kubeconfig as kubectl uses it.

The official `kubernetes` package reads both kinds of configuration, all ways to log in included, and reads a service
account's token anew when it rotates. What was refused is read anew at once, whatever kind it is of. Requests themselves
go through aiohttp sessions made here.
"""

import asyncio
import logging
import os
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Final

import aiohttp
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from agentjob_kube.wire import verb

Observer = Callable[[str, str], None]
"""Told of every request: its verb as a Role names it, and the status of the answer, or "none" when there was none."""

LETTING_GO_SECONDS: Final = 0.25
"""A TLS connection that was closed a moment ago waits for the other side to do so, and one that was aborted is let go
of some turns of the loop later; a loop that has ended before says that they are in use."""
RENEWAL_SECONDS: Final = 1.0
"""From one reading of a credential that was refused to the next: a kubeconfig may have a program run for it."""
COMPLAINT_SECONDS: Final = 60.0
"""From one line of the log about a credential that is refused to the next, at least."""
log = logging.getLogger(__name__)


class ConnectError(Exception):
    """No API server is configured, or the configuration cannot be used."""


async def _nothing() -> None:
    """There is nothing to be read."""


class Complaint:
    """Tells whoever runs the program that its credential is refused: nobody else can mend it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due = float("-inf")

    def refused(self, server: str) -> None:
        """Logs it, unless that was done a moment ago."""
        if self._clock() < self._due:
            return
        self._due = self._clock() + COMPLAINT_SECONDS
        log.error(
            "The API server at %s refuses this program's credential (401), read anew or not:"
            " look at its service account's token, or at its kubeconfig",
            server,
        )


@dataclass(frozen=True, kw_only=True)
class Connection:
    """An API server, as a client may reach it."""

    server: str
    tls: ssl.SSLContext | None = None
    proxy: str | None = None
    authorization: Callable[[], Awaitable[str | None]]
    """The value of the Authorization header, asked for before each request."""
    observe: Observer
    renew: Callable[[], Awaitable[None]] = _nothing
    """Reads the credential anew: called when it was refused. With another one, the request is sent once more."""
    complaint: Complaint = field(default_factory=Complaint)

    @asynccontextmanager
    async def session(self, *first: aiohttp.ClientMiddlewareType) -> AsyncIterator[aiohttp.ClientSession]:
        """A session with TLS and credential, open while the block runs. Requests go through `first` first."""
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self.tls or True),
            cookie_jar=aiohttp.DummyCookieJar(),
            middlewares=(*first, self._observed, self._authorized),
            proxy=self.proxy,
            headers={"User-Agent": "agentjob"},
        ) as session:
            yield session
        await asyncio.sleep(LETTING_GO_SECONDS if self.tls else 0)

    async def _observed(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        code = "none"
        try:
            response = await handler(request)
            code = str(response.status)
        finally:  # whoever waits for the answer does not wait until it is counted
            asyncio.get_running_loop().call_soon(self._count, request, code)
        if response.status == HTTPStatus.UNAUTHORIZED:
            self.complaint.refused(self.server)
        return response

    def _count(self, request: aiohttp.ClientRequest, code: str) -> None:
        self.observe(verb_of(request), code)

    async def _authorized(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if header := await self.authorization():
            request.headers["Authorization"] = header
        response = await handler(request)
        if response.status != HTTPStatus.UNAUTHORIZED:
            return response
        await self.renew()
        if (another := await self.authorization()) in {header, None}:
            return response
        response.release()
        request.headers["Authorization"] = another
        return await handler(request)


def verb_of(request: aiohttp.ClientRequest) -> str:
    """The verb of a request as a Role names it."""
    return verb(request.method, request.url.path, request.url.query.get("watch"))


async def connect(observe: Observer, kubeconfig: Path | None = None) -> Connection:
    """The connection that is configured: `kubeconfig` when given, the Pod's own, or kubectl's.

    Raises:
        ConnectError: there is none, or it cannot be used.
    """
    login = _Login(kubeconfig)
    try:
        await login.load()
    except ConfigException as error:
        raise ConnectError(f"{error}; run in a Pod, or name a kubeconfig in KUBECONFIG") from error
    found = login.configuration
    return Connection(
        server=found.host,
        tls=_tls(found),
        proxy=found.proxy,
        authorization=login.header,
        observe=observe,
        renew=login.renew,
    )


class _Login:
    """What is configured, and the credential in it, which changes."""

    def __init__(self, kubeconfig: Path | None) -> None:
        self.configuration = Configuration()
        self._kubeconfig = kubeconfig
        self._renewed = float("-inf")

    async def load(self) -> None:
        """Reads it; raises ConfigException, and then it is as it was."""
        if self._kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            load_incluster_config(client_configuration=self.configuration)
            return
        path = str(self._kubeconfig) if self._kubeconfig else None
        await load_kube_config(config_file=path, client_configuration=self.configuration, persist_config=False)

    async def header(self) -> str | None:
        """The value of the Authorization header."""
        found: str | None = await self.configuration.get_api_key_with_prefix("BearerToken")
        return found or (self.configuration.get_basic_auth_token() if self.configuration.username else None)

    async def renew(self) -> None:
        """Reads it again, unless that was done this moment or nothing can be read now."""
        now = time.monotonic()
        if now < self._renewed + RENEWAL_SECONDS:
            return
        self._renewed = now
        with suppress(ConfigException):
            await self.load()


def _tls(configuration: Configuration) -> ssl.SSLContext:
    """The authority to trust and, where the configuration has one, our own certificate."""
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    # Clusters' own authorities often lack what Python's strict mode asks for (RFC 5280's key identifiers).
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
