"""One response over a WebSocket, from `response.create` to its end, with the faults it asked for.

A turn writes its own events, and listens to what the client says meanwhile: a cancel or a steer ends it early
in one of the ways that `faults.CANCELS` names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from penstock import Event, ResponseAccumulator

from .faults import Faults
from .history import Past, items_of
from .player import TERMINALS, Act, dump
from .wire import Beat, Step, Stop, messages

__all__ = ["Turn", "Wire", "error_frame"]

JSON = dict[str, Any]

STATUSES: Final = {"server_error": 500, "server_is_overloaded": 503, "rate_limit_exceeded": 429}
"""The HTTP status of an error frame's code; 400 for the others."""

LIMIT_REACHED: Final = "websocket_connection_limit_reached"
MESSAGES: Final = {
    LIMIT_REACHED: "Responses websocket connection limit reached (60 minutes). Create a new websocket "
    "connection to continue.",
    "previous_response_not_found": "Previous response not found.",
}
PARAMS: Final = {"previous_response_not_found": "previous_response_id"}

NOISE: Final = (
    b'{"type":"codex.rate_limits","rate_limits":{"primary":{"used_percent":1}}}',
    b'{"type":"response.output_text.delta","stream_id":"nobody","response_id":"resp_nobody","item_id":'
    b'"msg_nobody","output_index":0,"content_index":0,"sequence_number":0,"delta":"foreign"}',
)


class Wire(Protocol):
    """What a turn needs of the connection it speaks on."""

    ghosts: list[bytes]
    """Events of a cancelled response, to come up in the next."""

    async def send(self, payload: bytes, *, binary: bool = False) -> None:
        """Send one message. Raises `ClientGone`."""

    async def close(self, code: int | None) -> None:
        """Close with a code, or without a word."""

    async def reset(self) -> None:
        """Cut the connection."""


def error_frame(
    code: str,
    message: str = "",
    *,
    faults: Faults,
    lane: str | None = None,
    param: str | None = None,
    status: int | None = None,
) -> bytes:
    """An error as a WebSocket carries it: the HTTP status and the error object, or both in one."""
    status = status or STATUSES.get(code, 400)
    kind = "server_error" if status >= 500 else "invalid_request_error"
    param = param or PARAMS.get(code)
    error = {"type": kind, "code": code, "message": message or MESSAGES.get(code, code), "param": param}
    frame: JSON = {"type": "error", "status": status}
    frame |= {**error, "error_type": kind, "type": "error"} if faults.flat_errors else {"error": error}
    if lane is not None and not faults.bare_errors:
        frame["stream_id"] = lane
    return dump(frame)


