"""The input of the benchmarks: streams as a server sends them, in the reads a client makes.

Two sources. *Recordings* are what providers have sent, one JSON payload a line, from the folder that
`PENSTOCK_RECORDINGS` names (by default `../shared/recordings` beside the project). *Generated* streams are
written here: always the same, and there on every machine.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

Source = Literal["recordings", "generated"]
Dialect = Literal["responses", "chat"]
JsonObject = dict[str, Any]

SOURCES: tuple[Source, ...] = ("recordings", "generated")

RECORDINGS = Path(
    os.environ.get("PENSTOCK_RECORDINGS") or Path(__file__).parents[2] / "shared" / "recordings"
)

SEGMENT_BYTES = 1400
"""What one TCP segment carries, so what one read brings while a model is writing."""

BUFFER_BYTES = 64 * 1024
"""What a socket's buffer holds, so what one read brings when the reader is behind."""


@dataclass(frozen=True)
class Stream:
    """One response. Everything a contender may want is cut before the clock starts.

    Attributes:
        dialect: the API it belongs to.
        payloads: what stands after `data: `, without the `[DONE]` that ends a chat.
        read_bytes: how much a read brings.
    """

    dialect: Dialect
    payloads: tuple[bytes, ...]
    read_bytes: int = SEGMENT_BYTES

    @cached_property
    def frames(self) -> tuple[bytes, ...]:
        """Each event as it stands on the wire, with the `event:` line that the Responses API sends."""
        if self.dialect == "chat":
            return tuple(b"data: " + payload + b"\n\n" for payload in (*self.payloads, b"[DONE]"))
        return tuple(
            b"event: " + json.loads(payload)["type"].encode() + b"\ndata: " + payload + b"\n\n"
            for payload in self.payloads
        )

    @cached_property
    def chunks(self) -> tuple[bytes, ...]:
        """The wire as reads bring it."""
        wire, size = b"".join(self.frames), self.read_bytes
        return tuple(wire[at : at + size] for at in range(0, len(wire), size))


def joined(streams: Iterable[Stream], read_bytes: int) -> tuple[Stream, ...]:
    """All of them as one long stream, in which what one costs to open and close does not show."""
    streams = tuple(streams)
    payloads = tuple(payload for stream in streams for payload in stream.payloads)
    return (Stream(streams[0].dialect, payloads, read_bytes),) if streams else ()


def events(streams: Iterable[Stream]) -> int:
    """How many events the streams hold."""
    return sum(len(stream.payloads) for stream in streams)


@cache
def load(source: Source, dialect: Dialect) -> tuple[Stream, ...]:
    """The streams of one source; none where there are no recordings."""
    if source == "recordings":
        files = sorted((RECORDINGS / dialect).glob("*.jsonl"))
        return tuple(Stream(dialect, tuple(_lines(file))) for file in files)
    write = _response if dialect == "responses" else _chat
    return tuple(
        Stream(dialect, tuple(_json(payload) for payload in write(number))) for number in range(STREAMS)
    )


def _lines(file: Path) -> Iterator[bytes]:
    return (line for line in file.read_bytes().split(b"\n") if line.strip())


def _json(value: JsonObject) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


STREAMS = 8
TOKENS = 400
"""Deltas of a generated answer; its reasoning and its tool call have a quarter of that each."""

# Mostly plain words, as in answers; some text that needs escapes or more than one byte a character.
WORDS = (
    *(
        " the",
        " water",
        " runs",
        " down",
        " a",
        " pipe",
        " and",
        " drives",
        " wheels",
        ",",
        ".",
        " of",
        " to",
    ),
    *(" pressure", " in", " is", " turbine", "s", " mill", " valve", " when", " flow", " head", " it", " by"),
    *("\n\n", ' "gate"', " \\(x\\)", " Grüße", " 水", " 🌊", "\t- ", " été", " 1.5"),
)


def _words(number: int, count: int) -> list[str]:
    """The same text each time, without the repetition that would flatter a cache or a branch predictor."""
    state = number * 2_654_435_761 + 1
    words = []
    for _ in range(count):
        state = (state * 6_364_136_223_846_793_005 + 1_442_695_040_888_963_407) % (1 << 64)
        words.append(WORDS[(state >> 33) % len(WORDS)])
    return words


def _id(prefix: str, number: int) -> str:
    return f"{prefix}_{(number + 1) * 0x9E3779B97F4A7C15F39CC0605CEDC834 % (1 << 192):048x}"


def _padding(word: str) -> str:
    """The filler by which the API hides how long a delta is: they are about sixteen characters together."""
    return "aQ3xZ0kLm7RtYpWb"[len(word) % 16 :]


