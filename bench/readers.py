"""`python -m bench.readers`: many clients that watch, in one process that does little else than read.

Told on stdin, a line of JSON each: first where to go (`Orders`), then the window to measure, in nanoseconds since 1970.
Says on stdout: a line when all have had their first byte, and a line of JSON with the nanoseconds from printing to
reading of every event that was printed in the window, by seq. Ends with its stdin.
"""

import json
import os
import re
import select
import socket
import sys
import time
from collections import defaultdict
from typing import Any

EVENT = re.compile(rb'-(\d+)\ndata: \{"type":"assistant","at":(\d+),')
GRACE = 2_000_000_000
"""Nanoseconds after the window in which its last events may still come."""
SMALL = 4096
"""Bytes that the kernel keeps for a client that does not read."""
STDIN = 0


def opened(orders: dict[str, Any], request: str, receive: int = 0) -> socket.socket:
    """A connection on which a request was made."""
    made = socket.socket()
    if receive:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    made.settimeout(30)
    made.connect((orders["host"], orders["port"]))
    made.sendall(request.encode())
    return made


class Crowd:
    """The clients of this process."""

    def __init__(self, orders: dict[str, Any]) -> None:
        self.poll = select.epoll()
        self.poll.register(STDIN, select.EPOLLIN)
        self.stalled = [opened(orders, orders["stalled_request"], SMALL) for _ in range(orders["stalled"])]
        self.readers: dict[int, socket.socket] = {}
        self.rest: dict[int, bytes] = {}
        self.waiting: set[int] = set()
        self.come: list[tuple[int, bytes, int]] = []
        """For whom what has come, and when, that was not looked at yet: nobody is to wait for that."""
        self.begin = self.end = 0
        self.seen: defaultdict[int, list[int]] = defaultdict(list)
        for number in range(orders["readers"]):
            self.add(opened(orders, orders["requests"][number % len(orders["requests"])]))

    def add(self, reader: socket.socket) -> None:
        reader.setblocking(False)
        number = reader.fileno()
        self.readers[number], self.rest[number] = reader, b""
        self.waiting.add(number)
        self.poll.register(number, select.EPOLLIN)

    def read(self, number: int) -> None:
        """Takes what has come for one client."""
        try:
            piece = self.readers[number].recv(262_144)
        except BlockingIOError:
            return
        self.come.append((number, piece, time.time_ns()))
        if not piece:
            raise SystemExit("a stream has ended that should not")

    def look(self) -> None:
        """Looks at all that has come."""
        for number, piece, now in self.come:
            self.waiting.discard(number)
            data = self.rest[number] + piece
            cut = data.rfind(b"\n\n") + 2
            self.rest[number] = data[cut:] if cut > 1 else data
            self.note(data, now)
        self.come.clear()

    def note(self, data: bytes, now: int) -> None:
        """Keeps the events of the window; one of which the end has not come is looked at with its end."""
        for seq, at in EVENT.findall(data, 0, data.rfind(b"\n\n") + 2):
            printed = int(at)
            if self.begin <= printed < self.end:
                self.seen[int(seq)].append(now - printed)

    def turn(self) -> bool:
        """Reads for all who have something. True when there is something on stdin."""
        is_told = False
        for number, _ in self.poll.poll(0.5):
            if number == STDIN:
                is_told = True
            else:
                self.read(number)
        self.look()
        return is_told


def told() -> Any:
    """The next line of stdin, or the end."""
    line = sys.stdin.readline()
    if not line:
        os._exit(0)
    return json.loads(line)


def main() -> None:
    crowd = Crowd(told())
    while crowd.waiting:
        crowd.turn()
    print("open", flush=True)
    while True:
        if crowd.turn():
            crowd.begin, crowd.end = told()
            crowd.seen.clear()
        if crowd.end and time.time_ns() > crowd.end + GRACE:
            print(json.dumps(crowd.seen), flush=True)
            crowd.begin = crowd.end = 0


if __name__ == "__main__":
    main()
