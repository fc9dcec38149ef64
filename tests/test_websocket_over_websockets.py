"""The adapter of `websockets`, on both sides of a real socket; and how upstreams are connected to."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websocket_kit import Leaks, dial, websockets_server
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from penstock.websocket import over_websockets
from penstock.websocket.channels import ClosedError, open_channel
from penstock.websocket.over_websockets import WebsocketsChannel, connect


async def closed(channel: WebsocketsChannel) -> tuple[int, str, bool]:
    with pytest.raises(ClosedError) as caught:
        await channel.receive()
    assert caught.value.channel is channel
    with pytest.raises(ClosedError):
        await channel.send("x")
    return caught.value.code, caught.value.reason, caught.value.local


async def test_a_client_s_channel() -> None:
    seen: list[Any] = []

    async def server(connection: ServerConnection) -> None:
        channel = open_channel(connection)
        assert channel.accepted
        await channel.accept()
        assert (channel.path, channel.query) == ("/v1/responses", "a=1")
        assert channel.header("authorization") == ["Bearer k"]
        assert channel.header("sec-websocket-extensions") == []  # no compression is offered
        assert channel.header("x") == []
        seen.extend([await channel.receive(), await channel.receive()])
        await channel.send("text")
        await channel.send(b"binary")
        await channel.close(4000, "é" * 100)

    leaks = Leaks()
    async with websockets_server(server) as url:
        channel = await connect(url, headers={"authorization": "Bearer k"})
        assert channel.header("x") == []
        await channel.send("one")
        await channel.send(b"two")
        assert await channel.receive() == "text"
        assert await channel.receive() == b"binary"
        assert await closed(channel) == (4000, "é" * 61, False)
        await channel.close(1000)
    assert seen == ["one", b"two"]
    await leaks.settled()


async def test_how_connections_end() -> None:
    async def server(connection: ServerConnection) -> None:
        match await connection.recv():
            case "abort":
                connection.transport.abort()
            case "none":
                connection.transport.write(b"\x88\x00")  # a Close frame without a code
                await connection.wait_closed()
            case "big":
                await connection.send("x" * 1_001)
                await connection.wait_closed()

    async with websockets_server(server) as url:
        for how, end in [("abort", (1006, "", False)), ("none", (1005, "", False))]:
            channel = await connect(url)
            await channel.send(how)
            assert await closed(channel) == end
        channel = await connect(url, max_message_bytes=1_000)
        await channel.send("big")
        code, _reason, local = await closed(channel)
        assert (code, local) == (1009, True)
        await channel.close(1000)


async def test_a_peer_that_does_not_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(over_websockets, "CLOSE_SECONDS", 0.05)

    over = asyncio.Event()

    async def deaf(connection: ServerConnection) -> None:
        connection.transport.pause_reading()
        await over.wait()
        connection.transport.abort()

    async with websockets_server(deaf) as url:
        channel = await connect(url, close_timeout=None)
        async with asyncio.timeout(20):
            await channel.close(1000)
        over.set()


async def test_other_errors_stay_what_they_are() -> None:
    async def server(connection: ServerConnection) -> None:
        await connection.wait_closed()

    async with websockets_server(server) as url, dial(url) as client:
        channel = WebsocketsChannel(client)
        with pytest.raises(TypeError):
            await channel.send(5)  # type: ignore[arg-type]
        receive, send = channel.hot_path()
        await client.close()
        for call in (receive, lambda: send("x")):
            with pytest.raises(ConnectionClosed) as caught:
                await call()
            ended = channel.ended(caught.value)
            assert isinstance(ended, ClosedError)
            assert ended.code == 1000


async def test_a_connection_that_has_no_request() -> None:
    class Bare:
        transport = None

        async def recv(self) -> str:
            return "x"

        send = close = recv

    channel = open_channel(Bare())
    assert (channel.path, channel.query, channel.header("origin")) == ("", "", [])
    assert await channel.receive() == "x"


async def test_a_handshake_that_is_refused() -> None:
    async def refuse(connection: ServerConnection, _request: Any) -> Any:
        return connection.respond(426, "")

    async def server(_connection: ServerConnection) -> None: ...

    async with websockets_server(server, process_request=refuse) as url:
        with pytest.raises(InvalidStatus) as caught:
            await connect(url, subprotocols=["a"])
        assert caught.value.response.status_code == 426


async def test_a_header_that_is_none_is_refused_and_not_printed(caplog: pytest.LogCaptureFixture) -> None:
    """As `websockets` does with all that goes wrong in a handshake."""

    async def server(_connection: ServerConnection) -> None: ...

    async with websockets_server(server) as url:
        for headers in {"authorization": "Bearer sk-canary\n"}, {"x-a": "sk-canary\0"}, {"x\n": "sk-canary"}:
            with pytest.raises(ValueError, match="printable ASCII") as caught:
                await connect(url, headers=headers)
            assert "sk-canary" not in str(caught.value)
    assert "sk-canary" not in caplog.text
