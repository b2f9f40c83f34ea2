"""`python -m agentjob_gateway.keys`: makes, rotates, revokes and lists API keys in the Secret that gateways mount.

A key's text goes to stdout, once, and nowhere else; only with `--print` stdout is for the manifest.
"""

import argparse
import asyncio
import os
import re
import secrets
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from agentjob_api.fields import ObjectName
from agentjob_api.names import Key
from agentjob_gateway import keyring
from agentjob_gateway.caller import Role
from agentjob_gateway.keyring import RANDOM_BYTES, SIGNING_KEY, Amount, KeyName, Keyring, Minted, Terms
from agentjob_gateway.keysecret import KeySecret, files, manifest
from agentjob_kube.client import Client, Object
from agentjob_kube.connect import ConnectError, connect
from agentjob_kube.errors import ApiError, Conflict, Forbidden, NotFound, Unreachable
from agentjob_kube.wire import HttpTransport

T = TypeVar("T")

ENV_SECRET: Final = "AGENTJOB_KEYS_SECRET"  # noqa: S105 - the name of a variable
_OBJECT_NAME: Final[TypeAdapter[str]] = TypeAdapter(ObjectName)
_KEY_NAME: Final[TypeAdapter[str]] = TypeAdapter(KeyName)
_AMOUNT: Final[TypeAdapter[int]] = TypeAdapter(Amount)
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_HEAD: Final = """\
# What the gateway keeps of the API key "{name}": hashes, from which no key can be had.
# Apply it with
#   kubectl apply --server-side --force-conflicts --field-manager=agentjob-key-{name} --filename=FILE
# which leaves the other entries alone, or copy its entries into the Secret in your repository.
"""
_EPILOG: Final = """\
examples:
  python -m agentjob_gateway.keys create ci --namespace agents --role submit --secret agentjob/keys
  python -m agentjob_gateway.keys rotate ci --overlap 7d --secret agentjob/keys
  python -m agentjob_gateway.keys revoke ci --secret agentjob/keys
  python -m agentjob_gateway.keys create ci --namespace agents --role submit --secret agentjob/keys --print >ci.yaml

The key is printed on stdout, once; the Secret holds its hash only. Gateways learn of a change when the kubelet brings
it into their Pods, within about a minute, and need no restart.
"""
_PRINT: Final = f"""\
write nothing: print on stdout, as YAML, a Secret with only the entries that would be written, and the key on stderr.
`create` then asks no cluster at all. For GitOps, and for whoever may not write the Secret. The entry {SIGNING_KEY},
which signs tickets, is a secret and not printed: add 32 random bytes as base64 yourself, once"""


class Failure(Exception):  # noqa: N818 - it is what is said
    """The command cannot be carried out; the message is for the person who gave it."""


def _keyring(secret: Object) -> Keyring:
    found, complaints = keyring.parse(files(secret))
    for complaint in complaints:
        _tell(f"Left out: {complaint}")
    return found


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _stamp(time: datetime | None) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if time else "never"


def _tell(text: str) -> None:
    print(text, file=sys.stderr)


async def _create(secret: KeySecret, arguments: argparse.Namespace) -> None:
    try:
        known = await secret.read()
    except NotFound:
        known = None
    same = _keyring(known).named(arguments.name) if known else ()
    if alive := [key.id for key in same if not key.has_expired(_now())]:
        name = arguments.name
        raise Failure(f"a key named {name} is there ({', '.join(alive)}): rotate or revoke it, or choose another name")
    minted = _minted(arguments)
    await _written(secret.add(known, {minted.key.file: minted.key.document()}), minted)


def _minted(arguments: argparse.Namespace) -> Minted:
    now = _now()
    given = {name: getattr(arguments, name) for name in Terms.model_fields if name != "expires_at"}
    expires = now + arguments.expires_in if arguments.expires_in else None
    return keyring.mint(Terms(**given, expires_at=expires), now, secrets.token_bytes(RANDOM_BYTES))


async def _rotate(secret: KeySecret, arguments: argparse.Namespace) -> None:
    known = await secret.read()
    if not (keys := _keyring(known).named(arguments.name)):
        raise Failure(f"no key is named {arguments.name}; `list` shows all, `create` makes one")
    minted, ending, expired = keyring.rotate(keys, arguments.overlap, _now(), secrets.token_bytes(RANDOM_BYTES))
    entries = {key.file: key.document() for key in (minted.key, *ending)}
    if arguments.print:
        _print(arguments.secret, minted, entries)
        return
    # Over what was read only: a key that was revoked in between must not come back with its end.
    change = secret.change(known, {**entries, **dict.fromkeys(key.file for key in expired)}, "resourceVersion")
    await _written(change, minted)
    for key in ending:
        _tell(f"The key {key.id} of that name is taken until {_stamp(key.expires_at)}.")


async def _written(write: Awaitable[None], minted: Minted) -> None:
    """Waits until a key is written, and hands it out."""
    try:
        await write
    except Unreachable as error:
        raise Failure(f"{error}; if `list` shows the key {minted.key.id}, revoke it: its text is lost") from error
    _tell(_about(minted))
    print(minted.text)


def _about(minted: Minted) -> str:
    key = minted.key
    until = f"until {_stamp(key.expires_at)}" if key.expires_at else "until it is revoked"
    what = f'the key {key.id} named "{key.name}", with role {key.role} in namespace {key.namespace}, taken {until}'
    return f"Made {what}. It is shown this once."


def _print(secret: Key, minted: Minted, entries: Mapping[str, bytes]) -> None:
    _tell(f"{_about(minted)}\n{minted.text}")
    print(_HEAD.format(name=minted.key.name) + manifest(secret, entries))


