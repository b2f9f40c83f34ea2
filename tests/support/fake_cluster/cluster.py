"""A whole cluster in a thread: start, look in, let things go wrong, stop."""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from aiohttp import web

from fake_cluster.etcd import Etcd
from fake_cluster.faults import Fault
from fake_cluster.kinds import Kind
from fake_cluster.refusals import Refusal
from fake_cluster.reviews import SCOPES
from fake_cluster.server import Seen, Server

T = TypeVar("T")


class FakeCluster:
    """`with FakeCluster() as cluster:` serves at `cluster.url` until the block ends.

    Everything below may be called from any thread.
    """

    def __init__(self) -> None:
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake-cluster", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._start())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def fail(self, fault: Fault) -> None:
        """Lets a request to come go wrong."""
        self._call(lambda: self._server.faults.append(fault))

    def mend(self) -> None:
        """Lets nothing go wrong any more that is not on its way."""
        self._call(self._server.faults.clear)

    def has_failed(self) -> bool:
        """Whether everything that was to go wrong has."""
        return self._call(lambda: all(fault.has_happened for fault in self._server.faults))

    def write_log(self, namespace: str, pod: str, content: bytes) -> None:
        """What pods/log is to give for a Pod."""
        self._call(lambda: self._server.logs.write(namespace, pod, content))

    def append_log(self, namespace: str, pod: str, content: bytes) -> None:
        """Lets a container print; whoever follows its log gets it."""
        self._call(lambda: self._server.logs.append(namespace, pod, content))

    def end_log(self, namespace: str, pod: str) -> None:
        """Ends what follows a log now cleanly, though there may be more: a kubelet starts anew."""
        self._call(lambda: self._server.logs.end(namespace, pod))

    def rotate_log(self, namespace: str, pod: str) -> None:
        """Lets the kubelet begin another file: what was in the one before is not served any more."""
        self._call(lambda: self._server.logs.rotate(namespace, pod))

    def cut_log(self, namespace: str, pod: str) -> None:
        """Breaks what follows a log now in the middle."""
        self._call(lambda: self._server.logs.cut(namespace, pod))

    def leave_text(self, namespace: str, pod: str, text: bytes) -> None:
        """Answers the next question for a log with a text and status 200, whether there is a Pod or not."""
        self._call(lambda: self._server.logs.leave_text(namespace, pod, text))

    def know_token(
        self, token: str, username: str, groups: tuple[str, ...] = (), uid: str = "", *, scopes: tuple[str, ...] = ()
    ) -> None:
        """Whose a bearer token is from now on; with scopes, it is good for these verbs alone."""
        user: dict[str, Any] = {"username": username, "groups": list(groups), "uid": uid}
        if scopes:
            user["extra"] = {SCOPES: list(scopes)}
        self._call(lambda: self._server.reviews.users.update({token: user}))

    def forget_token(self, token: str) -> None:
        """Lets a bearer token be nobody's."""
        self._call(lambda: self._server.reviews.users.pop(token))

    def allow(self, who: str, verb: str, namespace: str) -> None:
        """Gives a user or group the right to a verb on the AgentJobs of a namespace."""
        self._call(lambda: self._server.reviews.rights.add((who, verb, "agentjob.dev", "agentjobs", namespace)))

    def cut_watches(self) -> None:
        """Breaks every watch in the middle."""
        self._call(self._server.watches.cut)

    def fail_watches(self, plural: str, code: int) -> None:
        """Ends the watches of a kind with an error in their streams."""
        error = Refusal(code, "TestsOwn", "an error of the test's in the stream")
        self._call(lambda: self._server.watches.fail(plural, error))

    def hide(self, *plurals: str) -> None:
        """From now on no watch tells of these kinds; called without any, all are told of again."""
        self._call(lambda: setattr(self._server.watches, "hidden", set(plurals)))

    def bookmark_every(self, seconds: float) -> None:
        """How often an idle watch is told where it stands."""
        self._call(lambda: setattr(self._server.watches, "bookmark_seconds", seconds))

    def compact(self) -> None:
        """Forgets the past: a watch or a page from before is told 410."""
        self._call(self._server.etcd.expire)

    def requests(self) -> list[Seen]:
        """Every request for an object so far, in order of their answers."""
        return self._call(lambda: list(self._server.seen))

    def made(self, plural: str) -> list[str]:
        """Names of all objects of a kind that ever were, in order."""
        return self._call(lambda: list(self._server.etcd.made.get(plural, ())))

    def on_change(self, listener: Callable[[Etcd], Callable[..., None]]) -> None:
        """Lets something live in the cluster, such as `kubelet.Instant`: it is told of every change."""
        self._call(lambda: self._server.etcd.listeners.append(listener(self._server.etcd)))

    def strip(self, plural: str, annotation: str) -> None:
        """Lets a mutating webhook take an annotation away from each object of a kind that is changed."""

        def without(kind: Kind, item: dict[str, Any]) -> None:
            if kind.plural == plural:
                item["metadata"].get("annotations", {}).pop(annotation, None)

        self._call(lambda: self._server.etcd.webhooks.append(without))

    async def _start(self) -> None:
        self._server = Server(Etcd())
        self._runner = web.AppRunner(self._server.app(), access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        self._socket = socket.create_server(("127.0.0.1", 0))
        await web.SockSite(self._runner, self._socket).start()
        host, port = self._socket.getsockname()
        self.url = f"http://{host}:{port}"

    async def _stop(self) -> None:
        # asyncio leaks a connection that comes in while its server closes: nobody is let in any more before that.
        self._loop.remove_reader(self._socket)
        for _ in range(3):
            await asyncio.sleep(0)
        await self._runner.cleanup()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def _call(self, work: Callable[[], T]) -> T:
        async def called() -> T:
            return work()

        return self._run(called())