def _response(number: int) -> list[JsonObject]:
    """A Responses stream: some reasoning, an answer, a function call."""
    sent: list[JsonObject] = []

    def send(kind: str, **fields: Any) -> None:
        sent.append({"type": f"response.{kind}", "sequence_number": len(sent), **fields})

    thought, answer = _words(number, TOKENS // 4), _words(number + 100, TOKENS)
    arguments = [
        '{"text":"',
        *(word.strip('\n\t "\\') for word in _words(number + 200, TOKENS // 4)),
        '"}',
    ]

    reasoning = {"id": _id("rs", number), "type": "reasoning", "summary": []}
    summary = {"type": "summary_text", "text": "".join(thought)}
    message = {"id": _id("msg", number), "type": "message", "role": "assistant"}
    text = {"type": "output_text", "annotations": [], "logprobs": [], "text": "".join(answer)}
    call = {
        "id": _id("fc", number),
        "type": "function_call",
        "call_id": _id("call", number),
        "name": "note",
    }
    items: list[JsonObject] = [
        {**reasoning, "summary": [summary]},
        {**message, "status": "completed", "content": [text]},
        {**call, "status": "completed", "arguments": "".join(arguments)},
    ]

    response = _response_object(number)
    send("created", response=response)
    send("in_progress", response=response)

    at: JsonObject = {"item_id": reasoning["id"], "output_index": 0, "summary_index": 0}
    send("output_item.added", output_index=0, item=reasoning)
    send("reasoning_summary_part.added", **at, part={**summary, "text": ""})
    for word in thought:
        send("reasoning_summary_text.delta", **at, delta=word, obfuscation=_padding(word))
    send("reasoning_summary_text.done", **at, text=summary["text"])
    send("reasoning_summary_part.done", **at, part=summary)
    send("output_item.done", output_index=0, item=items[0])

    at = {"item_id": message["id"], "output_index": 1, "content_index": 0}
    send("output_item.added", output_index=1, item={**message, "status": "in_progress", "content": []})
    send("content_part.added", **at, part={**text, "text": ""})
    for word in answer:
        send("output_text.delta", **at, delta=word, logprobs=[], obfuscation=_padding(word))
    send("output_text.done", **at, text=text["text"], logprobs=[])
    send("content_part.done", **at, part=text)
    send("output_item.done", output_index=1, item=items[1])

    at = {"item_id": call["id"], "output_index": 2}
    send("output_item.added", output_index=2, item={**call, "status": "in_progress", "arguments": ""})
    for word in arguments:
        send("function_call_arguments.delta", **at, delta=word, obfuscation=_padding(word))
    send("function_call_arguments.done", **at, arguments="".join(arguments), name=call["name"])
    send("output_item.done", output_index=2, item=items[2])

    usage = {
        "input_tokens": 120,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": len(sent),
        "output_tokens_details": {"reasoning_tokens": len(thought)},
        "total_tokens": 120 + len(sent),
    }
    send("completed", response={**response, "status": "completed", "output": items, "usage": usage})
    return sent


def _response_object(number: int) -> JsonObject:
    parameters = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
    return {
        "id": _id("resp", number),
        "object": "response",
        "created_at": 1_790_000_000 + number,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": "Explain how the mill works, then leave a note.",
        "max_output_tokens": None,
        "model": "generated-1",
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": "low", "summary": "auto"},
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [{"type": "function", "name": "note", "parameters": parameters, "strict": True}],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None,
        "metadata": {},
    }


def _chat(number: int) -> list[JsonObject]:
    """A Chat Completions stream: an answer, then a tool call, then the usage."""
    sent: list[JsonObject] = []

    def send(choices: list[JsonObject], *, usage: JsonObject | None = None, padding: str = "") -> None:
        sent.append(
            {
                "id": _id("chatcmpl", number),
                "object": "chat.completion.chunk",
                "created": 1_790_000_000 + number,
                "model": "generated-1",
                "service_tier": "default",
                "system_fingerprint": "fp_0123456789",
                "choices": choices,
                "usage": usage,
                "obfuscation": padding,
            }
        )

    def choice(delta: JsonObject, finish_reason: str | None = None) -> list[JsonObject]:
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]

    def tool_call(**fields: Any) -> JsonObject:
        return {"tool_calls": [{"index": 0, **fields}]}

    send(choice({"role": "assistant", "content": "", "refusal": None}))
    for word in _words(number, TOKENS):
        send(choice({"content": word}), padding=_padding(word))
    call = {"id": _id("call", number), "type": "function", "function": {"name": "note", "arguments": ""}}
    send(choice(tool_call(**call)))
    for word in ('{"text":"', *(word.strip('\n\t "\\') for word in _words(number, TOKENS // 4)), '"}'):
        send(choice(tool_call(function={"arguments": word})), padding=_padding(word))
    send(choice({}, "tool_calls"))
    send([], usage={"prompt_tokens": 120, "completion_tokens": len(sent), "total_tokens": 120 + len(sent)})
    return sent
