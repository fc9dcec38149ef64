"""A script as a Chat Completions stream: chunks of choices, and the completion they add up to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .http import HttpError
from .responses import FAILURE
from .scripts import Message, Prompt, Reasoning, Script, Tool, ToolCall, pieces, text_of

__all__ = ["Chunks", "completion", "prompt"]

JSON = dict[str, Any]

MAX_CHOICES = 16


def prompt(body: JSON) -> Prompt:
    """What the scripts need to know of a request. Raises `HttpError` 400 without a list of messages."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise HttpError(400, "Invalid type for 'messages': expected an array of objects.", param="messages")
    _choices(body)
    texts = [text_of(message.get("content")) for message in messages]
    said = [text for text, message in zip(texts, messages, strict=True) if message.get("role") == "user"]
    tools = body.get("tools")
    offered = tools if isinstance(tools, list) and body.get("tool_choice") != "none" else []
    functions = [tool.get("function") for tool in offered if isinstance(tool, dict)]
    wanted = body.get("response_format")
    shape = wanted.get("json_schema") if isinstance(wanted, dict) else None
    return Prompt(
        text=said[-1] if said else "",
        tools=tuple(
            Tool(function["name"], function.get("parameters") or {})
            for function in functions
            if isinstance(function, dict) and isinstance(function.get("name"), str)
        ),
        answered=bool(messages) and messages[-1].get("role") == "tool",
        schema=shape.get("schema") if isinstance(shape, dict) else None,
        tokens=sum(1 for text in texts for _ in pieces(text)),
    )


def _choices(body: JSON) -> int:
    count = body.get("n")
    if count is None:
        return 1
    if not isinstance(count, int) or not 1 <= count <= MAX_CHOICES:
        raise HttpError(400, f"Invalid 'n': expected a whole number from 1 to {MAX_CHOICES}.", param="n")
    return count


def _finish_reason(script: Script) -> str:
    if script.outcome == "incomplete":
        return "length"
    return "tool_calls" if any(isinstance(item, ToolCall) for item in script.items) else "stop"


@dataclass(slots=True)
class Chunks:
    """The chunks of one completion, made one at a time, the choices (`n`) taking turns.

    `number` makes the ids unique; `input_tokens` goes into the usage chunk, sent when
    `stream_options.include_usage` asks for it.
    """

    body: JSON
    script: Script
    number: int
    input_tokens: int

    def __iter__(self) -> Iterator[JSON]:
        """Make the chunks, each a new object; a failed script ends in an error object instead of a finish."""
        choices = range(_choices(self.body))
        for delta in _deltas(self.script, self.number):
            for index in choices:
                yield self._chunk([_choice(index, delta)])
        if self.script.outcome == "failed":
            yield self.error()
            return
        for index in choices:
            yield self._chunk([_choice(index, {}, _finish_reason(self.script))])
        if self._wants_usage():
            yield {**self._chunk([]), "usage": _usage(self.script, self.input_tokens, len(choices))}

    def error(self) -> JSON:
        """An in-band error, to be sent next instead of what the script has left."""
        return {"error": {"message": FAILURE, "type": "server_error", "param": None, "code": "server_error"}}

    def _wants_usage(self) -> bool:
        options = self.body.get("stream_options")
        return isinstance(options, dict) and options.get("include_usage") is True

    def _chunk(self, choices: list[JSON]) -> JSON:
        chunk = {**_head(self.body, self.number, "chat.completion.chunk"), "choices": choices}
        return {**chunk, "usage": None} if self._wants_usage() else chunk


def _head(body: JSON, number: int, kind: str) -> JSON:
    return {
        "id": f"chatcmpl-{number:08x}{'5eed' * 5}",
        "object": kind,
        "created": 1_750_000_000 + number,
        "model": body["model"],
        "service_tier": "default",
        "system_fingerprint": "fp_penstock",
    }


def _choice(index: int, delta: JSON, finish_reason: str | None = None) -> JSON:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _deltas(script: Script, number: int) -> Iterator[JSON]:
    speaks = any(isinstance(item, Message) and not item.refusal for item in script.items)
    yield {"role": "assistant", "content": "" if speaks else None, "refusal": None}
    calls = 0
    for item in script.items:
        if isinstance(item, Reasoning | Message):
            for delta in item.deltas:
                yield {_field(item): delta}
        else:
            opening = {**_call(item, number, calls), "index": calls}
            opening["function"] = {"name": item.name, "arguments": ""}
            yield {"tool_calls": [opening]}
            for delta in item.deltas:
                yield {"tool_calls": [{"index": calls, "function": {"arguments": delta}}]}
            calls += 1


def _field(item: Reasoning | Message) -> str:
    if isinstance(item, Reasoning):
        return "reasoning_content"
    return "refusal" if item.refusal else "content"


def _call(call: ToolCall, number: int, index: int) -> JSON:
    return {
        "id": f"call_{number:08x}{index:04x}{'5eed' * 4}",
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def _usage(script: Script, input_tokens: int, choices: int) -> JSON:
    output = script.tokens * choices
    return {
        "prompt_tokens": input_tokens,
        "completion_tokens": output,
        "total_tokens": input_tokens + output,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": script.reasoning_tokens * choices},
    }


def _joined(messages: Iterable[Message]) -> str | None:
    texts = [message.text for message in messages]
    return "".join(texts) if texts else None


def completion(body: JSON, script: Script, number: int, input_tokens: int) -> JSON:
    """The whole completion object, as the answer to a request that does not stream. Raises `HttpError`."""
    if script.outcome == "failed":
        raise HttpError(500, FAILURE, code="server_error")
    messages = [item for item in script.items if isinstance(item, Message)]
    message: JSON = {
        "role": "assistant",
        "content": _joined(item for item in messages if not item.refusal),
        "refusal": _joined(item for item in messages if item.refusal),
    }
    thoughts = [text for item in script.items if isinstance(item, Reasoning) for text in item.summary]
    if thoughts:
        message["reasoning_content"] = "\n\n".join(thoughts)
    calls = [item for item in script.items if isinstance(item, ToolCall)]
    if calls:
        message["tool_calls"] = [_call(call, number, index) for index, call in enumerate(calls)]
    ending = {"message": message, "logprobs": None, "finish_reason": _finish_reason(script)}
    choices = _choices(body)
    return {
        **_head(body, number, "chat.completion"),
        "choices": [{"index": index, **ending} for index in range(choices)],
        "usage": _usage(script, input_tokens, choices),
    }
