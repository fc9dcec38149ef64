"""Chat Completions streams for the originals to turn into Responses streams: small, one odd thing each."""

from __future__ import annotations

import json
from typing import Any, Final

Chunk = dict[str, Any]

HEAD: Final = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def delta(finish: str | None = None, /, **members: Any) -> Chunk:
    """A chunk of choice 0."""
    return {**HEAD, "choices": [{"index": 0, "delta": members, "finish_reason": finish}]}


def call(index: int, id: str | None = None, name: str | None = None, arguments: str = "") -> Chunk:
    """A chunk with a fragment of a function call."""
    function = {"arguments": arguments} | ({"name": name} if name else {})
    fragment = {"index": index, "function": function} | ({"id": id, "type": "function"} if id else {})
    return delta(tool_calls=[fragment])


CHATS: Final[dict[str, list[Chunk]]] = {
    "text": [
        delta(role="assistant", content=""),
        delta(content="Hello"),
        delta(content=" world"),
        delta("stop"),
    ],
    "reasoning": [delta(reasoning_content="Think."), delta(content="Hello"), delta("stop")],
    "raw-reasoning": [delta(reasoning="Think."), delta(content="Hello"), delta("stop")],
    "both-in-one": [delta(reasoning_content="Think.", content="Hel"), delta(content="lo"), delta("stop")],
    "late-reasoning": [delta(content="Hello"), delta(reasoning_content="Think."), delta("stop")],
    "refusal": [delta(content="Well, "), delta(refusal="no."), delta("stop")],
    "call": [call(0, "call_1", "f"), call(0, arguments='{"a":1}'), delta("tool_calls")],
    "early-arguments": [call(0, arguments='{"a"'), call(0, "call_1", "f", ":1}"), delta("tool_calls")],
    "calls": [
        call(0, "call_1", "f"),
        call(1, "call_2", "g"),
        call(0, arguments="{}"),
        call(1, arguments="[]"),
        delta("tool_calls"),
    ],
    "text-and-call": [delta(content="Hello"), call(0, "call_1", "f", "{}"), delta("tool_calls")],
    "call-and-text": [call(0, "call_1", "f", "{}"), delta(content="Hello"), delta("stop")],
    "length": [delta(content="Hello"), delta("length")],
    "cut": [delta(content="Hello"), delta(content=" wor")],
    "empty": [delta(role="assistant", content=""), delta("stop")],
    "nothing": [{**HEAD, "choices": []}],
}
"""What each is called says what is odd about it."""


def wire(chunks: list[Chunk], *, done: bool = True) -> bytes:
    """The chunks as a server sends them."""
    frames = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks)
    return (frames + "data: [DONE]\n\n" * done).encode()