async def _revoke(secret: KeySecret, arguments: argparse.Namespace) -> None:
    known, word = await secret.read(), arguments.key
    entries = [key.file for key in _keyring(known).named(word)]
    by_id = word + keyring.DOCUMENT
    if not entries and by_id in files(known):  # a document that cannot be read has an id as well
        entries = [by_id]
    if not entries:
        raise Failure(f"no key has the name or the id {word}; `list` shows all")
    await secret.change(known, dict.fromkeys(entries))
    _tell(f"Revoked: {', '.join(entry.removesuffix(keyring.DOCUMENT) for entry in entries)}")


async def _list(secret: KeySecret, _: argparse.Namespace) -> None:
    keys = sorted(_keyring(await secret.read()).keys.values(), key=lambda key: (key.name, key.created_at))
    print(table(keys, _now()))


def table(keys: Sequence[keyring.ApiKey], now: datetime) -> str:
    """The keys, one a line, without what is kept of their text."""
    rows = [("ID", "NAME", "NAMESPACE", "ROLE", "CREATED", "EXPIRES")]
    for key in keys:
        expires = _stamp(key.expires_at) + (" (expired)" if key.has_expired(now) else "")
        rows.append((key.id, key.name, key.namespace, key.role.value, _stamp(key.created_at), expires))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _checked(kind: TypeAdapter[T]) -> Callable[[str], T]:
    """What turns an argument into a value of this type; what is wrong is said without the value."""

    def check(text: str) -> T:
        try:
            return kind.validate_python(text)
        except ValidationError as error:
            raise argparse.ArgumentTypeError(error.errors()[0]["msg"]) from None

    return check


def _secret(text: str) -> Key:
    namespace, _, name = text.partition("/")
    check = _checked(_OBJECT_NAME)
    return Key(check(namespace), check(name))


def _span(text: str) -> timedelta:
    found = re.fullmatch(r"([1-9][0-9]{0,5})([smhd])", text)
    if found is None:
        raise argparse.ArgumentTypeError("expected a number and a unit (s, m, h or d), such as 24h or 90d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m agentjob_gateway.keys",
        description="API keys of the gateway, in the Secret that it mounts.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Callable[..., Any], text: str) -> argparse.ArgumentParser:
        found = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        where = f"the Secret with the keys; by default what {ENV_SECRET} holds"
        default = os.environ.get(ENV_SECRET)
        found.add_argument("--secret", type=_secret, metavar="NAMESPACE/NAME", default=default, help=where)
        found.set_defaults(run=run, command=found)
        return found

    _create_arguments(command("create", _create, "make a key, and the Secret when there is none"))
    rotate = command("rotate", _rotate, "make a key with the attributes of the newest of its name, and let those end")
    rotate.add_argument("name", metavar="NAME", type=_checked(_KEY_NAME))
    rotate.add_argument(
        "--overlap", type=_span, metavar="TIME", default="24h", help="how long the old keys still hold; 24h by default"
    )
    rotate.add_argument("--print", action="store_true", help=_PRINT)
    revoke = command("revoke", _revoke, "take away all keys of a name, or the one with an id")
    revoke.add_argument("key", metavar="NAME|ID", type=_checked(_OBJECT_NAME))
    command("list", _list, "show all keys, without anything secret")
    return parser


def _create_arguments(create: argparse.ArgumentParser) -> None:
    create.add_argument(
        "name", metavar="NAME", type=_checked(_KEY_NAME), help="who it is for: on jobs, in log and audit"
    )
    create.add_argument("--namespace", required=True, type=_checked(_OBJECT_NAME), help="the one namespace it reaches")
    roles = "read sees jobs, submit makes them and stops its own, admin stops any"
    create.add_argument("--role", required=True, choices=[role.value for role in Role], help=roles)
    for limit, text in (
        ("--requests-per-minute", "requests a minute"),
        ("--concurrent-jobs", "jobs that have not ended"),
        ("--streams", "streams held open"),
    ):
        create.add_argument(limit, metavar="N", type=_checked(_AMOUNT), help=f"{text}; by default as installed")
    create.add_argument("--expires-in", type=_span, metavar="TIME", help="such as 90d; without it, never")
    create.add_argument("--print", action="store_true", help=_PRINT)


async def _run(arguments: argparse.Namespace) -> None:
    if arguments.run is _create and arguments.print:
        minted = _minted(arguments)
        _print(arguments.secret, minted, {minted.key.file: minted.key.document()})
        return
    connection = await connect(lambda *_: None)
    async with connection.session() as session:
        client = Client(HttpTransport(session, connection.server))
        await arguments.run(KeySecret(client, arguments.secret), arguments)


def _way_out(error: ApiError, secret: Key) -> str:
    match error:
        case Forbidden():
            return f"{error}; ask for get, create and patch on this Secret, or see --print"
        case NotFound():
            return f"{error}; --secret names {secret}, and `create` makes it in a namespace that is there"
        case Conflict():
            return f"the Secret {secret} was changed at the same time and nothing was written; run the command again"
        case Unreachable():
            return f"{error}; name in KUBECONFIG a kubeconfig that reaches the cluster"
        case _:
            return str(error)


def main() -> int:
    """Carries out one command; the exit code: 0 when it is done, 1 when it failed, 2 when it was given wrongly."""
    arguments = _parser().parse_args()
    if arguments.secret is None:
        arguments.command.error(f"--secret NAMESPACE/NAME is needed, or {ENV_SECRET} in the environment")
    try:
        asyncio.run(_run(arguments))
    except (Failure, ConnectError) as error:
        _tell(str(error))
    except ApiError as error:
        _tell(_way_out(error, arguments.secret))
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
