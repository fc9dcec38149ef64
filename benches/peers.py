"""The peers: what people use today for a row's work, each behind the same small interface.

A peer gets its input in the form that suits it: reads of 1,400 bytes for those that decode event streams, and
payloads already cut out of the stream for those that only know JSON, which spares them the framing. HTTP
clients get a response whose body is in memory. Everything that can be made before the clock starts is.

Each pass returns one value a stream (the last event's type, the last object, the final text), which must be
what penstock returns.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata
from platform import python_version
from types import ModuleType
from typing import Any
from warnings import catch_warnings, simplefilter

from benches.rows import AGENTS, HTTPX_SSE_JSON, MSGSPEC_TYPE, OPENAI_FINAL, OPENAI_TYPED, ORJSON_LINES
from benches.streams import Stream

PYTHON = "python"
"""The distribution of what comes with Python itself."""

Streams = Sequence[Stream]
Pass = Callable[[], list[Any]]


@dataclass(frozen=True)
class Contender:
    """Somebody who can do a row's work.

    Attributes:
        name: as tables show it.
        distribution: the package whose version is recorded.
        prepare: makes one pass over the streams, ready to be timed.
        picky: whether it fails on some of what providers send, or misreads it; it is measured on the rest.
    """

    name: str
    distribution: str
    prepare: Callable[[Streams], Pass]
    picky: bool = False

    @property
    def installed(self) -> bool:
        """Whether it can take part."""
        return self.distribution == PYTHON or any(metadata.distributions(name=self.distribution))

    @property
    def version(self) -> str:
        """Of its distribution."""
        return python_version() if self.distribution == PYTHON else metadata.version(self.distribution)

    def __str__(self) -> str:
        return self.name


def shared(who: Contender, ours: Contender, streams: Streams) -> Streams:
    """The streams that the contender gets to the end of, and makes the same of as penstock."""
    kept = []
    with _unheard():
        for stream in streams:
            try:
                theirs = who.prepare([stream])()
            except Exception:
                continue  # of whatever kind: it is the peer's
            if theirs == ours.prepare([stream])():
                kept.append(stream)
    return kept


@contextmanager
def _unheard() -> Iterator[None]:
    """Ignore warnings, and what the finalizers of streams say that were given up half-way."""
    hook = sys.unraisablehook
    with catch_warnings():
        simplefilter("ignore")
        sys.unraisablehook = lambda _unraisable: None
        try:
            yield
            gc.collect()
        finally:
            sys.unraisablehook = hook


# Events: decode the stream, look at each event's type and delta.


def _last(payloads: Iterable[Any]) -> Any:
    """Reads type and delta of each JSON object; returns the last type."""
    kind = None
    for payload in payloads:
        kind = payload["type"]
        payload.get("delta")
    return kind


def _httpx_sse(loads: Callable[[str], Any]) -> Callable[[Streams], Pass]:
    def prepare(streams: Streams) -> Pass:
        http, sse = import_module("httpx"), import_module("httpx_sse")

        def run() -> list[Any]:
            return [
                _last(loads(event.data) for event in sse.EventSource(_response(http, stream)).iter_sse())
                for stream in streams
            ]

        return run

    return prepare


def _httpx2_events(streams: Streams) -> Pass:
    http = import_module("httpx2")

    def run() -> list[Any]:
        return [
            _last(event.json() for event in http.EventSource(_response(http, stream))) for stream in streams
        ]

    return run


def _response(http: ModuleType, stream: Stream) -> Any:
    """A response of httpx or httpx2 that brings the stream's chunks."""
    return http.Response(
        200,
        headers={"content-type": "text/event-stream"},
        content=iter(stream.chunks),
        request=_request(http),
    )


@cache
def _request(http: ModuleType) -> Any:
    return http.Request("POST", "http://localhost/v1/responses")


@cache
def openai_streams(module_name: str) -> Callable[[Stream], Any]:
    """What opens a stream as the SDK's object for it, by the SDK itself or by penstock's drop-in."""
    module, types = import_module(module_name), import_module("openai.types")
    # The SDK moved from httpx to httpx2 in 3.0.
    http = import_module("httpx2" if int(metadata.version("openai").partition(".")[0]) >= 3 else "httpx")
    client = module.OpenAI(api_key="none", base_url="http://localhost/v1")
    events = {"responses": types.responses.ResponseStreamEvent, "chat": types.chat.ChatCompletionChunk}

    def open_stream(stream: Stream) -> Any:
        return module.Stream(cast_to=events[stream.dialect], response=_response(http, stream), client=client)

    return open_stream


def openai_events(module_name: str) -> Callable[[Streams], Pass]:
    """Read type and delta of each event of a Responses stream, as a program written for the SDK does."""

    def prepare(streams: Streams) -> Pass:
        open_stream = openai_streams(module_name)

        def run() -> list[Any]:
            last = []
            for stream in streams:
                kind = None
                for event in open_stream(stream):
                    kind = event.type
                    if kind.endswith(".delta"):
                        event.delta  # noqa: B018 - reading it is the work
                last.append(kind)
            return last

        return run

    return prepare


def openai_chunks(module_name: str) -> Callable[[Streams], Pass]:
    """Read the content of each chunk of a Chat Completions stream, as a program written for the SDK does."""

    def prepare(streams: Streams) -> Pass:
        open_stream = openai_streams(module_name)

        def run() -> list[Any]:
            last = []
            for stream in streams:
                pieces = [choice.delta.content for chunk in open_stream(stream) for choice in chunk.choices]
                last.append("".join(piece for piece in pieces if piece))
            return last

        return run

    return prepare


# JSON alone: the payloads have been cut out of the stream.


