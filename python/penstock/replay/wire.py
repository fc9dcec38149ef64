"""From events to what is written when: framing, faults and pacing, without a socket or a clock.

`steps` turns an answer's events into bytes to write, silences and an end; `messages` does so for a WebSocket,
which frames them itself. Whoever holds the socket obeys them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto
from itertools import count
from typing import Final

from .faults import Faults

__all__ = ["DONE", "Beat", "Step", "Stop", "Wait", "frame", "messages", "steps"]

DONE: Final = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Wait:
    """Write nothing for so many seconds from now on."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Beat:
    """Write what follows so many seconds after the last beat was due, so that a pace does not drift."""

    seconds: float


class Stop(Enum):
    """How the body ends when a fault ends it."""

    FINISH = auto()
    """In good order as far as HTTP can tell."""
    CLOSE = auto()
    RESET = auto()


Step = bytes | Wait | Beat | Stop


def frame(payload: bytes, name: str | None = None) -> bytes:
    """One server-sent event with LF line ends, `event:` only where there is a name."""
    head = b"" if name is None else b"event: %b\n" % name.encode()
    return b"%bdata: %b\n\n" % (head, payload)


def steps(
    events: Iterable[bytes], faults: Faults, *, error_event: Callable[[], bytes], json_error: bytes
) -> Iterator[Step]:
    """Apply faults to framed events. Nothing follows a `Stop`; without one the body is complete.

    `error_event` makes the dialect's in-band error, framed, when its turn has come; `json_error` is the error
    object without a frame. An event is only asked for when those before it have been taken.
    """
    ended = _with_ends(_with_damage(events, faults), faults, error_event, json_error)
    lines = _with_line_ends(_with_pace(ended, faults), faults.newline)
    if not faults.blank_at_eof:
        lines = _without_last_blank(lines)
    return _in_pieces(_up_to(lines, faults.cut_bytes), faults)


def messages(
    payloads: Iterable[bytes], faults: Faults, *, error_event: Callable[[], bytes]
) -> Iterator[Step]:
    """Apply faults to the events of one response over a WebSocket: each `bytes` is a message.

    `Stop.FINISH` ends the response, the connection goes on.
    """
    plain = replace(faults, comment_every=0, json_error=None)
    return _with_pace(_with_ends(_with_damage(payloads, plain), plain, error_event, b""), plain)


def _with_damage(events: Iterable[bytes], faults: Faults) -> Iterator[bytes]:
    for index, event in enumerate(events):
        if index == faults.malformed:
            yield _broken(event)
        elif index == faults.bad_utf8:
            yield _spoil(event)
        else:
            yield event


def _broken(event: bytes) -> bytes:
    """Leave half of the payload, which is then no JSON."""
    start = event.find(b"data:") + len(b"data:")  # a WebSocket's payload has no such line and starts with "{"
    return event[: start + (len(event) - start) // 2].rstrip() + b"\n\n"


def _spoil(event: bytes) -> bytes:
    """Put a lone continuation byte and a cut sequence into a string of the event, best into its text."""
    text = re.search(rb'"(?:delta|content|text)":"', event)
    at = text.end() if text else max(event.rfind(b'"'), 0)
    return event[:at] + b"\xff\xe2\x82" + event[at:]


def _with_ends(
    events: Iterable[bytes], faults: Faults, error_event: Callable[[], bytes], json_error: bytes
) -> Iterator[bytes | Stop]:
    """Stop the stream where a fault says so: before the event whose index it names."""
    remaining = iter(events)
    for index in count():
        if index == faults.error_event:
            yield error_event()
            yield Stop.FINISH
        elif index == faults.json_error:
            yield json_error
            yield Stop.FINISH
        elif index == faults.reset:
            yield Stop.RESET
        elif index == faults.close:
            yield Stop.CLOSE
        elif index == faults.cut:
            yield Stop.FINISH
        event = next(remaining, None)
        if event is None:
            return
        yield event


def _with_pace(parts: Iterable[bytes | Stop], faults: Faults) -> Iterator[Step]:
    stall_at, silence = faults.stall or (-1, 0.0)
    index = -1
    for index, part in enumerate(parts):
        if index == stall_at:
            yield Wait(silence)
        if faults.rate and index and part is not Stop.FINISH:
            yield Beat(1 / faults.rate)
        if faults.comment_every and index % faults.comment_every == 0:
            yield b": still here\n\n"
        yield part
        if isinstance(part, Stop):
            return
    if index + 1 == stall_at:
        yield Wait(silence)


def _with_line_ends(parts: Iterable[Step], newline: bytes) -> Iterator[Step]:
    """Translate line ends; a recording keeps its own unless another is asked for."""
    for part in parts:
        if newline != b"\n" and isinstance(part, bytes):
            yield re.sub(rb"\r\n?|\n", newline, part)
        else:
            yield part


def _without_last_blank(parts: Iterable[Step]) -> Iterator[Step]:
    """Take the last event's line ends off, holding each back until the next shows it was not the last."""
    held = b""
    for part in parts:
        if held:
            yield held.rstrip(b"\r\n") if isinstance(part, Stop) else held
        held = part if isinstance(part, bytes) else b""
        if not isinstance(part, bytes):
            yield part
    if held:
        yield held.rstrip(b"\r\n")


def _up_to(parts: Iterable[Step], limit: int | None) -> Iterator[Step]:
    left = limit
    for part in parts:
        if left is None or not isinstance(part, bytes):
            yield part
            continue
        if len(part) > left:
            if left:
                yield part[:left]
            yield Stop.FINISH
            return
        left -= len(part)
        yield part


def _in_pieces(parts: Iterable[Step], faults: Faults) -> Iterator[Step]:
    size = max(faults.split, faults.coalesce)
    if not size:
        yield from parts
        return
    gathered = bytearray()
    for part in parts:
        if isinstance(part, bytes):
            gathered += part
            if len(gathered) >= size:
                yield from _cut_up(gathered, faults)
            continue
        # Coalescing proxies hold bytes back over a silence; small writes have none to hold.
        if gathered and (faults.split or isinstance(part, Stop)):
            yield from _cut_up(gathered, faults, all_of_it=True)
        yield part
    if gathered:
        yield from _cut_up(gathered, faults, all_of_it=True)


def _cut_up(gathered: bytearray, faults: Faults, *, all_of_it: bool = False) -> Iterator[Step]:
    if not faults.split:
        yield bytes(gathered)
        gathered.clear()
        return
    whole = len(gathered) if all_of_it else len(gathered) - len(gathered) % faults.split
    for start in range(0, whole, faults.split):
        yield bytes(gathered[start : min(start + faults.split, whole)])
        if faults.drip_seconds:
            yield Beat(faults.drip_seconds)
    del gathered[:whole]
