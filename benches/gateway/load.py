"""Both ends of a gateway in one process: the mock upstream and the clients, raw sockets under one epoll.

The gateway alone has the other core. Whoever runs this pins the processes; this module only measures.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import select
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from benches.gateway.traces import MODEL, STAMP, Trace

__all__ = ["KEY", "Client", "Load", "Shape"]

KEY: Final = "sk-bench-0123456789abcdefghij"
"""What clients of the gateways send; some refuse to start with a shorter one."""

_RST: Final = struct.pack("ii", 1, 0)
_KEEP: Final = 64
"""Bytes of a read that are looked at again, so that a stamp cut in two is found."""

_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\nx-request-id: req_1\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """What the upstream plays: how many deltas, and the seconds between two."""

    trace: Trace
    deltas: int
    interval: float = 0.02


@dataclass(slots=True)
class Client:
    """One client's stream and what it has seen of it; times in nanoseconds."""

    sock: socket.socket
    asked: int
    rest: bytes = b""
    first: int | None = None
    newest: int = 0
    ages: list[int] = field(default_factory=list)
    """How old each delta was when it arrived."""
    terminals: int = 0
    reads: int = 0
    status: bytes = b""
    over: bool = False


class _Upstream:
    """One connection to the mock: its unread input, and what is left to play."""

    __slots__ = ("due", "left", "rest", "shape", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.rest = b""
        self.shape: Shape | None = None
        self.left = 0
        self.due = 0


class Load:
    """The epoll loop with the mock upstream and any number of clients."""

    def __init__(self, shapes: dict[str, Shape], port: int = 0) -> None:
        self.shapes = shapes
        """What is played for each path."""
        self.sent = 0
        """Deltas sent by the mock."""
        self.closed: list[int] = []
        """When upstream connections with an unfinished stream were seen to close."""
        self.playing = 0
        self._epoll = select.epoll()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self._listener.setblocking(False)
        self._on: dict[int, Callable[[int], None]] = {}
        self._due: list[tuple[int, int, _Upstream]] = []
        self._watch(self._listener, self._accept)

    @property
    def port(self) -> int:
        """Where the mock listens."""
        port: int = self._listener.getsockname()[1]
        return port

    def close(self) -> None:
        """Let go of everything."""
        self._epoll.close()
        self._listener.close()

    def ask(self, port: int, path: str, body: dict[str, Any], key: str = KEY) -> Client:
        """Open a connection and send a request for a stream."""
        data = json.dumps({"model": MODEL, "stream": True, **body}).encode()
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = (
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {key}\r\ncontent-length: {len(data)}\r\n\r\n"
        )
        client = Client(sock, time.monotonic_ns())
        sock.sendall(head.encode() + data)
        sock.setblocking(False)
        self._watch(sock, lambda _events: self._hear(client))
        return client

    def hang_up(self, client: Client) -> int:
        """Reset a client's connection in the middle; returns when that was."""
        self._forget(client.sock)
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
        now = time.monotonic_ns()
        client.sock.close()
        client.over = True
        return now

    def _hear(self, client: Client) -> None:
        try:
            data = client.sock.recv(262144)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        now = time.monotonic_ns()
        if data:
            client.reads += 1
            seen = client.rest + data
            if not client.status:
                client.status = seen[9:12]
            last = 0
            for match in STAMP.finditer(seen):
                last, sent = match.end(), int(match[1])
                if sent > client.newest:  # closing events repeat the whole text
                    client.newest = sent
                    client.ages.append(now - sent)
            if client.first is None and client.ages:
                client.first = now - client.asked
            client.rest = seen[max(last, len(seen) - _KEEP) :]
            for shape in self.shapes.values():
                found = shape.trace.terminal.finditer(seen)
                client.terminals += sum(match.end() > len(seen) - len(data) for match in found)
        if not data or client.rest.endswith(b"0\r\n\r\n") or (client.status not in (b"", b"200")):
            client.over = True
            self._forget(client.sock)
            client.sock.close()

    def _accept(self, _events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                sock, _ = self._listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                upstream = _Upstream(sock)
                self._watch(sock, lambda _events, upstream=upstream: self._serve(upstream))

    def _serve(self, upstream: _Upstream) -> None:
        try:
            data = upstream.sock.recv(262144)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            if upstream.shape is not None:
                self.closed.append(time.monotonic_ns())
                self.playing -= 1
                upstream.shape = None
            self._forget(upstream.sock)
            upstream.sock.close()
            return
        upstream.rest += data
        head, blank, body = upstream.rest.partition(b"\r\n\r\n")
        if not blank:
            return
        if b"transfer-encoding: chunked" in head.lower():
            if not body.endswith(b"0\r\n\r\n"):
                return
        else:
            length = next(
                (
                    int(line[15:])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                ),
                0,
            )
            if len(body) < length:
                return
        upstream.rest = b""
        path = head.split(b" ", 2)[1].decode().split("?")[0]
        shape = next((shape for known, shape in self.shapes.items() if path.endswith(known)), None)
        if shape is None or (b'"stream":true' not in body and b'"stream": true' not in body):
            whole = shape.trace.whole if shape else b'{"object":"list","data":[]}'
            upstream.sock.sendall(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
                % (len(whole), whole)
            )
            return
        upstream.shape, upstream.left, self.playing = shape, shape.deltas, self.playing + 1
        upstream.due = time.monotonic_ns()
        self._write(upstream, _HEAD + _chunk(shape.trace.opening))
        self._play(upstream)

    def _play(self, upstream: _Upstream) -> None:
        shape = upstream.shape
        if shape is None:
            return
        if upstream.left == 0:
            upstream.shape, self.playing = None, self.playing - 1
            self._write(upstream, _chunk(shape.trace.closing) + b"0\r\n\r\n")
            return
        upstream.left -= 1
        self.sent += 1
        self._write(upstream, _chunk(shape.trace.delta(time.monotonic_ns())))
        upstream.due += int(shape.interval * 1e9)
        heapq.heappush(self._due, (upstream.due, id(upstream), upstream))

    def _write(self, upstream: _Upstream, data: bytes) -> None:
        # A full socket is waited for: the shapes here are paced far below what a socket holds.
        try:
            upstream.sock.send(data)
        except OSError:
            return

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Turn the loop for so long, or until a condition holds."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end and not until():
            wait = min(end - now, 0.1)
            if self._due:
                wait = min(wait, max(0.0, (self._due[0][0] - time.monotonic_ns()) / 1e9))
            for number, events in self._epoll.poll(wait, 512):
                handler = self._on.get(number)
                if handler is not None:
                    handler(events)
            while self._due and self._due[0][0] <= time.monotonic_ns():
                self._play(heapq.heappop(self._due)[2])

    def _watch(self, sock: socket.socket, handler: Callable[[int], None]) -> None:
        self._on[sock.fileno()] = handler
        self._epoll.register(sock.fileno(), select.EPOLLIN)

    def _forget(self, sock: socket.socket) -> None:
        if self._on.pop(sock.fileno(), None) is not None:
            self._epoll.unregister(sock.fileno())


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
