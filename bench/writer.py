"""In a Pod of the gateway's image: a bare asyncio writer, which hands the same bytes to as many readers, and no more.

Arguments: events a second, bytes of a line. `GET /stat` tells what it took: seconds of CPU, bytes of memory, events
written. Readers of `/idle` get nothing but the head of an answer.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

import uvloop

PORT = 8080
PAGE = 4096
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Writer(asyncio.Protocol):
    """One connection."""

    crowd: set[asyncio.WriteTransport] = set()
    written = 0

    def connection_made(self, transport: asyncio.WriteTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"GET /stat"):
            body = json.dumps(self.stat()).encode()
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            return
        self.transport.write(HEAD + b"3\r\n:\n\n\r\n")
        if not data.startswith(b"GET /idle"):
            self.crowd.add(self.transport)

    def connection_lost(self, _: Exception | None) -> None:
        self.crowd.discard(self.transport)

    def stat(self) -> dict[str, float]:
        """What it took so far."""
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
        return {"cpu": time.process_time(), "rss": resident, "written": Writer.written}


async def main() -> None:
    rate, size = float(sys.argv[1]), int(sys.argv[2])
    pad, seq, begun = b"x" * max(0, size - 140), 0, time.monotonic()
    await asyncio.get_running_loop().create_server(Writer, None, PORT, backlog=1024)
    while True:
        seq += 1
        await asyncio.sleep(max(0.0, begun + seq / rate - time.monotonic()))
        data = b'{"type":"assistant","at":%d,"pad":"%b"}' % (time.time_ns(), pad)
        event = b"id: talker/1-%d\ndata: %b\n\n" % (seq, data)
        chunk = b"%x\r\n%b\r\n" % (len(event), event)
        for transport in tuple(Writer.crowd):
            transport.write(chunk)
        Writer.written += len(Writer.crowd)


uvloop.run(main())
