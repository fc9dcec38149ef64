"""The ASGI adapter message by message: what servers send, and what they must not be sent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.websockets import WebSocketDisconnect

from penstock.websocket import over_asgi
from penstock.websocket.channels import Channel, ClosedError, open_channel
from penstock.websocket.over_asgi import AsgiChannel

CONNECT = {"type": "websocket.connect"}
HTTP: dict[str, Any] = {"extensions": {"websocket.http.response": {}}}


class Server:
    """Says what it was told to, and notes what it is sent."""

    def __init__(
        self, *messages: dict[str, Any], fails: Exception | None = None, hangs: bool = False
    ) -> None:
        self.messages = [*messages]
        self.sent: list[dict[str, Any]] = []
        self.fails = fails
        self.hangs = hangs

    async def receive(self) -> Any:
        return self.messages.pop(0)

    async def send(self, message: Any) -> None:
        if self.hangs:
            await asyncio.sleep(3600)
        if self.fails is not None:
            raise self.fails
        self.sent.append(dict(message))

    def channel(self, *, accepted: bool = True, **scope: Any) -> AsgiChannel:
        whole = {"type": "websocket", "headers": [], **scope}
        return AsgiChannel(whole, self.receive, self.send, accepted=accepted)


def types(messages: Iterable[dict[str, Any]]) -> list[str]:
    return [message["type"].removeprefix("websocket.") for message in messages]


async def test_the_handshake() -> None:
    server = Server(CONNECT)
    channel = server.channel(
        accepted=False,
        path="/v1/responses",
        query_string=b"a=%C3%A9",
        headers=[(b"origin", b"a"), (b"Origin", b"b"), (b"host", b"c\xe9")],
    )
    assert (channel.path, channel.query) == ("/v1/responses", "a=%C3%A9")
    assert channel.header("origin") == ["a", "b"]
    assert channel.header("host") == ["cé"]
    assert channel.header("x") == []
    assert not channel.accepted
    await channel.accept("chosen")
    await channel.accept("again")
    assert channel.accepted
    assert server.sent == [{"type": "websocket.accept", "subprotocol": "chosen"}]


async def test_a_client_that_leaves_during_the_handshake() -> None:
    server = Server({"type": "websocket.disconnect", "code": 1006})
    with pytest.raises(ClosedError):
        await server.channel(accepted=False).accept()
    assert server.sent == []


@pytest.mark.parametrize(
    ("message", "received"),
    [
        ({"text": "x"}, "x"),
        ({"text": ""}, ""),
        ({"text": "x", "bytes": None}, "x"),
        ({"bytes": b"x"}, b"x"),
        ({"text": None, "bytes": bytearray(b"x")}, b"x"),
    ],
)
async def test_messages(message: dict[str, Any], received: str | bytes) -> None:
    server = Server({"type": "websocket.receive", **message})
    assert await server.channel().receive() == received


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        ({}, 1005, ""),
        ({"code": None, "reason": None}, 1005, ""),
        ({"code": 1001, "reason": "bye"}, 1001, "bye"),
    ],
)
async def test_the_end(message: dict[str, Any], code: int, reason: str) -> None:
    server = Server({"type": "websocket.other"}, {"type": "websocket.disconnect", **message})
    channel = server.channel()
    for _ in range(2):  # the second time without asking the server, which must not be asked any more
        with pytest.raises(ClosedError) as caught:
            await channel.receive()
        assert (caught.value.code, caught.value.reason, caught.value.channel) == (code, reason, channel)
    with pytest.raises(ClosedError):
        await channel.send("x")
    await channel.close(1000)
    assert server.sent == []


async def test_sending_and_closing() -> None:
    server = Server()
    channel = server.channel()
    await channel.send("x")
    await channel.send(b"y")
    await channel.close(1008, "é" * 100)
    await channel.close(1000)
    assert server.sent == [
        {"type": "websocket.send", "text": "x"},
        {"type": "websocket.send", "bytes": b"y"},
        {"type": "websocket.close", "code": 1008, "reason": "é" * 61},
    ]


@pytest.mark.parametrize("error", [OSError(), RuntimeError("after close"), WebSocketDisconnect(1006)])
async def test_a_server_that_says_the_client_is_gone(error: Exception) -> None:
    server = Server(fails=error)
    channel = server.channel()
    with pytest.raises(ClosedError) as caught:
        await channel.send("x")
    assert caught.value.code == 1006
    assert caught.value.__cause__ is error
    await channel.close(1000)


async def test_a_bug_stays_one() -> None:
    with pytest.raises(ZeroDivisionError):
        await Server(fails=ZeroDivisionError()).channel().send("x")


async def test_closing_before_the_handshake_refuses_it() -> None:
    server = Server(CONNECT)
    await server.channel(accepted=False).close(1008)
    assert types(server.sent) == ["close"]


@pytest.mark.parametrize("accepted", [False, True])
@pytest.mark.parametrize("scope", [{}, HTTP, {"extensions": None}])
async def test_refusals(accepted: bool, scope: dict[str, Any]) -> None:
    server = Server(CONNECT)
    channel = server.channel(accepted=accepted, **scope)
    await channel.deny(401, b"{}", 1008)
    if accepted or scope is not HTTP:
        assert types(server.sent) == ["close"]
    else:
        start, body = server.sent
        assert (start["status"], dict(start["headers"])[b"content-length"]) == (401, b"2")
        assert body == {"type": "websocket.http.response.body", "body": b"{}"}
    with pytest.raises(ClosedError):
        await channel.receive()


@pytest.mark.parametrize("scope", [{}, HTTP])
async def test_a_refusal_that_nobody_hears(scope: dict[str, Any]) -> None:
    server = Server({"type": "websocket.disconnect"})
    await server.channel(accepted=False, **scope).deny(403, b"{}", 1008)
    assert server.sent == []


async def test_closing_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(over_asgi, "CLOSE_SECONDS", 0.01)
    await Server(hangs=True).channel().close(1000)
    await Server(CONNECT, hangs=True).channel(accepted=False, **HTTP).deny(403, b"", 1008)


def test_what_is_known() -> None:
    server = Server()
    scope = {"type": "websocket", "headers": []}
    channel = open_channel((scope, server.receive, server.send))
    assert isinstance(channel, AsgiChannel)
    assert open_channel(channel) is channel
    for state, accepted in [("CONNECTED", True), ("CONNECTING", False)]:
        websocket = SimpleNamespace(
            scope=scope,
            receive=server.receive,
            send=server.send,
            application_state=SimpleNamespace(name=state),
        )
        assert open_channel(websocket).accepted is accepted
    for unknown in (object(), (1, 2), "ws://x", None):
        with pytest.raises(TypeError):
            open_channel(unknown)
    with pytest.raises(TypeError, match="http"):
        open_channel(({"type": "http"}, server.receive, server.send))


async def test_the_least_a_channel_does() -> None:
    closed: list[Any] = []

    class Least(Channel):
        def header(self, name: str) -> list[str]:
            return [name]

        async def receive(self) -> str:
            return ""

        async def send(self, message: str | bytes, /) -> None:
            closed.append(message)

        async def close(self, code: int, reason: str = "") -> None:
            closed.append(code)

    channel = Least()
    await channel.accept()
    await channel.deny(403, b"", 1008)
    assert closed == [1008]
    receive, send = channel.hot_path()
    assert await receive() == ""
    await send("x")
    assert closed == [1008, "x"]
    error = ValueError()
    assert channel.ended(error) is error