def _msgspec(**fields: Any) -> Callable[[Streams], Pass]:
    def prepare(streams: Streams) -> Pass:
        msgspec = import_module("msgspec")
        struct = msgspec.defstruct(
            "Fields",
            [(name, kind) if kind is str else (name, kind, None) for name, kind in fields.items()],
        )
        decode = msgspec.json.Decoder(struct).decode

        def run_type() -> list[Any]:
            last = []
            for stream in streams:
                kind = None
                for payload in stream.payloads:
                    kind = decode(payload).type
                last.append(kind)
            return last

        def run_both() -> list[Any]:
            last = []
            for stream in streams:
                kind = None
                for payload in stream.payloads:
                    event = decode(payload)
                    kind = event.type
                    event.delta  # noqa: B018 - reading it is the work
                last.append(kind)
            return last

        return run_both if "delta" in fields else run_type

    return prepare


def _objects(loads: Callable[[], Callable[[bytes], Any]]) -> Callable[[Streams], Pass]:
    def prepare(streams: Streams) -> Pass:
        load = loads()

        def run() -> list[Any]:
            last = []
            for stream in streams:
                value = None
                for payload in stream.payloads:
                    value = load(payload)
                last.append(value)
            return last

        return run

    return prepare


def _httpx_sse_objects(streams: Streams) -> Pass:
    http, sse, loads = import_module("httpx"), import_module("httpx_sse"), import_module("orjson").loads

    def run() -> list[Any]:
        last = []
        for stream in streams:
            value = None
            for event in sse.EventSource(_response(http, stream)).iter_sse():
                value = loads(event.data)
            last.append(value)
        return last

    return run


# Final objects: the SDK builds its events, then accumulates them.


def _openai_responses(streams: Streams) -> Pass:
    module, open_stream = import_module("openai"), openai_streams("openai")
    final_stream = import_module("openai.lib.streaming.responses").ResponseStream

    def run() -> list[Any]:
        finals = []
        for stream in streams:
            final = final_stream(
                raw_stream=open_stream(stream),
                text_format=module.omit,
                input_tools=module.omit,
                starting_after=None,
            ).get_final_response()
            finals.append((final.id, final.output_text))
        return finals

    return run


def _openai_completions(streams: Streams) -> Pass:
    module, open_stream = import_module("openai"), openai_streams("openai")
    final_stream = import_module("openai.lib.streaming.chat").ChatCompletionStream

    def run() -> list[Any]:
        finals = []
        for stream in streams:
            final = final_stream(
                raw_stream=open_stream(stream),
                response_format=module.omit,
                input_tools=module.omit,
            ).get_final_completion()
            finals.append((final.id, final.choices[0].message.content or ""))
        return finals

    return run


# Dialects: the handler gets chunks that are models already, so that its own work is what is measured.


def _openai_agents(streams: Streams) -> Pass:
    handler = import_module("agents.models.chatcmpl_stream_handler").ChatCmplStreamHandler
    chunk_model = import_module("openai.types.chat").ChatCompletionChunk
    response_model = import_module("openai.types.responses").Response
    typed = [[chunk_model.model_validate_json(payload) for payload in stream.payloads] for stream in streams]
    prototype = response_model(
        id="resp_1",
        created_at=0,
        model="",
        object="response",
        output=[],
        tool_choice="auto",
        tools=[],
        parallel_tool_calls=True,
    )

    async def one(chunks: list[Any]) -> str:
        async def source() -> AsyncIterator[Any]:
            for chunk in chunks:
                yield chunk

        last = None
        async for event in handler.handle_stream(prototype, source()):
            event.model_dump_json()
            last = event
        return str(last.response.output_text)

    def run() -> list[Any]:
        return [asyncio.run(one(chunks)) for chunks in typed]

    return run


_MSGSPEC_TYPE = Contender(MSGSPEC_TYPE, "msgspec", _msgspec(type=str))
_MSGSPEC_BOTH = Contender(
    "msgspec struct of type and delta, on split lines", "msgspec", _msgspec(type=str, delta=Any)
)
_HTTPX_SSE = Contender(HTTPX_SSE_JSON, "httpx-sse", _httpx_sse(json.loads))

OPENAI_EVENTS = Contender(OPENAI_TYPED, "openai", openai_events("openai"), picky=True)
OPENAI_CHUNKS = Contender(OPENAI_TYPED, "openai", openai_chunks("openai"), picky=True)

EVENTS = (
    _MSGSPEC_TYPE,
    _MSGSPEC_BOTH,
    _HTTPX_SSE,
    Contender("httpx2 EventSource and its json()", "httpx2", _httpx2_events),
    OPENAI_EVENTS,
)
PROJECTIONS = (_MSGSPEC_TYPE, _MSGSPEC_BOTH)
OBJECTS = (
    Contender(ORJSON_LINES, "orjson", _objects(lambda: import_module("orjson").loads)),
    Contender(
        "msgspec alone, on split lines", "msgspec", _objects(lambda: import_module("msgspec").json.decode)
    ),
    Contender("jiter alone, on split lines", "jiter", _objects(lambda: import_module("jiter").from_json)),
    Contender("json alone, on split lines", PYTHON, _objects(lambda: json.loads)),
    Contender("httpx-sse + orjson", "httpx-sse", _httpx_sse_objects),
)
RESPONSES = (Contender(OPENAI_FINAL, "openai", _openai_responses, picky=True),)
TRANSCODERS = (Contender(AGENTS, "openai-agents", _openai_agents, picky=True),)
COMPLETIONS = (Contender(OPENAI_FINAL, "openai", _openai_completions, picky=True),)
