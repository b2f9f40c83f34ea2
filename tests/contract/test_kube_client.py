"""What `agentjob_kube` may rely on: the same questions to the fake cluster and to the real API server."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from agentjob_api.names import LABEL_JOB, Key
from agentjob_kube.client import PAGE, Client, Happening, Object, Page
from agentjob_kube.connect import Connection, connect
from agentjob_kube.errors import AlreadyExists, Conflict, Gone, Invalid, NotFound, Refused
from agentjob_kube.listwatch import Changed, Delta, ListWatch, Removed, Replaced, Selection
from agentjob_kube.resources import AGENT_JOBS, EVENTS, PODS
from agentjob_kube.transport import Request
from agentjob_kube.wire import HttpTransport
from agentjob_operator.handlers import NO_JOB
from clients import CLUSTER, cluster_namespace
from fake_cluster import FakeCluster

WITHIN = 20.0


@dataclass
class Place:
    """A namespace on a cluster, and a client for it."""

    client: Client
    namespace: str

    def key(self, name: str) -> Key:
        return Key(self.namespace, name)

    async def make_job(self, name: str = "job") -> Object:
        return await self.client.create(AGENT_JOBS, self.namespace, job(name))

    async def make_pod(self, name: str, **labels: str) -> Object:
        return await self.client.create(PODS, self.namespace, pod(name, labels))


@pytest.fixture(scope="session")
def real_namespace() -> Iterator[str]:
    with cluster_namespace("kube") as name:
        yield name


@pytest.fixture(params=[pytest.param("fake"), pytest.param("real", marks=pytest.mark.cluster)])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    if request.param == "real":
        namespace = request.getfixturevalue("real_namespace")
        async for found in opened(await connect(ignore, Path(CLUSTER / "kubeconfig")), namespace):
            yield found
        return
    with FakeCluster() as cluster:
        cluster.bookmark_every(0.2)
        async for found in opened(to(cluster), "ns"):
            yield found


def to(cluster: FakeCluster) -> Connection:
    return Connection(server=cluster.url, authorization=nobody, observe=ignore)


async def opened(connection: Connection, namespace: str) -> AsyncIterator[Place]:
    async with connection.session() as session:
        found = Place(Client(HttpTransport(session, connection.server)), namespace)
        yield found
        for kind in (AGENT_JOBS, PODS):
            async with aclosing(found.client.pages(kind, namespace)) as pages:
                async for page in pages:
                    for item in page.items:
                        await found.client.delete(kind, found.key(item["metadata"]["name"]), item["metadata"]["uid"])


async def nobody() -> None:
    return None


def ignore(verb: str, code: str) -> None:
    pass


def job(name: str, **spec: Any) -> Object:
    return {
        "apiVersion": "agentjob.dev/v1alpha1",
        "kind": "AgentJob",
        "metadata": {"name": name},
        "spec": {"prompt": "Say hello.", **spec},
    }


def pod(name: str, labels: dict[str, str]) -> Object:
    """A Pod that no scheduler takes, so that it stays as it is."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "schedulerName": "nobody",
            "activeDeadlineSeconds": 100,
            "containers": [{"name": "agent", "image": "none:1"}],
        },
    }


def with_status(body: Object, **status: Any) -> Object:
    return {**body, "status": status}


async def test_what_was_created_can_be_read(place: Place) -> None:
    made = await place.make_job()

    found = await place.client.get(AGENT_JOBS, place.key("job"))

    assert found["metadata"]["uid"] == made["metadata"]["uid"]
    assert found["spec"]["prompt"] == "Say hello."
    assert found["status"]["phase"] == "Pending"


async def test_a_list_of_a_name_that_none_can_have_tells_from_where_on_to_watch(place: Place) -> None:
    made = await place.make_job()

    listed = await place.client._send(Request(path=AGENT_JOBS.path(place.namespace), query={"fieldSelector": NO_JOB}))

    assert listed["items"] == []
    assert int(listed["metadata"]["resourceVersion"]) >= int(made["metadata"]["resourceVersion"])


@pytest.mark.parametrize(
    ("kind", "body"),
    [pytest.param(AGENT_JOBS, job("twice"), id="job"), pytest.param(PODS, pod("twice", {}), id="pod")],
)
async def test_a_name_is_taken_once(place: Place, kind: Any, body: Object) -> None:
    await place.client.create(kind, place.namespace, body)

    with pytest.raises(AlreadyExists, match="already exists"):
        await place.client.create(kind, place.namespace, body)


async def test_a_field_nobody_knows_is_refused(place: Place) -> None:
    body = pod("odd", {})
    body["spec"]["unheardOf"] = 1

    with pytest.raises(Invalid, match="unheardOf"):
        await place.client.create(PODS, place.namespace, body)


