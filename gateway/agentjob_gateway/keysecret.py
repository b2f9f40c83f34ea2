"""The Secret with the API keys: one entry per key, each written by itself, so that nobody undoes what others do."""

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from agentjob_api.names import Key
from agentjob_gateway.keyring import SECRET_BYTES, SIGNING_KEY
from agentjob_kube.client import Client, Object
from agentjob_kube.errors import AlreadyExists
from agentjob_kube.resources import SECRETS


@dataclass(frozen=True)
class KeySecret:
    """The Secret with the keys. Every method raises what is in agentjob_kube.errors."""

    client: Client
    key: Key

    async def read(self) -> Object:
        """The Secret as it is."""
        return await self.client.get(SECRETS, self.key)

    async def add(self, known: Object | None, entries: Mapping[str, bytes]) -> None:
        """Adds entries, and what signs tickets where that is missing. The Secret is made where none is known."""
        first = {**entries, SIGNING_KEY: base64.b64encode(secrets.token_bytes(SECRET_BYTES))}
        if known is None:
            body = {"metadata": {"name": self.key.name}, "type": "Opaque", "data": _encoded(first)}
            try:
                await self.client.create(SECRETS, self.key.namespace, body)
            except AlreadyExists:
                known = await self.read()
            else:
                return
        await self.change(known, entries if SIGNING_KEY in files(known) else first)

    async def change(self, known: Object, entries: Mapping[str, bytes | None], *preconditions: str) -> None:
        """Writes single entries, None removes one. What is named of the Secret's metadata must still be the same."""
        metadata = {name: known["metadata"][name] for name in ("uid", *preconditions)}
        await self.client.patch(SECRETS, self.key, {"metadata": metadata, "data": _encoded(entries)})


def _encoded(entries: Mapping[str, bytes | None]) -> dict[str, str | None]:
    return {name: None if value is None else base64.b64encode(value).decode() for name, value in entries.items()}


def files(secret: Object) -> dict[str, bytes]:
    """The entries of a Secret."""
    return {name: base64.b64decode(value) for name, value in (secret.get("data") or {}).items()}


def manifest(secret: Key, entries: Mapping[str, bytes]) -> str:
    """A Secret with these entries as YAML; every word that could be read as a number is quoted."""
    lines = [
        *("apiVersion: v1", "kind: Secret", "metadata:"),
        *(f"  name: {json.dumps(secret.name)}", f"  namespace: {json.dumps(secret.namespace)}"),
        *("type: Opaque", "data:"),
        *(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in _encoded(entries).items()),
    ]
    return "\n".join(lines)
