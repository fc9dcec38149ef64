"""How to read bytes from whatever holds them: HTTP responses of several clients, files, iterables.

Nothing here imports a client: a response is known by the methods it has. Two rules decide how it is read.
Bytes are taken as they arrive, never line by line (`iter_lines` of some clients splits at U+2028 and loses
JSON) and never in fixed sizes (a lone small event would wait for its successors). And a read must be one
that can be ended: a blocking one by shutting down its socket, an awaited one by cancelling a task that
nothing else depends on.

| source                               | `Stream`                          | `AsyncStream`            |
|--------------------------------------|-----------------------------------|--------------------------|
| httpx, httpx2 (and what wraps them)  | `iter_bytes`                      | `aiter_bytes`, pumped    |
| requests                             | `raw.read1` under `iter_content`  |                          |
| urllib3, `urllib.request`            | `read1`                           |                          |
| aiohttp                              |                                   | `content.readany`        |
| `asyncio.StreamReader`               |                                   | `read`                   |
| binary file objects                  | `read1`, else `read`              | an async `read`, pumped  |
| bytes-like objects                   | in slices                         | in slices                |
| anything else                        | iteration                         | async iteration, pumped  |
"""

from __future__ import annotations

import io
from contextlib import suppress
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

Chunk: TypeAlias = bytes | bytearray | memoryview

READ_BYTES: Final = 64 * 1024
"""The most one read takes: what a socket buffer commonly holds."""

CO_COROUTINE: Final = 0x80
"""The flag of code that belongs to an `async def`."""

_BYTES_LIKE: Final = (bytes, bytearray, memoryview)

_REQUEST_ID_HEADERS: Final = (
    "x-request-id",  # OpenAI, vLLM, most gateways
    "request-id",  # Anthropic
    "x-ms-request-id",  # Azure
    "apim-request-id",  # Azure API Management
    "x-amzn-requestid",  # Bedrock
    "cf-ray",  # whoever stands behind Cloudflare and names none itself
)

_SOCKET_PATHS: Final = (
    attrgetter("connection.sock"),  # urllib3
    attrgetter("_fp.fp.raw._sock"),  # urllib3 when the response is the connection's last
    attrgetter("fp.raw._sock"),  # http.client
    attrgetter("raw._sock"),  # socket.makefile
)


class Http(NamedTuple):
    """What an HTTP response says before its body.

    Attributes:
        status: the status code.
        media_type: of the content, in lower case and without parameters; empty if unknown.
        request_id: the provider's.
        live: whether it comes over a connection and may fall silent; one made in the process, by a mock or a
            transport that calls an application, does not.
    """

    status: int
    media_type: str
    request_id: str | None
    live: bool


class Source(NamedTuple):
    """Where a `Stream` takes its bytes from.

    Attributes:
        take: blocks for the next chunk; `StopIteration` at the end.
        close: lets go of everything; may be called again, never raises.
        abort: ends a `take` that blocks in another thread, at once and for good; None where nothing can.
        http: set for HTTP responses.
    """

    take: Callable[[], Chunk]
    close: Callable[[], None]
    abort: Callable[[], None] | None
    http: Http | None


class AsyncReader(NamedTuple):
    """An awaitable read that may be cancelled at any time and loses nothing; no task is needed around it.

    Attributes:
        take: waits for the next chunk; empty at the end.
        fail: makes the pending and every later `take` raise the error it is given.
        salvage: what arrived before an error and was not taken yet.
        close: lets go of everything; may be called again, never raises.
    """

    take: Callable[[], Awaitable[bytes]]
    fail: Callable[[BaseException], None]
    salvage: Callable[[], bytes]
    close: Callable[[], None]
    http: Http | None


class AsyncChunks(NamedTuple):
    """Chunks whose iteration a cancelled read would destroy, as that of async generators: for a pump to read.

    `aclose` lets go of everything; it may be called again and raises nothing but cancellation. `closing`
    tells whether the source has begun to do so by itself.
    """

    chunks: AsyncIterator[Chunk]
    aclose: Callable[[], Awaitable[None]]
    http: Http | None
    closing: Callable[[], bool] = bool


def open_source(source: Any) -> Source:
    """Find out how to read `source` with blocking calls.

    Raises:
        TypeError: it is nothing that can be read so.
    """
    connection: object = None
    if isinstance(source, _BYTES_LIKE):
        chunks = _reads(io.BytesIO(source).read1)
    elif hasattr(source, "iter_bytes"):
        chunks = iter(source.iter_bytes())
        connection = _network_socket(source)
    elif hasattr(source, "iter_content"):
        chunks = _requests_chunks(source)
        connection = _connection_socket(source.raw)
    elif hasattr(source, "read1") or hasattr(source, "read"):
        if isinstance(source, io.TextIOBase):
            raise TypeError("Stream reads bytes: open the file in binary mode")
        chunks = _reads(source.read1 if hasattr(source, "read1") else source.read)
        connection = _connection_socket(source)
    elif hasattr(source, "__iter__") and not isinstance(source, str):
        chunks = iter(source)
    else:
        raise TypeError(
            f"Stream cannot read {type(source).__name__}; what must be awaited is for AsyncStream"
        )
    close = partial(_close, chunks, source)
    return Source(chunks.__next__, close, _shutdown(connection), _http(source, live=connection is not None))


