"""What to answer a request with: its API, the script or recording, and the faults, as a plan of steps.

Nothing here touches a socket or a clock; the server performs what a `Plan` says, a WebSocket what an `Act`
does.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from penstock import ChatAccumulator, Decoder, ResponseAccumulator

from . import chat, responses, scripts
from .faults import FaultError, Faults
from .history import History, Past, items_of
from .http import HttpError, Request, error_body
from .recording import Recording
from .wire import DONE, Step, frame, steps

__all__ = ["CHAT", "RESPONSES", "Act", "Dialect", "Plan", "Player", "dump", "refusal"]

JSON = dict[str, Any]

MAX_COUNTED: Final = 4096  # fault texts remembered for `first=K`

HTML: Final = (
    b"<!doctype html><html><head><title>502</title></head><body><h1>Bad gateway</h1></body></html>\n"
)
TERMINALS: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})
INBAND: Final = error_body(500, "The replay upstream failed in the middle.", code="server_error")

MESSAGES: Final = {
    401: ("Incorrect API key provided.", "invalid_api_key"),
    429: ("Rate limit reached for requests.", "rate_limit_exceeded"),
}


class _Stream(Protocol):
    def __iter__(self) -> Iterator[JSON]: ...
    def error(self) -> JSON: ...


@dataclass(frozen=True, slots=True)
class Dialect:
    """One API: how it reads a request, what it streams, what it answers whole, and how it frames."""

    prompt: Callable[[JSON], scripts.Prompt]
    stream: Callable[[JSON, scripts.Script, int, int], _Stream]
    whole: Callable[[JSON, scripts.Script, int, int], JSON]
    accumulator: type[ResponseAccumulator | ChatAccumulator]
    """What puts the events of a recording together."""
    named: bool
    """Whether events carry an `event:` line."""
    done: bool
    """Whether `data: [DONE]` follows the last event."""


RESPONSES: Final = Dialect(
    responses.prompt, responses.Events, responses.response, ResponseAccumulator, named=True, done=False
)
CHAT: Final = Dialect(chat.prompt, chat.Chunks, chat.completion, ChatAccumulator, named=False, done=True)


@dataclass(frozen=True, slots=True)
class Plan:
    """One answer: what its head says and the steps of its body."""

    steps: Iterable[Step]
    length: int | None
    """The content length; None for an event stream, which is chunked."""
    content_type: str = "application/json"
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0
    """Seconds of silence before the head."""


def _whole(body: bytes, faults: Faults, **head: Any) -> Plan:
    return Plan([body], len(body), delay=faults.delay, **head)


@dataclass(frozen=True, slots=True)
class Act:
    """One response over a WebSocket: the payloads of its events, and what may be said in between."""

    faults: Faults
    payloads: Iterator[bytes]
    stream: responses.Events
    """Makes the events that the script did not foresee."""
    calls: bool
    """Whether the response calls functions, so that the client is expected to speak next."""


@dataclass(slots=True)
class Player:
    """Plans the answers of one server; knows its recordings, its standing faults and who suffered them."""

    faults: Faults = field(default_factory=Faults)
    recordings: tuple[Recording, ...] = ()
    history: History = field(default_factory=History)
    """The responses that were stored, whichever way they were asked for."""
    _suffered: Counter[str] = field(default_factory=Counter)

    def plan(self, request: Request, dialect: Dialect, number: int) -> Plan:
        """Plan the answer to a request; `number` makes its ids unique. Raises `HttpError` to refuse it."""
        body = request.json()
        faults = self._begin(request, body)
        if faults.status is not None:
            return _failure(faults.status, faults)
        if faults.body == "html":
            return _whole(HTML, faults, content_type="text/html")
        if faults.body == "json":
            return _whole(INBAND, faults)
        before = self.history.before(body) if dialect is RESPONSES else Past()
        prompt = dialect.prompt(_with_past(body, before))
        if faults.wrong_dialect:
            dialect = CHAT if dialect is RESPONSES else RESPONSES
        if body.get("stream") is True:
            return self._stream(dialect, body, prompt, number, faults, before=before)
        answer = self._answer(dialect, body, prompt, number, faults)
        self._remember(answer, body, before, faults)
        whole = dump(answer)
        # A plain body has neither lines nor events to spoil, but can come slowly, in pieces, or not at all.
        plain = replace(
            faults, malformed=None, bad_utf8=None, comment_every=0, newline=b"\n", blank_at_eof=True
        )
        body_steps = steps([whole], plain, error_event=lambda: INBAND, json_error=INBAND)
        return Plan(body_steps, len(whole), delay=faults.delay)

    def act(self, request: Request, body: JSON, number: int, before: Past) -> Act:
        """Plan the response to a `response.create`, whose body has left its model's faults in place.

        `before` is the conversation it continues. Raises `HttpError` to refuse it.
        """
        faults = self._begin(request, body)
        prompt = RESPONSES.prompt(_with_past(body, before))
        model = body["model"]
        recording = self._recording(model)
        script = scripts.write("replay-text" if recording else model, prompt, faults)
        if body.get("generate") is False:
            script = scripts.Script(())
        stream = responses.Events(body, script, number, prompt.tokens)
        calls = any(isinstance(item, scripts.ToolCall) for item in script.items)
        if recording is None:
            return Act(faults, map(dump, _shown(stream, faults)), stream, calls)
        events = Decoder().feed(b"".join(recording.events))
        return Act(faults, (event.data for event in events), stream, calls)

    def _begin(self, request: Request, body: JSON) -> Faults:
        """Take the faults off the model's name and add the others. Raises `HttpError` 400."""
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise HttpError(400, "You must provide a model parameter.", param="model")
        body["model"], _, suffix = model.partition("+")
        metadata = body.get("metadata")
        by_metadata = metadata.get("penstock_fault") if isinstance(metadata, dict) else None
        return self.wishes(request, suffix, by_metadata)

    def _remember(self, answer: JSON, body: JSON, before: Past, faults: Faults) -> None:
        """Keep a response that a later request may continue; other objects are none."""
        if faults.forget or body.get("store") is False or answer.get("object") != "response":
            return
        if answer["status"] in ("completed", "incomplete"):
            self.history.keep(
                answer["id"], before.then(items_of(body.get("input", ""))).then(answer["output"])
            )

    def wishes(self, request: Request, *more: Any) -> Faults:
        """What a request asks to go wrong, in its head and in `more` places.

        Raises `HttpError` 400 for words not in the grammar.
        """
        words = (request.headers.get("x-penstock-fault"), request.query.get("fault"), *more)
        text = ",".join(word for word in words if isinstance(word, str) and word)
        try:
            faults = Faults.parse(text, self.faults)
        except FaultError as error:
            raise HttpError(400, f"{error}", code="unknown_fault") from None
        if faults.first is None:
            return faults
        if len(self._suffered) > MAX_COUNTED:
            self._suffered.clear()
        self._suffered[text] += 1
        return faults if self._suffered[text] <= faults.first else Faults()

    def _recording(self, model: str) -> Recording | None:
        """The recording for a model that is not a script: by name, else the first."""
        if model in scripts.SCRIPTS or not self.recordings:
            return None
        return next((known for known in self.recordings if known.name == model), self.recordings[0])

    def _stream(
        self,
        dialect: Dialect,
        body: JSON,
        prompt: scripts.Prompt,
        number: int,
        faults: Faults,
        *,
        before: Past,
    ) -> Plan:
        model = body["model"]
        recording = self._recording(model)
        script = scripts.write("replay-text" if recording else model, prompt, faults)
        stream = dialect.stream(body, script, number, prompt.tokens)
        usual = recording is None and dialect.done and script.outcome != "failed"
        done = usual if faults.done is None else faults.done

        def framed(event: JSON) -> bytes:
            return frame(dump(event), event.get("type") if dialect.named else None)

        def kept() -> Iterator[JSON]:
            for event in stream:
                if dialect.named and isinstance(event.get("response"), dict):
                    self._remember(event["response"], body, before, faults)
                yield event

        def events() -> Iterator[bytes]:
            yield from map(framed, _shown(kept(), faults)) if recording is None else recording.events
            if done:
                yield DONE

        return Plan(
            steps(events(), faults, error_event=lambda: framed(stream.error()), json_error=INBAND),
            None,
            content_type="text/event-stream; charset=utf-8",
            headers=(("cache-control", "no-cache"), ("x-accel-buffering", "no")),
            delay=faults.delay,
        )

    def _answer(
        self, dialect: Dialect, body: JSON, prompt: scripts.Prompt, number: int, faults: Faults
    ) -> JSON:
        model = body["model"]
        recording = self._recording(model)
        if recording is None:
            return dialect.whole(body, scripts.write(model, prompt, faults), number, prompt.tokens)
        whole = recording.whole(dialect.accumulator())
        if whole is None:
            raise HttpError(
                400, "This recording adds up to no answer; it can only be streamed.", param="stream"
            )
        return whole


def _with_past(body: JSON, before: Past) -> JSON:
    """The request as the model sees it: its input behind the conversation so far."""
    context = before.context()
    return {**body, "input": context + items_of(body.get("input", ""))} if context else body


def _shown(stream: Iterable[JSON], faults: Faults) -> Iterator[JSON]:
    """The events of a script, the terminal's output hidden where that was asked for."""
    for event in stream:
        if faults.empty_output and event.get("type") in TERMINALS:
            event["response"]["output"] = []
        yield event


def refusal(status: int) -> HttpError:
    """The error that an answer with this status carries."""
    unknown = ("The server had an error while processing your request.", None)
    message, code = MESSAGES.get(status, unknown)
    return HttpError(status, message, code=code)


def _failure(status: int, faults: Faults) -> Plan:
    headers = []
    if status in (429, 503):
        headers.append(("retry-after", str(faults.retry_after)))
    if status == 429:
        headers += [("x-ratelimit-limit-requests", "60"), ("x-ratelimit-remaining-requests", "0")]
    return _whole(refusal(status).body(), faults, status=status, headers=tuple(headers))


def dump(value: Any) -> bytes:
    """Compact JSON in UTF-8, escaped only where a client's lone surrogate leaves no other way."""
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()
