"""How the faces wait, stop waiting, and let go: iteration, closing, time-outs, threads and tasks."""

from __future__ import annotations

import asyncio
import gc
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import clients
import httpx
import pytest
from faces import LETTER, RESPONSE, Chunks, Read, Response, each_face, silent_after
from upstream import KEEP, STALL, Step, Upstream, chat_stream, chunked, head

from penstock.errors import (
    ConcurrencyError,
    IncompleteStream,
    ResponseError,
    StreamTimeout,
)
from penstock.stream import AsyncStream, Stream

# One position for all ways to iterate


def test_ways_to_iterate_may_be_mixed() -> None:
    three = b"".join(RESPONSE[:3])
    stream = Stream([three, RESPONSE[3], b"".join(RESPONSE[4:])])
    seen = [next(stream), next(stream)]
    seen += next(stream.batches())
    for one in stream:
        seen.append(one)
        if len(seen) == 5:
            break
    for one in stream:
        seen.append(one)
    assert [one.type for one in seen] == [one.type for one in Stream(RESPONSE)]
    assert list(stream) == [*stream.batches()] == []
    assert stream.final()["status"] == "completed"


async def test_ways_to_iterate_may_be_mixed_async() -> None:
    three = b"".join(RESPONSE[:3])
    stream = AsyncStream(Chunks(three, RESPONSE[3], b"".join(RESPONSE[4:])))
    seen = [await anext(stream), await anext(stream)]
    seen += await anext(stream.batches())
    async for one in stream:
        seen.append(one)
        if len(seen) == 5:
            break
    async for batch in stream.batches():
        seen += batch
    assert [one.type for one in seen] == [one.type for one in Stream(RESPONSE)]
    assert [one async for one in stream] == []
    assert (await stream.final())["status"] == "completed"


def test_final_discards_what_was_not_iterated() -> None:
    stream = Stream([b"".join(RESPONSE)])
    next(stream)
    assert stream.final()["status"] == "completed"
    assert list(stream) == []


def test_streams_may_be_made_outside_a_loop() -> None:
    stream = AsyncStream(b"".join(RESPONSE))

    async def read() -> dict[str, Any]:
        return await stream.final()

    assert asyncio.run(read())["status"] == "completed"
    AsyncStream(b"")  # dropped where no loop runs


def test_import_does_without_asyncio() -> None:
    program = "import sys, penstock.stream; sys.exit('asyncio' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


# Closing


@pytest.mark.parametrize("count", [0, 1, 4])
def test_close(count: int) -> None:
    source = Response(*RESPONSE)
    stream = Stream(source, idle_timeout=None)
    for _ in range(count):
        next(stream)
    assert "open" in repr(stream)
    stream.close()
    stream.close()
    assert (source.closed, stream.closed) == (1, True)
    assert list(stream) == []
    assert "closed" in repr(stream)
    with pytest.raises(IncompleteStream) as caught:
        stream.final()
    assert caught.value.reason == ("closed" if count else "eof")


@pytest.mark.parametrize("count", [0, 1, 4])
async def test_aclose(count: int) -> None:
    source = Response(*RESPONSE)
    stream = AsyncStream(source)
    for _ in range(count):
        await anext(stream)
    await stream.aclose()
    await stream.aclose()
    assert source.closed
    assert stream.closed
    assert [one async for one in stream] == []


def test_close_ends_a_loop_in_the_middle_of_its_batch() -> None:
    stream = Stream([b"".join(RESPONSE)])
    seen = []
    for one in stream:
        seen.append(one)
        stream.close()
    assert len(seen) == 1


async def test_aclose_ends_a_loop_in_the_middle_of_its_batch() -> None:
    stream = AsyncStream(b"".join(RESPONSE))
    seen = []
    async for one in stream:
        seen.append(one)
        await stream.aclose()
    assert len(seen) == 1


@each_face
def test_whoever_reads_to_the_end_need_not_close(read: Read) -> None:
    source = Response(*RESPONSE)
    read(source)
    assert source.closed


