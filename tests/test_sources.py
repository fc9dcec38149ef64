"""Every source is read as it arrives, can be ended while it is read, and is let go of."""

from __future__ import annotations

import asyncio
import gzip
import io
import socket
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import clients
import pytest
import requests
import urllib3
from faces import Chunks
from upstream import RESET, STALL, Upstream, chunked, delta, document, head, responses_stream

from penstock._penstock import Event
from penstock.errors import IncompleteStream, ResponseError, StreamTimeout
from penstock.sources import AsyncChunks, Http, open_async_source, open_source
from penstock.stream import AsyncStream, Stream

WHOLE = b"".join(responses_stream())
TEXT = "Hello, world "

each_client = pytest.mark.parametrize("client", clients.SYNC)
each_async_client = pytest.mark.parametrize("client", clients.ASYNC)
each_transfer = pytest.mark.parametrize("transfer", ["chunked", "until-closed"])


def beginning(transfer: str, *parts: bytes) -> list[Any]:
    """An answer that has more to come."""
    return chunked(parts)[:-1] if transfer == "chunked" else [head(), *parts]


def text_of(final: dict[str, Any]) -> str:
    text: str = final["output"][0]["content"][0]["text"]
    return text


# Clients


@each_client
@each_transfer
def test_client(client: str, transfer: str, upstream: Upstream) -> None:
    steps = chunked(responses_stream()) if transfer == "chunked" else [head(), *responses_stream()]
    with clients.SYNC[client](upstream.url(steps)) as response, Stream(response) as stream:
        assert text_of(stream.final()) == TEXT
        assert stream.stats.bytes == len(WHOLE)


@each_async_client
@each_transfer
async def test_async_client(client: str, transfer: str, upstream: Upstream) -> None:
    steps = chunked(responses_stream()) if transfer == "chunked" else [head(), *responses_stream()]
    async with clients.ASYNC[client](upstream.url(steps)) as response, AsyncStream(response) as stream:
        assert text_of(await stream.final()) == TEXT
        assert stream.stats.bytes == len(WHOLE)


@each_client
@each_transfer
def test_lone_event_is_delivered_at_once_and_silence_ends(
    client: str, transfer: str, upstream: Upstream
) -> None:
    url = upstream.url(beginning(transfer, delta("a")), STALL)
    with clients.SYNC[client](url) as response, Stream(response, idle_timeout=0.3) as stream:
        assert [event.delta for event in next(stream.batches())] == ["a"]
        began = time.monotonic()
        with pytest.raises(StreamTimeout) as caught:
            next(stream.batches())
        assert 0.25 < time.monotonic() - began < 5
        assert (caught.value.kind, caught.value.seconds) == ("idle", 0.3)
        assert upstream.settled()


@each_async_client
@each_transfer
async def test_lone_event_is_delivered_at_once_and_silence_ends_async(
    client: str, transfer: str, upstream: Upstream
) -> None:
    url = upstream.url(beginning(transfer, delta("a")), STALL)
    async with clients.ASYNC[client](url) as response, AsyncStream(response, idle_timeout=0.3) as stream:
        assert [event.delta for event in await anext(stream.batches())] == ["a"]
        began = time.monotonic()
        with pytest.raises(StreamTimeout) as caught:
            await anext(stream.batches())
        assert 0.25 < time.monotonic() - began < 5
        assert (caught.value.kind, caught.value.seconds) == ("idle", 0.3)


@each_client
@each_transfer
def test_reset(client: str, transfer: str, upstream: Upstream) -> None:
    url = upstream.url(beginning(transfer, *responses_stream()[:4]), 0.1, RESET)
    with clients.SYNC[client](url) as response, Stream(response) as stream:
        events: list[Event] = []
        with pytest.raises(IncompleteStream) as caught:
            events.extend(stream)
        assert caught.value.reason == "reset"
        assert caught.value.partial is not None
        assert text_of(caught.value.partial) == "Hello, "


@each_async_client
@each_transfer
async def test_reset_async(client: str, transfer: str, upstream: Upstream) -> None:
    url = upstream.url(beginning(transfer, *responses_stream()[:4]), 0.1, RESET)
    async with clients.ASYNC[client](url) as response, AsyncStream(response) as stream:
        with pytest.raises(IncompleteStream) as caught:
            await stream.final()
        assert caught.value.partial is not None
        assert text_of(caught.value.partial) == "Hello, "


