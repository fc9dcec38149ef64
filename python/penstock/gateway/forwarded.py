"""The WebSocket mode passed on to an upstream that speaks it: frames as they come but for ids and models."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import orjson

from penstock._penstock import Event
from penstock.ids import IdRewriter
from penstock.websocket import ConnectionLimits, Opening, RefusedError, connect, forward

from .http import ApiError
from .records import Record, ending
from .told import Told

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from penstock.websocket import Channel

    from .gateway import Gateway
    from .http import Receive, Scope, Send
    from .routing import Upstream
    from .tenants import Tenant

__all__ = ["refused", "serve_forwarded"]

TERMINALS = frozenset({"response.completed", "response.failed", "response.incomplete", "error"})


async def serve_forwarded(
    gateway: Gateway,
    tenant: Tenant,
    client: tuple[Scope, Receive, Send],
    *,
    origins: list[str | None] | None,
    subprotocol: str | None,
) -> None:
    """Serve one connection; the model of its first request chooses the upstream."""
    passage = _Passage(gateway, tenant)
    try:
        await forward(
            client,
            passage.reach,
            allowed_origins=origins,
            authenticate=passage.choose,
            on_event=passage.note,
            rewriter=passage,
            limits=ConnectionLimits(write_seconds=gateway.config.limits.write),
            subprotocol=subprotocol,
        )
    finally:
        await passage.end()


def refused(error: ApiError) -> RefusedError:
    """A refusal as a WebSocket's client reads it."""
    given = error.error
    return RefusedError(
        str(error), status=error.status, code=given["code"], type=given["type"], param=given["param"]
    )


class _Passage:
    """What one connection's frames go through, and the records of its responses."""

    def __init__(self, gateway: Gateway, tenant: Tenant) -> None:
        self._gateway = gateway
        self._tenant = tenant
        self._upstream: Upstream | None = None
        self._records: dict[str | None, Record] = {}
        self._told = Told(gateway) if gateway.hooks else None
        self._inward: IdRewriter | None = None
        self._outward: IdRewriter | None = None

    async def choose(self, opening: Opening) -> None:
        """Find the upstream for the first message. Raises `RefusedError`."""
        model, _ = _model(Event(opening.message))
        try:
            order = self._gateway.router.order(model or "")
        except ApiError as error:
            raise refused(error) from None
        self._upstream = order[0]
        self._upstream.active += 1
        self._inward, self._outward = self._gateway.seals.both(self._tenant.name, order[0])

    async def reach(self, _opening: Opening) -> Channel:
        """Connect to the chosen upstream, with its own key."""
        assert self._upstream is not None  # noqa: S101 — `choose` comes first
        config = self._upstream.config
        headers = {name: value.get_secret_value() for name, value in config.headers.items()}
        if config.key is not None:
            headers["authorization"] = f"Bearer {config.key.get_secret_value()}"
        channel = await connect(f"{config.url.replace('http', 'ws', 1)}/responses", headers=headers)
        if self._told is not None:
            self._told.upstream = channel
        return channel

    def to_upstream(self, text: str) -> str | Awaitable[str]:
        """A client's frame: its model by the name it has there, its ids opened. Raises `RefusedError`."""
        event = Event(text)
        if event.type != "response.create":
            return self._opened(text)
        return self._opened(self._create(event, text)) if self._told is None else self._ask(self._told, event)

    async def _ask(self, told: Told, event: Event) -> str:
        text = await told.request(event)
        return self._opened(self._create(Event(text), text))

    def _opened(self, text: str) -> str:
        return text if self._inward is None else self._inward.message(text)

    def _create(self, event: Event, text: str) -> str:
        assert self._upstream is not None  # noqa: S101 — nothing is forwarded before
        model, nested = _model(event)
        if model is None:
            return text
        try:
            self._tenant.check_model(model)
            self._tenant.spend()
        except ApiError as error:
            raise refused(error) from None
        name = self._upstream.model(model)
        if name is None:
            raise RefusedError(
                "The upstream of this connection does not serve this model.",
                status=404,
                code="model_not_found",
                param="model",
            )
        if name == model:
            return text
        frame: dict[str, Any] = event.json()
        (frame["response"] if nested else frame)["model"] = name
        return orjson.dumps(frame).decode()

    def to_client(self, text: str) -> str | Awaitable[str | None]:
        """An upstream's frame, its ids sealed."""
        return self._sealed(text) if self._told is None else self._tell(self._told, text)

    async def _tell(self, told: Told, text: str) -> str | None:
        heard = await told.event(text)
        return None if heard is None else self._sealed(heard)

    def _sealed(self, text: str) -> str:
        return text if self._outward is None else self._outward.message(text)

    def note(self, event: Event) -> None:
        """Keep the records of what begins and ends."""
        ledger, lane = self._gateway.ledger, event.stream_id
        response: Mapping[str, Any] = event.get("response") or {}
        if event.type == "response.created":
            record = ledger.open(
                f"req_{secrets.token_hex(16)}", self._tenant.name, str(response.get("model")), "responses",
                transport="websocket",
            )  # fmt: skip
            record.upstream = self._upstream.name if self._upstream is not None else ""
            record.response_id, record.status = response.get("id"), 200
            self._records[lane] = record
        elif event.type in TERMINALS and (known := self._records.pop(lane, None)) is not None:
            known.usage = response.get("usage")
            self._gateway.close(known, ending(event.type))

    async def end(self) -> None:
        """The connection is over, and what ran on it."""
        if self._upstream is not None:
            self._upstream.active -= 1
        for record in self._records.values():
            self._gateway.close(record, "client_disconnected")
        if self._told is not None:
            await self._told.end()


def _model(event: Event) -> tuple[str | None, bool]:
    """The model of a `response.create`, and whether it stands in the nested form."""
    nested = event.get("response")
    within = isinstance(nested, dict) and bool(nested)
    model = nested.get("model") if within and isinstance(nested, dict) else event.get("model")
    return (model if isinstance(model, str) else None), within