def test_source_is_let_go_of_at_the_end_and_on_failure() -> None:
    for source in (Response(*RESPONSE), Response(*RESPONSE[:3], error=EOFError()), Response(status=500)):
        stream = Stream(source)
        with suppress(IncompleteStream, ResponseError):
            list(stream)
        assert source.closed == 1
        assert "over" in repr(stream)


def abandon(streams: list[Any]) -> None:
    streams.clear()
    gc.collect()


def test_abandoned_stream_says_so_and_closes() -> None:
    source = Response(*RESPONSE)
    streams = [Stream(source, idle_timeout=None)]
    next(streams[0])
    with pytest.warns(ResourceWarning, match="unclosed <Stream of Response, open, 1 events>"):
        abandon(streams)
    assert source.closed == 1


async def test_abandoned_async_stream_says_so_and_closes() -> None:
    source = Response(*RESPONSE)
    streams = [AsyncStream(source)]
    await anext(streams[0])
    with pytest.warns(ResourceWarning, match="unclosed <AsyncStream of Response, open, 1 events>"):
        abandon(streams)
    await asyncio.sleep(0.05)
    assert source.closed
    assert len(asyncio.all_tasks()) == 1


def test_async_stream_abandoned_after_its_loop() -> None:
    async def begin() -> AsyncStream:
        stream = AsyncStream(Response(*RESPONSE))
        await anext(stream)
        return stream

    streams = [asyncio.run(begin())]
    with pytest.warns(ResourceWarning, match="unclosed"):
        abandon(streams)


def test_stream_without_resources_may_be_dropped() -> None:
    with warnings.catch_warnings(action="error"):
        next(Stream(RESPONSE))
        Stream(RESPONSE)
        AsyncStream(b"")
        AsyncStream(Chunks(*RESPONSE))
        gc.collect()


# Two at once


def test_two_threads() -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow() -> Iterator[bytes]:
        entered.set()
        leave.wait(5)
        yield from RESPONSE

    stream = Stream(slow())
    finals: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: finals.append(stream.final()))
    thread.start()
    entered.wait(5)
    for call in (stream.final, lambda: next(stream), lambda: next(stream.batches())):
        with pytest.raises(ConcurrencyError):
            call()
    leave.set()
    thread.join()
    assert finals[0]["status"] == "completed"


async def test_two_tasks() -> None:
    stream = AsyncStream(Chunks(*RESPONSE))
    first = asyncio.create_task(stream.final())
    await asyncio.sleep(0)
    with pytest.raises(ConcurrencyError):
        await anext(stream)
    assert (await first)["status"] == "completed"


def close_soon(stream: Stream) -> threading.Thread:
    def close() -> None:
        time.sleep(0.1)
        stream.close()

    thread = threading.Thread(target=close)
    thread.start()
    return thread


@pytest.mark.parametrize("client", ["httpx", "requests"])
def test_close_wakes_a_blocked_read(client: str, upstream: Upstream) -> None:
    with clients.SYNC[client](upstream.url(head(), LETTER, STALL)) as response:
        stream = Stream(response)
        closer = close_soon(stream)
        assert [event.delta for event in stream] == ["a"]
        closer.join()
        assert upstream.settled()
        with pytest.raises(IncompleteStream) as caught:
            stream.final()
        assert caught.value.reason == "closed"


def test_close_wakes_a_read_at_the_pump() -> None:
    source, leave = silent_after(LETTER)
    stream = Stream(source, idle_timeout=30)
    closer = close_soon(stream)
    assert [event.delta for event in stream] == ["a"]
    closer.join()
    leave.set()


def test_close_ends_a_read_that_nothing_can_wake_as_soon_as_it_returns() -> None:
    source, leave = silent_after(LETTER)
    stream = Stream(source)
    closer = close_soon(stream)
    threading.Timer(0.3, leave.set).start()
    assert [event.delta for event in stream] == ["a"]
    closer.join()


@pytest.mark.parametrize("client", clients.ASYNC)
async def test_aclose_wakes_a_waiting_task(client: str, upstream: Upstream) -> None:
    async with clients.ASYNC[client](upstream.url(head(), LETTER, STALL)) as response:
        stream = AsyncStream(response)
        assert (await anext(stream)).delta == "a"
        waiting = asyncio.create_task(anext(stream, None))
        await asyncio.sleep(0.05)
        await stream.aclose()
        assert await asyncio.wait_for(waiting, 5) is None


