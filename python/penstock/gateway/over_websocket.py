"""The WebSocket mode on `/v1/responses`: managed over HTTP upstreams, forwarded where all speak it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

from penstock._penstock import Decoder, Relay
from penstock.websocket import ConnectionLimits, ManagedConnection, ManagedLimits, TurnTimeouts

from .asking import Asked, Question, ask
from .forwarded import refused, serve_forwarded
from .http import ApiError, Receive, Scope, Send, json_object
from .records import ending
from .tenants import key_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from .gateway import Gateway
    from .records import Record
    from .routing import Api, Upstream
    from .tenants import Tenant

__all__ = ["serve"]

Json = dict[str, Any]


async def serve(gateway: Gateway, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one connection to its end."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    offered: list[str] = scope.get("subprotocols", [])
    try:
        tenant = _admitted(gateway, scope["path"], key_of(headers, offered))
    except ApiError as error:
        await _turn_away(scope, receive, send, error)
        return
    origins, subprotocol = _origins(gateway, headers), _subprotocol(offered)
    if all(upstream.config.websocket for upstream in gateway.router.upstreams):
        client = (scope, receive, send)
        await serve_forwarded(gateway, tenant, client, origins=origins, subprotocol=subprotocol)
        return
    limits = gateway.config.limits
    connection = ManagedConnection(
        lambda params: _Choice(gateway, tenant, headers, params),
        store=gateway.history.store,
        tenant=tenant.name,
        limits=ManagedLimits(
            connection=ConnectionLimits(write_seconds=limits.write),
            timeouts=TurnTimeouts(idle=limits.idle, first_event=limits.first_event, duration=limits.duration),
        ),
        hooks=gateway.hooks,
        hook_timeout=limits.hook,
    )
    await connection.serve((scope, receive, send), allowed_origins=origins, subprotocol=subprotocol)


def _admitted(gateway: Gateway, path: str, key: str | None) -> Tenant:
    if path.rstrip("/") != "/v1/responses":
        raise ApiError(404, "No such route.", code="unknown_url")
    if gateway.draining:
        raise ApiError(503, "The gateway is shutting down.")
    return gateway.tenants.named(key)


def _origins(gateway: Gateway, headers: Mapping[bytes, bytes]) -> list[str | None] | None:
    """Who may open connections: programs, the gateway's own pages, and those of `cors.origins`."""
    allowed = gateway.config.cors.origins
    if "*" in allowed:
        return None
    host = headers.get(b"host", b"").decode("latin-1")
    return [None, *allowed, f"http://{host}", f"https://{host}"]


def _subprotocol(offered: list[str]) -> str | None:
    """One of the offered, as browsers insist on; the one that carries a key only if there is no other."""
    plain = [name for name in offered if not name.startswith("openai-insecure-api-key.")]
    return next(iter([*plain, *offered]), None)


async def _turn_away(scope: Scope, receive: Receive, send: Send, error: ApiError) -> None:
    """Refuse the handshake, with words where the server can send them."""
    await receive()
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"content-type", b"application/json"), *error.headers]
    await send({"type": "websocket.http.response.start", "status": error.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": error.body})


class _Choice:
    """The upstreams for one request, as a back end; what the first of them speaks is what is asked in."""

    def __init__(
        self, gateway: Gateway, tenant: Tenant, headers: Mapping[bytes, bytes], params: Json
    ) -> None:
        self._gateway = gateway
        self._tenant = tenant
        self._headers = headers
        self._model: str = params["model"]
        try:
            tenant.check_model(self._model)
            tenant.spend()
            order = gateway.router.order(self._model)
        except ApiError as error:
            raise refused(error) from None
        self.dialect: Api = order[0].api_for("responses")
        self._order: list[Upstream] = [one for one in order if one.api_for(self.dialect) == self.dialect]

    async def open(self, body: bytes, /) -> _Source:
        """Ask; see `penstock.websocket.BackEnd`."""
        gateway = self._gateway
        record = gateway.ledger.open(
            f"req_{secrets.token_hex(16)}",
            self._tenant.name,
            self._model,
            "responses",
            transport="websocket",
            parent=self._headers.get(b"traceparent", b""),
        )
        question = Question(self.dialect, json_object(body), body, stream=True, headers=self._headers)
        terminal = "client_disconnected"
        try:
            asked = await ask(question, self._order, gateway.config, gateway.ledger, record)
            terminal = ""
        except ApiError as error:
            terminal, record.status = str(error.error["code"] or error.error["type"]), error.status
            raise refused(error) from None
        finally:
            if terminal:
                gateway.close(record, terminal)
        return _Source(gateway, record, asked, self.dialect)


class _Content(NamedTuple):
    """The readable half of an answer."""

    readany: Callable[[], Awaitable[bytes]]
    set_exception: Callable[[BaseException], None]


class _Source:
    """An upstream's answer in the shape of aiohttp's, which `AsyncStream` reads without a task beside it."""

    def __init__(self, gateway: Gateway, record: Record, asked: Asked, dialect: Api) -> None:
        self.status = asked.answer.status
        self.headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in asked.answer.headers
        }
        self._gateway = gateway
        self._record = record
        self._asked: Asked | None = asked
        self._answer = asked.answer
        self.content = _Content(self.read, asked.answer.fail)
        self._first = asked.first
        self._relay = Relay(dialect=dialect)
        self._over = False
        self._probe: Decoder | None = Decoder()
        record.status = asked.answer.status
        record.bridge = dialect != "responses"

    async def read(self) -> bytes:
        """The next bytes; empty at the end."""
        data, self._first = self._first, b""
        try:
            data = data or await self._answer.read() or b""
        except OSError:  # cut or timed out; a cancellation is the client's doing
            self._over = True
            raise
        self._over = not data
        ledger, record = self._gateway.ledger, self._record
        self._relay.feed(data)
        if self._probe is not None and any(delta for (delta,) in self._probe.feed(data, fields=("delta",))):
            ledger.token(record)
            self._probe = None
        ledger.chunk(record, self._relay.events, len(data), self._answer.arrived)
        return data

    def close(self) -> None:
        """Let go of the upstream, and count the stream."""
        asked, self._asked = self._asked, None
        if asked is None:
            return
        self._answer.close()
        asked.upstream.active -= 1
        self._record.usage = self._relay.usage
        left = self._relay.terminal is None and not self._over
        self._gateway.close(self._record, "client_disconnected" if left else ending(self._relay.terminal))
