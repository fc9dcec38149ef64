"""The gateway's own HTTP/1.1 client: a protocol that hands an upstream's bytes over as they arrive.

A general client costs more per event than all else a gateway does: it is a stack of streams, each with a
future and a copy. Here the socket's data goes through llhttp (httptools) into a list, and whoever waits is
woken once. What is left out is what a gateway's upstream does not need: redirects, cookies, content coding,
proxies, HTTP/2.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, cast
from urllib.parse import urlsplit

import httptools

__all__ = ["Answer", "ConnectError", "Endpoint", "UpstreamCut"]

HIGH_WATER: Final = 32 * 1024
"""Bytes that may wait to be read; with more the upstream is paused."""

RECEIVE_BUFFER: Final = 32 * 1024
"""The socket's, which bounds what one read of it adds. Left to itself it grows to megabytes, and those of a
client that does not read would lie here."""

READ_BYTES: Final = 16 * 1024
"""What one `read` gives at most: on its way to the client it lies in some places at once."""

IDLE_SECONDS: Final = 30.0
"""How long an unused connection is kept; servers' own limits begin at 60 s, uvicorn's at 5."""

MAX_IDLE: Final = 256
MAX_HEAD_BYTES: Final = 64 * 1024

Headers = list[tuple[bytes, bytes]]


class ConnectError(OSError):
    """The upstream could not be reached; nothing was sent."""


class UpstreamCut(OSError):  # noqa: N818 — what happened, not whose error it is
    """The connection ended before the answer did.

    Attributes:
        answered: whether any byte of an answer had come.
    """

    def __init__(self, message: str, *, answered: bool) -> None:
        super().__init__(message)
        self.answered = answered


class Answer:
    """An upstream's answer: its head, and its body in whatever pieces come.

    `read()` waits for the next bytes and returns what there are, `b""` at the end. `fail(error)` makes a
    pending or later `read` raise; `nudge()` makes a pending one return None; `close()` lets go of the
    connection, at once if the answer is not over. `arrived` is when the oldest bytes of the last read came,
    by `time.monotonic()`.
    """

    __slots__ = (
        "_chunks", "_connection", "_ended", "_error", "_loop", "_nudged", "_paused", "_since", "_size",
        "_take", "_waiter", "arrived", "headers", "status",
    )  # fmt: skip

    def __init__(self, connection: _Connection) -> None:
        self.status = 0
        self.headers: Headers = []
        self._connection: _Connection | None = connection
        self._chunks: list[bytes] = []
        self._size = 0
        self._paused = False
        self._ended = False
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._take: Callable[[bytes], object] | None = None
        self._nudged = False
        self._loop = asyncio.get_running_loop()
        self._since = self.arrived = 0.0

    def header(self, name: bytes) -> bytes | None:
        """The first header of a name in lower case."""
        return next((value for known, value in self.headers if known == name), None)

    async def read(self, take: Callable[[bytes], object] | None = None) -> bytes | None:
        """Wait for bytes, and return what has come.

        With `take` the call waits on: bytes are given to that as they come, by whoever has read the socket,
        until a `nudge`, the end, or a failure.

        Raises:
            UpstreamCut: the connection broke; or what `fail` was given. What came before is read first.
        """
        chunks = self._chunks
        while not chunks:
            if self._nudged:
                self._nudged = False
                return None
            if self._error is not None:
                raise self._error
            if self._ended:
                return b""
            self._waiter, self._take = self._loop.create_future(), take
            try:
                await self._waiter
            finally:
                self._waiter = self._take = None
        self._nudged = False
        self.arrived = self._since
        data = self._taken()
        if self._paused and self._size <= HIGH_WATER // 2 and self._connection is not None:
            self._paused = False
            self._connection.transport.resume_reading()
        return data

    async def within(self, seconds: float | None) -> bytes | None:
        """`read()`, for at most so long. Raises `TimeoutError`."""
        if self._chunks:
            return await self.read()
        async with asyncio.timeout(seconds):
            return await self.read()

    def _taken(self) -> bytes:
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        if len(data) > READ_BYTES:
            chunks.append(data[READ_BYTES:])
            data = data[:READ_BYTES]
        self._size -= len(data)
        return data

    async def whole(self, limit: int, idle: float | None = None) -> bytes:
        """The whole body. Raises `ValueError` past `limit` bytes, `TimeoutError` after `idle` silent s."""
        parts, size = [], 0
        while data := await self.within(idle):
            size += len(data)
            if size > limit:
                raise ValueError(f"the upstream's answer is larger than {limit} bytes")
            parts.append(data)
        return b"".join(parts)

    def fail(self, error: BaseException) -> None:
        """Make `read` raise `error`, and let go of the connection."""
        if self._error is None and not self._ended:
            self._error = error
        self.close()
        self._wake()

    def nudge(self) -> None:
        """Make a pending `read` return None."""
        if self._waiter is not None:
            self._nudged = True
            self._wake()

    def close(self) -> None:
        """Let go: a connection in the middle of its answer is closed now, by RST where it must be."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    @property
    def waiting(self) -> int:
        """Bytes that have come and were not read."""
        return self._size

    # What the connection calls.

    def push(self, data: bytes) -> None:
        """A piece of the body has come."""
        if not self._chunks:
            self._since = monotonic()
        self._chunks.append(data)
        self._size += len(data)

    def offer(self) -> None:
        """All pieces that one read of the socket brought have come."""
        while self._take is not None and self._chunks:
            self.arrived = self._since
            self._take(self._taken())
        if self._size > HIGH_WATER and not self._paused and self._connection is not None:
            self._paused = True
            self._connection.transport.pause_reading()
        if self._chunks:
            self._wake()

    def end(self, error: BaseException | None = None) -> None:
        """No more comes; the connection, if it lives, belongs to its endpoint again."""
        connection, self._connection = self._connection, None
        if self._paused and connection is not None and connection.open:
            connection.transport.resume_reading()
        self._ended = error is None
        self._error = self._error or error
        self._wake()

    def _wake(self) -> None:
        self._take = None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Connection(asyncio.Protocol):
    """One connection, one exchange at a time."""

    __slots__ = (
        "_answer", "_endpoint", "_framed", "_head_bytes", "_headed", "_parser", "idle_since", "on_body",
        "open", "transport",
    )  # fmt: skip
    on_body: Callable[[bytes], None]
    transport: asyncio.Transport

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._parser: Any = None
        self._answer: Answer | None = None
        self._headed: asyncio.Future[Answer] | None = None
        self._head_bytes = 0
        self._framed = False
        self.idle_since = 0.0
        self.open = True

    async def exchange(self, request: bytes, deadline: float | None) -> Answer:
        """Send a request and wait for the answer's head. Raises `UpstreamCut`, `TimeoutError`."""
        self._answer = answer = Answer(self)
        self.on_body = answer.push
        self._parser = httptools.HttpResponseParser(self)
        self._head_bytes, self._framed = 0, False
        loop = asyncio.get_running_loop()
        headed: asyncio.Future[Answer] = loop.create_future()
        self._headed = headed
        late = None if deadline is None else loop.call_at(deadline, self._late, headed)
        self.transport.write(request)
        try:
            return await headed
        except BaseException:
            answer.close()
            raise
        finally:
            # An answer that came whole has freed the connection: it may be another's by now.
            if self._headed is headed:
                self._headed = None
            if late is not None:
                late.cancel()

    @staticmethod
    def _late(headed: asyncio.Future[Answer]) -> None:
        if not headed.done():
            headed.set_exception(TimeoutError())

    def abort(self) -> None:
        """Close without waiting for anything."""
        self.open = False
        self._answer = None
        self.transport.abort()

    @property
    def waiting(self) -> int:
        """Bytes of an answer that were not read."""
        return 0 if self._answer is None else self._answer.waiting

    # asyncio calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)

    def data_received(self, data: bytes) -> None:
        if self._answer is None:  # bytes that nobody asked for: do not trust what follows
            self.abort()
            return
        answer = self._answer
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._broken("it is not HTTP/1.1")
        answer.offer()
        if self._headed is not None and not self._headed.done():
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._broken("its head is too large")

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        self._parser = None  # it holds this object
        self._endpoint.forget(self)
        answer, self._answer = self._answer, None
        if answer is None:
            return
        headed = self._headed is None or self._headed.done()
        if error is None and headed and not self._framed:
            answer.end()  # a body without a length ends with its connection
            return
        self._tell(answer, UpstreamCut("the connection ended before the answer did", answered=headed))

    def _broken(self, why: str) -> None:
        answer = self._answer
        self.abort()
        if answer is not None:
            self._tell(answer, UpstreamCut(f"the upstream's answer cannot be read: {why}", answered=True))

    def _tell(self, answer: Answer, error: UpstreamCut) -> None:
        if self._headed is not None and not self._headed.done():
            self._headed.set_exception(error)
        answer.end(error)

    # httptools calls these, and `on_body`, for which it asks once.

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._answer is not None and self._headed is not None:
            name = name.lower()
            self._framed = self._framed or name in (b"content-length", b"transfer-encoding")
            self._answer.headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self._answer is None or self._headed is None or self._headed.done():
            return
        if status < 200:
            self._answer.headers.clear()
            return
        self._framed = self._framed or status in (204, 304)
        self._answer.status = status
        self._headed.set_result(self._answer)

    def on_message_complete(self) -> None:
        answer = self._answer
        if answer is None or answer.status == 0:  # an interim answer
            return
        keep = self._parser.should_keep_alive() and self.open
        self._answer = None
        answer.end()
        if keep:
            self._endpoint.give_back(self)
        else:
            self.abort()


