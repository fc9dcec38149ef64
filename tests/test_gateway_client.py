"""The gateway's HTTP client against a server that says exactly what it is told to."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from upstream import KEEP, RESET, STALL, Upstream, chunked, document, head

from penstock.gateway.client import HIGH_WATER, READ_BYTES, ConnectError, Endpoint, UpstreamCut

BODY = b"x" * 1000

WHOLE: dict[str, list[Any]] = {
    "a length": document(200, BODY),
    "chunks": chunked([BODY[:1], BODY[1:500], BODY[500:]]),
    "until the connection ends": [head(), BODY],
    "byte by byte": [bytes([byte]) for byte in cast("bytes", document(200, BODY)[0])],
    "an interim answer first": [b"HTTP/1.1 100 Continue\r\n\r\n", *document(200, BODY)],
    "an early hint first": [b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", *chunked([BODY])],
}


@pytest.mark.parametrize("steps", WHOLE.values(), ids=WHOLE.keys())
async def test_bodies(upstream: Upstream, steps: list[Any]) -> None:
    endpoint, path = at(upstream, steps)
    answer = await endpoint.request("POST", path, [], b"{}", timeout=5)
    assert answer.status == 200
    assert answer.header(b"link") is None
    assert await answer.whole(10_000) == BODY
    assert await answer.read() == b""
    endpoint.close()


async def test_kept_connections_are_used_again(upstream: Upstream) -> None:
    endpoint, path = at(upstream, [*document(200, b"ok"), KEEP])
    before = upstream.accepted
    for _ in range(3):
        answer = await endpoint.request("GET", path, [], timeout=5)
        assert await answer.whole(10) == b"ok"
    assert upstream.accepted - before == endpoint.connections == 1
    endpoint.close()
    assert await asyncio.to_thread(upstream.settled)
    assert endpoint.connections == 0


CUT: dict[str, tuple[list[Any], bool]] = {
    "before the head": ([b""], False),
    "in the head": ([b"HTTP/1.1 200 OK\r\ncontent-"], False),
    "in a length": ([head(content_length="5") + b"ab"], True),
    "in the chunks": ([head(transfer_encoding="chunked") + b"2\r\nab\r\n"], True),
    "by a reset": ([head(transfer_encoding="chunked") + b"2\r\nab\r\n", 0.05, RESET], True),
    "not HTTP": ([b"SSH-2.0-OpenSSH_9.9\r\n"], True),
    "a chunk that lies": ([head(transfer_encoding="chunked") + b"2\r\nabcdef\r\n"], True),
    "an endless head": ([b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20_000], True),
}


@pytest.mark.parametrize("row", CUT.values(), ids=CUT.keys())
async def test_cuts(upstream: Upstream, row: tuple[list[Any], bool]) -> None:
    steps, answered = row
    endpoint, path = at(upstream, steps)
    with pytest.raises(UpstreamCut) as caught:
        await (await endpoint.request("POST", path, [], timeout=5)).whole(1000)
    assert caught.value.answered is answered
    endpoint.close()


async def test_what_came_before_a_cut_is_read_first(upstream: Upstream) -> None:
    endpoint, path = at(upstream, [head(transfer_encoding="chunked") + b"2\r\nab\r\n"])
    answer = await endpoint.request("POST", path, [], timeout=5)
    await asyncio.sleep(0.1)
    assert await answer.read() == b"ab"
    for _ in range(2):
        with pytest.raises(UpstreamCut):
            await answer.read()
    endpoint.close()


async def test_closing_ends_the_connection_at_once(upstream: Upstream) -> None:
    endpoint, path = at(upstream, [head() + b"ab", STALL])
    answer = await endpoint.request("POST", path, [], timeout=5)
    assert await answer.read() == b"ab"
    answer.close()
    answer.close()
    assert await asyncio.to_thread(upstream.settled)


async def test_failing_wakes_the_reader(upstream: Upstream) -> None:
    endpoint, path = at(upstream, [head(), STALL])
    answer = await endpoint.request("POST", path, [], timeout=5)
    asyncio.get_running_loop().call_later(0.05, answer.fail, TimeoutError("late"))
    with pytest.raises(TimeoutError, match="late"):
        await answer.read()
    endpoint.close()


async def test_a_nudge_wakes_the_reader_for_nothing(upstream: Upstream) -> None:
    endpoint, path = at(upstream, [head(), 0.2, b"ab", STALL])
    answer = await endpoint.request("POST", path, [], timeout=5)
    answer.nudge()  # nobody waits: forgotten
    asyncio.get_running_loop().call_later(0.05, answer.nudge)
    assert await answer.read() is None
    assert await answer.read() == b"ab"
    answer.close()


async def test_bytes_can_be_taken_where_they_are_read(upstream: Upstream) -> None:
    steps = [
        head(transfer_encoding="chunked") + b"1\r\na\r\n",
        0.1,
        b"1\r\nb\r\n1\r\nc\r\n",
        0.1,
        b"1\r\nd\r\n",
    ]
    endpoint, path = at(upstream, [*steps, 0.1, b"1\r\ne\r\n0\r\n\r\n"])
    answer = await endpoint.request("POST", path, [], timeout=5)
    taken: list[bytes] = []

    def take(data: bytes) -> None:
        taken.append(data)
        if data == b"bc":
            answer.nudge()

    assert await answer.read() == b"a"
    assert await answer.read(take) is None
    assert taken == [b"bc"], "what is read at once is taken at once"
    assert await answer.read(take) == b"e", "what comes with the end is for the reader"
    assert taken == [b"bc", b"d"]
    assert await answer.read(take) == b""
    endpoint.close()


async def test_a_head_that_does_not_come(upstream: Upstream) -> None:
    endpoint, path = at(upstream, [STALL])
    with pytest.raises(TimeoutError):
        await endpoint.request("POST", path, [], timeout=0.1)
    assert await asyncio.to_thread(upstream.settled)
    assert endpoint.connections == 0


async def test_nobody_listens() -> None:
    with pytest.raises(ConnectError):
        await Endpoint("http://127.0.0.1:9").request("POST", "/", [])


async def test_a_reader_that_does_not_read_pauses_the_upstream(upstream: Upstream) -> None:
    piece = b"x" * 65_536
    steps: list[Any] = [head(), *[piece] * 200]  # 13 MB: more than all sockets between hold
    endpoint, path = at(upstream, steps)
    answer = await endpoint.request("POST", path, [], timeout=5)
    await asyncio.sleep(0.3)
    first = await answer.read()
    assert first is not None
    assert len(first) <= READ_BYTES
    size = len(first)
    while data := await answer.read():
        size += len(data)
    assert size == 200 * len(piece)


async def test_a_connection_that_was_paused_can_be_used_again(upstream: Upstream) -> None:
    body = b"x" * (4 * HIGH_WATER)
    endpoint, path = at(upstream, [*document(200, body), KEEP])
    for _ in range(2):
        answer = await endpoint.request("POST", path, [], timeout=5)
        await asyncio.sleep(0.1)
        assert await answer.whole(len(body)) == body
    assert endpoint.connections == 1
    endpoint.close()


async def test_a_connection_is_taken_before_its_last_user_has_woken(upstream: Upstream) -> None:
    """An answer in one piece frees its connection before the task that waits for its head runs on."""
    endpoint, path = at(upstream, [*document(200, BODY), KEEP])

    async def ask_often() -> None:
        for _ in range(40):
            answer = await endpoint.request("POST", path, [], timeout=10)
            assert await answer.whole(1_000) == BODY

    await asyncio.gather(*(ask_often() for _ in range(20)))
    endpoint.close()


async def test_an_answer_larger_than_allowed(upstream: Upstream) -> None:
    endpoint, path = at(upstream, document(200, BODY))
    answer = await endpoint.request("POST", path, [], timeout=5)
    with pytest.raises(ValueError, match="larger than 10 bytes"):
        await answer.whole(10)
    answer.close()
    endpoint.close()


def test_where_an_endpoint_lies() -> None:
    rows = [
        ("http://h/v1", ("h", 80, False, "/v1")),
        ("https://h:8443", ("h", 8443, True, "")),
        ("https://[::1]/a/b/", ("::1", 443, True, "/a/b")),
    ]
    for url, expected in rows:
        endpoint = Endpoint(url)
        assert (endpoint.host, endpoint.port, endpoint.tls, endpoint.path) == expected


def at(upstream: Upstream, steps: list[Any]) -> tuple[Endpoint, str]:
    url = upstream.url(*steps)
    return Endpoint(f"http://127.0.0.1:{upstream.port}"), url[url.rindex("/") :]
