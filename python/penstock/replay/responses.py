"""A script as a Responses API stream: one life from `response.created` to exactly one terminal event.

The order of events, their fields and the final object are those of OpenAI's API: items are opened and closed
one after the other, each in its own `output_index`, and each event has the next `sequence_number`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .http import HttpError
from .scripts import Item, Message, Prompt, Reasoning, Script, Tool, ToolCall, pieces, text_of

__all__ = ["Events", "prompt", "response"]

JSON = dict[str, Any]

# Request fields that the response object repeats, and what it shows where the request is silent.
ECHOED: JSON = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}


def prompt(body: JSON) -> Prompt:
    """What the scripts need to know of a request. Raises `HttpError` 400 for an `input` of the wrong kind."""
    given = body.get("input", "")
    if not isinstance(given, str | list):
        raise HttpError(400, "Invalid type for 'input': expected a string or an array.", param="input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    entries = [item for item in items if isinstance(item, dict)]
    said = [text_of(entry.get("content")) for entry in entries if entry.get("role") == "user"]
    tools = body.get("tools")
    offered = tools if isinstance(tools, list) and body.get("tool_choice") != "none" else []
    text_format = body["text"].get("format") if isinstance(body.get("text"), dict) else None
    return Prompt(
        text=said[-1] if said else "",
        tools=tuple(
            Tool(tool["name"], tool.get("parameters") or {})
            for tool in offered
            if isinstance(tool, dict) and tool.get("type") == "function" and isinstance(tool.get("name"), str)
        ),
        answered=bool(entries) and entries[-1].get("type") == "function_call_output",
        schema=text_format.get("schema") if isinstance(text_format, dict) else None,
        tokens=sum(1 for text in [*said, text_of(body.get("instructions"))] for _ in pieces(text)),
    )


def response(body: JSON, script: Script, number: int, input_tokens: int) -> JSON:
    """The whole response object, as the answer to a request that does not stream."""
    terminal: JSON
    *_, terminal = Events(body, script, number, input_tokens)
    return dict(terminal["response"])


@dataclass(slots=True)
class Events:
    """The events of one response, made one at a time; a long stream is never held whole.

    `number` makes the ids unique; `input_tokens` goes into the usage.
    """

    body: JSON
    script: Script
    number: int
    input_tokens: int
    _sequence: int = 0
    _output: list[JSON] = field(default_factory=list)

    def __iter__(self) -> Iterator[JSON]:
        """Make the events, each a new object."""
        yield self._event("response.created", response=self._response("in_progress"))
        yield self._event("response.in_progress", response=self._response("in_progress"))
        last = len(self.script.items) - 1
        for index, item in enumerate(self.script.items):
            closed = self.script.outcome == "completed" or index < last
            yield from self._item(index, item, "completed" if closed else "incomplete")
        if self.script.outcome == "failed":
            yield self._event("error", error=_failure("server_error"))
        outcome = self.script.outcome
        yield self._event(f"response.{outcome}", response=self._response(outcome))

    def error(self) -> JSON:
        """An in-band error, to be sent next instead of what the script has left."""
        return self._event("error", error=_failure("server_error"))

    def end(self, outcome: str, output: list[JSON], reason: str | None) -> JSON:
        """A terminal event ahead of the script's own, with the output as far as it came."""
        shown = self._response(outcome) | {
            "output": output,
            "incomplete_details": reason and {"reason": reason},
        }
        return self._event(f"response.{outcome}", response=shown)

    def aside(self, kind: str, **fields: Any) -> JSON:
        """An event that is not the script's, with the next sequence number."""
        return self._event(kind, **fields)

    @property
    def id(self) -> str:
        """The response's id."""
        return self._id("resp")

    def _event(self, kind: str, **fields: Any) -> JSON:
        event = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return event

    def _id(self, prefix: str, index: int = 0) -> str:
        return f"{prefix}_{self.number:08x}{index:04x}{'5eed' * 5}"

    def _response(self, status: str) -> JSON:
        ended = status != "in_progress"
        return {
            "id": self._id("resp"),
            "object": "response",
            "created_at": 1_750_000_000 + self.number,
            "status": status,
            "error": {"code": "server_error", "message": FAILURE} if status == "failed" else None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "model": self.body["model"],
            "output": list(self._output),
            **{
                name: default if self.body.get(name) is None else self.body[name]
                for name, default in ECHOED.items()
            },
            "usage": self._usage() if ended else None,
        }

    def _usage(self) -> JSON:
        output = self.script.tokens
        return {
            "input_tokens": self.input_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": self.script.reasoning_tokens},
            "total_tokens": self.input_tokens + output,
        }

    def _item(self, index: int, item: Item, status: str) -> Iterator[JSON]:
        if isinstance(item, Reasoning):
            yield from self._reasoning(index, item)
        elif isinstance(item, Message):
            yield from self._message(index, item, status)
        else:
            yield from self._call(index, item, status)

    def _added(self, index: int, item: JSON) -> JSON:
        return self._event("response.output_item.added", output_index=index, item=item)

    def _closed(self, index: int, item: JSON) -> JSON:
        self._output.append(item)
        return self._event("response.output_item.done", output_index=index, item=item)

    def _message(self, index: int, message: Message, status: str) -> Iterator[JSON]:
        item = {"id": self._id("msg", index), "type": "message", "role": "assistant", "status": "in_progress"}
        place = {"item_id": item["id"], "output_index": index, "content_index": 0}
        family, key = ("refusal", "refusal") if message.refusal else ("output_text", "text")
        extra: JSON = {} if message.refusal else {"logprobs": []}
        part = {"type": family, **({} if message.refusal else {"annotations": [], "logprobs": []})}
        yield self._added(index, {**item, "content": []})
        yield self._event("response.content_part.added", **place, part={**part, key: ""})
        for delta in message.deltas:
            yield self._event(f"response.{family}.delta", **place, delta=delta, **extra)
        text = message.text
        yield self._event(f"response.{family}.done", **place, **{key: text}, **extra)
        yield self._event("response.content_part.done", **place, part={**part, key: text})
        yield self._closed(index, {**item, "status": status, "content": [{**part, key: text}]})

    def _reasoning(self, index: int, thought: Reasoning) -> Iterator[JSON]:
        item: JSON = {"id": self._id("rs", index), "type": "reasoning", "summary": []}
        include = self.body.get("include")
        if isinstance(include, list) and "reasoning.encrypted_content" in include:
            item["encrypted_content"] = f"sealed-{self.number:08x}"
        yield self._added(index, item)
        parts = [{"type": "summary_text", "text": text} for text in thought.summary]
        for number, part in enumerate(parts):
            place = {"item_id": item["id"], "output_index": index, "summary_index": number}
            empty = {"type": "summary_text", "text": ""}
            yield self._event("response.reasoning_summary_part.added", **place, part=empty)
            for delta in pieces(part["text"]):
                yield self._event("response.reasoning_summary_text.delta", **place, delta=delta)
            yield self._event("response.reasoning_summary_text.done", **place, text=part["text"])
            yield self._event("response.reasoning_summary_part.done", **place, part=part)
        yield self._closed(index, {**item, "summary": parts})

    def _call(self, index: int, call: ToolCall, status: str) -> Iterator[JSON]:
        item = {
            "id": self._id("fc", index),
            "type": "function_call",
            "call_id": self._id("call", index),
            "name": call.name,
        }
        place = {"item_id": item["id"], "output_index": index}
        yield self._added(index, {**item, "status": "in_progress", "arguments": ""})
        for delta in call.deltas:
            yield self._event("response.function_call_arguments.delta", **place, delta=delta)
        yield self._event("response.function_call_arguments.done", **place, arguments=call.arguments)
        yield self._closed(index, {**item, "status": status, "arguments": call.arguments})


FAILURE = "The replay upstream failed, as the script has it."


def _failure(code: str) -> JSON:
    return {"type": "server_error", "code": code, "message": FAILURE, "param": None}
