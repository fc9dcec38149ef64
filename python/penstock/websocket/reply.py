"""One response on the wire: an upstream's events in, a client's frames out, one terminal event. No I/O.

Events go out as they came, but for what a connection adds: the lane's `stream_id`, and the
`previous_response_id` of which the upstream, which was sent the whole history, knows nothing. Both are put
into the bytes; no event is written anew.

An `error` event is held back. On HTTP it precedes `response.failed`; on a connection that lives on, where
the next response may follow, a response ends once. The terminal event is held back as well, until whoever
stores the response has done so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from penstock._penstock import Decoder, Event, ResponseAccumulator, ResponseEmitter, Transcoder
from penstock.websocket.flights import TERMINALS
from penstock.websocket.wire import RefusedError, dump, ended_frame, error_frame

__all__ = ["Reply"]

Json = dict[str, Any]

_LIFE: Final = TERMINALS | {"response.created", "response.queued", "response.in_progress"}

_NO_PREVIOUS: Final = re.compile(rb'"previous_response_id"\s*:\s*null')
"""Cannot be part of a text: its quotes would be escaped there."""

NO_USAGE: Final = {
    "input_tokens": 0,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 0,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 0,
}

NO_TYPE: Final = "message"
"""What an event is called that says no type, and one that is no JSON."""

EARLY_END: Final = RefusedError(
    "The upstream's stream ended before its response did.", status=502, code="server_error"
)
CANCELLED: Final = RefusedError("The response was cancelled.", code="response_cancelled")


class Reply:
    """The life of one response.

    Args:
        lane: the `stream_id` that its events carry.
        previous_response_id: what the client continues.

    Attributes:
        begun: whether the client has seen any of it.
        response_id: once it has begun.
        told: the response as the upstream ended it, whatever its status; None if it did not.
        final: the response as it is to be stored; None before the end, and if it failed or was cancelled.
        dropped: the upstream's events that are none, or came after the terminal.
    """

    def __init__(self, *, lane: str | None = None, previous_response_id: str | None = None) -> None:
        self._lane = lane
        self._previous = previous_response_id
        self._transcoder: Transcoder | None = None
        self._tag = b"" if lane is None else b',"stream_id":' + dump(lane).encode() + b"}"
        self._link = b"" if previous_response_id is None else dump(previous_response_id).encode()
        self._accumulator = ResponseAccumulator()
        self._sequence_number = -1
        self._error: RefusedError | None = None
        self._terminal: str | None = None
        self.begun = False
        self.response_id: str | None = None
        self.told: Json | None = None
        self.final: Json | None = None
        self.dropped = 0

    @property
    def ended(self) -> bool:
        """Whether the terminal event is known; nothing changes it any more."""
        return self._terminal is not None

    @property
    def terminal(self) -> str:
        """The frame that ends the response. Raises `RuntimeError` before its end."""
        if self._terminal is None:
            raise RuntimeError("the response has not ended")
        return self._terminal

    def snapshot(self) -> Json | None:
        """The response as far as it has come; None before it has begun."""
        return self._accumulator.snapshot()

    def transcode(self, transcoder: Transcoder | None) -> None:
        """Take what comes from now on in the transcoder's source dialect; None for that of Responses."""
        self._transcoder = transcoder

    def take(self, batch: list[Event]) -> list[str]:
        """Take the upstream's events in; the frames that may go out now.

        Raises:
            LimitExceeded: the response is larger than allowed.
        """
        if self._transcoder is not None:
            batch = self._transcoder.feed_events(batch)
        return self._take(batch)

    def _take(self, batch: Iterable[Event]) -> list[str]:
        frames = []
        for given in batch:
            event = _typed(given)
            if self.ended or event is None:
                self.dropped += 1
                continue
            kind, data = event.type, event.data
            if kind == "error":
                self._error = _error_of(event)
                continue
            self._accumulator.feed(event)
            if kind == "response.failed" and self._error is not None:
                self._fail(self._error)  # anew: its number would tell of the event before it
                continue
            number = event.sequence_number
            self._sequence_number = self._sequence_number + 1 if number is None else number
            if kind in _LIFE:
                data = self._life(kind, data)
            if self._tag:
                data = data.rstrip()[:-1] + self._tag
            if kind in TERMINALS:
                self._terminal = data.decode("utf-8", "replace")
            else:
                self.begun = True
                frames.append(data.decode("utf-8", "replace"))
        return frames

    def _life(self, kind: str, data: bytes) -> bytes:
        """Look at an event with the response in it; its bytes, with the link to what it continues."""
        if kind in TERMINALS:
            self.told = self._linked(self._accumulator.final())
            if kind in ("response.completed", "response.incomplete"):
                self.final = self.told
        if self.response_id is None:
            response_id = (self._accumulator.snapshot() or {}).get("id")
            self.response_id = response_id if isinstance(response_id, str) else None
        return _NO_PREVIOUS.sub(b'"previous_response_id":' + self._link, data, 1) if self._link else data

    def end(self) -> list[str]:
        """The upstream's stream has ended by itself; the last frames, and then there is a terminal."""
        if self.ended:
            return []
        frames = [] if self._transcoder is None else self._take(self._transcoder.finish_events())
        if not self.ended:
            self._fail(self._error or EARLY_END)
        return frames

    def fail(self, refusal: RefusedError) -> list[str]:
        """It cannot go on; the last frames, and then there is a terminal, unless there has been one."""
        if self.ended:
            return []
        frames = []
        if self._transcoder is not None and self.begun:
            ending = self._transcoder.fail(refusal.message, code=refusal.code or "server_error")
            frames = self._take(_events(ending))
        if not self.ended:
            self._fail(self._error or refusal)
        return frames

    def cancel(self) -> list[str]:
        """The client wants no more; as `fail`."""
        if self.ended:
            return []
        frames = []
        if self._transcoder is not None and self.begun:
            ending = _events(self._transcoder.cancel())
            frames = self._take(event for event in ending if event.type not in TERMINALS)
        if self.begun:
            # Not `response.cancelled`: the clients there are wait for one of the three terminals they know.
            self._terminal = self._ended("cancelled")
        else:
            self._fail(CANCELLED)
        return frames

    def warm_up(self, model: str, echo: Json) -> list[str]:
        """Answer without an upstream: a response that is complete and empty."""
        emitter = ResponseEmitter(model=model, echo=echo, format="websocket", stream_id=self._lane)
        emitter.start()
        emitter.usage(NO_USAGE)
        emitter.complete()
        frames: list[str]
        *frames, self._terminal = emitter.take()
        self.begun, self.response_id, self.final = True, emitter.id, emitter.final()
        self.told = self.final
        self._sequence_number = len(frames)
        return frames

    def charge(self, members: Json) -> None:
        """Put members into the usage of the upstream's terminal event, and of what is stored."""
        if self.told is not None and self._terminal is not None:
            self.told["usage"] = {**(self.told.get("usage") or {}), **members}
            frame = Event(self._terminal).json()
            frame["response"]["usage"] = self.told["usage"]
            self._terminal = dump(frame)

    def amend(self, frame: str) -> None:
        """Have another frame end the response."""
        self._terminal = frame

    def revoke(self, refusal: RefusedError) -> None:
        """Make a response that has ended a failed one: it could not be kept."""
        final, self.final = self.final, None
        if final is not None:
            number = self._sequence_number
            self._terminal = ended_frame(final, refusal, sequence_number=number, stream_id=self._lane)

    def _fail(self, refusal: RefusedError) -> None:
        if self.begun:
            self._terminal = self._ended(refusal)
        else:
            self._terminal = error_frame(refusal, stream_id=self._lane)

    def _ended(self, cause: RefusedError | str) -> str:
        response = self._accumulator.snapshot() or {"object": "response", "output": []}
        number = self._sequence_number + 1
        return ended_frame(self._linked(response), cause, sequence_number=number, stream_id=self._lane)

    def _linked(self, response: Json) -> Json:
        return response if self._previous is None else {**response, "previous_response_id": self._previous}


def _typed(event: Event) -> Event | None:
    """An event whose JSON says its type, as frames must; None if it is no JSON object, or has no type at all.

    The name that event streams give is not proof of either, so it is left out of the question first."""
    name = event.name
    if name is None:
        return None if event.type == NO_TYPE else event
    plain = Event(event.data)
    if plain.type != NO_TYPE:
        return plain
    members = event.data.lstrip()[1:]
    comma = b"" if members.lstrip().startswith(b"}") else b","
    plain = Event(b'{"type":' + dump(name).encode() + comma + members)
    return plain if plain.type == name and event.data.lstrip().startswith(b"{") else None


def _events(body: bytes) -> list[Event]:
    decoder = Decoder()
    return decoder.feed(body) + decoder.finish()


def _error_of(event: Event) -> RefusedError:
    """What an `error` event says, nested or flat."""
    members = event.json()
    inner = members.get("error") if isinstance(members.get("error"), dict) else members
    message, code = inner.get("message"), inner.get("code")
    return RefusedError(
        message if isinstance(message, str) else "The upstream failed.",
        status=502,
        code=code if isinstance(code, str) else "server_error",
    )
