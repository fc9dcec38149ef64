"""What `Stream` and `AsyncStream` share: everything but waiting.

Chunks, ends and breaks go in, batches of events come out. The rules:

- Events come first, errors after. What was decoded before an error is delivered before the error is raised,
  and a stream that failed raises the same error again.
- An end is never invented. A connection that breaks before the terminal event is an `IncompleteStream`; a
  clean end of input ends the iteration, and `final()` says whether a terminal event came. After the
  terminal event, or after `[DONE]`, a cut or a stall is no error any more.
- An answer that is no event stream (an HTTP error, JSON or a page instead of events) is read up to a bound
  and becomes a `ResponseError`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from penstock._penstock import ChatAccumulator, Decoder, Event, Limits, ResponseAccumulator
from penstock.errors import MAX_BODY_BYTES, DecodeError, IncompleteStream, ResponseError, StreamTimeout
from penstock.stats import SIMULTANEOUS_SECONDS, StreamStats
from penstock.timeouts import Timeouts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from penstock.sources import Chunk, Http

Accumulator: TypeAlias = ResponseAccumulator | ChatAccumulator
Dialect: TypeAlias = Literal["auto", "responses", "chat"]
Framing: TypeAlias = Literal["sse", "ndjson"]

IDLE_SECONDS: Final = 120.0
"""The idle time-out of HTTP responses: models think for a minute, and keep-alives come every 15 s."""

ERROR_BODY_SECONDS: Final = 10.0
"""How long the body of an HTTP error is waited for."""

DRAIN_SECONDS: Final = 0.25
"""How long to read on after `[DONE]`: the end of the body, a few bytes behind it, frees the connection."""

UNDECIDED_EVENTS: Final = 16
"""How many events `dialect="auto"` looks at before it takes the stream for one of no known dialect."""

_NDJSON_TYPES: Final = frozenset(
    {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"}
)
_DOCUMENT_TYPES: Final = ("json", "html")
_DOCUMENT_STARTS: Final = (b"{", b"[", b"<", b'"')
_BUGS: Final = (RuntimeError, TypeError, AttributeError, MemoryError)
"""Mistakes in the use of a client or in the caller's own code; never told as something the upstream did."""

CLIENTS: Final = frozenset({"aiohttp", "httpcore", "httpcore2", "httpx", "httpx2", "requests", "urllib3"})
"""Whose errors tell of a connection even where only an iterable of a response was handed over."""

_SHOWABLE: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:-")
"""What codes and ids that an error's message repeats consist of; others stay in the error's attributes."""


