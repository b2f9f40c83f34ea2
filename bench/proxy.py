"""In a Pod of the gateway's image: a bare proxy of aiohttp, which makes a job of each body, and no more.

It knows no caller, keeps no audit and checks nothing: what it takes is the price of one more program on the way.
"""

import ssl
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import orjson
import uvloop
from aiohttp import web

PORT = 8080
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
ABOUT = {"apiVersion": sys.argv[1], "kind": sys.argv[2]}
JOBS = f"https://kubernetes.default.svc/apis/{sys.argv[3]}?fieldValidation=Strict"
SESSION = web.AppKey("session", aiohttp.ClientSession)


async def connected(app: web.Application) -> AsyncIterator[None]:
    """The session with the API server, open while the proxy runs."""
    tls = ssl.create_default_context(cafile=ACCOUNT / "ca.crt")
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
    headers = {"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls), headers=headers) as session:
        app[SESSION] = session
        yield


async def submit(request: web.Request) -> web.Response:
    """Makes a job of the body."""
    spec = orjson.loads(await request.read())
    job = {**ABOUT, "metadata": {"name": f"proxied-{uuid.uuid4().hex[:20]}"}, "spec": spec}
    async with request.app[SESSION].post(JOBS, data=orjson.dumps(job)) as response:
        made = orjson.loads(await response.read())
    body = orjson.dumps({"job_id": made["metadata"]["name"], "status": "pending"})
    return web.Response(body=body, status=response.status, headers={"Content-Type": "application/json"})


app = web.Application()
app.cleanup_ctx.append(connected)
app.router.add_post("/", submit)
web.run_app(app, port=PORT, loop=uvloop.new_event_loop(), print=None, access_log=None)
