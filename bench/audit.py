"""Lines counted by seq on their way to clients: gateways are killed, logs cut off and turned over, Pods deleted."""

import asyncio
import itertools
import json
import re
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import aiohttp

from bench.figures import Measurement, Row
from bench.place import GATEWAYS, NAMESPACE, Place
from bench.tally import Tally, Verdict, total
from deploy.kind.errors import ClusterError

PODS = 4
REPLICAS = 2
"""Of the gateway: the chart's own number."""
RATE = 3_300.0
"""Lines a second, of all Pods together."""
SIZE = 400
"""Bytes of a line: each log is turned over twice a minute, at 10 MiB, for which the kubelet looks every 10 s."""
FAULT_SECONDS = 8.0
"""From one fault to the next."""
KILL = ("--grace-period=0", "--force")
CUT_SECONDS = 0.1
"""For so long packets are answered with a reset: every follow sends some in it, for a Pod prints every 0.02 s."""
PATIENCE = 180.0
"""How long the last line may take after the last one was printed, and a log to be replayed from the archive."""
RETRY_SECONDS = 0.1
"""How long a client waits before it comes back."""
EVENT = re.compile(rb"id: [^/\n]+/(?:1-(\d+)|(end))\n(?:event: (\w+)\n)?data: ")
GAP = re.compile(rb"event: gap\ndata: (\{[^\n]*\})")
PRINTED = re.compile(rb'"at":(\d+),')


class Watcher:
    """As an EventSource: what is not complete is dropped, and it comes back with the last id it has got."""

    def __init__(self, place: Place, job: str) -> None:
        self.tally = Tally()
        self.connections = 0
        self.is_done = False
        self.gaps: list[tuple[float, int, int | None, float | None]] = []
        """When it was told of lost lines, of which, and when the line after them was printed, if that came with it."""
        self._url = f"{place.door.url}/v1/jobs/{job}/events"
        self._headers = place.headers
        self._job = job
        self._last = ""
        self._answer: aiohttp.ClientResponse | None = None

    async def run(self) -> None:
        """Watches to the end."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, sock_read=60)) as session:
            while not self.is_done:
                with suppress(aiohttp.ClientError, TimeoutError):
                    await self._read(session)
                await asyncio.sleep(RETRY_SECONDS)

    async def _read(self, session: aiohttp.ClientSession) -> None:
        headers = {**self._headers, **({"Last-Event-ID": f"{self._job}/{self._last}"} if self._last else {})}
        rest = b""
        async with session.get(self._url, headers=headers) as answer:
            answer.raise_for_status()
            self.connections += 1
            self._answer = answer
            async for piece in answer.content.iter_any():
                data = rest + piece
                cut = data.rfind(b"\n\n") + 2
                if cut > 1:
                    self._take(data[:cut])
                    data = data[cut:]
                rest = data

    def _take(self, events: bytes) -> None:
        for seq, end, _ in EVENT.findall(events):
            self.is_done = self.is_done or bool(end)
            if seq:
                self._last = f"1-{int(seq)}"
                self.tally.take([int(seq)])
        for told in GAP.finditer(events):
            gap, after = json.loads(told[1]), PRINTED.search(events, told.end())
            self.tally.tell(gap["from"], gap["to"])
            self.gaps.append((time.time(), gap["from"], gap["to"], int(after[1]) / 1e9 if after else None))

    def cut(self) -> None:
        """Loses its connection."""
        if self._answer is not None:
            self._answer.close()


class Follower:
    """As a person's script: `kubectl logs --follow`, begun again at the time of the last line it has shown."""

    def __init__(self, place: Place, job: str, last: int) -> None:
        self.tally = Tally()
        self.connections = 0
        self._place = place
        self._pod = f"{job}-1"
        self._last = last
        self._since = ""
        self._process: asyncio.subprocess.Process | None = None

    async def run(self) -> None:
        """Follows until it has shown the last line, or a log that has ended holds no more."""
        is_over = shows_last = False
        while not (is_over or shows_last):
            is_over = await asyncio.to_thread(self._has_ended)
            shows_last = await self._follow()
            await asyncio.sleep(RETRY_SECONDS)

    def _has_ended(self) -> bool:
        phase = self._place.stack.get("pod", NAMESPACE, self._pod)["status"]["phase"]
        return phase in {"Succeeded", "Failed"}

    async def _follow(self) -> bool:
        since = [f"--since-time={self._since}"] if self._since else []
        words = ("-n", NAMESPACE, "logs", self._pod, "--follow", "--timestamps", *since)
        environment = self._place.stack.program.variables()
        pipe, none = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        self._process = process = await asyncio.create_subprocess_exec(
            "kubectl", *words, env=environment, stdout=pipe, stderr=none, limit=2**20
        )
        self.connections += 1
        assert process.stdout is not None
        shows_last = False
        async for line in process.stdout:
            shows_last = self._take(line) or shows_last
        await process.wait()
        return shows_last

    def _take(self, line: bytes) -> bool:
        time_, _, rest = line.partition(b" ")
        found = re.match(rb'\{"seq":(\d+),', rest)
        if found is None or not line.endswith(b"\n"):
            return False
        self._since = time_.decode()
        self.tally.take([int(found[1])])
        return int(found[1]) == self._last

    def cut(self) -> None:
        """Loses its connection."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()


class Faults:
    """What happens meanwhile, in turn; each also cuts off every `kubectl logs` once."""

    def __init__(self, place: Place, watchers: list[Watcher], followers: list[Follower], seconds: float) -> None:
        """`seconds`: for how long lines are printed."""
        self.happened: list[tuple[float, str]] = []
        """When, and what."""
        self.unreachable: list[tuple[float, float]] = []
        """From when to when no gateway reached the API server."""
        self.files: set[str] = set()
        """Every file into which a log was turned over, with the second of it in its name."""
        self._place = place
        self._watchers = watchers
        self._followers = followers
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Lets faults happen for as long as lines are printed."""
        end = time.monotonic() + self._seconds
        faults: tuple[Callable[[], None], ...] = (self._cut_clients, self._cut_follows, self._kill_one_gateway)
        for fault in itertools.cycle(faults):
            if time.monotonic() + FAULT_SECONDS > end:
                return
            await asyncio.sleep(FAULT_SECONDS)
            for follower in self._followers:
                follower.cut()
            self.happened.append((time.time(), fault.__name__.strip("_").replace("_", " ")))
            await asyncio.to_thread(fault)

    def _cut_clients(self) -> None:
        for watcher in self._watchers:
            self._loop.call_soon_threadsafe(watcher.cut)

    def _cut_follows(self) -> None:
        """Resets every follow of the gateways at once; they can come back as soon as they like."""
        pods = json.loads(self._place.kubectl("get", "pods", *GATEWAYS, "-o", "json"))["items"]
        sources = ",".join(each["status"]["podIP"] for each in pods if "podIP" in each["status"])
        rule = f"INPUT -s {sources} -p tcp --dport 6443 -j REJECT --reject-with tcp-reset"
        cut = f"date +%s.%N; iptables -w -I {rule}; sleep {CUT_SECONDS:g}; iptables -w -D {rule}; date +%s.%N"
        begin, end = self._in_node(cut)
        self.unreachable.append((float(begin), float(end)))
        # Some files go while they are looked for.
        self.files.update(self._in_node(f"find /var/log/pods -path '*/{NAMESPACE}_audited-*' -name '*.log.*' || true"))

    def _in_node(self, script: str) -> list[str]:
        return self._place.stack.program.run("docker", "exec", self._place.node, "sh", "-c", script, timeout=20).split()

    def _kill_one_gateway(self) -> None:
        names = self._place.kubectl("get", "pods", *GATEWAYS, "--sort-by=.metadata.creationTimestamp", "-o", "name")
        self._place.kubectl("delete", names.split()[0], *KILL)


