"""API keys from the command line to the gate, as a process against a cluster, when all goes well and when not."""

import argparse
import asyncio
import base64
import json
import logging
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_bytes

import aiohttp
import pytest
import yaml

from agentjob_api.names import Key
from agentjob_gateway import keys
from agentjob_gateway.caller import Limits, Role, Verb
from agentjob_gateway.errors import Unauthenticated
from agentjob_gateway.gate import Authenticator, Gate, KeyDirectory
from agentjob_gateway.keyring import RANDOM_BYTES, Keyring, Minted, Terms, mint, parse
from agentjob_gateway.keysecret import KeySecret, files
from agentjob_gateway.tokens import Reviews
from agentjob_kube.client import Client, Object
from agentjob_kube.errors import Conflict
from agentjob_kube.resources import SECRETS
from agentjob_kube.transport import Request
from agentjob_kube.wire import HttpTransport
from clients import Answer
from fake_cluster import FakeCluster, Fault
from fake_cluster.refusals import Refusal

SECRET = Key("system", "keys")
LIMITS = Limits(requests_per_minute=600, concurrent_jobs=50, streams=100)
CREATE = ("create", "ci", "--namespace", "agents", "--role", "submit")


async def run(*arguments: str, home: Path, **environment: str) -> Answer:
    """`python -m agentjob_gateway.keys`, to its end."""
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "agentjob_gateway.keys", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"HOME": str(home), "COLUMNS": "120", **environment},
    )
    async with asyncio.timeout(30):
        output, errors = await running.communicate()
    assert running.returncode is not None
    assert b"Traceback" not in errors
    return Answer(running.returncode, output.decode(), errors.decode())


def kubeconfig(path: Path, server: str) -> Path:
    context = {"name": "here", "context": {"cluster": "c", "user": "u"}}
    cluster = {"name": "c", "cluster": {"server": server}}
    user = {"name": "u", "user": {"token": "s3cret-t0ken"}}
    path.write_text(
        json.dumps({"current-context": "here", "contexts": [context], "clusters": [cluster], "users": [user]})
    )
    return path


