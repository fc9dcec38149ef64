"""What a request may ask to go wrong, and how fast the answer comes: the words and what they mean.

A request names faults in the header `x-penstock-fault`, the query `?fault=`, the metadata entry
`penstock_fault`, or behind its model's name (`replay-text+cut@5+crlf`). Words are joined by commas, plus
signs or spaces and compose freely; where two contradict each other the later one stands. `@N` counts events
from 0: `cut@3` lets three events through.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

__all__ = ["GRAMMAR", "NO_FAULTS", "FaultError", "Faults"]

MAX_COUNT: Final = 10**9
MAX_BYTES: Final = 64 * 1024 * 1024
MAX_SECONDS: Final = 3600.0
MAX_TOKENS: Final = 1_000_000


class FaultError(ValueError):
    """A fault that is not in the grammar; the message says which word and what was expected."""


@dataclass(frozen=True, slots=True)
class Faults:
    """All that a request asked for; the default is a healthy stream as fast as it can be written."""

    # Instead of the answer.
    status: int | None = None
    retry_after: int = 1
    """Seconds in the `retry-after` header of a 429 or 503."""
    body: str | None = None
    """`json` or `html`: a 200 whose body is not an event stream."""
    first: int | None = None
    """How many requests with these very faults suffer them before the server recovers."""

    # How it ends. All count events but `cut_bytes`.
    cut: int | None = None
    cut_bytes: int | None = None
    close: int | None = None
    reset: int | None = None
    error_event: int | None = None
    json_error: int | None = None

    # What it holds.
    malformed: int | None = None
    bad_utf8: int | None = None
    big_event: int = 0
    """Bytes of one text delta of the script, the accumulated text still right."""
    tokens: int | None = None
    """How many deltas the script's text has, instead of its own length."""
    wrong_dialect: bool = False

    # How it is framed.
    newline: bytes = b"\n"
    blank_at_eof: bool = True
    done: bool | None = None
    """Whether `data: [DONE]` ends it; None: as the dialect has it."""
    comment_every: int = 0

    # How it is paced.
    delay: float = 0.0
    """Seconds before the head of the answer."""
    stall: tuple[int, float] | None = None
    rate: float = 0.0
    """Events per second; 0: as fast as the client reads."""
    split: int = 0
    """Bytes per chunk and write, instead of one event each."""
    coalesce: int = 0
    """Bytes gathered before a write, as buffering proxies do."""
    drip_seconds: float = 0.0
    """Pause after each piece of `split` bytes."""

    @staticmethod
    def parse(text: str, base: Faults | None = None) -> Faults:
        """Read fault words on top of `base`. Raises `FaultError` for an unknown or malformed one."""
        faults = base or NO_FAULTS
        for word in re.split(r"[,+\s]+", text.strip(" \t,+")):
            if word:
                faults = _apply(faults, word)
        return faults


NO_FAULTS: Final = Faults()


class Word(NamedTuple):
    """One word of the grammar."""

    form: str
    meaning: str
    read: Callable[[Faults, str], Faults]


def _apply(faults: Faults, text: str) -> Faults:
    key = _key(text)
    word = GRAMMAR.get(key)
    if word is None:
        name = key.rstrip("@=")
        alike = [known.form for known in GRAMMAR.values() if _key(known.form).rstrip("@=") == name]
        known = " or ".join(alike) or ", ".join(word.form for word in GRAMMAR.values())
        raise FaultError(f"unknown fault {text[:80]!r}; known is {known}")
    try:
        return word.read(faults, text.removeprefix(key))
    except ValueError as error:
        raise FaultError(f"malformed fault {text[:80]!r}: {error}; it is written {word.form}") from None


def _count(text: str, most: int = MAX_COUNT, least: int = 0) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 12 or not least <= int(text) <= most:
        raise ValueError(f"{text[:20]!r} is not a whole number from {least} to {most}")
    return int(text)


def _number(text: str, most: float) -> float:
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text, re.ASCII) or float(text) > most:
        raise ValueError(f"{text[:20]!r} is not a number up to {most:g}")
    return float(text)