# Each time-out, through each way of waiting


def comments(count: int) -> list[Step]:
    return [b": still there\n\n", 0.05] * count


OPTIONS: dict[str, Any] = {
    "idle": {"idle_timeout": 0.2},
    "duration": {"max_duration": 0.2},
    "first_event": {"first_event_timeout": 0.2},
}


each_kind = pytest.mark.parametrize("kind", OPTIONS)


@each_kind
def test_time_out_by_the_watchdog(kind: str, upstream: Upstream) -> None:
    url = upstream.url(head(), comments(2 if kind == "idle" else 10), STALL)
    with clients.SYNC["httpx"](url) as response, Stream(response, **OPTIONS[kind]) as stream:
        with pytest.raises(StreamTimeout, match=r"0\.2 s") as caught:
            stream.final()
        assert (caught.value.kind, caught.value.seconds, caught.value.partial) == (kind, 0.2, None)
        with pytest.raises(StreamTimeout):
            next(stream)


@each_kind
def test_time_out_by_the_pump(kind: str) -> None:
    source, leave = silent_after(b": comment\n\n")
    stream = Stream(source, **OPTIONS[kind])
    with pytest.raises(StreamTimeout) as caught:
        stream.final()
    assert caught.value.kind == kind
    leave.set()


@each_kind
@pytest.mark.parametrize("client", ["httpx", "aiohttp"])
async def test_time_out_by_the_timer(kind: str, client: str, upstream: Upstream) -> None:
    url = upstream.url(head(), comments(2 if kind == "idle" else 10), STALL)
    async with clients.ASYNC[client](url) as response, AsyncStream(response, **OPTIONS[kind]) as stream:
        with pytest.raises(StreamTimeout) as caught:
            await stream.final()
        assert (caught.value.kind, caught.value.seconds) == (kind, 0.2)


def test_partial_is_kept_on_a_time_out(upstream: Upstream) -> None:
    url = upstream.url(chunked(RESPONSE[:4])[:-1], STALL)
    with clients.SYNC["httpx2"](url) as response, Stream(response, idle_timeout=0.2) as stream:
        with pytest.raises(StreamTimeout) as caught:
            stream.final()
        assert caught.value.partial is not None
        assert caught.value.partial["status"] != "completed"


def test_slow_consumer_is_no_silent_upstream(upstream: Upstream) -> None:
    url = upstream.url(head(), LETTER, 0.05, LETTER)
    with clients.SYNC["httpx"](url) as response, Stream(response, idle_timeout=0.15) as stream:
        for _event in stream:
            time.sleep(0.4)


@pytest.mark.parametrize("client", ["httpx", "aiohttp"])
async def test_slow_consumer_is_no_silent_upstream_async(client: str, upstream: Upstream) -> None:
    url = upstream.url(head(), LETTER, 0.05, LETTER)
    async with clients.ASYNC[client](url) as response, AsyncStream(response, idle_timeout=0.15) as stream:
        async for _event in stream:
            await asyncio.sleep(0.4)


def test_first_event_timeout_ends_with_the_first_event(upstream: Upstream) -> None:
    url = upstream.url(head(), RESPONSE[0], 0.4, *RESPONSE[1:])
    with clients.SYNC["httpx"](url) as response, Stream(response, first_event_timeout=0.3) as stream:
        assert stream.final()["status"] == "completed"


async def test_first_event_timeout_ends_with_the_first_event_async(upstream: Upstream) -> None:
    url = upstream.url(head(), RESPONSE[0], 0.4, *RESPONSE[1:])
    async with (
        clients.ASYNC["aiohttp"](url) as response,
        AsyncStream(response, first_event_timeout=0.3, idle_timeout=None) as stream,
    ):
        assert (await stream.final())["status"] == "completed"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs a certificate, made by openssl")
