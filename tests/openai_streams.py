"""Streams that exercise the openai SDK's models: what the tests of the integration share."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

JsonObject = dict[str, Any]

RECORDINGS = Path(os.environ.get("PENSTOCK_RECORDINGS", Path(__file__).parents[2] / "shared" / "recordings"))


def sse(payloads: Iterable[JsonObject | str], *, named: bool = True, done: bool = False) -> bytes:
    """Event-stream bytes of the payloads, with `event:` lines as the Responses API sends them."""
    frames = []
    for payload in payloads:
        text = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False)
        name = payload.get("type") if named and isinstance(payload, dict) else None
        frames.append(f"event: {name}\ndata: {text}\n\n" if name else f"data: {text}\n\n")
    return ("".join(frames) + ("data: [DONE]\n\n" if done else "")).encode()


def responses_stream(text: str = "Grüße 👋", arguments: str = '{"city":"Oslo"}') -> list[JsonObject]:
    """A Responses stream with reasoning, a message, a function call and fields the SDK does not know."""
    response: JsonObject = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_741_476_542,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": "Be brief.",
        "metadata": {"tenant": "a", "type": "not a model"},
        "model": "some-model",
        "output": [],
        "parallel_tool_calls": True,
        "reasoning": {"effort": "low", "summary": None},
        "temperature": 1,
        "text": {
            "format": {
                "type": "json_schema",
                "name": "answer",
                "strict": True,
                "schema": {"type": "object", "properties": {"type": {"type": "string"}}},
            }
        },
        "tool_choice": {"type": "function", "name": "weather"},
        "tools": [
            {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False},
            {"type": "tool_of_next_year", "name": "x", "nested": {"a": [1, {"b": None}]}},
        ],
        "top_p": 0.5,
        "usage": None,
        "x_gateway": {"region": "eu", "hops": [1, 2]},
    }
    reasoning = {
        "id": "rs_1",
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "Thinking."}],
        "encrypted_content": "gAAAA",
    }
    part = {
        "type": "output_text",
        "text": text,
        "annotations": [
            {
                "type": "url_citation",
                "start_index": 0,
                "end_index": 3,
                "url": "https://a.example",
                "title": "A",
            }
        ],
        "logprobs": [],
    }
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    call = {
        "id": "fc_1",
        "type": "function_call",
        "call_id": "call_1",
        "name": "weather",
        "arguments": arguments,
        "status": "completed",
    }
    usage = {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": 8},
        "total_tokens": 30,
    }
    done = {**response, "status": "completed", "output": [reasoning, message, call], "usage": usage}
    at_text = {"item_id": "msg_1", "output_index": 1, "content_index": 0}
    at_call = {"item_id": "fc_1", "output_index": 2}
    at_summary = {"item_id": "rs_1", "output_index": 0, "summary_index": 0}
    token = {"token": "a", "bytes": [97], "logprob": -1, "top_logprobs": []}
    empty_part = {**part, "text": "", "annotations": []}
    events: list[JsonObject] = [
        {"type": "response.created", "response": response},
        {"type": "response.in_progress", "response": response},
        {"type": "response.output_item.added", "output_index": 0, "item": {**reasoning, "summary": []}},
        {
            "type": "response.reasoning_summary_part.added",
            **at_summary,
            "part": {"type": "summary_text", "text": ""},
        },
        {
            "type": "response.reasoning_summary_text.delta",
            **at_summary,
            "delta": "Thinking.",
            "obfuscation": "xY",
        },
        {"type": "response.output_item.done", "output_index": 0, "item": reasoning},
        {"type": "response.output_item.added", "output_index": 1, "item": {**message, "content": []}},
        {"type": "response.content_part.added", **at_text, "part": empty_part},
        *(
            {"type": "response.output_text.delta", **at_text, "delta": piece, "logprobs": [token]}
            for piece in text.split()
        ),
        {"type": "response.output_text.done", **at_text, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **at_text, "part": part},
        {"type": "response.output_item.done", "output_index": 1, "item": message},
        {"type": "response.output_item.added", "output_index": 2, "item": {**call, "arguments": ""}},
        {"type": "response.function_call_arguments.delta", **at_call, "delta": arguments},
        {
            "type": "response.function_call_arguments.done",
            **at_call,
            "arguments": arguments,
            "name": "weather",
        },
        {"type": "response.output_item.done", "output_index": 2, "item": call},
        {"type": "response.event_of_next_year", "novelty": {"type": "message", "content": [1]}},
        {"type": "response.completed", "response": done},
    ]
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def chat_stream() -> list[JsonObject]:
    """A Chat Completions stream with text, reasoning, tool calls, log probabilities and usage."""

    def chunk(*choices: JsonObject, **more: object) -> JsonObject:
        head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_741_476_542, "model": "m"}
        return {**head, "choices": list(choices), **more}

    def choice(
        finish_reason: str | None = None, logprobs: JsonObject | None = None, **delta: object
    ) -> JsonObject:
        return {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}

    def call(**fields: object) -> list[JsonObject]:
        return [{"index": 0, **fields}]

    token = {"token": "Hel", "bytes": [72, 101, 108], "logprob": -1, "top_logprobs": []}
    return [
        chunk(
            choice(role="assistant", content="", refusal=None),
            system_fingerprint="fp_1",
            service_tier="default",
        ),
        chunk(choice(reasoning_content="hm", reasoning={"steps": [{"type": "x"}]})),
        chunk(choice(content="Hel", logprobs={"content": [token], "refusal": None})),
        chunk(choice(content="lo"), usage=None, obfuscation="abc"),
        chunk(
            choice(tool_calls=call(id="c1", type="function", function={"name": "weather", "arguments": ""}))
        ),
        chunk(choice(tool_calls=call(function={"arguments": '{"city":"Oslo"}'}))),
        chunk(choice("tool_calls")),
        chunk(
            usage={
                "prompt_tokens": 9,
                "completion_tokens": 2,
                "total_tokens": 11,
                "prompt_tokens_details": {"cached_tokens": 1},
                "queue_time": 0.25,
            }
        ),
    ]