def _whole(field: str, most: int = MAX_COUNT, least: int = 0) -> Callable[[Faults, str], Faults]:
    """A word whose argument is a whole number."""

    def read(faults: Faults, text: str) -> Faults:
        values: dict[str, Any] = {field: _count(text, most, least)}
        return replace(faults, **values)

    return read


def _flag(**values: Any) -> Callable[[Faults, str], Faults]:
    return lambda faults, _text: replace(faults, **values)


def _status(faults: Faults, text: str) -> Faults:
    code, _, seconds = text.partition(":")
    retry_after = _count(seconds, int(MAX_SECONDS)) if seconds else faults.retry_after
    return replace(faults, status=_count(code, 599, 400), retry_after=retry_after)


def _stall(faults: Faults, text: str) -> Faults:
    events, colon, seconds = text.partition(":")
    return replace(faults, stall=(_count(events), _number(seconds, MAX_SECONDS) if colon else MAX_SECONDS))


def _drip(faults: Faults, text: str) -> Faults:
    size, _, milliseconds = text.partition(":")
    pause = _number(milliseconds, MAX_SECONDS * 1000) / 1000
    return replace(faults, split=_count(size, MAX_BYTES, 1), drip_seconds=pause)


def _rate(faults: Faults, text: str) -> Faults:
    return replace(faults, rate=_number(text, 1e6))


def _delay(faults: Faults, text: str) -> Faults:
    return replace(faults, delay=_number(text, MAX_SECONDS))


_WORDS: Final = (
    Word("status=CODE[:SECONDS]", "an error answer; 429 and 503 carry retry-after", _status),
    Word("json-error", "200 with a JSON error body instead of a stream", _flag(body="json")),
    Word("html", "200 with an HTML page instead of a stream", _flag(body="html")),
    Word("first=K", "only the first K requests with these words suffer them", _whole("first")),
    Word("cut@N", "the body ends properly after N events, without a terminal", _whole("cut")),
    Word("cut-bytes@N", "the body ends properly after N bytes", _whole("cut_bytes")),
    Word("close@N", "the connection closes after N events, the last chunk missing", _whole("close")),
    Word("reset@N", "the connection is reset (RST) after N events", _whole("reset")),
    Word("stall@N[:SECONDS]", "silence after N events (an hour), then it goes on", _stall),
    Word("error-event@N", "an in-band error after N events, then the end", _whole("error_event")),
    Word("json-error@N", "a bare JSON error in the body after N events", _whole("json_error")),
    Word("malformed@N", "the event after N events is broken JSON", _whole("malformed")),
    Word("bad-utf8@N", "the event after N events holds invalid UTF-8", _whole("bad_utf8")),
    Word("big-event=BYTES", "one more text delta of BYTES bytes", _whole("big_event", MAX_BYTES, 1)),
    Word("tokens=N", "the text of a script has N deltas", _whole("tokens", MAX_TOKENS)),
    Word("wrong-dialect", "the other API's stream", _flag(wrong_dialect=True)),
    Word("crlf", "lines end with CR LF", _flag(newline=b"\r\n")),
    Word("cr", "lines end with CR", _flag(newline=b"\r")),
    Word("no-blank-at-eof", "the last event lacks its line ends", _flag(blank_at_eof=False)),
    Word("done", "data: [DONE] at the end, whatever the dialect", _flag(done=True)),
    Word("no-done", "no data: [DONE] at the end", _flag(done=False)),
    Word("comment-every=N", "a comment before each N events", _whole("comment_every")),
    Word("delay=SECONDS", "silence before the answer's head", _delay),
    Word("rate=N", "N events a second (0: no pacing)", _rate),
    Word("split=BYTES", "chunks and writes of BYTES bytes", _whole("split", MAX_BYTES, 1)),
    Word("coalesce=BYTES", "chunks and writes of BYTES bytes or more", _whole("coalesce", MAX_BYTES, 1)),
    Word("drip=BYTES:MS", "BYTES bytes, then MS milliseconds of silence, and so on", _drip),
)


def _key(text: str) -> str:
    """A word's name with the mark that follows it, which tells `json-error@3` from `json-error`."""
    head = re.match(r"[^@=\[]*[@=]?", text)
    return head.group() if head else ""


GRAMMAR: Final[dict[str, Word]] = {_key(word.form): word for word in _WORDS}
