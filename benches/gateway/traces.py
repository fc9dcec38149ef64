"""The streams that the mock upstream plays: deterministic bytes, with the moment of sending in each delta.

The moment stands in the *content* of a delta, as `@` and nineteen digits of `CLOCK_MONOTONIC` nanoseconds: a
gateway that builds each event anew drops fields it does not know, never text.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["CHAT", "RESPONSES", "STAMP", "TRACES", "Trace", "stamp"]

STAMP: Final = re.compile(rb"@(\d{19})")
_HOLE: Final = "@" + "0" * 19
MODEL: Final = "gpt-4o-mini"


@dataclass(frozen=True, slots=True)
class Trace:
    """One dialect's stream: what comes before the deltas, a delta around its stamp, what comes after."""

    path: str
    opening: bytes
    before: bytes
    after: bytes
    closing: bytes
    whole: bytes
    """The answer to a request that does not stream; gateways probe with it."""
    terminal: re.Pattern[bytes]
    """What a client must have seen exactly once when the stream is over."""

    def delta(self, nanoseconds: int) -> bytes:
        """One event whose text is its stamp."""
        return self.before + stamp(nanoseconds) + self.after


def stamp(nanoseconds: int) -> bytes:
    """A moment as it stands in a delta."""
    return b"@%019d" % nanoseconds


def _named(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members}, separators=(',', ':'))}\n\n".encode()


def _responses() -> Trace:
    identity = {
        "id": "resp_0123456789abcdef",
        "object": "response",
        "created_at": 1_760_000_000,
        "model": MODEL,
    }
    settings = {
        "error": None, "incomplete_details": None, "instructions": None, "metadata": {},
        "parallel_tool_calls": True, "temperature": 1.0, "tool_choice": "auto", "tools": [], "top_p": 1.0,
    }  # fmt: skip
    message = {"id": "msg_0123456789abcdef", "type": "message", "role": "assistant"}
    text = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    place = {"item_id": message["id"], "output_index": 0}
    usage = {
        "input_tokens": 10, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 100,
        "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 110,
    }  # fmt: skip
    started = {**identity, **settings, "status": "in_progress", "output": [], "usage": None}
    ended_item = {**message, "status": "completed", "content": [{**text, "text": "done"}]}
    ended = {**identity, **settings, "status": "completed", "output": [ended_item], "usage": usage}
    delta = _named(
        "response.output_text.delta", sequence_number=4, **place, content_index=0, delta=_HOLE, logprobs=[]
    )
    before, after = delta.split(_HOLE.encode())
    opening = [
        _named("response.created", sequence_number=0, response=started),
        _named("response.in_progress", sequence_number=1, response=started),
        _named(
            "response.output_item.added",
            sequence_number=2, output_index=0, item={**message, "status": "in_progress", "content": []},
        ),
        _named("response.content_part.added", sequence_number=3, **place, content_index=0, part=text),
    ]  # fmt: skip
    closing = [
        _named("response.output_item.done", sequence_number=5, output_index=0, item=ended_item),
        _named("response.completed", sequence_number=6, response=ended),
    ]
    whole = json.dumps(ended).encode()
    terminal = re.compile(rb'"type": ?"response\.completed"')
    return Trace("/v1/responses", b"".join(opening), before, after, b"".join(closing), whole, terminal)


def _chat() -> Trace:
    head = {
        "id": "chatcmpl-0123456789",
        "object": "chat.completion.chunk",
        "created": 1_760_000_000,
        "model": MODEL,
    }

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return f"data: {json.dumps({**head, 'choices': [choice]}, separators=(',', ':'))}\n\n".encode()

    usage = {"prompt_tokens": 10, "completion_tokens": 100, "total_tokens": 110}
    tally = json.dumps({**head, "choices": [], "usage": usage}, separators=(",", ":")).encode()
    before, after = chunk({"content": _HOLE}).split(_HOLE.encode())
    closing = chunk({}, "stop") + b"data: " + tally + b"\n\ndata: [DONE]\n\n"
    answer = {"index": 0, "message": {"role": "assistant", "content": "done"}, "finish_reason": "stop"}
    whole = json.dumps({**head, "object": "chat.completion", "choices": [answer], "usage": usage}).encode()
    opening = chunk({"role": "assistant", "content": ""})
    return Trace("/v1/chat/completions", opening, before, after, closing, whole, re.compile(rb"\[DONE\]"))


RESPONSES: Final = _responses()
CHAT: Final = _chat()
TRACES: Final = {"responses": RESPONSES, "chat": CHAT}
