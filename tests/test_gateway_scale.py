"""A thousand streams at once on each server: what is left of those killed, what those cost who never read.

`PENSTOCK_STREAMS` and `PENSTOCK_SETTLE_SECONDS` set other figures than those that are promised.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from firehose import Firehose
from gateway_servers import SERVERS, UPGRADE, Served, frame, post, raise_descriptors, reset, serving, settles

from penstock.replay import ReplayServer

STREAMS = int(os.environ.get("PENSTOCK_STREAMS", "1000"))
SETTLE_SECONDS = float(os.environ.get("PENSTOCK_SETTLE_SECONDS", "2"))


Begin = Callable[[Served, list[dict[str, str]]], Iterator[socket.socket]]


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[tuple[Served, ReplayServer]]:
    raise_descriptors()
    with ReplayServer() as upstream, serving(request.param, upstream.base_url) as served:
        yield served, upstream


def over_http(served: Served, requests: list[dict[str, str]]) -> Iterator[socket.socket]:
    for request in requests:
        client = served.dial()
        client.sendall(post(request))
        yield client


def over_websocket(served: Served, requests: list[dict[str, str]]) -> Iterator[socket.socket]:
    clients = []
    for _ in requests:
        client = served.dial()
        client.sendall(UPGRADE)
        clients.append(client)
    for client, request in zip(clients, requests, strict=True):
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += client.recv(1)
        assert answer.startswith(b"HTTP/1.1 101"), answer
        client.sendall(frame(request))
        yield client


@pytest.mark.parametrize("begin", [over_http, over_websocket])
def test_nothing_is_left_of_streams_killed_midway(server: tuple[Served, ReplayServer], begin: Begin) -> None:
    """No task, no descriptor, no upstream request, two seconds after all clients have gone."""
    served, upstream = server
    faults = ("tokens=100000+rate=2", "stall@4", "tokens=100000+rate=1", "delay=300")
    requests = [
        {"model": f"{('replay', 'chat')[n % 2]}-text+{faults[n // 2 % 4]}", "input": "x"}
        for n in range(STREAMS)
    ]
    for client in begin(served, requests[:2]):  # what the first streams set up for good
        client.close()
    assert settles(lambda: served.state()["active"] == 0, 20) is not None
    time.sleep(0.3)
    before = served.state()
    clients = list(begin(served, requests))
    assert settles(lambda: upstream.stats.active == STREAMS, 60) is not None
    assert served.state()["active"] == STREAMS
    for number, client in enumerate(clients):
        if number % 3:
            client.close()
        else:
            reset(client)

    def nothing_is_left() -> bool:
        now = served.state()
        return (
            upstream.stats.active == now["active"] == 0
            and now["tasks"] <= before["tasks"]
            # What is kept for the next request is no stream's; of the process's own some come and go.
            and now["fds"] - now["kept"] <= before["fds"] - before["kept"] + 4
        )

    assert settles(nothing_is_left, SETTLE_SECONDS) is not None, (served.state(), before, upstream.stats)


LARGEST_EVENT = 64 * 1024
"""More than any that the firehose sends."""

OWN_BUFFER = {"uvicorn": 65_536, "hypercorn": 65_536, "granian": 8_192 + 100 * 4_096}
"""What a server takes for a connection before it says that it is enough: asyncio's default, and hyper's."""


@pytest.mark.parametrize(
    ("kind", "begin"), [*((kind, over_http) for kind in SERVERS), ("uvicorn", over_websocket)]
)
def test_clients_that_never_read_pause_the_upstream_and_cost_little(kind: str, begin: Begin) -> None:
    """Each could be sent bytes without end; the gateway holds 256 KiB and an event for it, and no more."""
    raise_descriptors()
    with Firehose() as upstream, serving(kind, upstream.base_url) as served:
        requests = [{"model": "replay-text", "input": "x"}] * STREAMS
        for client in begin(served, requests[:2]):  # what the first streams set up for good
            client.close()
        assert settles(lambda: not upstream.streams, 20) is not None
        before = served.state()
        clients = list(begin(served, requests))
        paused = settles(lambda: upstream.waiting == STREAMS and upstream.still(0.5), 60)
        grown, waiting = served.state()["rss"] - before["rss"], served.buffered()
        for client in clients:
            reset(client)
        assert paused is not None, upstream.waiting
        assert 0 < waiting < STREAMS * 128 * 1024
        assert grown < STREAMS * (256 * 1024 + LARGEST_EVENT + OWN_BUFFER[kind]), grown / STREAMS
        assert settles(lambda: served.state()["active"] == len(upstream.streams) == 0, 20) is not None
