"""An operator at work on the real cluster: a process on this machine, behind a fault proxy, with its own right to act.

Its Pods are put on a node that is none, where a test says what becomes of them; so the operator and the API server are
the real ones, and what takes time is they alone. Or the real kubelet runs them, with the scripted model in reach.
"""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from agentjob_api.names import GROUP, LABEL_JOB
from agentjob_kube.client import Client, Object
from agentjob_kube.connect import connect
from agentjob_kube.errors import ApiError, NotFound
from agentjob_kube.resources import AGENT_JOBS, LEASES, PODS
from agentjob_kube.transport import Request
from agentjob_kube.wire import PATIENCE, HttpTransport
from deploy.stack import Stack
from disturbed import Disturbed
from fault_proxy import FaultProxy
from operated import until

NAMESPACE: Final = "agentjob-chaos"
RELEASE: Final = "agentjob"
NODE: Final = "agentjob-chaos"
LABELS: Final = {"agentjob-chaos": "true"}
PLACE: Final[Object] = {
    "nodeSelector": LABELS,
    "tolerations": [{"operator": "Exists"}],
}
"""In spec.runner: the node that is none. It does not say that it is well, and its Pods put up with that."""
GIVEN: Final = ("crd", "serviceaccount", "role", "operator-lease")
"""What the chart gives an operator to act on, and to act with."""
WITHIN: Final = 150.0
"""Seconds in which whatever is waited for must come about, also after a fault of a minute."""
WORK_SECONDS: Final = 5.0
"""For which an agent works: what an operator that is away for some seconds costs is seen beside a life, not alone."""
KUBELET_SECONDS: Final = 0.3
"""Between two looks for what is deleted."""
STOP_SECONDS: Final = 15.0
PROGRAM: Final = Path(__file__).parent / "shifted_operator.py"


@dataclass(frozen=True)
class Place:
    """Where operators of a session find the cluster, and who they are there."""

    stack: Stack
    folder: Path
    """For files of processes."""

    @property
    def token(self) -> Path:
        """The file with a token of the operator's own service account."""
        return self.folder / "token"

    @property
    def ahead(self) -> Path:
        """The file that says by how many seconds their clock is ahead."""
        return self.folder / "ahead"

    @property
    def kubeconfig(self) -> Path:
        """A person's own."""
        return Path(self.stack.environment["KUBECONFIG"])

    @property
    def nobody(self) -> Path:
        """A kubeconfig that says where the API server is, and not who asks: a person's has a certificate, by which any
        request would be taken for theirs, whatever token it has.
        """
        return self.folder / "nobody"


@contextmanager
def place(stack: Stack, folder: Path) -> Iterator[Place]:
    """A namespace of its own, with what the chart gives an operator, and the node that is none."""
    stack.delete_namespace(NAMESPACE)  # of a run that was cut off
    stack.ensure_namespace(NAMESPACE)
    room = {"cpu": "1k", "memory": "10Ti", "ephemeral-storage": "1Pi", "pods": "10k"}
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": NODE, "labels": LABELS},
        "spec": {"taints": [{"key": NODE, "effect": "NoSchedule"}]},
        "status": {"allocatable": room, "capacity": room},
    }
    try:
        stack.kubectl("apply", "-f", "-", stdin=json.dumps(node))
        grant(stack)
        stack.wait(NAMESPACE, f"crd/{AGENT_JOBS.plural}.{GROUP}", "condition=Established", 30)
        found = Place(stack, folder)
        write(found.token, token(stack, RELEASE))
        [cluster] = json.loads(stack.kubectl("config", "view", "--raw", "--minify", "-o", "json"))["clusters"]
        found.nobody.write_text(json.dumps(_kubeconfig(cluster["cluster"], {})))
        yield found
    finally:
        empty(stack)
        stack.delete_namespace(NAMESPACE)
        stack.kubectl("delete", "node", NODE, "--ignore-not-found")