def open_async_source(source: Any) -> AsyncReader | AsyncChunks:
    """Find out how to read `source` with awaits.

    Raises:
        TypeError: it is nothing that can be read so.
    """
    live = False
    if isinstance(source, _BYTES_LIKE):
        return AsyncReader(_awaited(io.BytesIO(source).read1), _nothing, bytes, _nothing, None)
    if hasattr(source, "aiter_bytes"):
        chunks: AsyncIterator[Chunk] = source.aiter_bytes()
        live = _network_socket(source) is not None
    elif hasattr(getattr(source, "content", source), "readany"):
        return _aiohttp_reader(source)
    elif hasattr(source, "feed_eof") and hasattr(source, "read"):  # asyncio's; its writer stays the user's
        take = partial(source.read, READ_BYTES)
        return AsyncReader(take, source.set_exception, partial(_asyncio_rest, source), _nothing, None)
    elif _is_async(getattr(source, "read", None)):
        chunks = _AsyncReads(partial(source.read, READ_BYTES))
    elif hasattr(source, "__aiter__"):
        chunks = source.__aiter__()
    else:
        raise TypeError(f"AsyncStream cannot read {type(source).__name__}; what blocks is for Stream")
    closing = partial(getattr, source, "is_closed", False) if hasattr(source, "aiter_bytes") else bool
    return AsyncChunks(chunks, partial(_aclose, chunks, source), _http(source, live=live), closing)


def _http(source: Any, *, live: bool) -> Http | None:
    status = getattr(source, "status_code", None) or getattr(source, "status", None)
    headers = getattr(source, "headers", None)
    if not isinstance(status, int) or headers is None:
        return None
    media_type = (headers.get("content-type") or "").partition(";")[0].strip().lower()
    ids = (headers.get(name) for name in _REQUEST_ID_HEADERS)
    return Http(status, media_type, next((str(value) for value in ids if value), None), live)


def _reads(read: Callable[[int], bytes]) -> Iterator[bytes]:
    return iter(partial(read, READ_BYTES), b"")


def _requests_chunks(response: Any) -> Iterator[bytes]:
    """By `read1`: `iter_content` waits for full chunks, unless the server sends its body chunked."""
    raw = response.raw
    if getattr(response, "_content_consumed", False):
        return iter((response.content,))
    if hasattr(raw, "read1"):
        return _reads(partial(raw.read1, decode_content=True))
    return iter(response.iter_content(chunk_size=None if getattr(raw, "chunked", False) else 1))


def _network_socket(response: Any) -> object:
    """The socket under an httpx response, or what stands for it where it may not be shut down.

    A connection of HTTP/2 belongs to many streams.
    """
    extensions = getattr(getattr(response, "http_response", response), "extensions", {})
    stream = extensions.get("network_stream")
    if stream is None or extensions.get("http_version") == b"HTTP/2":
        return stream
    return stream.get_extra_info("socket")


def _connection_socket(response: Any) -> object:
    for path in _SOCKET_PATHS:
        with suppress(AttributeError):
            if (found := path(response)) is not None:
                return found
    return None


def _shutdown(sock: object) -> Callable[[], None] | None:
    """A call that ends reads of `sock`; None if it is no socket of the operating system."""
    if sock is None:
        return None
    import socket  # noqa: PLC0415 - whoever has one has imported it

    if not isinstance(sock, socket.socket):
        return None

    def shutdown() -> None:
        # The base class's method: that of an `SSLSocket` drops its TLS state under the reading thread's feet.
        with suppress(OSError):
            socket.socket.shutdown(sock, socket.SHUT_RDWR)

    return shutdown


def _close(*holders: Any) -> None:
    for holder in holders:
        # An upstream that is gone may fail to say goodbye; there is nothing left to do about it.
        with suppress(Exception):
            holder.close()


async def _aclose(*holders: Any) -> None:
    for holder in holders:
        with suppress(Exception):
            closing = (getattr(holder, "aclose", None) or holder.close)()
            if hasattr(closing, "__await__"):
                await closing


def _nothing(_error: BaseException | None = None) -> None:
    """There is nothing to let go of, and no read to fail."""


def _is_async(function: object) -> bool:
    # As `inspect` does it, which takes as long to import as all the rest.
    return bool(getattr(getattr(function, "__code__", None), "co_flags", 0) & CO_COROUTINE)


def _awaited(read: Callable[[int], bytes]) -> Callable[[], Awaitable[bytes]]:
    async def take() -> bytes:
        return read(READ_BYTES)

    return take


class _AsyncReads:
    """Iterates an awaitable read until it returns nothing."""

    def __init__(self, read: Callable[[], Awaitable[bytes]]) -> None:
        self._read = read

    def __aiter__(self) -> _AsyncReads:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._read()
        if not chunk:
            raise StopAsyncIteration
        return chunk


def _aiohttp_reader(source: Any) -> AsyncReader:
    """For a response, or for its `content` alone."""
    content = getattr(source, "content", source)
    close = partial(_close, source) if content is not source else _nothing
    http, rest = _http(source, live=True), partial(_aiohttp_rest, content)
    return AsyncReader(content.readany, content.set_exception, rest, close, http)


def _aiohttp_rest(content: Any) -> bytes:
    """Bytes that arrived before an error was set; aiohttp's public reads raise and hold them back."""
    with suppress(Exception):
        return bytes(content._read_nowait(-1))
    return b""


def _asyncio_rest(reader: Any) -> bytes:
    with suppress(Exception):
        rest = bytes(reader._buffer)
        reader._buffer.clear()
        return rest
    return b""
