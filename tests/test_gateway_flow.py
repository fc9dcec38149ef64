"""How the gateway forwards: what passes where it is read, and what waits for the stream's own task."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, cast

import pytest
from gateways import Running, serving
from upstream import STALL, Step, Upstream, chat_stream, delta, head, responses_stream

from penstock import Decoder
from penstock.gateway import read
from penstock.gateway.direct import DirectProtocol

PATHS = {"responses": "/responses", "chat": "/chat/completions"}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


@contextmanager
def in_front_of(
    upstream: Upstream, api: str, *steps: Step, http: Any = DirectProtocol, **sections: Any
) -> Iterator[Running]:
    """A gateway whose upstream answers every request with these steps."""
    folder = f"/flow{len(upstream.routes)}"
    upstream.routes[folder + PATHS[api]] = list(steps)
    entry = {"name": "scripted", "url": f"http://127.0.0.1:{upstream.port}{folder}", "models": ["m"]}
    config = {"upstreams": [{**entry, "dialect": api}], "telemetry": {"log": "off"}, **sections}
    with serving(read(config, {}), cast("Any", None), http=http) as gateway:
        yield gateway


def asked(gateway: Running, api: str) -> bytes:
    """The body of a stream."""
    request: dict[str, Any] = {"model": "m", "stream": True}
    with gateway.client() as client:
        answer = client.post(PATHS[api], json=request | {"input": "Hi", "messages": []})
    assert answer.status_code == 200
    return answer.content


def apart(pieces: list[bytes]) -> list[Step]:
    """An answer whose pieces arrive in a read each."""
    return [head(), *(step for piece in pieces for step in (0.02, piece))]


@pytest.mark.parametrize("pieces", [1, 3, 100])
def test_events_cut_anywhere_pass_byte_for_byte(upstream: Upstream, pieces: int) -> None:
    stream = b"".join(responses_stream("A lock with three gates"))
    cuts = [len(stream) * number // pieces for number in range(pieces + 1)]
    with in_front_of(upstream, "responses", *apart([stream[a:b] for a, b in pairwise(cuts)])) as gateway:
        assert asked(gateway, "responses") == stream
        (record,) = gateway.gateway.ledger.ended
    assert (record.terminal, record.events) == ("completed", stream.count(b"\n\n"))
    assert record.bytes == len(stream) == gateway.gateway.ledger.bytes
    assert record.first is not None


@pytest.mark.parametrize("kept", [True, False])
def test_usage_that_follows_the_finish_reason_belongs_to_the_stream(upstream: Upstream, kept: bool) -> None:
    """Some servers send it in a packet of its own; the stream is not over before."""
    usage = (
        f'data: {{"id":"c","object":"chat.completion.chunk","choices":[],"usage":{json.dumps(USAGE)}}}\n\n'
    )
    frames = [*chat_stream(done=False), usage.encode()] + [b"data: [DONE]\n\n"] * kept
    with in_front_of(upstream, "chat", *apart(frames)) as gateway:
        body = asked(gateway, "chat")
        (record,) = gateway.gateway.ledger.ended
    assert body == b"".join(frames[: len(frames) - kept]) + b"data: [DONE]\n\n"
    assert (record.terminal, record.usage) == ("completed", USAGE)


def test_a_finished_stream_that_is_not_closed_is_finished(upstream: Upstream) -> None:
    """Its last chunk says why it ended: that the sentinel never comes makes it no failure."""
    steps = [*apart(chat_stream(done=False)), STALL]
    with in_front_of(upstream, "chat", *steps, limits={"idle": 0.5}) as gateway:
        assert asked(gateway, "chat").endswith(b'"finish_reason": "stop"}]}\n\ndata: [DONE]\n\n')
        assert gateway.gateway.ledger.terminals["completed", "chat"] == 1


def test_a_client_that_is_behind_is_waited_for(upstream: Upstream) -> None:
    """It gets every byte in order, and what it has not taken yet is not piled up."""
    text = "x" * 10_000
    frames = [*responses_stream()[:3], *(delta(f"{number} {text}") for number in range(2_000))]
    stream = b"".join([*frames, responses_stream()[-1]])
    pieces = [stream[at : at + 100_000] for at in range(0, len(stream), 100_000)]
    with in_front_of(upstream, "responses", head(), 0.05, *pieces) as gateway:
        data = json.dumps({"model": "m", "input": "Hi", "stream": True}).encode()
        ask = b"POST /v1/responses HTTP/1.0\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(data), data)
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            sock.connect(("127.0.0.1", gateway.port))
            sock.sendall(ask)
            ledger = gateway.gateway.ledger
            assert gateway.settled(lambda: ledger.bytes > 0)
            time.sleep(0.3)
            assert ledger.bytes < len(stream) / 2
            body = b"".join(iter(lambda: sock.recv(1 << 20), b"")).partition(b"\r\n\r\n")[2]
    assert unchunked(body) == stream


def test_a_silence_in_the_middle_is_bridged(upstream: Upstream) -> None:
    frames = responses_stream()
    steps: list[Step] = [head(), *frames[:5], 0.5, *frames[5:]]
    with in_front_of(upstream, "responses", *steps, limits={"keep_alive": 0.1}) as gateway:
        body = asked(gateway, "responses")
    assert body.count(b": keep-alive\n\n") >= 2
    assert body.replace(b": keep-alive\n\n", b"") == b"".join(frames)


def test_hooks_see_every_event_and_the_task_waits_for_them(upstream: Upstream) -> None:
    hooks = [{"use": "gateway_hooks:Editor"}]
    with in_front_of(upstream, "responses", *apart(responses_stream()), hooks=hooks) as gateway:
        events = Decoder().feed(asked(gateway, "responses"))
    assert [event.delta for event in events if event.delta] == ["HELLO, ", "WORLD "]


def unchunked(body: bytes) -> bytes:
    parts = []
    while body:
        size, _, body = body.partition(b"\r\n")
        parts.append(body[: int(size, 16)])
        body = body[int(size, 16) + 2 :]
    return b"".join(parts)


def test_what_cannot_pass_ends_the_stream_truthfully(upstream: Upstream) -> None:
    """The failure comes up where nothing can catch it but the stream's task, which tells it."""
    endless = [b": nothing\n" * 60_000, b": nothing\n" * 60_000]
    frames = [*responses_stream()[:4], *endless, *responses_stream()[4:]]
    with in_front_of(upstream, "responses", *apart(frames)) as gateway:
        body = asked(gateway, "responses")
        assert body.startswith(b"".join(frames[:4]))
        assert body.count(b"event: response.failed\n") == 1
        assert b"upstream_error" in body
        assert gateway.gateway.ledger.terminals["failed", "responses"] == 1


def test_requests_in_a_pipeline_are_answered_one_after_the_other(upstream: Upstream) -> None:
    frames = responses_stream()
    with in_front_of(upstream, "responses", *apart(frames)) as gateway:
        data = json.dumps({"model": "m", "input": "Hi", "stream": True}).encode()
        ask = b"POST /v1/responses HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(data), data)
        with socket.create_connection(("127.0.0.1", gateway.port)) as sock:
            sock.settimeout(10)
            sock.sendall(ask * 3)
            seen = b""
            while seen.count(b"\r\n0\r\n\r\n") < 3:
                seen += sock.recv(1 << 20)
    answers = seen.split(b"\r\n0\r\n\r\n")
    assert answers.pop() == b""
    for answer in answers:
        assert unchunked(answer.partition(b"\r\n\r\n")[2] + b"\r\n") == b"".join(frames)


def test_other_servers_are_served_by_the_task(upstream: Upstream) -> None:
    """The gateway asks for nothing beyond ASGI."""
    stream = b"".join(responses_stream())
    with in_front_of(upstream, "responses", *apart(responses_stream()), http="httptools") as gateway:
        assert asked(gateway, "responses") == stream
