"""`HarmonyParser` and the mapping of messages: channels, recipients, endings as rows, each old bug a test."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from penstock import (
    Event,
    HarmonyParser,
    ResponseAccumulator,
    lint,
)

Json = dict[str, Any]

EVENTS: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)
USAGE = {
    "input_tokens": 1,
    "output_tokens": 2,
    "total_tokens": 3,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 0},
}

ANALYSIS = "<|channel|>analysis<|message|>Think.<|end|>"
FINAL = "<|start|>assistant<|channel|>final<|message|>Hi<|return|>"
CALL = '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a":1}<|call|>'


def parser(**options: Any) -> HarmonyParser:
    numbers = itertools.count()
    options = {"id": "resp_1", "created_at": 0, "ids": lambda prefix: f"{prefix}{next(numbers)}", **options}
    return HarmonyParser(model="m", **options)


def written(pieces: Iterable[str | bytes], reason: str | None = "stop", **options: Any) -> list[Json]:
    """The events of a text that comes in these pieces, after lint, accumulator and SDK have seen them."""
    made = parser(format="events", **options)
    events: list[Event] = [event for piece in pieces for event in made.feed(piece)]
    events += made.finish(reason, usage=USAGE)
    return checked(made, events)


def checked(made: HarmonyParser, events: Sequence[Event]) -> list[Json]:
    assert [str(finding) for finding in lint(events, strict=True)] == []
    accumulator = ResponseAccumulator(strict=True)
    accumulator.feed(list(events))
    [final] = accumulator.take_responses()
    assert final == made.final()
    for event in events:
        if event.type != "response.cancelled":  # which the SDK has no model for
            EVENTS.validate_python(event.json())
    Response.model_validate(final)
    assert made.finished
    return [event.json() for event in events]


def outline(events: Iterable[Json]) -> list[str]:
    """Events by their types, deltas of one string as one."""
    types = (event["type"].removeprefix("response.") for event in events)
    return [name for name, _ in itertools.groupby(types)]


def output(events: Sequence[Json]) -> list[Json]:
    items: list[Json] = events[-1]["response"]["output"]
    return items


def brief(item: Json) -> tuple[Any, ...]:
    """What an item says."""
    kind = item["type"]
    if kind == "message":
        return kind, item.get("phase"), "".join(part["text"] for part in item["content"])
    if kind == "reasoning":
        return kind, "".join(part["text"] for part in item.get("content") or item["summary"])
    if kind == "function_call":
        return kind, item["name"], item["arguments"]
    if kind == "custom_tool_call":
        return kind, item["name"], item["input"]
    return kind, item["code"] if kind == "code_interpreter_call" else item["action"]


SEARCH = {"type": "search", "query": "cats"}

MESSAGES: dict[str, tuple[str, list[tuple[Any, ...]]]] = {
    "analysis": (ANALYSIS, [("reasoning", "Think.")]),
    "final": ("<|channel|>final<|message|>Hi<|return|>", [("message", "final_answer", "Hi")]),
    "preamble": ("<|channel|>commentary<|message|>So.<|end|>", [("message", "commentary", "So.")]),
    "function": (CALL, [("function_call", "f", '{"a":1}')]),
    "recipient in the role": (
        "<|start|>assistant to=functions.f<|channel|>commentary<|constrain|>json<|message|>{}<|call|>",
        [("function_call", "f", "{}")],
    ),
    "function on analysis": (
        "<|channel|>analysis to=functions.f<|message|>{}<|call|>",
        [("function_call", "f", "{}")],
    ),
    "name with dots": (
        "<|channel|>commentary to=functions.a.b<|message|>{}<|call|>",
        [("function_call", "a.b", "{}")],
    ),
    "no arguments": (
        "<|channel|>commentary to=functions.f<|message|><|call|>",
        [("function_call", "f", "")],
    ),
    "python": (
        "<|channel|>analysis to=python code<|message|>print(1)<|call|>",
        [("code_interpreter_call", "print(1)")],
    ),
    "search": (
        '<|channel|>analysis to=browser.search code<|message|>{"query":"cats","topn":3}<|call|>',
        [("web_search_call", SEARCH)],
    ),
    "open": (
        '<|channel|>analysis to=browser.open<|message|>{"id":"https://a/"}<|call|>',
        [("web_search_call", {"type": "open_page", "url": "https://a/"})],
    ),
    "open a link": (
        '<|channel|>analysis to=browser.open<|message|>{"id":4,"cursor":1}<|call|>',
        [("web_search_call", {"type": "open_page"})],
    ),
    "find": (
        '<|channel|>analysis to=browser.find<|message|>{"pattern":"x"}<|call|>',
        [("web_search_call", {"type": "find_in_page", "pattern": "x", "url": ""})],
    ),
    "constrained answer": (
        "<|channel|>final <|constrain|>json<|message|>{}<|return|>",
        [("message", "final_answer", "{}")],
    ),
    "several messages": (
        ANALYSIS + "<|start|>assistant" + CALL + FINAL,
        [
            ("reasoning", "Think."),
            ("function_call", "f", '{"a":1}'),
            ("message", "final_answer", "Hi"),
        ],
    ),
    "not for anybody": (
        "<|channel|>commentary to=all<|message|>So.<|end|>",
        [("message", "commentary", "So.")],
    ),
    "other authors": (
        "<|start|>functions.f to=assistant<|channel|>commentary<|message|>sun<|end|>"
        "<|start|>user<|message|>And?<|end|>" + FINAL,
        [("message", "final_answer", "Hi")],
    ),
    "empty messages": ("<|channel|>analysis<|message|><|end|>" + FINAL, [("message", "final_answer", "Hi")]),
    "nothing": ("", []),
    "the end at once": ("<|return|>", []),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_messages_become_items(name: str) -> None:
    text, expected = MESSAGES[name]
    made = parser(format="events", strict=True)
    events = checked(made, [*made.feed(text), *made.finish("stop", usage=USAGE)])
    assert [brief(item) for item in output(events)] == expected
    assert all(item.get("status", "completed") == "completed" for item in output(events))
    assert events[-1]["type"] == "response.completed"
    assert events[-1]["response"]["usage"] == USAGE
    assert {name: count for name, count in made.diagnostics.items() if name != "author_foreign"} == {}


@pytest.mark.parametrize("name", MESSAGES)
def test_any_split_says_the_same(name: str) -> None:
    text = MESSAGES[name][0]
    whole = written([text])
    for pieces in ([text[:cut], text[cut:]] for cut in range(len(text))):
        assert same(written(pieces), whole)
    assert same(written(list(text)), whole)


def same(events: list[Json], others: list[Json]) -> bool:
    """Whether events are the same but for where their deltas are cut, and so for their numbers."""
    return merged(events) == merged(others)


def merged(events: list[Json]) -> list[Json]:
    out: list[Json] = []
    for numbered in events:
        event = {key: value for key, value in numbered.items() if key != "sequence_number"}
        last = out[-1] if out else {}
        if "delta" in event and {**last, "delta": ""} == {**event, "delta": ""}:
            out[-1] = {**event, "delta": last["delta"] + event["delta"]}
        else:
            out.append(event)
    return out


REASONS = {
    "stop": ("completed", None),
    "tool_calls": ("completed", None),
    "length": ("incomplete", "max_output_tokens"),
    "content_filter": ("incomplete", "content_filter"),
    "timeout": ("failed", "the engine took too long"),
    "error": ("failed", "the engine failed"),
    "cancelled": ("cancelled", None),
    "abort": ("cancelled", None),
}


@pytest.mark.parametrize("reason", REASONS)
def test_the_engine_s_reason_decides_the_end(reason: str) -> None:
    status, detail = REASONS[reason]
    events = written(["<|channel|>analysis<|message|>Thi"], reason)
    final = events[-1]["response"]
    assert (events[-1]["type"], final["status"]) == (f"response.{status}", status)
    assert final["usage"] == USAGE
    said = final["incomplete_details"] or final["error"] or {}
    assert said.get("reason", said.get("message")) == detail
    assert [event["type"] for event in events].count("error") == (status == "failed")
    [item] = output(events)
    assert item["content"] == [{"type": "reasoning_text", "text": "Thi"}]
    assert item.get("status", "completed") == ("completed" if status == "completed" else "incomplete")