def token(stack: Stack, secret: str) -> str:
    """A token of the operator's service account that lives as long as a Secret, which is made for it."""
    kubectl = partial(stack.kubectl, "-n", NAMESPACE)
    kubectl("create", "secret", "generic", secret)
    bound = ("--bound-object-kind", "Secret", "--bound-object-name", secret)
    return kubectl("create", "token", RELEASE, "--duration", "4h", *bound).strip()


def write(path: Path, text: str) -> None:
    """Puts a text into a file that is read meanwhile, never half of it."""
    written = path.with_suffix(".new")
    written.write_text(text)
    written.replace(path)


def grant(stack: Stack, *namespaces: str) -> None:
    """Gives the operator's service account what the chart gives it, in its own namespace and in others."""
    chosen = [word for name in GIVEN for word in ("--show-only", f"templates/{name}.yaml")]
    where = (
        "--kube-version",
        "1.36.0",
        "--namespace",
        NAMESPACE,
        "--set",
        f"jobNamespaces={{{','.join((NAMESPACE, *namespaces))}}}",
    )
    manifests = stack.program.run("helm", "template", RELEASE, "charts/agentjob", *where, *chosen, timeout=60)
    stack.kubectl("apply", "-f", "-", stdin=manifests)


def empty(stack: Stack, namespace: str = NAMESPACE) -> None:
    """Takes all jobs, their Pods and Leases away, whatever becomes of them otherwise, all of a kind in one request."""
    for path, query in _all_of_it(namespace):
        stack.kubectl("delete", "--raw", f"{path}?{urlencode(query)}", timeout=WITHIN)


def _all_of_it(namespace: str) -> Iterator[tuple[str, dict[str, str]]]:
    for kind in (AGENT_JOBS, PODS, LEASES):
        chosen = {"labelSelector": LABEL_JOB} if kind is PODS else {}
        yield kind.path(namespace), {"gracePeriodSeconds": "0", **chosen}