async def test_what_is_not_there_is_not_found(place: Place) -> None:
    with pytest.raises(NotFound, match="nothing"):
        await place.client.get(AGENT_JOBS, place.key("nothing"))
    with pytest.raises(NotFound):
        await place.client.delete(PODS, place.key("nothing"), "some-uid")
    with pytest.raises(NotFound):
        await place.client.patch(PODS, place.key("nothing"), {"spec": {"activeDeadlineSeconds": 1}})


async def test_a_status_is_replaced_whole_and_the_spec_stays(place: Place) -> None:
    made = await place.make_job()
    body = {key: made[key] for key in ("apiVersion", "kind")} | {"metadata": identity(made)}
    first = await place.client.replace_status(AGENT_JOBS, with_status(body, phase="Running", podName="job-1"))
    body["metadata"] = identity(first)

    second = await place.client.replace_status(AGENT_JOBS, with_status(body, phase="Failed"))

    assert second["status"]["phase"] == "Failed"
    assert "podName" not in second["status"]
    assert second["spec"] == made["spec"]
    assert second["metadata"]["generation"] == 1


async def test_a_status_is_written_only_over_what_was_read(place: Place) -> None:
    made = await place.make_job()
    body = {key: made[key] for key in ("apiVersion", "kind")} | {"metadata": identity(made)}
    await place.client.replace_status(AGENT_JOBS, with_status(body, phase="Running"))

    with pytest.raises(Conflict, match="modified") as refused:
        await place.client.replace_status(AGENT_JOBS, with_status(body, phase="Failed"))

    assert not isinstance(refused.value, AlreadyExists)


async def test_a_status_is_not_written_over_another_job_of_that_name(place: Place) -> None:
    made = await place.make_job()
    body = {key: made[key] for key in ("apiVersion", "kind")} | {"metadata": identity(made)}
    body["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"

    with pytest.raises(Conflict):
        await place.client.replace_status(AGENT_JOBS, with_status(body, phase="Failed"))


def identity(body: Object) -> Object:
    return {key: body["metadata"][key] for key in ("name", "namespace", "uid", "resourceVersion")}


async def test_a_change_of_the_spec_is_a_new_generation(place: Place) -> None:
    await place.make_job()

    changed = await place.client.patch(AGENT_JOBS, place.key("job"), {"spec": {"suspend": True}})

    assert changed["metadata"]["generation"] == 2
    assert changed["spec"] == {**changed["spec"], "suspend": True, "prompt": "Say hello."}


async def test_a_pods_deadline_can_be_brought_forward_and_noted(place: Place) -> None:
    made = await place.make_pod("stopped")
    patch = {
        "metadata": {"uid": made["metadata"]["uid"], "annotations": {"agentjob.dev/stop-asked": "now"}},
        "spec": {"activeDeadlineSeconds": 1},
    }

    stopped = await place.client.patch(PODS, place.key("stopped"), patch)

    assert stopped["spec"]["activeDeadlineSeconds"] == 1
    assert stopped["metadata"]["annotations"]["agentjob.dev/stop-asked"] == "now"


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        pytest.param({"activeDeadlineSeconds": 200}, "activeDeadlineSeconds", id="a later deadline"),
        pytest.param({"restartPolicy": "OnFailure"}, "may not change fields", id="anything else"),
    ],
)
async def test_nothing_else_of_a_pod_can_be_changed(place: Place, spec: Object, why: str) -> None:
    await place.make_pod("fixed")

    with pytest.raises(Invalid, match=why):
        await place.client.patch(PODS, place.key("fixed"), {"spec": spec})


def applied(version: str, reason: str = "Archived") -> Object:
    """What one of several writers says of a job."""
    return {
        "apiVersion": "agentjob.dev/v1alpha1",
        "kind": "AgentJob",
        "metadata": {"name": "job", "resourceVersion": version},
        "status": {"conditions": [condition("Archived", reason)]},
    }


def condition(kind: str, reason: str) -> Object:
    at = "2026-11-22T10:00:00Z"
    return {"type": kind, "status": "True", "reason": reason, "message": "", "lastTransitionTime": at}


def reasons(job: Object) -> dict[str, str]:
    return {each["type"]: each["reason"] for each in job["status"]["conditions"]}


