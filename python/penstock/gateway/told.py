"""Hooks of responses that pass over a forwarded connection, whose frames they see, edit and refuse."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from penstock._penstock import Event, ResponseAccumulator
from penstock.errors import ClientDisconnected, GuardFailed, PenstockError
from penstock.hooks import Hooks
from penstock.websocket import RefusedError
from penstock.websocket.flights import TERMINALS
from penstock.websocket.wire import create_params, dump, ended_frame

if TYPE_CHECKING:
    from penstock.websocket import Channel

    from .gateway import Gateway

__all__ = ["Told"]

Lane = str | None

STOPPING_SECONDS: Final = 10.0
"""How long a request waits for the upstream to be done with the response before, which a guard has ended."""


class _Response:
    """One that runs: its hooks, and what has come of it."""

    def __init__(self, hooks: Hooks) -> None:
        self.hooks = hooks
        self.so_far = ResponseAccumulator()
        self.refused = False
        """Whether a guard has ended it for the client; what still comes of it is not passed on."""
        self.over = asyncio.Event()
        """Set once the upstream has nothing more to say of it."""


class Told:
    """The hooks of one connection's responses, by lane; each response has a run of its own."""

    def __init__(self, gateway: Gateway) -> None:
        self.upstream: Channel | None = None
        self._gateway = gateway
        self._asked: dict[Lane, deque[Hooks]] = {}
        self._running: dict[Lane, _Response] = {}

    def _hooks(self) -> Hooks:
        return Hooks(self._gateway.hooks, timeout=self._gateway.config.limits.hook)

    async def request(self, event: Event) -> str:
        """A `response.create` as the hooks want it. Raises `RefusedError` for a guard."""
        hooks, params = self._hooks(), create_params(event.json())
        lane: Lane = params.pop("stream_id", None)
        try:
            changed = await hooks.request(params)
        except GuardFailed as refusal:
            await hooks.error(refusal)
            raise RefusedError(str(refusal), code=refusal.code) from None
        before = self._running.get(lane)
        if before is not None and before.refused:
            # Most upstreams refuse what comes before they have stopped.
            with suppress(TimeoutError):
                async with asyncio.timeout(STOPPING_SECONDS):
                    await before.over.wait()
        self._asked.setdefault(lane, deque()).append(hooks)
        if changed is params:
            return event.data.decode("utf-8", "replace")
        where = {} if lane is None else {"stream_id": lane}
        return dump({"type": "response.create", **changed, **where})

    async def event(self, text: str) -> str | None:
        """A frame of the upstream's as the client is to see it; None if it is not to."""
        event = Event(text)
        kind, lane = event.type, event.stream_id
        asked = self._asked.get(lane)
        if kind == "response.created":
            self._running[lane] = _Response(asked.popleft() if asked else self._hooks())
        response = self._running.get(lane)
        if response is None or (response.refused and kind == "error"):
            if kind == "error" and asked:
                await asked.popleft().error(RefusedError("The upstream refused the request."))
            elif response is not None:
                return None  # the answer to having been asked to stop it; the end is still to come
            return text
        if kind in TERMINALS:
            response.over.set()
            del self._running[lane]
        if response.refused:
            return None
        try:
            if kind in TERMINALS:
                return await self._last(response.hooks, event, text)
            response.so_far.feed(event)
            return await _edited(response.hooks, text)
        except GuardFailed as refusal:
            await response.hooks.error(refusal)
            return await self._refuse(response, event, refusal)

    async def _last(self, hooks: Hooks, event: Event, text: str) -> str | None:
        """Tell of the end before the client hears of it; the frame, with what goes into the usage."""
        frame: dict[str, Any] = event.json()
        final = frame.get("response")
        if not isinstance(final, dict):
            await hooks.error(RefusedError("The upstream failed."))
            return text
        members = await hooks.usage(final)
        if members:
            final["usage"] = {**(final.get("usage") or {}), **members}
            text = dump(frame)
        edited = await _edited(hooks, text)
        await hooks.complete(final)
        return edited

    async def _refuse(self, response: _Response, event: Event, refusal: GuardFailed) -> str:
        """End a response for the client, and ask the upstream to stop it."""
        snapshot = response.so_far.snapshot() or {}
        lane, number = event.stream_id, event.sequence_number or 0
        if event.type not in TERMINALS:
            response.refused = True
            if self.upstream is not None:
                where = {} if lane is None else {"stream_id": lane}
                cancel = {"type": "response.cancel", "response_id": snapshot.get("id"), **where}
                await self.upstream.send(dump(cancel))
        cause = RefusedError(str(refusal), code=refusal.code)
        return ended_frame(snapshot, cause, sequence_number=number, stream_id=lane)

    async def end(self) -> None:
        """The connection is over: what has not ended has been left."""
        left: PenstockError = ClientDisconnected("the connection ended before the response did")
        for response in self._running.values():
            await response.hooks.error(left)
        for asked in self._asked.values():
            for hooks in asked:
                await hooks.error(left)


async def _edited(hooks: Hooks, text: str) -> str | None:
    """A frame as the hooks want it; None if they drop it."""
    edited = await hooks.edit([Event(text)])
    if edited is None:
        return text
    return edited[0].data.decode("utf-8", "replace") if edited else None