class OnCluster(Disturbed):
    """One operator. Person, scheduler and kubelet are the test; the scheduler is not, where the real one is."""

    def __init__(self, place: Place, transport: HttpTransport, settings: Mapping[str, Any]) -> None:
        self.namespace = NAMESPACE
        self.within = WITHIN
        self.work_seconds = WORK_SECONDS
        self.client = Client(transport)
        self.place = place
        self.runner: Object = PLACE
        """spec.runner of the jobs."""
        self._transport = transport
        self._process: Process | None = None
        self.configure(**{"podTTLSeconds": 0, **settings})
        self._folder = place.folder / self.settings.pod_name
        self._folder.mkdir(exist_ok=True)
        self.ahead = timedelta()

    def beside(self, **settings: Any) -> "OnCluster":
        """Another operator on the same cluster, through the same proxy; it is not started yet."""
        found = OnCluster(self.place, self._transport, settings)
        found.go_through(self.proxy)
        return found

    def put_ahead(self, by: timedelta) -> None:
        """Puts the clock of all operators forward, or back."""
        self.ahead = by
        write(self.place.ahead, str(by.total_seconds()))

    async def later(self, seconds: float, name: str = "fix") -> None:
        """Lets the operator find that so much time has passed, at the next thing that happens to a job."""
        self.put_ahead(self.ahead + timedelta(seconds=seconds))
        with suppress(NotFound):  # the operator has looked by itself, and its time was over
            await super().later(0, name)

    def start(self) -> None:
        """Starts the process, once the loop turns."""
        self._starting = asyncio.create_task(self._start())

    async def _start(self) -> None:
        config, kubeconfig = self._folder / "config.json", self._folder / "kubeconfig"
        config.write_text(self.settings.model_dump_json(by_alias=True))
        user = {"tokenFile": str(self.place.token)}
        kubeconfig.write_text(json.dumps(_kubeconfig({"server": self.proxy.url}, user)))
        own = {"KUBECONFIG": str(kubeconfig), "HOME": str(self._folder), "AHEAD": str(self.place.ahead)}
        with (self._folder / "log").open("ab") as log:
            command = (sys.executable, "-W", "error", str(PROGRAM), "--config", str(config))
            self._process = await asyncio.create_subprocess_exec(
                *command, stdout=log, stderr=log, stdin=DEVNULL, env=own
            )

    async def stop(self) -> None:
        """SIGTERM."""
        await self.end(signal.SIGTERM)

    async def kill(self) -> None:
        """SIGKILL."""
        await self.end(signal.SIGKILL)

    async def end(self, number: signal.Signals) -> int:
        """Sends a signal and waits for the process; its exit code."""
        await self._starting
        assert self._process is not None
        with suppress(ProcessLookupError):
            self._process.send_signal(number)
        return await self.exit_code()

    async def exit_code(self) -> int:
        """Waits for the process to end."""
        assert self._process is not None
        async with asyncio.timeout(STOP_SECONDS):
            return await self._process.wait()

    async def submit(self, name: str = "fix", *, where: str = "", **spec: Any) -> Object:
        """Makes a job whose Pods go where they are meant to."""
        return await super().submit(name, where=where, **{"runner": self.runner, **spec})

    async def pod(self, name: str = "fix-1", **having: Any) -> Object:
        """The Pod once the scheduler has put it on a node."""

        async def is_bound() -> Object | None:
            found = await super(OnCluster, self).pod(name, **having)
            return found if found["spec"].get("nodeName") else None

        found: Object = await until(is_bound, self.within)
        return found

    async def end_agent(self, message: str = "", code: int = 0, name: str = "fix-1", phase: str = "") -> None:
        """Lets the agent end, and its Pod with it."""
        await super().end_agent(message, code, name, phase or ("Failed" if code else "Succeeded"))

    async def is_empty(self) -> bool:
        """Whether there is no job and no Pod of one."""
        return await self.items(AGENT_JOBS) == await self.pods() == []

    async def let_go(self, namespace: str) -> None:
        """Takes away what is deleted on the node that is none, as its kubelet would, for ever."""
        while True:
            with suppress(ApiError):
                async for page in self.client.pages(PODS, namespace):
                    names = [pod["metadata"]["name"] for pod in filter(_goes, page.items)]
                    await asyncio.gather(*(self._let_go(PODS.path(namespace, name)) for name in names))
            await asyncio.sleep(KUBELET_SECONDS)

    async def _let_go(self, path: str) -> None:
        with suppress(ApiError):  # the next look finds it again
            await self._transport.send(Request(method="DELETE", path=path, body=b'{"gracePeriodSeconds":0}'))


def _goes(pod: Object) -> bool:
    return pod["spec"].get("nodeName") == NODE and "deletionTimestamp" in pod["metadata"]


def _kubeconfig(cluster: Object, user: Object) -> Object:
    return {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    }


@asynccontextmanager
async def on_cluster(place: Place, **settings: Any) -> AsyncIterator[OnCluster]:
    """An operator at work in an empty namespace."""
    connection = await connect(lambda *_: None, place.kubeconfig)
    nobody = await connect(lambda *_: None, place.nobody)
    async with connection.session() as session, FaultProxy(nobody.server, nobody.tls) as proxy:
        found = OnCluster(place, HttpTransport(session, connection.server), settings)
        patient = HttpTransport(session, connection.server, PATIENCE._replace(request=WITHIN))
        for path, query in _all_of_it(NAMESPACE):  # kubectl would take a second for each of many tests
            await patient.send(Request(method="DELETE", path=path, query=query))
        await until(found.is_empty, found.within)
        found.put_ahead(timedelta())
        found.go_through(proxy)
        found.start()
        kubelet = asyncio.create_task(found.let_go(NAMESPACE))
        try:
            yield found
        finally:
            await found.kill()
            kubelet.cancel()
            await asyncio.gather(kubelet, return_exceptions=True)