async def test_two_write_one_status_and_neither_takes_away_what_the_other_has_said(place: Place) -> None:
    async def apply(body: Object) -> Object:
        body["metadata"]["namespace"] = place.namespace
        return await place.client.apply_status(AGENT_JOBS, body, "agentjob-gateway")

    job = await place.make_job()
    whole = {"phase": "Succeeded", "conditions": [condition("Ready", "Completed")]}
    first = await place.client.replace_status(AGENT_JOBS, {**job, "status": whole})
    second = await apply(applied(first["metadata"]["resourceVersion"]))
    assert reasons(second) == {"Ready": "Completed", "Archived": "Archived"}
    assert second["status"]["phase"] == "Succeeded"

    with pytest.raises(Conflict):
        await place.client.replace_status(AGENT_JOBS, {**first, "status": whole})
    with pytest.raises(Conflict):
        await apply(applied(first["metadata"]["resourceVersion"], "ArchivedWithGaps"))
    third = await place.client.replace_status(AGENT_JOBS, {**second, "status": {**second["status"], "costUSD": "1"}})
    fourth = await apply(applied(third["metadata"]["resourceVersion"], "ArchivedWithGaps"))
    assert reasons(fourth) == {"Ready": "Completed", "Archived": "ArchivedWithGaps"}
    assert fourth["status"]["costUSD"] == "1"

    same = await apply(applied(fourth["metadata"]["resourceVersion"], "ArchivedWithGaps"))
    assert same["metadata"]["resourceVersion"] == fourth["metadata"]["resourceVersion"]


async def test_a_status_is_applied_to_no_job_that_is_not_there(place: Place) -> None:
    body = applied("1")
    body["metadata"] = {"name": "none", "namespace": place.namespace}
    with pytest.raises(NotFound):
        await place.client.apply_status(AGENT_JOBS, body, "agentjob-gateway")


async def test_a_patch_is_for_one_pod_only(place: Place) -> None:
    await place.make_pod("another")

    with pytest.raises(Invalid, match=r"metadata\.uid"):
        await place.client.patch(
            PODS, place.key("another"), {"metadata": {"uid": "not-it"}, "spec": {"activeDeadlineSeconds": 1}}
        )


@pytest.mark.parametrize("kind", [pytest.param(AGENT_JOBS, id="job"), pytest.param(PODS, id="pod")])
async def test_only_the_object_that_is_meant_is_deleted(place: Place, kind: Any) -> None:
    made = await (place.make_job("one") if kind is AGENT_JOBS else place.make_pod("one"))

    with pytest.raises(Conflict, match="UID"):
        await place.client.delete(kind, place.key("one"), "not-it")
    await place.client.delete(kind, place.key("one"), made["metadata"]["uid"])

    with pytest.raises(NotFound):
        await place.client.get(kind, place.key("one"))


async def test_a_pod_on_a_node_is_given_its_grace_and_goes_at_once_without(place: Place) -> None:
    body = pod("placed", {})
    body["spec"] |= {"nodeName": "nowhere", "terminationGracePeriodSeconds": 30}
    uid = (await place.client.create(PODS, place.namespace, body))["metadata"]["uid"]

    for _ in range(2):
        leaving = await place.client.delete(PODS, place.key("placed"), uid)
        assert leaving["metadata"]["deletionGracePeriodSeconds"] == 30
    await place.client.delete(PODS, place.key("placed"), uid, grace=0)

    with pytest.raises(NotFound):
        await place.client.get(PODS, place.key("placed"))


async def test_an_event_is_recorded(place: Place) -> None:
    made = await place.make_job()
    body = {
        "metadata": {"name": f"job.{token_hex(4)}"},
        "eventTime": "2026-11-22T10:00:00.000000Z",
        "type": "Warning",
        "reason": "ImagePull",
        "note": "no such image",
        "action": "Reconcile",
        "reportingController": "agentjob-operator",
        "reportingInstance": "agentjob-operator",
        "regarding": {key: made[key] for key in ("apiVersion", "kind")}
        | {key: made["metadata"][key] for key in ("name", "namespace", "uid")},
    }

    recorded = await place.client.create(EVENTS, place.namespace, body)

    assert recorded["reason"] == "ImagePull"


async def test_a_list_has_only_what_the_selector_takes(place: Place) -> None:
    await place.make_pod("ours", **{LABEL_JOB: "job"})
    await place.make_pod("theirs", app="other")

    found = [item["metadata"]["name"] async for page in place.client.pages(PODS, place.namespace, LABEL_JOB)
             for item in page.items]  # fmt: skip

    assert found == ["ours"]