@each_client
def test_http_error(client: str, upstream: Upstream) -> None:
    url = upstream.url(document(429, b'{"error":{"code":"slow_down"}}', x_request_id="req_7"))
    with clients.SYNC[client](url) as response, Stream(response) as stream:
        with pytest.raises(ResponseError) as caught:
            next(stream)
        assert (caught.value.status, caught.value.code, caught.value.request_id) == (
            429,
            "slow_down",
            "req_7",
        )


@pytest.mark.parametrize("client", ["httpx", "httpx2", "aiohttp"])
async def test_http_error_async(client: str, upstream: Upstream) -> None:
    url = upstream.url(document(429, b'{"error":{"code":"slow_down"}}', x_request_id="req_7"))
    async with clients.ASYNC[client](url) as response, AsyncStream(response) as stream:
        with pytest.raises(ResponseError) as caught:
            await anext(stream)
        assert (caught.value.status, caught.value.code, caught.value.request_id) == (
            429,
            "slow_down",
            "req_7",
        )


@pytest.mark.parametrize("client", ["httpx", "httpx2", "requests", "urllib3"])
def test_compressed_body(client: str, upstream: Upstream) -> None:
    packed = gzip.compress(WHOLE)
    halves = [packed[:40], packed[40:]]
    url = upstream.url(chunked(halves, content_encoding="gzip"))
    with clients.SYNC[client](url) as response, Stream(response) as stream:
        assert text_of(stream.final()) == TEXT


# requests, closer


def test_requests_body_already_read(upstream: Upstream) -> None:
    response = requests.get(upstream.url(chunked(responses_stream())), timeout=30)
    assert text_of(Stream(response).final()) == TEXT


@pytest.mark.parametrize("is_chunked", [True, False])
def test_requests_over_an_old_urllib3(is_chunked: bool) -> None:
    """One without `read1`."""

    class Raw:
        chunked = is_chunked

    class Response:
        status_code = 200
        headers = urllib3.HTTPHeaderDict()
        raw = Raw()

        def iter_content(self, chunk_size: int | None) -> Iterator[bytes]:
            assert chunk_size == (None if is_chunked else 1)
            return iter(responses_stream())

        def close(self) -> None: ...

    with Stream(Response()) as stream:
        assert text_of(stream.final()) == TEXT


# Other sources