class Endpoint:
    """Where one upstream is reached, and the connections to it that are free.

    Args:
        url: `http://` or `https://`, host, port, and the path below which the API lies.
        connect_timeout: seconds for a connection, with its TLS.
        verify: a bundle of certificates to trust instead of the system's; None for the system's.
    """

    def __init__(self, url: str, *, connect_timeout: float = 10.0, verify: str | None = None) -> None:
        parts = urlsplit(url)
        self.host = parts.hostname or ""
        self.tls = parts.scheme == "https"
        self.port = parts.port or (443 if self.tls else 80)
        self.path = parts.path.rstrip("/")
        self._timeout = connect_timeout
        self._tls = ssl.create_default_context(cafile=verify) if self.tls else None
        self._free: deque[_Connection] = deque()
        self._all: set[_Connection] = set()
        shown = f"[{self.host}]" if ":" in self.host else self.host
        self._host = (shown if self.port == (443 if self.tls else 80) else f"{shown}:{self.port}").encode()

    @property
    def connections(self) -> int:
        """How many are open, free ones included."""
        return len(self._all)

    @property
    def waiting(self) -> int:
        """Bytes that have come from there and were not read, as those they are for do not read them."""
        return sum(connection.waiting for connection in self._all)

    async def request(
        self,
        method: str,
        path: str,
        headers: Headers,
        body: bytes = b"",
        *,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Answer:
        """Send a request and wait for the head of its answer.

        Raises:
            ConnectError: no connection could be made.
            UpstreamCut: it closed before the head of an answer.
            TimeoutError: no head came within `timeout` seconds.
        """
        lines = [
            b"%b %b%b HTTP/1.1\r\nhost: %b\r\n"
            % (method.encode(), self.path.encode(), path.encode(), self._host)
        ]
        lines += [b"%b: %b\r\n" % header for header in headers]
        if body or method == "POST":
            lines.append(b"content-length: %d\r\n" % len(body))
        request = b"".join((*lines, b"\r\n", body))
        deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        connection = self._reuse() or await self._connect()
        return await connection.exchange(request, deadline)

    def close(self) -> None:
        """Close every connection."""
        for connection in list(self._all):
            connection.abort()

    def give_back(self, connection: _Connection) -> None:
        """Keep a connection for the next request."""
        if len(self._free) >= MAX_IDLE:
            connection.abort()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        self._free.append(connection)

    def forget(self, connection: _Connection) -> None:
        """Note that a connection has closed."""
        self._all.discard(connection)

    def _reuse(self) -> _Connection | None:
        now = asyncio.get_running_loop().time()
        while self._free:
            connection = self._free.pop()
            if connection.open and now - connection.idle_since < IDLE_SECONDS:
                return connection
            connection.abort()
        return None

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self),
                    self.host,
                    self.port,
                    ssl=self._tls,
                    server_hostname=self.host if self._tls else None,
                )
        except TimeoutError:
            raise ConnectError(f"no connection within {self._timeout:g} s") from None
        except OSError as error:
            raise ConnectError(f"no connection: {type(error).__name__}") from error
        self._all.add(connection)
        return connection