async def test_all_pages_of_a_list_are_of_the_moment_of_the_first_and_say_so(place: Place) -> None:
    names = [f"job-{number:03}" for number in range(PAGE + 1)]
    await asyncio.gather(*(place.make_job(name) for name in names))
    found: list[Page] = []

    async with aclosing(place.client.pages(AGENT_JOBS, place.namespace)) as pages:
        async for page in pages:
            found.append(page)
            await place.make_job(f"job-later-{len(found)}")

    assert [item["metadata"]["name"] for page in found for item in page.items] == names
    assert len(found) == 2
    assert found[0].version == found[1].version


async def test_the_log_of_a_pod_that_never_ran_is_refused(place: Place) -> None:
    await place.make_pod("silent")

    with pytest.raises(NotFound):
        await place.client.log_tail(place.key("nothing"), "agent", lines=1, limit_bytes=100)


async def watched(place: Place, since: str, last: str) -> list[Happening]:
    """What happens to Pods of jobs after a version, up to the first thing of this type; bookmarks are left out."""
    seen: list[Happening] = []
    async with aclosing(place.client.watch(PODS, place.namespace, LABEL_JOB, since)) as watch, asyncio.timeout(WITHIN):
        async for happening in watch:
            if happening.type != "BOOKMARK":
                seen.append(happening)
            if happening.type == last:
                break
    return seen


async def test_a_watch_tells_of_what_no_longer_fits_as_gone_as_it_was_when_it_did(place: Place) -> None:
    made = await place.make_pod("relabelled", **{LABEL_JOB: "a"})
    since = made["metadata"]["resourceVersion"]
    for labels in ({LABEL_JOB: None}, {LABEL_JOB: "b"}):
        await place.client.patch(PODS, place.key("relabelled"), {"metadata": {"labels": labels}})

    seen = await watched(place, since, "ADDED")

    told = [(happening.type, happening.object["metadata"]["labels"][LABEL_JOB]) for happening in seen]
    assert told == [("DELETED", "a"), ("ADDED", "b")]
    versions = [int(happening.object["metadata"]["resourceVersion"]) for happening in seen]
    assert int(since) < versions[0] < versions[1]


async def test_a_watch_tells_what_happens_after_a_version(place: Place) -> None:
    first = await place.make_pod("first", **{LABEL_JOB: "a"})
    since = first["metadata"]["resourceVersion"]
    await place.make_pod("unseen", app="other")
    second = await place.make_pod("second", **{LABEL_JOB: "b"})
    await place.client.patch(PODS, place.key("second"), {"spec": {"activeDeadlineSeconds": 1}})
    await place.client.delete(PODS, place.key("second"), second["metadata"]["uid"])

    seen = await watched(place, since, "DELETED")

    told = [(happening.type, happening.object["metadata"]["name"]) for happening in seen]
    assert told == [(kind, "second") for kind in ("ADDED", "MODIFIED", "MODIFIED", "DELETED")]
    versions = [int(happening.object["metadata"]["resourceVersion"]) for happening in seen]
    assert versions == sorted(set(versions))
    assert versions[0] > int(since)


async def test_a_watch_from_a_forgotten_version_says_gone() -> None:
    """On the fake alone: a young API server remembers everything, and none forgets when it is told to."""
    with FakeCluster() as cluster:
        async for place in opened(to(cluster), "ns"):
            await place.make_pod("first")
            cluster.compact()
            async with aclosing(place.client.watch(PODS, "ns", "", "1")) as watch, asyncio.timeout(WITHIN):
                with pytest.raises(Gone):
                    await anext(watch)


async def test_list_and_watch_together_miss_nothing(place: Place) -> None:
    before = await place.make_pod("before", **{LABEL_JOB: "a"})
    listwatch = ListWatch(place.client, Selection(PODS, place.namespace, LABEL_JOB), name_of)
    told: list[Delta[str]] = []

    async with aclosing(listwatch.deltas()) as deltas, asyncio.timeout(WITHIN):
        async for delta in deltas:
            told.append(delta)
            match delta:
                case Replaced():
                    await place.make_pod("after", **{LABEL_JOB: "b"})
                case Changed("after"):
                    await place.client.delete(PODS, place.key("before"), before["metadata"]["uid"])
                case Changed():
                    pass
                case Removed():
                    break

    assert isinstance(told[0], Replaced)
    assert told[0].objects == ("before",)
    assert Changed("after") in told
    assert told[-1] == Removed("before")


def name_of(body: Object) -> str:
    name: str = body["metadata"]["name"]
    return name


async def test_a_refusal_says_what_the_server_said(place: Place) -> None:
    with pytest.raises(Refused) as refused:
        await place.client.create(PODS, place.namespace, {"kind": "Pod", "apiVersion": "v1", "metadata": {}})

    assert refused.value.status == 422
    assert refused.value.reason == "Invalid"
    assert "metadata.name" in str(refused.value)