class StreamCore(ABC):
    """A stream without its waiting: the faces open the source, read it, and hand over what comes of it."""

    _closed = True  # until the constructor is through: `__del__` also runs after a failed one

    def __init__(
        self,
        source: Any,
        *,
        dialect: Dialect | None = "auto",
        framing: Framing | None = None,
        eof: Literal["spec", "flush"] = "flush",
        errors: Literal["replace", "strict"] = "replace",
        limits: Limits | None = None,
        idle_timeout: float | Literal["auto"] | None = "auto",
        max_duration: float | None = None,
        first_event_timeout: float | None = None,
        started: float | None = None,
    ) -> None:
        http = self._open(source)
        if dialect not in {"auto", "responses", "chat", None}:
            raise ValueError(f"dialect must be 'auto', 'responses', 'chat' or None, not {dialect!r}")
        if idle_timeout == "auto":
            idle_timeout = IDLE_SECONDS if http is not None and http.live else None
        if framing is None:
            framing = "ndjson" if http is not None and http.media_type in _NDJSON_TYPES else "sse"
        self.source = source
        self._http = http
        self._timeouts = Timeouts(idle=idle_timeout, duration=max_duration, first_event=first_event_timeout)
        self._limits = Limits() if limits is None else limits
        self._decoder = Decoder(framing=framing, eof=eof, errors=errors, limits=self._limits)
        self._feed: Callable[[Chunk], list[Event]] = self._decoder.feed
        self._dialect = dialect
        self._accumulator: Accumulator | None = None
        self._stats = StreamStats(self._decoder, monotonic() if started is None else started)
        if dialect is not None and dialect != "auto":
            self._accumulate_as(dialect)
        self._rest: Iterator[Event] = iter(())  # what per-event iteration has left of its batch
        self._split = False  # whether per-event iteration has begun
        self._steady = False  # nothing is left to find out: no document, dialect known, first token seen
        self._over = False
        self._draining = False
        self._failure: Exception | None = None
        self._failure_traceback: TracebackType | None = None
        self._body: bytearray | None = None  # a document, as far as it came
        self._suspect = False  # the head announces a document, and its body has not begun yet
        if http is not None and http.status >= 400:
            self._body = bytearray()
            if http.live:
                self._timeouts.duration = min(max_duration or ERROR_BODY_SECONDS, ERROR_BODY_SECONDS)
        elif http is not None and framing == "sse":
            self._suspect = any(word in http.media_type for word in _DOCUMENT_TYPES)
        self._attended = http is not None or bool(self._timeouts)  # else nobody asks how long a wait was
        self._connect()
        self._closed = False

    @abstractmethod
    def _open(self, source: Any) -> Http | None:
        """Find out how to read the source, and what its head says. Nothing is read yet."""

    @abstractmethod
    def _connect(self) -> None:
        """Make ready to read, now that the time-outs are known."""

    @abstractmethod
    def _look_after(self) -> None:
        """See to it that the next time-out is noticed; also called when it has come nearer."""

    @property
    def stats(self) -> StreamStats:
        """The stream's figures; they go on counting."""
        return self._stats

    @property
    def accumulator(self) -> Accumulator | None:
        """What has been accumulated so far; None with ``dialect=None``, and before ``"auto"`` has decided."""
        return self._accumulator

    @property
    def decoder(self) -> Decoder:
        """The decoder, for what it knows of the framing: `retry`, `last_event_id`, `comments`."""
        return self._decoder

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def __repr__(self) -> str:
        state = "closed" if self._closed else "over" if self._over else "open"
        return (
            f"<{type(self).__name__} of {type(self.source).__name__}, {state}, {self._stats.events} events>"
        )

    def _absorb(self, chunk: Chunk) -> list[Event]:
        """Take a chunk in; what it completed."""
        if self._body is not None or self._suspect:
            return self._absorb_document(chunk)
        batch: list[Event]
        try:
            batch = self._feed(chunk)
        except Exception as error:
            batch = getattr(error, "events", [])
            self._fail(error)
        if batch:
            now = monotonic()
            stats = self._stats
            if not self._steady:
                self._find_out(batch, now)
            elif now - stats.last > SIMULTANEOUS_SECONDS:
                stats.wait(now - stats.last)
            stats.last = now
            if self._accumulator is not None:
                try:
                    self._accumulator.feed(batch)
                except Exception as error:
                    self._fail(error)  # raised after the batch is delivered
        return batch

    def _absorb_document(self, chunk: Chunk) -> list[Event]:
        """Take in a chunk of what is, or may be, no event stream but a document."""
        if self._body is None:
            start = bytes(chunk[:64]).removeprefix(b"\xef\xbb\xbf").lstrip()
            if start:
                self._suspect = False
            if not start.startswith(_DOCUMENT_STARTS):
                return self._absorb(chunk) if start else []
            self._body = bytearray()
        self._body += chunk
        if len(self._body) >= MAX_BODY_BYTES:
            self._reject(bytes(self._body))
        return []

    def _find_out(self, batch: list[Event], now: float) -> None:
        """Look for what the first events tell: when they came, and what dialect they are of."""
        self._timeouts.had_event = True
        if self._dialect == "auto":
            self._decide(batch)
        self._steady = self._stats.begin(batch, now) and self._dialect != "auto"

    def _decide(self, batch: list[Event]) -> None:
        """Find the dialect by the first event that tells."""
        for event in batch:
            dialect = _dialect_of(event)
            if dialect is not None:
                self._accumulate_as(dialect)
                return
        if self._stats.events >= UNDECIDED_EVENTS:
            self._dialect = None

    def _accumulate_as(self, dialect: Dialect) -> None:
        self._dialect = dialect
        kind = ChatAccumulator if dialect == "chat" else ResponseAccumulator
        self._accumulator = self._stats.accumulator = kind(limits=self._limits)

    def _finish(self) -> list[Event]:
        """Take in the end of the input; what it completed."""
        self._over = True
        if self._body is not None:
            self._reject(bytes(self._body))
            return []
        # What the end completes is taken in as if a last chunk had completed it.
        decoder = self._decoder
        self._feed = lambda _chunk: decoder.finish()
        batch = self._absorb(b"")
        self._end_of_accumulation()
        document = self._decoder.non_sse_body
        if document is not None and self._failure is None:
            self._reject(document)
        return batch

    def _break(self, error: Exception, since: float) -> list[Event]:
        """Take in that reading, begun at `since`, failed; nothing comes any more."""
        self._over = True
        if self._body is not None:
            self._reject(bytes(self._body), error)
            return []
        self._end_of_accumulation()
        terminal = self._accumulator is not None and self._accumulator.terminal is not None
        if (terminal or self._decoder.done) and not isinstance(error, _BUGS):
            return []
        cause = error
        if not isinstance(error, StreamTimeout) and self._is_transport(error):
            if isinstance(error, TimeoutError) or type(error).__name__.endswith(("Timeout", "TimeoutError")):
                # The client's own time-out came first.
                waited = round(monotonic() - since, 3)
                error = StreamTimeout(
                    f"the upstream sent nothing for {waited:g} s", kind="idle", seconds=waited
                )
            else:
                error = IncompleteStream(
                    "the connection broke before the stream's terminal event", reason="reset"
                )
            error.__cause__ = cause
        if isinstance(error, StreamTimeout | IncompleteStream):
            error.partial = self._partial()
        self._fail(error)
        return []

    def _is_transport(self, error: Exception) -> bool:
        """Whether an error tells of the connection, and not of a mistake in the caller's own iterable."""
        if isinstance(error, _BUGS):
            return False
        package = type(error).__module__.partition(".")[0]
        return self._http is not None or isinstance(error, OSError) or package in CLIENTS

    def _drains(self) -> bool:
        """Whether to read on for a moment after `[DONE]`, so that the connection can be used again."""
        if self._http is None:
            return False
        if not self._draining:
            self._draining = True
            self._timeouts.idle = min(self._timeouts.idle or DRAIN_SECONDS, DRAIN_SECONDS)
            self._look_after()
        return True

    def _begin_wait(self) -> float:
        """Note that the stream waits from now on; the first time, have its time-outs looked after."""
        timeouts = self._timeouts
        timeouts.waiting_since = now = monotonic()
        if not timeouts.began:
            timeouts.began = now
            self._look_after()
        return now

    def _end_of_accumulation(self) -> None:
        if self._accumulator is not None and self._failure is None:
            try:
                if self._decoder.done and self._dialect == "chat":
                    self._accumulator.feed("[DONE]")  # which the decoder keeps to itself
                self._accumulator.finish()
            except Exception as error:
                self._fail(error)

    def _partial(self) -> dict[str, Any] | None:
        return None if self._accumulator is None else self._accumulator.snapshot()

    def _reject(self, body: bytes, cause: Exception | None = None) -> None:
        """Fail because the upstream answered with a document."""
        error = response_error(body, self._http)
        error.__cause__ = cause
        self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._over = True
        self._failure = error
        self._failure_traceback = error.__traceback__

    def _stop(self) -> None:
        """Raise the failure, if it was one."""
        if self._failure is not None:
            # With its first traceback, or each raise would make it longer.
            raise self._failure.with_traceback(self._failure_traceback)

    def _discard(self) -> None:
        """Drop what was decoded and not iterated, also for a loop that is in the middle of it."""
        for _event in self._rest:
            pass

    def _final(self) -> dict[str, Any]:
        accumulator = self._accumulator
        if accumulator is None:
            if self._stats.events:
                raise IncompleteStream(
                    "the events were not accumulated: they are of no known dialect, or dialect=None",
                    reason="dialect",
                )
            raise IncompleteStream("the stream ended before its first event", reason="eof")
        if not self._over:
            if accumulator.terminal is None and not self._decoder.done:
                raise IncompleteStream(
                    "the stream was closed before its terminal event",
                    partial=self._partial(),
                    reason="closed",
                )
            self._end_of_accumulation()
        final: dict[str, Any] = accumulator.final()
        return final


