"""`EventStreamResponse`: what it reads, how it ends, what it does with clients that leave or do not read."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import httpx
import pytest
from asgi_client import Client, Source
from relay_streams import CHAT, MESSAGES, RESPONSES, STREAMS, terminals
from starlette.responses import Response

import penstock
from penstock import Decoder, GuardFailed, Limits, lint
from penstock.asgi import Cancel, Detach, Drain, EventStreamResponse, KeepAlive
from penstock.replay import ReplayServer

STREAM = b"".join(RESPONSES)
EVENTS = Decoder().feed(STREAM)


async def served(source: Any, client: Client | None = None, **options: Any) -> Client:
    return await (client or Client()).call(EventStreamResponse(source, **options))


async def generated(pieces: list[Any]) -> AsyncIterator[Any]:
    for piece in pieces:
        yield piece


@contextlib.asynccontextmanager
async def managed(source: Any) -> AsyncIterator[Any]:
    yield source


async def later(source: Any) -> Any:
    return source


def plain(pieces: list[Any]) -> Iterator[Any]:
    yield from pieces


READABLE: dict[str, Any] = {
    "async generator": lambda: generated(RESPONSES),
    "list of bytes": lambda: RESPONSES,
    "bytes": lambda: STREAM,
    "bytearrays": lambda: [bytearray(frame) for frame in RESPONSES],
    "generator": lambda: plain(RESPONSES),
    "events": lambda: generated(EVENTS),
    "batches": lambda: generated([EVENTS[:5], EVENTS[5:]]),
    "dicts": lambda: [event.json() for event in EVENTS],
    "AsyncStream": lambda: penstock.AsyncStream(generated(RESPONSES)),
    "Stream": lambda: penstock.Stream(RESPONSES),
    "function": lambda: lambda: generated(RESPONSES),
    "awaitable": lambda: later(generated(RESPONSES)),
    "async function": lambda: lambda: later(RESPONSES),
    "async context manager": lambda: managed(generated(RESPONSES)),
    "function of one": lambda: lambda: managed(RESPONSES),
    "bytes split anywhere": lambda: [STREAM[at : at + 7] for at in range(0, len(STREAM), 7)],
}


@pytest.mark.parametrize("kind", READABLE)
async def test_whatever_holds_events_is_streamed(kind: str) -> None:
    client = await served(READABLE[kind]())
    read = Decoder().feed(client.body)
    assert [event.json() for event in read] == [event.json() for event in EVENTS]
    if kind != "dicts":
        assert client.body == STREAM
    assert client.finished
    assert client.status == 200


@pytest.mark.parametrize(
    "source",
    ["text", ["text"], {"a": 1}, EVENTS[0], 3, object(), lambda: None, [3]],
    ids=lambda source: repr(source)[:20],
)
async def test_what_cannot_be_streamed_is_the_application_s_mistake(source: Any) -> None:
    client = Client()
    with pytest.raises(TypeError):
        await served(source, client)
    assert client.status == 500
    assert "error" in json.loads(client.body)


async def test_headers() -> None:
    response = EventStreamResponse([], headers={"X-Request-Id": "r1", "Cache-Control": "no-store"})
    assert dict(response.raw_headers) == {
        b"content-type": b"text/event-stream; charset=utf-8",
        b"cache-control": b"no-store",
        b"x-accel-buffering": b"no",
        b"x-request-id": b"r1",
    }
    assert isinstance(response, Response)
    response.set_cookie("a", "b")
    assert b"set-cookie" in dict(response.raw_headers)


@pytest.mark.parametrize(
    "options",
    [
        {"dialect": "morse"},
        {"on_disconnect": "ignore"},
        {"keep_alive": "often"},
        {"write_timeout": 0},
        {"idle_timeout": -1},
        {"max_duration": float("nan")},
        {"first_event_timeout": 0},
    ],
)
def test_wrong_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"dialect|on_disconnect|keep-alives|time-out"):
        EventStreamResponse([], **options)


@pytest.mark.parametrize("make", [lambda: KeepAlive(seconds=0), lambda: Drain(0), lambda: Detach(-1)])
def test_wrong_policies(make: Any) -> None:
    with pytest.raises(ValueError, match="positive"):
        make()


async def test_it_is_served_once() -> None:
    response = EventStreamResponse(RESPONSES)
    await Client().call(response)
    with pytest.raises(RuntimeError, match="once"):
        await Client().call(response)


FAULTS: dict[str, Any] = {
    "cut": [],
    "reset": [ConnectionResetError("sk-secret")],
    "stall": [30.0],
    "time-out of the client": [TimeoutError("sk-secret")],
    "JSON in its place": [b'{"error":{"message":"sk-secret","code":"busy"}}'],
    "half an event": [b"data: {"],
    "an error of ours": [penstock.StreamTimeout("silence", kind="idle", seconds=1)],
    "too large": [b"data: " + b"x" * 50_000 + b"\n\n"],
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("dialect", STREAMS)
async def test_every_fault_has_one_truthful_end(dialect: str, fault: str) -> None:
    frames = STREAMS[dialect]
    ends = {"responses": ["response.failed"], "chat": ["error", "[DONE]"], "messages": ["error"]}[dialect]
    for position in range(1, len(frames) - (3 if dialect == "chat" else 1), max(1, len(frames) // 6)):
        source = Source(*frames[:position], *FAULTS[fault])
        client = await served(source, idle_timeout=0.02, limits=Limits(max_line_bytes=20_000))
        assert client.body.startswith(b"".join(frames[:position]))
        assert terminals(client.body, dialect) == ends
        assert dialect != "responses" or lint(client.body) == []
        assert client.finished
        assert source.closed == 1
        assert b"sk-secret" not in client.body


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ([], 502),
        ([ConnectionResetError()], 502),
        ([30.0], 504),
        ([TimeoutError()], 504),
        ([GuardFailed("Not so.")], 400),
        ([b"data: {"], 502),
    ],
)
async def test_before_the_first_event_it_is_an_http_error(fault: list[Any], status: int) -> None:
    client = await served(Source(*fault), idle_timeout=0.02)
    assert client.status == status
    assert {"message", "type", "param", "code"} == json.loads(client.body)["error"].keys()
    assert client.finished
    assert b"sk-secret" not in client.body


@pytest.mark.parametrize("error", [KeyError, RuntimeError, ValueError])
async def test_a_failure_of_the_source_s_own_is_told_and_raised(error: type[Exception]) -> None:
    client = Client()
    with pytest.raises(error):
        await served(Source(*RESPONSES[:5], error("sk-secret")), client)
    assert terminals(client.body, "responses") == ["response.failed"]
    assert client.finished
    client = Client()
    with pytest.raises(error):
        await served(Source(error("sk-secret")), client)
    assert client.status == 500
    assert b"sk-secret" not in client.body


async def test_a_stream_of_other_events_ends_with_its_source() -> None:
    client = await served([b"data: 1\n\n", b"data: 2\n\n"], dialect=None)
    assert client.body == b"data: 1\n\ndata: 2\n\n"


async def test_what_lacks_only_its_blank_line_has_come() -> None:
    client = await served([STREAM[:-2]])
    assert terminals(client.body, "responses") == ["response.completed"]


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"idle_timeout": 0.03}, "sent nothing"),
        ({"first_event_timeout": 0.03, "idle_timeout": None}, "no event came"),
        ({"max_duration": 0.03}, "longer than"),
    ],
)
async def test_time_outs(options: dict[str, Any], kind: str) -> None:
    silent = await served(Source(30.0), **options)
    assert (silent.status, kind in json.loads(silent.body)["error"]["message"]) == (504, True)
    comments = [b": x\n\n", 0.01] * 50
    begun = await served(Source(b": x\n\n", *comments, 30.0), **options)
    assert terminals(begun.body, "messages") == ["error"]
    assert kind.encode() in begun.body


async def test_a_slow_client_is_not_an_idle_upstream() -> None:
    class Slow(Client):
        async def send(self, message: Any) -> None:
            await asyncio.sleep(0.05)
            await super().send(message)

    client = await served(Source(*RESPONSES[:3], *RESPONSES[3:]), Slow(), idle_timeout=0.03)
    assert client.body == STREAM


async def test_a_time_out_does_not_cut_what_is_being_written() -> None:
    class Slow(Client):
        async def send(self, message: Any) -> None:
            await asyncio.sleep(0.05)
            await super().send(message)

    client = await served(Source(*RESPONSES), Slow(), max_duration=0.12)
    assert lint(client.body) == []
    assert terminals(client.body, "responses") == ["response.failed"]


@pytest.mark.parametrize(
    ("kind", "frame"),
    [("comment", b": keep-alive\n\n"), ("ping", b'event: ping\ndata: {"type":"ping"}\n\n'), ("none", b"")],
)
async def test_silences_are_filled(kind: Any, frame: bytes) -> None:
    source = Source(0.1, *MESSAGES[:5], 0.1, *MESSAGES[5:])
    client = await served(source, keep_alive=KeepAlive(kind, 0.02))
    if not frame:
        assert client.body == b"".join(MESSAGES)
        return
    bodies = client.bodies
    assert bodies[0] == frame  # also before the first byte
    first = bodies.index(MESSAGES[0])
    assert frame in bodies[first:]
    assert b"".join(body for body in bodies if body != frame) == b"".join(MESSAGES)


async def test_a_keep_alive_never_stands_within_an_event() -> None:
    half = len(RESPONSES[0]) // 2
    source = Source(RESPONSES[0][:half], 0.05, RESPONSES[0][half:], *RESPONSES[1:])
    client = await served(source, keep_alive=KeepAlive(seconds=0.01))
    assert client.body.replace(b": keep-alive\n\n", b"") == STREAM
    assert lint(client.body) == []


async def test_keep_alives_end_where_the_upstream_does() -> None:
    """Once a keep-alive has been written, an error has no status any more."""
    client = await served(Source(0.05, ConnectionResetError()), keep_alive=KeepAlive(seconds=0.01))
    assert client.status == 200
    assert terminals(client.body, "messages") == ["error"]


async def test_the_upstream_is_let_go_as_soon_as_the_client_leaves() -> None:
    source = Source(*RESPONSES[:5], 30.0)
    client = await served(source, Client(leave_after=5))
    assert (source.taken, source.closed) == (5, 1)
    assert client.body == b"".join(RESPONSES[:5])


async def test_a_generator_is_closed_in_the_task_that_ran_it() -> None:
    tasks = []

    async def source() -> AsyncIterator[bytes]:
        tasks.append(asyncio.current_task())
        try:
            async with asyncio.timeout(30):
                for frame in RESPONSES[:3]:
                    yield frame
                await asyncio.sleep(30)
        finally:
            tasks.append(asyncio.current_task())

    await served(source(), Client(leave_after=3))
    assert tasks[0] is tasks[1]


async def test_draining_reads_on_to_the_end() -> None:
    source = Source(*RESPONSES[:5], 0.02, *RESPONSES[5:])
    client = await served(source, Client(leave_after=3), on_disconnect="drain")
    assert source.taken == len(RESPONSES)
    assert client.body == b"".join(RESPONSES[:3])


async def test_draining_has_an_end() -> None:
    source = Source(*RESPONSES[:5], 30.0)
    await served(source, Client(leave_after=3), on_disconnect=Drain(0.03))
    assert (source.taken, source.closed) == (5, 1)


async def test_a_detached_stream_outlives_its_request() -> None:
    source = Source(*RESPONSES[:5], 0.1, *RESPONSES[5:])
    await served(source, Client(leave_after=3), on_disconnect=Detach(5))
    assert source.closed == 0
    await until(lambda: source.closed == 1)
    assert source.taken == len(RESPONSES)


async def test_a_detached_stream_has_an_end() -> None:
    source = Source(*RESPONSES[:5], 30.0)
    await served(source, Client(leave_after=3), on_disconnect=Detach(0.05))
    assert source.closed == 0
    await until(lambda: source.closed == 1)


async def test_a_stream_that_may_be_detached_ends_as_any_other() -> None:
    assert (await served(RESPONSES, on_disconnect="detach")).body == STREAM
    cut = await served(Source(*RESPONSES[:5], 30.0), on_disconnect="detach", idle_timeout=0.02)
    assert terminals(cut.body, "responses") == ["response.failed"]
    with pytest.raises(KeyError):
        await served(Source(*RESPONSES[:5], KeyError()), on_disconnect="detach")


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_nothing_is_read_for_a_client_that_does_not_read() -> None:
    source = Source(*RESPONSES)
    client = await served(source, Client(stop_after=4), write_timeout=0.05)
    assert (source.taken, source.closed) == (5, 1)
    assert client.body == b"".join(RESPONSES[:4])


async def test_keep_alives_find_out_that_nobody_reads() -> None:
    source = Source(*RESPONSES[:4], 30.0)
    await served(source, Client(stop_after=4), write_timeout=0.05, keep_alive=KeepAlive(seconds=0.02))
    assert source.closed == 1


async def test_an_end_that_nobody_takes_is_given_up() -> None:
    source = Source(*RESPONSES[:4])
    await served(source, Client(stop_after=4), write_timeout=0.05)
    assert source.closed == 1


async def test_servers_that_tell_by_an_error() -> None:
    class Broken(Client):
        async def send(self, message: Any) -> None:
            if len(self.bodies) >= 2:
                raise OSError("gone")
            await super().send(message)

    source = Source(*RESPONSES[:4])
    await served(source, Broken())
    assert source.closed == 1


@pytest.mark.parametrize("policy", ["cancel", "detach"])
async def test_a_cancelled_request_lets_go_of_everything(policy: Any) -> None:
    source = Source(*RESPONSES[:4], 30.0)
    client = Client()
    task = asyncio.ensure_future(client.call(EventStreamResponse(source, on_disconnect=policy)))
    await until(lambda: len(client.bodies) == 4)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.closed == 1
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_client_that_cannot_be_watched_is_served(caplog: pytest.LogCaptureFixture) -> None:
    class Blind(Client):
        async def receive(self) -> dict[str, Any]:
            raise RuntimeError("sk-secret")

    assert (await served(Source(*RESPONSES[:5], 0.01, *RESPONSES[5:]), Blind())).body == STREAM
    assert "could not be watched: RuntimeError" in caplog.text
    assert "sk-secret" not in caplog.text


async def test_one_extra_task_a_stream() -> None:
    before = len(asyncio.all_tasks())
    source, client = Source(*RESPONSES[:4], 30.0), Client()
    task = asyncio.ensure_future(client.call(EventStreamResponse(source)))
    await until(lambda: len(client.bodies) == 4)
    assert len(asyncio.all_tasks()) == before + 2  # the request's own, and one
    client.gone.set()
    await task
    assert len(asyncio.all_tasks()) == before


async def test_plain_iterables_do_not_block_the_loop() -> None:
    go = threading.Event()

    def blocking() -> Iterator[bytes]:
        yield RESPONSES[0]
        assert go.wait(5)
        yield from RESPONSES[1:]

    client = Client()
    task = asyncio.ensure_future(client.call(EventStreamResponse(blocking())))
    await until(lambda: client.bodies)
    go.set()
    await task
    assert client.body == STREAM


async def test_background_runs_after_the_stream() -> None:
    done = []

    async def background() -> None:
        done.append(len(client.bodies))

    client = Client(leave_after=2)
    await served(RESPONSES, client, background=background)
    assert done == [2]


@pytest.fixture(scope="module")
def upstream() -> Iterator[ReplayServer]:
    with ReplayServer() as server:
        yield server


@contextlib.asynccontextmanager
async def asked(kind: str, server: ReplayServer, model: str, api: str = "responses") -> AsyncIterator[Any]:
    """A function that asks the upstream with one of two HTTP clients."""
    url = f"{server.url}/v1/{'responses' if api == 'responses' else 'chat/completions'}"
    body = {"model": model, "stream": True, "input": "x", "messages": [{"role": "user", "content": "x"}]}
    if kind == "httpx":
        async with httpx.AsyncClient(timeout=None) as client:  # noqa: S113
            yield lambda: client.stream("POST", url, json=body)
    else:
        async with aiohttp.ClientSession() as session:
            yield lambda: session.post(url, json=body)


FAULTY = {"responses": ["response.failed"], "chat": ["error", "[DONE]"]}


@pytest.mark.parametrize("fault", ["cut", "close", "reset", "error-event", "json-error"])
@pytest.mark.parametrize("api", ["responses", "chat"])
@pytest.mark.parametrize("kind", ["httpx", "aiohttp"])
async def test_faults_of_a_real_upstream(kind: str, api: str, fault: str, upstream: ReplayServer) -> None:
    for position in range(1, 10, 2):
        async with asked(kind, upstream, f"replay-text+tokens=20+{fault}@{position}", api) as source:
            client = await served(source)
        found = terminals(client.body, api)
        expected = FAULTY[api]
        if fault == "error-event":
            assert found.count("error") == 1
            expected = ["error", "response.failed"] if api == "responses" else expected
        assert found == expected, position
        assert client.finished
        assert api != "responses" or lint(client.body, ignore=["error_not_failed"]) == []


@pytest.mark.parametrize(
    ("fault", "status"), [("status=500", 500), ("status=429", 429), ("json-error", 502), ("html", 502)]
)
@pytest.mark.parametrize("kind", ["httpx", "aiohttp"])
async def test_the_upstream_s_status_is_kept(
    kind: str, fault: str, status: int, upstream: ReplayServer
) -> None:
    async with asked(kind, upstream, f"replay-text+{fault}") as source:
        client = await served(source)
    assert client.status == status
    assert json.loads(client.body)["error"]["message"]
    async with asked(kind, upstream, f"replay-text+{fault}+delay=0.05") as source:
        late = await served(source, keep_alive=KeepAlive(seconds=0.01))
    assert late.status == 200
    assert terminals(late.body, "messages") == ["error"]


@pytest.mark.parametrize("kind", ["httpx", "aiohttp"])
async def test_the_upstream_s_connection_is_closed_when_the_client_leaves(
    kind: str, upstream: ReplayServer
) -> None:
    async with asked(kind, upstream, "replay-text+tokens=100000+rate=100") as source:
        await served(source, Client(leave_after=5))
        await until(lambda: upstream.stats.active == 0)
    assert upstream.stats.aborted >= 1


def test_policies_by_name() -> None:
    assert EventStreamResponse([], on_disconnect=Cancel())._settings.on_disconnect == Cancel()
    assert EventStreamResponse([], on_disconnect="detach")._settings.on_disconnect == Detach()
    assert CHAT
