"""`EventStreamResponse` on uvicorn, hypercorn and granian: what is left of streams whose clients are gone.

`PENSTOCK_STREAMS` says how many streams are killed at once, `PENSTOCK_SETTLE_SECONDS` how soon nothing may be
left of them; the defaults suit a busy machine.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from asgi_servers import SERVERS, Served, serving

from penstock import Decoder, lint
from penstock.replay import ReplayServer

STREAMS = int(os.environ.get("PENSTOCK_STREAMS", "100"))
OWN_TASKS = {"uvicorn": 1, "hypercorn": 2, "granian": 1}
"""Tasks that each server has for a request."""

SETTLE_SECONDS = float(os.environ.get("PENSTOCK_SETTLE_SECONDS", "5"))


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, Served, ReplayServer]]:
    with ReplayServer() as upstream, serving(request.param, upstream.url) as served:
        yield request.param, served, upstream


def until(condition: Callable[[], Any], seconds: float = 20) -> float:
    """Wait for a condition; how long it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds
        time.sleep(0.005)
    return time.monotonic() - began


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def body_of(client: socket.socket) -> bytes:
    """The body of a chunked answer."""
    answer = b""
    while not answer.endswith(b"0\r\n\r\n"):
        piece = client.recv(65536)
        assert piece, answer[-200:]
        answer += piece
    rest, body = answer.split(b"\r\n\r\n", 1)[1], b""
    while rest:
        size, rest = rest.split(b"\r\n", 1)
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body


def test_a_whole_stream(server: tuple[str, Served, ReplayServer]) -> None:
    _, served, _ = server
    with served.request("replay-text+tokens=50") as client:
        body = body_of(client)
    assert lint(body) == []
    assert Decoder().feed(body)[-1].type == "response.completed"


def test_a_cut_stream(server: tuple[str, Served, ReplayServer]) -> None:
    _, served, _ = server
    with served.request("replay-text+tokens=50+reset@20") as client:
        body = body_of(client)
    assert lint(body) == []
    assert Decoder().feed(body)[-1].type == "response.failed"


def test_nothing_is_left_of_streams_killed_midway(server: tuple[str, Served, ReplayServer]) -> None:
    name, served, upstream = server
    with served.request("replay-text") as warm_up:
        body_of(warm_up)
    time.sleep(0.5)
    before = served.state()
    clients = [served.request("replay-text+tokens=100000+rate=2") for _ in range(STREAMS)]
    try:
        until(lambda: upstream.stats.active == STREAMS, 60)
        running = served.state()
    finally:
        for number, client in enumerate(clients):
            if number % 2:
                client.close()
            else:
                reset(client)
    assert running["tasks"] - before["tasks"] <= STREAMS * (OWN_TASKS[name] + 1)
    until(lambda: upstream.stats.active == 0, SETTLE_SECONDS)
    until(lambda: served.state()["tasks"] <= before["tasks"], SETTLE_SECONDS)
    # Descriptors of the process itself come and go; those of streams would be hundreds.
    until(lambda: served.state()["fds"] <= before["fds"] + 5, SETTLE_SECONDS)


def test_the_upstream_is_closed_at_once(server: tuple[str, Served, ReplayServer]) -> None:
    _, served, upstream = server
    taken = []
    for _ in range(5):
        client = served.request("replay-text+tokens=100000+rate=20")
        until(lambda: upstream.stats.active == 1)
        reset(client)
        taken.append(until(lambda: upstream.stats.active == 0))
    assert min(taken) < 1  # a bound on a busy machine; the benchmark has the figure


def test_clients_that_never_read_pause_the_upstream(server: tuple[str, Served, ReplayServer]) -> None:
    _, served, upstream = server
    before = served.state()
    clients = [served.request("replay-text+tokens=100000", buffer=4096, query="60") for _ in range(10)]
    sent = -1
    deadline = time.monotonic() + 20
    while sent != upstream.stats.body_bytes:  # until nothing moves any more
        assert time.monotonic() < deadline
        sent = upstream.stats.body_bytes
        time.sleep(1)
    grown = served.state()["rss"] - before["rss"]
    for client in clients:
        client.close()
    until(lambda: upstream.stats.active == 0)
    # 256 KiB and an event each, and what the process takes in passing.
    assert grown < len(clients) * 300_000 + 16_000_000
    assert upstream.stats.completed <= 60


def test_a_client_that_takes_nothing_is_given_up(server: tuple[str, Served, ReplayServer]) -> None:
    _, served, upstream = server
    client = served.request("replay-text+tokens=100000", buffer=4096, query="0.3")
    until(lambda: upstream.stats.active == 1)
    until(lambda: upstream.stats.active == 0)
    client.close()