def test_time_out_under_tls(tmp_path: Path) -> None:
    """The thread blocks in the TLS layer, and still wakes."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    request = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*request.split(), *names], check=True, capture_output=True)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate, key)

    def serve() -> None:
        with suppress(OSError), serving.wrap_socket(listener.accept()[0], server_side=True) as connection:
            connection.recv(65536)
            connection.sendall(head() + LETTER)
            connection.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        trusting = ssl.create_default_context(cafile=str(certificate))
        url = f"https://localhost:{listener.getsockname()[1]}/"
        with (
            httpx.Client(verify=trusting, trust_env=False) as client,
            client.stream("GET", url) as response,
            Stream(response, idle_timeout=0.3) as stream,
        ):
            assert next(stream).delta == "a"
            with pytest.raises(StreamTimeout):
                next(stream)
        thread.join(5)
        assert not thread.is_alive()


async def test_timer_does_not_keep_a_stream_alive(upstream: Upstream) -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(LETTER)
    stream = AsyncStream(reader, idle_timeout=0.05)
    await anext(stream)
    gone = weakref.ref(stream)
    del stream
    assert gone() is None
    await asyncio.sleep(0.1)


# After [DONE]


def chat_then(*steps: Any) -> list[Any]:
    return [*chunked(chat_stream())[:-1], *steps]


def test_connection_is_reused_after_done(upstream: Upstream) -> None:
    url = upstream.url(chat_then(0.05, b"0\r\n\r\n"), KEEP)
    before = upstream.accepted
    with httpx.Client(trust_env=False) as client:
        for _ in range(3):
            with client.stream("GET", url) as response, Stream(response) as stream:
                assert stream.final()["choices"][0]["finish_reason"] == "stop"
    assert upstream.accepted == before + 1


@pytest.mark.parametrize("client", ["httpx", "aiohttp"])
async def test_silence_after_done_is_an_end(client: str, upstream: Upstream) -> None:
    async with clients.ASYNC[client](upstream.url(chat_then(STALL))) as response:
        began = time.monotonic()
        async with AsyncStream(response, idle_timeout=60) as stream:
            assert (await stream.final())["choices"][0]["finish_reason"] == "stop"
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("client", ["httpx", "requests"])
@pytest.mark.parametrize("idle", [60, None])
def test_silence_after_done_is_an_end_blocking(client: str, idle: float | None, upstream: Upstream) -> None:
    with clients.SYNC[client](upstream.url(chat_then(STALL))) as response:
        began = time.monotonic()
        with Stream(response, idle_timeout=idle) as stream:
            assert stream.final()["choices"][0]["finish_reason"] == "stop"
        assert time.monotonic() - began < 5


DRIP: list[Step] = [b"2\r\n:\n\r\n", 0.02]


def test_what_follows_done_is_ignored(upstream: Upstream) -> None:
    url = upstream.url(chat_then(*DRIP * 4, b"0\r\n\r\n"))
    with clients.SYNC["httpx"](url) as response, Stream(response) as stream:
        assert stream.final()["choices"][0]["finish_reason"] == "stop"


async def test_what_follows_done_is_ignored_async(upstream: Upstream) -> None:
    url = upstream.url(chat_then(*DRIP * 4, b"0\r\n\r\n"))
    async with clients.ASYNC["httpx"](url) as response, AsyncStream(response) as stream:
        assert (await stream.final())["choices"][0]["finish_reason"] == "stop"


def test_socket_is_not_read_beyond_done() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, ours.makefile("rb") as file:
        theirs.sendall(b"".join(chat_stream()))
        assert Stream(file).final()["choices"][0]["finish_reason"] == "stop"


async def test_bytes_are_not_read_beyond_done() -> None:
    stream = AsyncStream(b"".join(chat_stream()) + b"data: {}\n\n")
    assert (await stream.final())["choices"][0]["finish_reason"] == "stop"


def test_plain_iterable_is_not_read_beyond_done() -> None:
    source, leave = silent_after(*chat_stream())
    assert Stream(source).final()["choices"][0]["finish_reason"] == "stop"
    leave.set()


def test_silence_after_the_terminal_event_is_an_end(upstream: Upstream) -> None:
    url = upstream.url(chunked(RESPONSE)[:-1], STALL)
    with clients.SYNC["httpx"](url) as response, Stream(response, idle_timeout=0.2) as stream:
        assert stream.final()["status"] == "completed"
