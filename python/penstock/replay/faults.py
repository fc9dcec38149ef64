"""What a request may ask to go wrong, and how fast the answer comes: the words and what they mean.

A request names faults in the header `x-penstock-fault`, the query `?fault=`, the metadata entry
`penstock_fault`, or behind its model's name (`replay-text+cut@5+crlf`). Words are joined by commas, plus
signs or spaces and compose freely; where two contradict each other the later one stands. `@N` counts events
from 0: `cut@3` lets three events through.

Over a WebSocket the header and the query of the upgrade hold for every `response.create`, which may name its
own in the metadata or behind the model. The words of framing (lines, blanks, pieces, comments, `done`) mean
nothing there, and those of the last group mean nothing over HTTP, but for `outcome`, `empty-output`,
`bad-arguments` and `forget`.
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

OUTCOMES: Final = ("completed", "incomplete", "failed")
CANCELS: Final = (*OUTCOMES, "cancelled", "error", "none", "ignored", "unknown", "close")
"""How a cancelled response may end: a terminal of that name, an error frame, nothing at all, as if nobody had
cancelled it, as if nobody knew the word, or with the connection."""


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

    # What the response is.
    outcome: str | None = None
    """How the script ends, instead of its own end: `completed`, `incomplete` or `failed`."""
    empty_output: bool = False
    bad_arguments: bool = False
    forget: bool = False

    # How a WebSocket behaves.
    upgrade: bool = True
    max_age: float = 3600.0
    """Seconds after which a connection takes no more; OpenAI's is an hour."""
    close_code: int | None = None
    """The code that `close` says goodbye with; None: it says none."""
    close_after: int | None = None
    error: tuple[str, int] | None = None
    """The code of an error frame, and how many events come before it."""
    flat_errors: bool = False
    bare_errors: bool = False
    binary: int | None = None
    noise: bool = False
    twice: bool = False

    # What becomes of a `response.cancel`.
    cancel_as: str = "incomplete"
    """The terminal that a cancelled response gets, or another word of `CANCELS`."""
    cancel_after: float = 0.0
    """Seconds between the cancel and that terminal."""
    late: int = 0
    """Events that a cancelled response still sends before it."""
    ghosts: int = 0
    """Events of a cancelled response that turn up within the next one."""

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


def _choice(field: str, choices: tuple[str, ...]) -> Callable[[Faults, str], Faults]:
    def read(faults: Faults, text: str) -> Faults:
        if text not in choices:
            raise ValueError(f"{text[:20]!r} is none of {', '.join(choices)}")
        values: dict[str, Any] = {field: text}
        return replace(faults, **values)

    return read


def _seconds(field: str) -> Callable[[Faults, str], Faults]:
    def read(faults: Faults, text: str) -> Faults:
        values: dict[str, Any] = {field: _number(text, MAX_SECONDS)}
        return replace(faults, **values)

    return read


def _close(faults: Faults, text: str) -> Faults:
    events, colon, code = text.partition(":")
    return replace(faults, close=_count(events), close_code=_count(code, 4999, 1000) if colon else None)


def _error(faults: Faults, text: str) -> Faults:
    code, at, events = text.partition("@")
    if not re.fullmatch(r"[a-z0-9_]{1,64}", code):
        raise ValueError(f"{code[:20]!r} is not a code")
    return replace(faults, error=(code, _count(events) if at else 0))


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


_WORDS: Final = (
    Word("status=CODE[:SECONDS]", "an error answer; 429 and 503 carry retry-after", _status),
    Word("json-error", "200 with a JSON error body instead of a stream", _flag(body="json")),
    Word("html", "200 with an HTML page instead of a stream", _flag(body="html")),
    Word("first=K", "only the first K requests with these words suffer them", _whole("first")),
    Word("cut@N", "the body ends properly after N events, without a terminal", _whole("cut")),
    Word("cut-bytes@N", "the body ends properly after N bytes", _whole("cut_bytes")),
    Word("close@N[:CODE]", "the connection closes after N events, mid-body or with a WebSocket CODE", _close),
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
    Word("delay=SECONDS", "silence before the answer's head", _seconds("delay")),
    Word("rate=N", "N events a second (0: no pacing)", _rate),
    Word("split=BYTES", "chunks and writes of BYTES bytes", _whole("split", MAX_BYTES, 1)),
    Word("coalesce=BYTES", "chunks and writes of BYTES bytes or more", _whole("coalesce", MAX_BYTES, 1)),
    Word("drip=BYTES:MS", "BYTES bytes, then MS milliseconds of silence, and so on", _drip),
    Word("outcome=HOW", "the script ends completed, incomplete or failed", _choice("outcome", OUTCOMES)),
    Word("empty-output", "the terminal's output is an empty list", _flag(empty_output=True)),
    Word("bad-arguments", "the arguments of function calls are no JSON", _flag(bad_arguments=True)),
    Word("forget", "the response's id is not found later", _flag(forget=True)),
    Word("no-websocket", "426 to an upgrade", _flag(upgrade=False)),
    Word("max-age=SECONDS", "how long a WebSocket is good for (3600)", _seconds("max_age")),
    Word("close-after=CODE", "the WebSocket closes after the terminal", _whole("close_after", 4999, 1000)),
    Word("error=CODE[@N]", "an error frame CODE after N events (0), then no more of the response", _error),
    Word("flat-errors", "error frames without the inner error object", _flag(flat_errors=True)),
    Word("bare-errors", "error frames without stream_id", _flag(bare_errors=True)),
    Word("binary@N", "the event after N events comes as a binary frame", _whole("binary")),
    Word("noise", "events of no response before each event", _flag(noise=True)),
    Word("twice", "the terminal event comes twice", _flag(twice=True)),
    Word(
        "cancel-as=HOW", f"a cancelled response ends as {', '.join(CANCELS)}", _choice("cancel_as", CANCELS)
    ),
    Word("cancel-after=SECONDS", "and that so much later", _seconds("cancel_after")),
    Word("late=N", "and after N more events", _whole("late")),
    Word("ghosts=N", "and N of its events come within the next response", _whole("ghosts")),
)


def _key(text: str) -> str:
    """A word's name with the mark that follows it, which tells `json-error@3` from `json-error`."""
    head = re.match(r"[^@=\[]*[@=]?", text)
    return head.group() if head else ""


GRAMMAR: Final[dict[str, Word]] = {_key(word.form): word for word in _WORDS}
