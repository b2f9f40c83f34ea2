"""The variables of the chart's Secret lead to a cloud's store, and what that refuses is told without a credential.

The stores are a server here that refuses whatever it is asked, in the words of the cloud.
"""

import json
from base64 import b64encode
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from agentjob_gateway.archive import opened
from agentjob_gateway.history import ArchiveError

SECRET = b64encode(b"the secret of nobody").decode()
ESCAPED = SECRET.replace("=", "%3D")
ACCOUNT = {
    "client_email": "",
    "private_key_id": "",
    "private_key": SECRET,
    "gcs_base_url": "HERE",
    "disable_oauth": True,
}
AZURE = {"AZURE_STORAGE_ACCOUNT_NAME": "ours", "AZURE_STORAGE_ENDPOINT": "HERE", "AZURE_ALLOW_HTTP": "true"}
OF_GOOGLE = f"""<?xml version='1.0' encoding='UTF-8'?>
<Error><Code>AccessDenied</Code><Message>Access denied.</Message>
<Details>{SECRET} does not have storage.objects.list access.</Details></Error>"""
OF_AZURE = f"""<?xml version="1.0" encoding="utf-8"?>
<Error><Code>AuthenticationFailed</Code><Message>No such key.</Message>
<AuthenticationErrorDetail>The MAC signature found in the HTTP request '{SECRET}' is wrong.</AuthenticationErrorDetail>
</Error>"""


@dataclass
class Refusing:
    """A store that lets nobody in."""

    words: str
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Path of each request, and how its credential begins: the header's, or else what the query ends with."""

    async def answer(self, request: web.Request) -> web.Response:
        credential = request.headers.get("Authorization") or request.query_string.rpartition("&")[2]
        self.asked.append((request.path, credential.partition(":")[0]))
        return web.Response(status=403, text=self.words, content_type="application/xml")


@pytest.mark.parametrize(
    ("url", "environment", "credential", "told"),
    [
        pytest.param(
            "gs://lines/x",
            {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(ACCOUNT)},
            "prefix=x/v1/agents/",
            "AccessDenied: Access denied.",
            id="Google Cloud Storage by a service account that needs no key",
        ),
        pytest.param(
            "az://lines/x",
            {**AZURE, "AZURE_STORAGE_ACCOUNT_KEY": SECRET},
            "SharedKey ours",
            "AuthenticationFailed: No such key.",
            id="Azure Blob Storage by the account's key",
        ),
        pytest.param(
            "az://lines/x",
            {**AZURE, "AZURE_STORAGE_SAS_TOKEN": f"sv=2021-08-06&sig={ESCAPED}"},
            f"sig={ESCAPED}",
            "AuthenticationFailed: No such key.",
            id="Azure Blob Storage by a shared access signature",
        ),
    ],
)
async def test_a_cloud_is_asked_by_its_variables_and_refuses_in_its_words(
    monkeypatch: pytest.MonkeyPatch, url: str, environment: dict[str, str], credential: str, told: str
) -> None:
    store = Refusing(OF_GOOGLE if url.startswith("gs:") else OF_AZURE)
    app = web.Application()
    app.router.add_get("/{path:.*}", store.answer)
    async with TestServer(app) as server:
        for name, value in environment.items():
            monkeypatch.setenv(name, value.replace("HERE", str(server.make_url("")).rstrip("/")))
        with pytest.raises(ArchiveError) as caught:
            await opened(url).uids("agents")
    assert store.asked == [("/lines", credential)]
    assert str(caught.value) == f"list of jobs: {told}"
