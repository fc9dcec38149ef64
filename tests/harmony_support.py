"""Harmony texts and what they are to become, and how a parser's stream is checked."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from penstock import Event, HarmonyParser, ResponseAccumulator, lint

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


def final_items(made: HarmonyParser) -> list[Json]:
    """The items of a response that has ended."""
    final = made.final()
    assert final is not None
    items: list[Json] = final["output"]
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


MALFORMED: dict[str, tuple[str, list[tuple[Any, ...]], dict[str, int]]] = {
    "no header": ("Hello<|return|>", [("message", None, "Hello")], {"header_missing": 1}),
    "text that begins as a header": (
        "assistants help<|return|>",
        [("message", None, "assistants help")],
        {"header_missing": 1},
    ),
    "white space between messages": (
        ANALYSIS + "\n" + FINAL,
        [("reasoning", "Think."), ("message", "final_answer", "Hi")],
        {},
    ),
    "text between messages": (
        ANALYSIS + " Hello " + FINAL,
        [
            ("reasoning", "Think."),
            ("message", None, "Hello "),
            ("message", "final_answer", "Hi"),
        ],
        {"header_missing": 1, "message_not_ended": 1},
    ),
    "no channel": ("<|start|>assistant<|message|>Hi", [("message", None, "Hi")], {"channel_missing": 1}),
    "empty channel": ("<|channel|><|message|>Hi", [("message", None, "Hi")], {"channel_missing": 1}),
    "unknown channel": (
        "<|channel|>thoughts<|message|>Hi",
        [("message", None, "Hi")],
        {"channel_unknown": 1},
    ),
    "unknown recipient": (
        "<|channel|>commentary to=container.exec<|message|>{}<|call|>",
        [("function_call", "container.exec", "{}")],
        {"recipient_unknown": 1},
    ),
    "function without a name": (
        "<|channel|>commentary to=functions.<|message|>{}<|call|>",
        [("function_call", "functions.", "{}")],
        {"recipient_unknown": 1},
    ),
    "words in the header": (
        "<|start|>assistant well then<|channel|>final<|message|>Hi",
        [("message", "final_answer", "Hi")],
        {"malformed_header": 1},
    ),
    "header without message": (
        "<|start|>assistant<|channel|>final Hello there<|end|>",
        [("message", "final_answer", "Hello there")],
        {"header_cut": 1},
    ),
    "call without message": (
        "<|channel|>commentary to=functions.now <|constrain|>json<|call|>",
        [("function_call", "now", "")],
        {"header_cut": 1},
    ),
    "header and nothing": ("<|start|>assistant<|channel|>final", [], {"header_cut": 1}),
    "recipient and nothing": ("<|channel|>commentary to=functions.f<|end|>", [], {"header_cut": 1}),
    "header after header": (
        "<|start|>assistant" + FINAL,
        [("message", "final_answer", "Hi")],
        {"header_cut": 1},
    ),
    "two channels": (
        "<|channel|>commentary<|channel|>analysis<|message|>Think.",
        [("reasoning", "Think.")],
        {"malformed_header": 1},
    ),
    "message that does not end": (
        "<|channel|>analysis<|message|>Think." + FINAL,
        [("reasoning", "Think."), ("message", "final_answer", "Hi")],
        {"message_not_ended": 1},
    ),
    "channel inside a message": (
        "<|channel|>analysis<|message|>Think.<|channel|>final<|message|>Hi",
        [("reasoning", "Think."), ("message", "final_answer", "Hi")],
        {"message_not_ended": 1},
    ),
    "stray tokens": (
        "<|startoftext|><|channel|>final<|message|>H<|message|>i<|constrain|>!",
        [("message", "final_answer", "Hi!")],
        {"stray_token": 2},
    ),
    "several ends": (FINAL + "<|return|><|end|>", [("message", "final_answer", "Hi")], {}),
    "arguments of the browser": (
        "<|channel|>analysis to=browser.search<|message|>cats<|call|>",
        [("web_search_call", SEARCH)],
        {"arguments_not_json": 1},
    ),
}


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

TEXTS = [*(row[0] for row in MESSAGES.values()), *(row[0] for row in MALFORMED.values())]