@dataclass
class Place:
    """A fake cluster, with a client and a command line that reach it."""

    cluster: FakeCluster
    transport: HttpTransport
    home: Path

    @property
    def client(self) -> Client:
        return Client(self.transport)

    async def keys(self, *arguments: str) -> Answer:
        """The command, told by its environment where the cluster and the Secret are."""
        path = kubeconfig(self.home / "kubeconfig", self.cluster.url)
        return await run(*arguments, home=self.home, KUBECONFIG=str(path), AGENTJOB_KEYS_SECRET=str(SECRET))

    async def secret(self) -> Object:
        return await self.client.get(SECRETS, SECRET)

    async def keyring(self) -> Keyring:
        return parse(files(await self.secret()))[0]

    async def put(self, **entries: bytes) -> None:
        """A Secret of somebody's with these entries."""
        data = {name: base64.b64encode(content).decode() for name, content in entries.items()}
        await self.client.create(SECRETS, SECRET.namespace, {"metadata": {"name": SECRET.name}, "data": data})

    async def put_key(self, name: str = "ci") -> Minted:
        """A Secret with one key of this name, and nothing else."""
        terms = Terms.model_validate({"name": name, "namespace": "agents", "role": "submit"})
        minted = mint(terms, datetime.now(UTC), token_bytes(RANDOM_BYTES))
        await self.put(**{minted.key.file: minted.key.document()})
        return minted

    async def authenticator(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Authenticator:
        """The gateway's, with the Secret as the kubelet mounts it."""
        mount = self.home / "mount"
        mount.mkdir()
        for name, content in files(await self.secret()).items():
            (mount / name).write_bytes(content)
        return Authenticator(keys=KeyDirectory(mount), tokens=None, limits=LIMITS, clock=clock)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    with FakeCluster() as cluster:
        async with aiohttp.ClientSession() as session:
            yield Place(cluster, HttpTransport(session, cluster.url), tmp_path)


async def test_a_key_that_was_made_opens_the_gate_and_is_nowhere_but_on_stdout(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    made = await place.keys(*CREATE, "--streams", "3", "--expires-in", "90d")
    text = made.expect_success().removesuffix("\n")
    authenticator = await place.authenticator()

    caller = await authenticator.caller(text)
    with pytest.raises(Unauthenticated):
        await authenticator.caller(text[:-1])

    assert (caller.name, caller.role, caller.namespace, caller.limits.streams) == ("key:ci", Role.SUBMIT, "agents", 3)
    assert await Gate(Reviews(place.client)).allows(caller, Verb.SUBMIT, "agents")
    signing_key = authenticator.keys.signing_key()
    assert signing_key is not None
    assert len(signing_key) == 32
    (kept,) = (await place.keyring()).keys.values()
    assert kept.expires_at == kept.created_at + timedelta(days=90)
    for said in (made.error, caplog.text, str(files(await place.secret())), json.dumps(await place.secret())):
        assert text not in said
        assert text[12:] not in said
    assert f'the key {kept.id} named "ci", with role submit in namespace agents, taken until' in made.error


async def test_a_second_key_leaves_everything_else_as_it_is(place: Place) -> None:
    await place.put_key()
    await KeySecret(place.client, SECRET).change(await place.secret(), {"tickets.key": b"signs"})
    before = await place.secret()

    (await place.keys("create", "bot", "--namespace", "other", "--role", "read")).expect_success()

    after = await place.secret()
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert {name: after["data"][name] for name in before["data"]} == before["data"]
    assert {key.name for key in (await place.keyring()).keys.values()} == {"ci", "bot"}


async def test_a_secret_that_is_there_gets_what_signs_tickets_as_well(place: Place) -> None:
    await place.put(README=b"of somebody's")

    (await place.keys(*CREATE)).expect_success()

    found = files(await place.secret())
    assert (found["README"], len(base64.b64decode(found["tickets.key"]))) == (b"of somebody's", 32)


async def test_a_secret_that_another_made_at_the_same_time_is_added_to(place: Place) -> None:
    await place.put_key("bot")
    place.cluster.fail(Fault("get", "secrets", refusal=Refusal(404, "NotFound", 'secrets "keys" not found')))

    (await place.keys(*CREATE)).expect_success()

    assert {key.name for key in (await place.keyring()).keys.values()} == {"ci", "bot"}


async def test_a_rotated_key_and_the_one_before_are_both_good_until_the_overlap_is_over(place: Place) -> None:
    old = (await place.put_key()).text
    rotated = await place.keys("rotate", "ci", "--overlap", "2h")
    new = rotated.expect_success().strip()
    now = datetime.now(UTC)
    authenticator = await place.authenticator(lambda: now)

    assert await authenticator.caller(old) == await authenticator.caller(new)
    assert f"The key {old[3:11]} of that name is taken until " in rotated.error
    now += timedelta(hours=2)

    assert (await authenticator.caller(new)).name == "key:ci"
    with pytest.raises(Unauthenticated):
        await authenticator.caller(old)


async def test_rotation_clears_away_what_has_expired(place: Place) -> None:
    key = (await place.put_key()).key
    expired = key.model_copy(update={"id": "expired0", "expires_at": datetime(2026, 1, 1, tzinfo=UTC)})
    await KeySecret(place.client, SECRET).change(await place.secret(), {expired.file: expired.document()})

    (await place.keys("rotate", "ci")).expect_success()

    assert expired.file not in files(await place.secret())
    assert len((await place.keyring()).keys) == 2


class Interrupted(HttpTransport):
    """A transport by which somebody else is quicker: they do something before the next PATCH."""

    do: Callable[[], Awaitable[None]] | None = None

    async def send(self, request: Request) -> bytes:
        if request.method == "PATCH" and (do := self.do) is not None:
            self.do = None
            await do()
        return await super().send(request)


async def test_a_key_that_is_revoked_during_a_rotation_does_not_come_back(place: Place) -> None:
    key = (await place.put_key()).key

    async def revoke() -> None:
        await KeySecret(place.client, SECRET).change(await place.secret(), {key.file: None})

    async with aiohttp.ClientSession() as session:
        transport = Interrupted(session, place.cluster.url)
        transport.do = revoke
        arguments = argparse.Namespace(name="ci", overlap=timedelta(days=1), print=False, secret=SECRET)
        with pytest.raises(Conflict):
            await keys._rotate(KeySecret(Client(transport), SECRET), arguments)

    assert (await place.keyring()).keys == {}


@pytest.mark.parametrize("by", ["name", "id", "id of a document that is broken"])
async def test_a_revoked_key_is_gone_and_the_others_stay(place: Place, by: str) -> None:
    key = (await place.put_key()).key
    secret = KeySecret(place.client, SECRET)
    await secret.change(await place.secret(), {"tickets.key": b"signs", "otherkey.json": b"{}"})
    if by == "id of a document that is broken":
        await secret.change(await place.secret(), {key.file: b"{"})

    revoked = await place.keys("revoke", key.name if by == "name" else key.id)

    revoked.expect_success()
    assert revoked.error.endswith(f"Revoked: {key.id}\n")
    assert set(files(await place.secret())) == {"tickets.key", "otherkey.json"}


async def test_all_keys_are_listed_without_anything_secret(place: Place) -> None:
    keep = {
        "name": "ci",
        "namespace": "agents",
        "role": "submit",
        "id": "abcdefgh",
        "hash": "0" * 64,
        "createdAt": "2026-01-02T03:04:05Z",
        "expiresAt": "2026-02-01T00:00:00+01:00",
    }
    other = {**keep, "name": "longer-name", "id": "12345678", "role": "read", "expiresAt": None}
    await place.put(
        **{
            "abcdefgh.json": json.dumps(keep).encode(),
            "12345678.json": json.dumps(other).encode(),
            "brokenid.json": b'{"name": "hunter2!"}',
        }
    )

    listed = await place.keys("list")

    assert listed.expect_success().splitlines() == [
        "ID        NAME         NAMESPACE  ROLE    CREATED               EXPIRES",
        "abcdefgh  ci           agents     submit  2026-01-02T03:04:05Z  2026-01-31T23:00:00Z (expired)",
        "12345678  longer-name  agents     read    2026-01-02T03:04:05Z  never",
    ]
    assert listed.error.startswith("Left out: brokenid.json: name: String should match pattern")
    assert "hunter2" not in listed.error


async def test_a_manifest_is_printed_without_any_cluster(tmp_path: Path) -> None:
    made = await run(*CREATE, "--print", "--secret", str(SECRET), home=tmp_path, KUBECONFIG="/nowhere")

    manifest = yaml.safe_load(made.expect_success())
    keyring, complaints = parse(files(manifest))
    text = made.error.splitlines()[-1]
    assert keyring.caller(text, datetime.now(UTC), LIMITS).name == "key:ci"
    assert ((manifest["kind"], manifest["metadata"]), complaints) == (
        ("Secret", {"name": "keys", "namespace": "system"}),
        (),
    )
    assert len(manifest["data"]) == 1
    assert text[12:] not in made.output
    assert "kubectl apply --server-side --force-conflicts --field-manager=agentjob-key-ci" in made.output


async def test_the_manifest_of_a_rotation_holds_both_keys_and_writes_nothing(place: Place) -> None:
    old = (await place.put_key()).text
    before = await place.secret()

    rotated = await place.keys("rotate", "ci", "--print")

    keyring, _ = parse(files(yaml.safe_load(rotated.expect_success())))
    now = datetime.now(UTC)
    assert keyring.caller(old, now, LIMITS) == keyring.caller(rotated.error.splitlines()[-1], now, LIMITS)
    assert [key.expires_at is None for key in keyring.keys.values() if key.id == old[3:11]] == [False]
    assert await place.secret() == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param((), "the following arguments are required: COMMAND", id="no command"),
        pytest.param(CREATE, "--secret NAMESPACE/NAME is needed, or AGENTJOB_KEYS_SECRET", id="no Secret"),
        pytest.param((*CREATE, "--secret", "keys"), "argument --secret: String should", id="a Secret of no namespace"),
        pytest.param(("create", "ci", "--role", "read"), "are required: --namespace", id="no namespace"),
        pytest.param((*CREATE[:-1], "root"), "invalid choice: 'root' (choose from", id="no such role"),
        pytest.param((*CREATE, "--streams", "0"), "--streams: Input should be greater than", id="a limit of nothing"),
        pytest.param((*CREATE, "--expires-in", "90"), "--expires-in: expected a number and a unit", id="no unit"),
        pytest.param(("revoke", "aj_hunter2"), "NAME|ID: String should match", id="the key itself, which is not said"),
    ],
)
async def test_wrong_use_is_told_from_failure(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    found = await run(*arguments, home=tmp_path)

    assert (found.exit_code, found.output) == (2, "")
    assert says in found.error
    assert "hunter2" not in found.error


FORBIDDEN = Refusal(403, "Forbidden", 'secrets "keys" is forbidden: User "u" cannot get resource "secrets"')
CONFLICT = Refusal(409, "Conflict", "the object has been modified")


@pytest.mark.parametrize(
    ("arguments", "fault", "says"),
    [
        pytest.param(
            CREATE, Fault("get", "secrets", refusal=FORBIDDEN), "cannot get resource .* see --print", id="403"
        ),
        pytest.param(CREATE, Fault("patch", "secrets"), "a fault of the test's$", id="an error 500"),
        pytest.param(
            CREATE, Fault("patch", "secrets", "cut"), "if `list` shows the key .{8}, revoke it", id="no answer"
        ),
        pytest.param(("rotate", "bot"), Fault("patch", "secrets", refusal=CONFLICT), "command again$", id="a conflict"),
        pytest.param(("rotate", "ci"), None, "no key is named ci; `list` shows all", id="nothing to rotate"),
        pytest.param(("revoke", "ci"), None, "no key has the name or the id ci", id="nothing to revoke"),
        pytest.param(("create", "bot", *CREATE[2:]), None, "a key named bot is there", id="a name that is taken"),
        pytest.param(("list", "--secret", "system/no"), None, "not found; --secret names system/no", id="no Secret"),
    ],
)
async def test_a_failure_is_one_sentence_with_the_way_out_and_hands_out_no_key(
    place: Place, arguments: tuple[str, ...], fault: Fault | None, says: str
) -> None:
    await place.put_key("bot")
    if fault is not None:
        place.cluster.fail(fault)

    found = await place.keys(*arguments)

    assert (found.exit_code, found.output, len(found.error.splitlines())) == (1, "", 1)
    assert re.search(says, found.error)
    assert place.cluster.has_failed()


@pytest.mark.parametrize(
    ("server", "says"),
    [
        pytest.param(None, "name a kubeconfig in KUBECONFIG", id="no kubeconfig"),
        pytest.param("http://127.0.0.1:1", "GET .*; name in KUBECONFIG a kubeconfig that reaches", id="nobody there"),
    ],
)
async def test_a_cluster_that_cannot_be_reached_is_told_with_the_way_out(
    tmp_path: Path, server: str | None, says: str
) -> None:
    path = kubeconfig(tmp_path / "kubeconfig", server) if server else tmp_path / "nothing"

    found = await run("list", "--secret", "a/b", home=tmp_path, KUBECONFIG=str(path))

    assert (found.exit_code, found.output) == (1, "")
    assert re.search(says, found.error)