def response_error(body: bytes, http: Http | None) -> ResponseError:
    """The error that a document tells of, in whichever of the usual shapes it does."""
    fields = _error_fields(body)
    code, kind, param = (_text(fields, name) for name in ("code", "type", "param"))
    status = None if http is None else http.status
    request_id = None if http is None else http.request_id
    message = "the upstream answered with a document instead of an event stream"
    if status is not None and status >= 400:
        message = f"HTTP {status}"
    name = code or kind
    if _is_showable(name):
        message += f": {name}"
    if _is_showable(request_id):
        message += f" (request {request_id})"
    return ResponseError(
        message,
        status=status,
        error=fields,
        code=code,
        type=kind,
        param=param,
        request_id=request_id,
        body=body,
    )


def _error_fields(body: bytes) -> dict[str, Any] | None:
    """The error object of `{"error": {…}}`, `{"error": "…"}`, `[{"error": …}]` and the flat forms."""
    try:
        document = Event(body).json()
    except DecodeError:
        return None
    if isinstance(document, list) and document:
        document = document[0]
    if not isinstance(document, dict):
        return None
    inner = document.get("error")
    if isinstance(inner, dict):
        return inner
    if isinstance(inner, str):
        return {"message": inner} | document
    return document if not document.keys().isdisjoint({"message", "detail", "code"}) else None


def _is_showable(words: str | None) -> bool:
    return words is not None and 0 < len(words) <= 80 and _SHOWABLE.issuperset(words)


def _text(fields: dict[str, Any] | None, name: str) -> str | None:
    value = None if fields is None else fields.get(name)
    return str(value) if isinstance(value, str | int) else None


def _dialect_of(event: Event) -> Dialect | None:
    """The dialect that an event belongs to; None if it could belong to several, or to none we know."""
    kind = event.type
    if kind == "error" or kind.startswith("response."):
        return "responses"
    try:
        if "choices" in event or "error" in event or event.get("object") == "chat.completion.chunk":
            return "chat"
    except (DecodeError, TypeError):  # no JSON object
        pass
    return None
