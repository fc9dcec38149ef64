"""`penstock decode`: a stream's events as JSON lines, its final object, or its text.

Input is read and written piece by piece; only `--final` keeps anything, and that within `Limits`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal, Protocol

from penstock import ChatAccumulator, Decoder, Event, ResponseAccumulator
from penstock.errors import DecodeError, IncompleteStream, LimitExceeded

from . import STATUS_USAGE, Failure

__all__ = ["configure", "run"]

READ_BYTES: Final = 64 * 1024
SNIFF_BYTES: Final = 1024 * 1024
"""How long a first line may be before it is taken for JSON unseen."""

Framing = Literal["sse", "ndjson"]
DIALECTS: Final = ("responses", "chat", "messages")
TERMINALS: Final = frozenset({"response.completed", "response.incomplete", "response.failed", "message_stop"})
CONTROLS: Final = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160)])
"""What a model must not send to a terminal: control characters but tab and line feed."""

TEXT: Final = frozenset({"response.output_text.delta", "response.refusal.delta", "message"})


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = (
        "Print the events of a stream as JSON lines: each payload as it came, on one line. A payload that\n"
        "is no JSON becomes an object with its type, id and data."
    )
    parser.add_argument("file", metavar="FILE", help="the stream, or - for standard input")
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--final", action="store_true", help="print the accumulated object of each response instead"
    )
    form.add_argument("--text", action="store_true", help="print the text alone, as it comes")
    parser.add_argument(
        "--framing",
        choices=("auto", "sse", "ndjson"),
        default="auto",
        help="how events are told apart (auto: by the first line)",
    )
    parser.add_argument(
        "--dialect",
        choices=("auto", *DIALECTS),
        default="auto",
        help="whose events they are (auto: by themselves)",
    )


def run(args: argparse.Namespace) -> int:
    """Decode one input to standard output. Raises `Failure` with what is wrong about the stream."""
    name = _name(args.file)
    chunks = _chunks(args.file)
    head, framing = _sniff(chunks, args.framing)
    if not head:
        raise Failure(f"{name}: empty input")
    decoder = Decoder(framing=framing, eof="flush")
    watch = _Watch(args.dialect)
    sink: _Sink = _Final(watch) if args.final else _Text() if args.text else _Lines(watch)
    try:
        for chunk in _then(head, chunks):
            _pass_on(decoder.feed(chunk), watch, sink)
        _pass_on(decoder.finish(), watch, sink)
    except (DecodeError, LimitExceeded) as error:
        _pass_on(error.events, watch, sink)
        sink.end()
        raise Failure(f"{name}: {error}") from None
    sink.end()
    problem = _problem(decoder, watch)
    if problem:
        raise Failure(f"{name}: {problem}")
    return 0


def _chunks(file: str) -> Iterator[bytes]:
    """Whatever a read returns, so that a live stream is shown as it comes."""
    try:
        with open(0 if file == "-" else file, "rb", buffering=0, closefd=file != "-") as source:
            while chunk := source.read(READ_BYTES):
                yield chunk
    except OSError as error:
        raise Failure(f"{_name(file)}: {error.strerror}", STATUS_USAGE) from None


def _name(file: str) -> str:
    return "standard input" if file == "-" else file


def _then(head: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from chunks


def _sniff(chunks: Iterator[bytes], framing: Framing | Literal["auto"]) -> tuple[bytes, Framing]:
    """Read as much as it takes to tell the framing: JSON lines begin with a whole JSON object."""
    head = b""
    for chunk in chunks:
        head += chunk
        if framing != "auto":
            return head, framing
        begin = head.removeprefix(b"\xef\xbb\xbf").lstrip()
        if begin and not begin.startswith(b"{"):
            return head, "sse"
        if b"\n" in begin or len(begin) > SNIFF_BYTES:
            break
    line = head.removeprefix(b"\xef\xbb\xbf").lstrip().partition(b"\n")[0]
    return head, "ndjson" if _is_json(line) or len(line) > SNIFF_BYTES else "sse"


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _pass_on(events: Iterable[Event], watch: _Watch, sink: _Sink) -> None:
    batch = list(events)
    for event in batch:
        watch.see(event)
    sink.take(batch)
    sys.stdout.buffer.flush()


class _Watch:
    """Tells the dialect of a stream and whether it came to its end, in constant memory."""

    def __init__(self, dialect: str) -> None:
        self.dialect: str | None = None if dialect == "auto" else dialect
        self.finished = False
        """Whether a terminal event, or a chat chunk with a finish reason, was seen."""
        self.error: str | None = None
        self.malformed = 0

    def see(self, event: Event) -> None:
        """Take note of the next event."""
        kind = event.type
        if self.dialect is None:
            self.dialect = _dialect_of(event)
        if kind == "response.created":
            self.finished, self.error = False, None
        elif kind in TERMINALS or (self.dialect == "chat" and _has_finish_reason(event)):
            self.finished = True
        if kind in ("error", "response.failed") or (kind == "message" and _field(event, "error")):
            self.error = _message(event)


def _field(event: Event, key: str) -> Any:
    try:
        return event.get(key)
    except (DecodeError, LimitExceeded):
        return None


def _has_finish_reason(event: Event) -> bool:
    choices = _field(event, "choices")
    return isinstance(choices, list) and any(_nested(choice, "finish_reason") for choice in choices)


def _dialect_of(event: Event) -> str | None:
    kind = event.type
    if kind.startswith("response."):
        return "responses"
    if kind.startswith(("message_", "content_block_")):
        return "messages"
    return "chat" if isinstance(_field(event, "choices"), list) else None


def _message(event: Event) -> str:
    """The words of an error event, flat, nested or inside a failed response."""
    holders = (_field(event, "error"), _nested(_field(event, "response"), "error"))
    texts = [_nested(holder, "message") for holder in holders]
    text = next((text for text in (*texts, _field(event, "message")) if isinstance(text, str)), "")
    return text[:500] or "no message"


def _nested(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _problem(decoder: Decoder, watch: _Watch) -> str | None:
    """What keeps the stream from being a good one, in words; None if nothing does."""
    if not decoder.events and not decoder.done:
        body = decoder.non_sse_body
        if body is not None:
            return f"{_body_kind(body)}, not an event stream"
        comments = f" and {decoder.comments} comments" if decoder.comments else ""
        return f"no events in {decoder.bytes} bytes{comments}"
    if watch.error is not None:
        return f"the stream ended in an error: {watch.error}"
    if watch.dialect is not None and not (watch.finished or decoder.done):
        return f"the stream was cut short after {decoder.events} events: it has no terminal event"
    if watch.malformed:
        return f"{watch.malformed} of {decoder.events} events are not JSON"
    return None


def _body_kind(body: bytes) -> str:
    if body.lstrip().startswith(b"<"):
        return "an HTML or XML page"
    try:
        error = _nested(json.loads(body), "error")
    except (ValueError, RecursionError):
        return "a JSON document that is broken off"
    words = _nested(error, "message") if isinstance(error, dict) else error
    return f"a JSON error ({words[:500]})" if isinstance(words, str) else "a JSON document"


class _Sink(Protocol):
    def take(self, events: list[Event]) -> None: ...
    def end(self) -> None: ...


class _Lines:
    """Each event's payload on a line of its own."""

    def __init__(self, watch: _Watch) -> None:
        self._watch = watch

    def take(self, events: list[Event]) -> None:
        sys.stdout.buffer.write(b"".join(self._line(event) for event in events))

    def end(self) -> None:
        """Every line has been written."""

    def _line(self, event: Event) -> bytes:
        try:
            event.json()
        except (DecodeError, LimitExceeded):
            self._watch.malformed += self._watch.dialect is not None or event.data[:1] in (b"{", b"[")
            said = {"type": event.type, "id": event.id, "data": event.data.decode(errors="replace")}
            return json.dumps(said, ensure_ascii=False).encode() + b"\n"
        # Line ends inside JSON are white space between its tokens. Bad UTF-8 is replaced as in `json()`.
        line = event.data.replace(b"\r", b" ").replace(b"\n", b" ").strip()
        return line.decode(errors="replace").encode() + b"\n"