@dataclass(slots=True)
class Turn:
    """One response being played. `before` is the conversation without the input of `body`."""

    lane: str | None
    body: JSON
    act: Act
    before: Past
    sent: int = 0
    """Events sent so far."""
    steers: list[tuple[str, list[Any]]] = field(default_factory=list)
    """The id and the items of each steer that was accepted and not used yet."""
    result: JSON | None = None
    """The response as its terminal told it; None as long as there is none, and where there never will be."""
    failed: bool = False
    """Whether it ended in an error, which makes the server let go of what it continued."""
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)
    _reason: str = ""
    _built: ResponseAccumulator = field(default_factory=ResponseAccumulator)

    @property
    def id(self) -> str:
        """The response's id, which the client knows as soon as an event was sent."""
        return self.act.stream.id

    @property
    def cancelled(self) -> bool:
        """Whether the client's cancel ended it."""
        return self._reason == "cancelled"

    @property
    def past(self) -> Past:
        """The conversation with this response at its end."""
        output = (self._built.snapshot() or {}).get("output", [])
        return self.before.then(items_of(self.body.get("input", ""))).then(output)

    def cancel(self) -> None:
        """The client wants no more of it."""
        if self.act.faults.cancel_as not in ("ignored", "unknown"):
            self._stop("cancelled")

    def steer(self, steer_id: str, items: list[Any]) -> None:
        """The client wants something else; a response that calls functions is let come to its end."""
        self.steers.append((steer_id, items))
        if not self.act.calls:
            self._stop("steered")

    def _stop(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._stopped.set()

    async def play(self, wire: Wire) -> None:
        """Send the response. Returns when it is over, raises `ClientGone` when the client is."""
        faults = self.act.faults
        if faults.delay:
            await self._rest(faults.delay)
        if faults.error is not None:
            faults = replace(faults, error_event=faults.error[1])
        loop = asyncio.get_running_loop()
        script = messages(map(self._note, self.act.payloads), faults, error_event=self._error)
        due = loop.time()
        for step in script:
            if isinstance(step, bytes):
                await self._say(wire, step)
            elif isinstance(step, Stop):
                await self._break_off(wire, step)
                return
            else:
                due = due + step.seconds if isinstance(step, Beat) else loop.time() + step.seconds
                await self._rest(due - loop.time())
            if self._reason and self.result is None:
                await self._end_early(wire, script)
                return
        if faults.close_after is not None:
            await wire.close(faults.close_after)

    def _note(self, payload: bytes) -> bytes:
        """Take in an event that is about to be sent, before a fault damages it."""
        event = Event(payload)
        if event.type != "error":
            self._built.feed(event)
        if event.type in TERMINALS or event.type == "response.cancelled":
            self.result = self._built.final()
            self.failed = event.type == "response.failed"
        return payload

    async def _say(self, wire: Wire, payload: bytes) -> None:
        faults, number = self.act.faults, self.sent
        self.sent += 1
        payload = self._labelled(payload)
        for noise in NOISE if faults.noise else ():
            await wire.send(noise)
        await wire.send(payload, binary=number == faults.binary)
        if number == 0:
            for ghost in wire.ghosts:
                await wire.send(ghost)
            wire.ghosts.clear()
        if self.result is not None and faults.twice:
            await wire.send(payload)

    def _labelled(self, payload: bytes) -> bytes:
        """The payload with its lane; one that a fault has broken stays as it is."""
        if self.lane is None or not payload.endswith(b"}"):
            return payload
        if payload.startswith(b'{"type":"error"') and self.act.faults.bare_errors:
            return payload
        return payload[:-1] + b',"stream_id":' + dump(self.lane) + b"}"

    def _error(self) -> bytes:
        """The in-band error that a fault asks for; the label of its lane is put on later."""
        self.failed = True
        faults = self.act.faults
        code = "server_error" if faults.error is None else faults.error[0]
        return error_frame(code, faults=faults)

    async def _break_off(self, wire: Wire, stop: Stop) -> None:
        faults = self.act.faults
        if stop is Stop.RESET:
            await wire.reset()
        elif stop is Stop.CLOSE:
            await wire.close(faults.close_code)
        elif faults.error is not None and faults.error[0] == LIMIT_REACHED:
            await wire.close(1000)

    async def _end_early(self, wire: Wire, script: Iterator[Step]) -> None:
        """End a response that was cancelled or steered, as its faults have it."""
        faults, how = self.act.faults, self.act.faults.cancel_as
        if self._reason == "steered":
            await self._end(wire, "incomplete", "steered")
            return
        rest = (step for step in script if isinstance(step, bytes) and Event(step).type not in TERMINALS)
        for _, payload in zip(range(faults.late), rest, strict=False):
            await self._say(wire, payload)
        if faults.cancel_after:
            await asyncio.sleep(faults.cancel_after)
        wire.ghosts += [
            self._labelled(payload) for _, payload in zip(range(faults.ghosts), rest, strict=False)
        ]
        if how == "close":
            await wire.close(None)
        elif how == "error":
            await self._say(wire, self._error())
        elif how != "none":
            await self._end(wire, how, "cancelled" if how == "incomplete" else None)

    async def _end(self, wire: Wire, outcome: str, reason: str | None) -> None:
        output = (self._built.snapshot() or {}).get("output", [])
        for item in output:
            if item.get("status") == "in_progress":
                item["status"] = "incomplete"
        await self._say(wire, self._note(dump(self.act.stream.end(outcome, output, reason))))

    async def _rest(self, seconds: float) -> None:
        """Wait, but not longer than until the client stops the response."""
        try:
            async with asyncio.timeout(max(seconds, 0)):
                await self._stopped.wait()
        except TimeoutError:
            pass