async def measure(place: Place, lines: int) -> tuple[list[Row], Any]:
    """The rows, and what has happened."""
    each, seconds = lines // PODS, lines / RATE
    await asyncio.to_thread(place.scale, REPLICAS)
    jobs = [f"audited-{number}" for number in range(PODS)]
    for job in jobs:
        await asyncio.to_thread(place.talk, job, lines=each, rate=RATE / PODS, size=SIZE)
    watchers = [Watcher(place, job) for job in jobs]
    followers = [Follower(place, job, each + 1) for job in jobs]
    faults = Faults(place, watchers, followers, seconds)
    await together(seconds + PATIENCE, each + 1, watchers, followers, faults)
    late = [Watcher(place, job) for job in jobs]
    reasons = [await asyncio.to_thread(archived, place, job) for job in jobs]
    await asyncio.to_thread(place.kubectl, "delete", "pods", *(f"{job}-1" for job in jobs))
    await together(PATIENCE, each + 1, late, [])
    ours, theirs, again = (
        total(client.tally.verdict(each + 1) for client in side) for side in (watchers, followers, late)
    )
    details = {
        "faults": faults.happened,
        "unreachable": faults.unreachable,
        "turned over": sorted(faults.files),
        "connections": [client.connections for client in (*watchers, *followers)],
        "gaps": [watcher.gaps for watcher in (*watchers, *late)],
        "archived": reasons,
        "gateway": ours._asdict(),
        "kubectl": theirs._asdict(),
        "replayed": again._asdict(),
    }
    return rows(ours, theirs, again), details


def archived(place: Place, job: str) -> str:
    """The reason of a job's condition Archived, once it is there."""
    place.stack.wait(NAMESPACE, f"agentjob/{job}", "condition=Archived", PATIENCE)
    conditions = place.stack.get("agentjob", NAMESPACE, job)["status"]["conditions"]
    return next(str(each["reason"]) for each in conditions if each["type"] == "Archived")


async def together(
    seconds: float, lines: int, watchers: list[Watcher], followers: list[Follower], faults: Faults | None = None
) -> None:
    """Lets all run to their ends.

    Raises:
        ClusterError: they have not ended after so many seconds.
    """
    try:
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as tasks:
            for client in (*watchers, *followers, *([faults] if faults else [])):
                tasks.create_task(client.run())
    except TimeoutError as error:
        missing = [lines - client.tally.came for client in (*watchers, *followers)]
        raise ClusterError(f"The audit has not ended after {seconds:g} s; missing: {missing}") from error


def rows(ours: Verdict, theirs: Verdict, again: Verdict) -> list[Row]:
    """The table's rows."""
    against = "`kubectl logs -f --since-time`"

    def counted(what: str, mine: int, other: int) -> Measurement:
        name = f"{what}, of {ours.lines:,} lines"
        return Measurement(
            name=name, values=(float(mine),), unit="lines", goal=0, theirs=(float(other),), against=against
        )

    return [
        counted("lost", ours.lost, theirs.lost),
        counted("doubled", ours.doubled, theirs.doubled),
        counted("lost without a word", ours.silent, theirs.silent),
        Measurement(
            name=f"lost or doubled once the Pods are deleted, of {again.lines:,} lines",
            values=(float(again.lost + again.doubled),),
            unit="lines",
            goal=0,
        ),
    ]
