"""HTTP/1.1 for one connection, as much as a test upstream needs: bounded requests in, unhurried bytes out.

What lives here: parsing, keep-alive, chunked bodies, flow control and the notice that the client has gone.
What does not: routes, streams, faults. Every wait ends when the connection does, so a handler that stalls on
purpose still learns at once that nobody listens any more.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, cast
from urllib.parse import parse_qsl, urlsplit

__all__ = ["Answer", "ClientGone", "Connection", "HttpError", "Request", "error_body"]

MAX_HEAD_BYTES: Final = 32 * 1024  # nginx's four large header buffers of 8 KiB
MAX_HEADERS: Final = 100
MAX_BODY_BYTES: Final = 32 * 1024 * 1024  # a long conversation with a few inlined images
MAX_CHUNK_LINE: Final = 256
HEAD_TIMEOUT: Final = 75.0  # seconds an idle kept-alive connection may stay, and a head may take
BODY_TIMEOUT: Final = 30.0
LINGER_SECONDS: Final = 2.0
WRITES_PER_TURN: Final = 32  # an unpaced stream lets other connections run this often


class ClientGone(Exception):  # noqa: N818 — an occasion, not a mistake
    """The peer closed or reset the connection, or half-closed it as a client that hangs up does."""


class HttpError(Exception):
    """A request that is refused with an HTTP status and an error object in OpenAI's form."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None, allow: str = ""
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param, self.allow = status, message, code, param, allow

    def body(self) -> bytes:
        """The JSON error object to answer with."""
        return error_body(self.status, self.message, code=self.code, param=self.param)