class Reads:
    """A file object of the plainest kind."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def read(self, size: int) -> bytes:
        return self._data.read(min(size, 100))


class AsyncReads(Reads):
    async def read(self, size: int) -> bytes:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().read(size)


def pieces(size: int = 100) -> list[bytes]:
    return [WHOLE[at : at + size] for at in range(0, len(WHOLE), size)]


async def async_pieces() -> AsyncIterator[bytes]:
    for piece in pieces():
        yield piece


@pytest.mark.parametrize(
    "source",
    [
        WHOLE,
        bytearray(WHOLE),
        memoryview(WHOLE),
        io.BytesIO(WHOLE),
        Reads(WHOLE),
        pieces(),
        tuple(map(bytearray, pieces())),
        (memoryview(piece) for piece in pieces()),
        (piece for piece in [b"", *pieces(), b""]),
    ],
    ids=lambda source: type(source).__name__,
)
def test_source(source: Any) -> None:
    with Stream(source) as stream:
        assert text_of(stream.final()) == TEXT


@pytest.mark.parametrize(
    "make", [lambda: WHOLE, lambda: AsyncReads(WHOLE), async_pieces], ids=["bytes", "read", "iter"]
)
async def test_async_source(make: Any) -> None:
    async with AsyncStream(make()) as stream:
        assert text_of(await stream.final()) == TEXT


async def test_asyncio_reader(upstream: Upstream) -> None:
    url = upstream.url(head(), *responses_stream())
    async with clients.asyncio_reader(url) as reader, AsyncStream(reader) as stream:
        assert text_of(await stream.final()) == TEXT


async def test_asyncio_reader_times_out(upstream: Upstream) -> None:
    url = upstream.url(head(), STALL)
    async with clients.asyncio_reader(url) as reader, AsyncStream(reader, idle_timeout=0.1) as stream:
        with pytest.raises(StreamTimeout):
            await stream.final()


def test_socket_file_times_out() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, ours.makefile("rb") as file:
        theirs.sendall(delta("a"))
        stream = Stream(file, idle_timeout=0.1)
        assert next(stream).delta == "a"
        with pytest.raises(StreamTimeout):
            next(stream)


@pytest.mark.parametrize("source", ["text", 5, None, io.StringIO("text"), async_pieces], ids=repr)
def test_what_cannot_be_read(source: Any) -> None:
    with pytest.raises(TypeError, match="Stream"):
        Stream(source)


@pytest.mark.parametrize(
    "source", ["text", 5, None, [b"x"], io.BytesIO()], ids=lambda source: type(source).__name__
)
async def test_what_cannot_be_awaited(source: Any) -> None:
    with pytest.raises(TypeError, match="AsyncStream"):
        AsyncStream(source)


# What responses tell of themselves


class FakeResponse:
    def __init__(self, status: Any, headers: Any = None, extensions: Any = None) -> None:
        self.status_code = status
        self.headers = headers
        self.extensions = {} if extensions is None else extensions

    def iter_bytes(self) -> Iterator[bytes]:
        return iter(())


@pytest.mark.parametrize(
    ("response", "http"),
    [
        (FakeResponse(200, {}), Http(200, "", None, live=False)),
        (
            FakeResponse(200, {"content-type": "Text/Event-Stream; charset=utf-8"}),
            Http(200, "text/event-stream", None, live=False),
        ),
        (FakeResponse(200, {"content-type": None, "request-id": "a"}), Http(200, "", "a", live=False)),
        (FakeResponse(500, {"cf-ray": "b", "x-request-id": "a"}), Http(500, "", "a", live=False)),
        (FakeResponse(200, {"apim-request-id": "a"}), Http(200, "", "a", live=False)),
        (FakeResponse(200), None),
        (FakeResponse("200", {}), None),
    ],
)
def test_http(response: FakeResponse, http: Http | None) -> None:
    assert open_source(response).http == http


class NetworkStream:
    def __init__(self, sock: object) -> None:
        self.sock = sock

    def get_extra_info(self, name: str) -> object:
        return self.sock if name == "socket" else None


def test_socket_that_may_be_shut_down() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        alone = {"network_stream": NetworkStream(ours), "http_version": b"HTTP/1.1"}
        shared = {"network_stream": NetworkStream(ours), "http_version": b"HTTP/2"}
        foreign = {"network_stream": NetworkStream(object())}
        for extensions, live in ((shared, True), (foreign, True), ({}, False)):
            opened = open_source(FakeResponse(200, {}, extensions))
            assert opened.abort is None
            assert opened.http is not None
            assert opened.http.live is live
        abort = open_source(FakeResponse(200, {}, alone)).abort
        assert abort is not None
        abort()
        assert theirs.recv(1) == b""
    abort()  # closed by now, and no error


def test_wrapped_response_is_unwrapped() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wrapper = FakeResponse(200, {})
        wrapper.http_response = FakeResponse(200, {}, {"network_stream": NetworkStream(ours)})  # type: ignore[attr-defined]
        assert open_source(wrapper).abort is not None


# Letting go


class Stubborn:
    """Counts its closings, and fails each."""

    def __init__(self) -> None:
        self.closings = 0

    def __iter__(self) -> Iterator[bytes]:
        return iter(())

    def __aiter__(self) -> AsyncIterator[bytes]:
        return async_pieces()

    def close(self) -> None:
        self.closings += 1
        raise OSError("no")


async def test_closing_never_fails() -> None:
    source = Stubborn()
    open_source(source).close()
    chunks = open_async_source(source)
    assert isinstance(chunks, AsyncChunks)
    await chunks.aclose()
    assert source.closings == 2


async def test_closing_may_need_no_await() -> None:
    source = Chunks(WHOLE)
    async with AsyncStream(source) as stream:
        await stream.final()
    assert source.closed


class Private:
    """A reader whose insides are not those we know."""

    async def read(self, _size: int) -> bytes:
        raise ConnectionResetError

    def set_exception(self, error: BaseException) -> None: ...


class AiohttpLike(Private):
    async def readany(self) -> bytes:
        raise ConnectionResetError


class AsyncioLike(Private):
    def feed_eof(self) -> None: ...


async def test_what_was_not_taken_is_salvaged(upstream: Upstream) -> None:
    """Bytes that arrived before a reset must not be lost with it, though the readers' own methods lose
    them."""
    reader = asyncio.StreamReader()
    reader.feed_data(WHOLE)
    reader.set_exception(ConnectionResetError())
    assert text_of(await AsyncStream(reader).final()) == TEXT

    url = upstream.url(beginning("chunked", *responses_stream()), 0.05, RESET)
    async with clients.ASYNC["aiohttp"](url) as response:
        await asyncio.sleep(0.2)
        assert text_of(await AsyncStream(response).final()) == TEXT


@pytest.mark.parametrize("source", [AiohttpLike(), AsyncioLike()])
async def test_nothing_to_salvage(source: Private) -> None:
    with pytest.raises(IncompleteStream):
        await AsyncStream(source).final()