class _Text:
    """The text that deltas add, nothing between them."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()

    def take(self, events: list[Event]) -> None:
        deltas = (event.delta for event in events if event.type in TEXT)
        text = "".join(delta for delta in deltas if delta)
        shown = text.translate(CONTROLS) if self._terminal else text
        sys.stdout.buffer.write(shown.encode())

    def end(self) -> None:
        """Leave a terminal's prompt a line of its own; a file or pipe gets the text exactly."""
        if self._terminal:
            sys.stdout.buffer.write(b"\n")


class _Final:
    """The object that the events add up to, one for each response in the stream."""

    def __init__(self, watch: _Watch) -> None:
        self._watch = watch
        self._accumulator: ResponseAccumulator | ChatAccumulator | None = None

    def take(self, events: list[Event]) -> None:
        dialect = self._watch.dialect
        if dialect == "messages":
            raise Failure("--final knows the dialects responses and chat", STATUS_USAGE)
        if self._accumulator is None and dialect is not None:
            self._accumulator = ResponseAccumulator() if dialect == "responses" else ChatAccumulator()
        if self._accumulator is not None:
            self._accumulator.feed(events)

    def end(self) -> None:
        if self._accumulator is None:
            return
        self._accumulator.finish()
        finals = list(self._accumulator.responses)
        try:
            self._accumulator.final()
        except IncompleteStream as incomplete:
            if incomplete.partial is not None:
                finals.append(incomplete.partial)
        indent = 2 if sys.stdout.isatty() else None
        for final in finals:
            text = json.dumps(final, ensure_ascii=False, indent=indent)
            sys.stdout.buffer.write(text.encode() + b"\n")