def error_body(status: int, message: str, *, code: str | None = None, param: str | None = None) -> bytes:
    """An error object as OpenAI writes it: `{"error": {"message", "type", "param", "code"}}`."""
    kind = {401: "authentication_error", 429: "rate_limit_error"}.get(
        status, "server_error" if status >= 500 else "invalid_request_error"
    )
    return json.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}}).encode()


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read whole. Header names are in lower case, repeated ones joined by commas."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    minor: int
    """The minor version: 1 for HTTP/1.1, 0 for HTTP/1.0, which knows no chunks."""

    @property
    def keep_alive(self) -> bool:
        """Whether the client expects to use the connection again."""
        options = {option.strip().lower() for option in self.headers.get("connection", "").split(",")}
        return "close" not in options if self.minor else "keep-alive" in options

    def json(self) -> dict[str, Any]:
        """The body as a JSON object. Raises `HttpError` 400 for anything else."""
        try:
            value = json.loads(self.body, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise HttpError(400, f"We could not parse the JSON body of your request: {error}") from None
        if not isinstance(value, dict):
            raise HttpError(400, "The body of your request must be a JSON object.")
        return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


class Connection(asyncio.Protocol):
    """One client connection. `serve` is called once and owns it until it returns; then it is closed."""

    def __init__(self, serve: Callable[[Connection], Awaitable[None]]) -> None:
        self._serve = serve
        self._buffer = bytearray()
        self._parked: dict[asyncio.Future[None], str] = {}
        self._writable = True
        self._deaf = False
        self._writes = 0
        self.gone = False
        self.task: asyncio.Task[None] | None = None
        self.transport: asyncio.Transport

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to serve. asyncio has set TCP_NODELAY by now."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but its class
        self.task = asyncio.get_running_loop().create_task(self._run())

    def data_received(self, data: bytes) -> None:
        """Buffer input; reading stops while more than a body's worth waits."""
        if self._deaf:
            return
        self._buffer += data
        if len(self._buffer) > MAX_BODY_BYTES:
            self.transport.pause_reading()
        self._wake("input")

    def eof_received(self) -> bool:
        """Treat a half-close as a hang-up: no client of an event stream does it for any other reason."""
        self._lose()
        return False

    def connection_lost(self, _error: Exception | None) -> None:
        """Tell whoever waits."""
        self._lose()

    def pause_writing(self) -> None:
        """Writes wait from here: the client does not read."""
        self._writable = False

    def resume_writing(self) -> None:
        """Writes go on."""
        self._writable = True
        self._wake("output")

    def _lose(self) -> None:
        self.gone = True
        self._wake(None)

    def _wake(self, reason: str | None) -> None:
        for waiter, waits_for in self._parked.items():
            if (reason is None or reason == waits_for) and not waiter.done():
                waiter.set_result(None)

    async def _run(self) -> None:
        try:
            await self._serve(self)
        except ClientGone:
            pass
        finally:
            if self.gone:
                self.transport.abort()
            else:
                self.transport.close()

    # The handler's side.

    async def _park(self, reason: str, deadline: float | None) -> bool:
        """Wait for `reason` or the deadline (loop time); False if the deadline came. Raises `ClientGone`."""
        if self.gone:
            raise ClientGone
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._parked[waiter] = reason
        expired: list[bool] = []

        def expire() -> None:
            expired.append(True)
            if not waiter.done():
                waiter.set_result(None)

        timer = None if deadline is None else loop.call_at(deadline, expire)
        try:
            await waiter
        finally:
            del self._parked[waiter]
            if timer is not None:
                timer.cancel()
        if self.gone:
            raise ClientGone
        return not expired

    async def sleep_until(self, when: float) -> None:
        """Wait until the loop's clock shows `when` seconds. Raises `ClientGone` as soon as that is so."""
        if when > asyncio.get_running_loop().time():
            await self._park("time", when)

    async def write(self, data: bytes) -> None:
        """Send bytes, waiting while the client does not read. Raises `ClientGone`."""
        # A write that failed is told by `connection_lost`, but only in the loop's next turn.
        if self.gone or self.transport.is_closing():
            raise ClientGone
        self.transport.write(data)
        while not self._writable:
            await self._park("output", None)
        self._writes += 1
        if self._writes % WRITES_PER_TURN == 0:
            await asyncio.sleep(0)
            if self.gone:
                raise ClientGone

    async def reset(self) -> None:
        """End the connection with a TCP reset instead of a close."""
        # A reset throws away what has not been read; a moment lets the client take what was sent so far.
        await asyncio.sleep(0.02)
        peer = self.transport.get_extra_info("socket")
        if peer is not None and not self.gone:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    async def refuse_rest(self) -> None:
        """End our side and let the client finish: to close while it sends resets what it has not read."""
        self._deaf = True
        self._buffer.clear()
        self.transport.resume_reading()
        self.transport.write_eof()
        await self._park("nothing", asyncio.get_running_loop().time() + LINGER_SECONDS)

    async def request(self) -> Request | None:
        """Read the next request whole; None when the client has said its last. Raises `HttpError`."""
        loop = asyncio.get_running_loop()
        try:
            head = await self._take_until(b"\r\n\r\n", MAX_HEAD_BYTES, loop.time() + HEAD_TIMEOUT)
        except TimeoutError:
            if not self._buffer:
                return None
            raise HttpError(408, "The request's head did not arrive in time.") from None
        method, target, minor, headers = _parse_head(head)
        if "100-continue" in headers.get("expect", "").lower():
            await self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            body = await self._body(headers, loop.time() + BODY_TIMEOUT)
        except TimeoutError:
            raise HttpError(408, "The request's body did not arrive in time.") from None
        try:
            url = urlsplit(target)
            query = dict(parse_qsl(url.query, keep_blank_values=True, max_num_fields=MAX_HEADERS))
        except ValueError:
            raise HttpError(400, "The request's target is not a URL, or has too many fields.") from None
        return Request(method, url.path, query, headers, body, minor)

    async def receive(self) -> bytes:
        """Take what has come, of a connection that has left HTTP. Raises `ClientGone`."""
        while not self._buffer:
            await self._park("input", None)
        return await self._take(len(self._buffer), 0.0)

    async def _body(self, headers: Mapping[str, str], deadline: float) -> bytes:
        coding = headers.get("transfer-encoding", "").strip().lower()
        length = headers.get("content-length")
        if coding:
            # Both at once is how requests are smuggled past one of two servers (RFC 9112 6.1).
            if coding != "chunked" or length is not None:
                raise HttpError(
                    400, "Only a chunked transfer encoding without a content length is understood."
                )
            return await self._chunks(deadline)
        if length is None:
            return b""
        if not (length.isascii() and length.isdigit() and len(length) <= 18):
            raise HttpError(400, "The content length is not a number.")
        if int(length) > MAX_BODY_BYTES:
            raise HttpError(413, f"The request's body is larger than {MAX_BODY_BYTES} bytes.")
        return await self._take(int(length), deadline)

    async def _chunks(self, deadline: float) -> bytes:
        body = bytearray()
        while True:
            size, _, _ = (await self._take_until(b"\r\n", MAX_CHUNK_LINE, deadline)).partition(b";")
            digits = size.strip()
            if not digits or len(digits) > 8 or digits.strip(b"0123456789abcdefABCDEF"):
                raise HttpError(400, "A chunk's size is not a hexadecimal number.")
            if len(body) + int(digits, 16) > MAX_BODY_BYTES:
                raise HttpError(413, f"The request's body is larger than {MAX_BODY_BYTES} bytes.")
            if int(digits, 16) == 0:
                break
            body += await self._take(int(digits, 16), deadline)
            if await self._take(2, deadline) != b"\r\n":
                raise HttpError(400, "A chunk is longer than it says.")
        for _ in range(MAX_HEADERS):
            if not await self._take_until(b"\r\n", MAX_CHUNK_LINE, deadline):
                return bytes(body)
        raise HttpError(400, "Too many trailer fields.")

    async def _take_until(self, end: bytes, limit: int, deadline: float) -> bytes:
        """Take the bytes before `end`, and `end` off the buffer; linear whatever the packets' sizes."""
        searched = 0
        while True:
            found = self._buffer.find(end, searched)
            if found > limit or (found < 0 and len(self._buffer) > limit):
                raise HttpError(431, f"A head or line of the request is longer than {limit} bytes.")
            if found >= 0:
                taken = bytes(self._buffer[:found])
                del self._buffer[: found + len(end)]
                return taken
            searched = max(0, len(self._buffer) - len(end) + 1)
            if not await self._park("input", deadline):
                raise TimeoutError

    async def _take(self, count: int, deadline: float) -> bytes:
        while len(self._buffer) < count:
            if not await self._park("input", deadline):
                raise TimeoutError
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        if not self.transport.is_reading():
            self.transport.resume_reading()
        return taken


def _parse_head(head: bytes) -> tuple[str, str, int, dict[str, str]]:
    """Split a request's head into method, target, minor version and headers. Raises `HttpError`."""
    lines = head.decode("latin-1").lstrip("\r\n").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[0].isalpha() or not words[1]:
        raise HttpError(400, "The request line is not one of HTTP.")
    method, target, version = words
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise HttpError(505, "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
    if len(lines) - 1 > MAX_HEADERS:
        raise HttpError(431, f"The request has more than {MAX_HEADERS} headers.")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        # Space around the name or a folded line is where parsers disagree; RFC 9112 5.1 says to refuse.
        if not colon or not name or name != name.strip() or any(ord(c) < 32 and c != "\t" for c in line):
            raise HttpError(400, "A header line is malformed.")
        key, value = name.lower(), value.strip()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    if version == "HTTP/1.1" and "host" not in headers:
        raise HttpError(400, "The request names no host.")
    return method, target, int(version[-1]), headers


class Answer:
    """One response being written: the head, then the body in pieces, each piece one chunk and one write.

    With a `length` the body is plain; without, it is chunked, or in HTTP/1.0 ended by the connection.
    """

    def __init__(self, connection: Connection, request: Request | None, number: int) -> None:
        self.number = number
        """Which request of the server's it answers, for ids."""
        self._connection = connection
        self._minor = 1 if request is None else request.minor
        self._head_only = request is not None and request.method == "HEAD"
        self._chunked = False
        self.started = False
        self.sent = 0
        """Bytes of the body sent so far."""
        self.keep_alive = request is not None and request.keep_alive

    async def start(
        self,
        status: int,
        headers: Iterable[tuple[str, str]],
        *,
        length: int | None = None,
        close: bool = False,
    ) -> None:
        """Send the head. Raises `ClientGone`."""
        self._chunked = length is None and self._minor >= 1
        self.keep_alive = self.keep_alive and not close and (length is not None or self._chunked)
        framing = ("transfer-encoding", "chunked") if length is None else ("content-length", str(length))
        fields = [*headers, ("connection", "keep-alive" if self.keep_alive else "close")]
        if length is not None or self._chunked:
            fields.append(framing)
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        self.started = True
        await self._connection.write(f"HTTP/1.1 {status} {_phrase(status)}\r\n{lines}\r\n".encode("latin-1"))

    async def send(self, piece: bytes) -> None:
        """Send a piece of the body. Raises `ClientGone`."""
        if not piece or self._head_only:
            return
        self.sent += len(piece)
        await self._connection.write(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece)

    async def finish(self) -> None:
        """End the body. Raises `ClientGone`."""
        if self._chunked and not self._head_only:
            await self._connection.write(b"0\r\n\r\n")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unassigned"
