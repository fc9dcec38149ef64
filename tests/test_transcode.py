"""`Transcoder`: each rule of both directions as a row, and what must hold for any stream in any split."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any, Literal

import pytest
from feeding import feedings
from hypothesis import given, settings
from hypothesis import strategies as st
from openai_streams import RECORDINGS, sse

from penstock import (
    ChatAccumulator,
    DecodeError,
    Decoder,
    Event,
    LimitExceeded,
    Limits,
    ResponseAccumulator,
    Transcoder,
    lint,
)

Json = dict[str, Any]

FILES = sorted((RECORDINGS / "chat").glob("*.jsonl"))

recordings = pytest.mark.parametrize(
    "recording",
    [pytest.param(path.read_bytes().splitlines(), id=path.stem) for path in FILES]
    or [pytest.param([], marks=pytest.mark.skip(reason="no recordings"))],
)


def to_responses(**options: Any) -> Transcoder:
    return Transcoder("chat", "responses", id="resp_1", now=lambda: 1.5, **options)


def to_chat(**options: Any) -> Transcoder:
    return Transcoder("responses", "chat", id="chatcmpl-1", now=lambda: 1.5, **options)


def delta(finish: str | None = None, /, **members: Any) -> Json:
    """A chunk of choice 0."""
    return {"choices": [{"index": 0, "delta": members, "finish_reason": finish}]}


DIED: Json = {"code": 502, "message": "died"}


def failed(finish: str | None = "error", error: Json | None = DIED, /, **members: Any) -> Json:
    """A chunk whose choice has an error, as OpenRouter sends it."""
    chunk = delta(finish, **members)
    chunk["choices"][0]["error"] = error
    return chunk


def fragment(index: int | None = 0, id: str | None = None, name: str | None = None, args: Any = None) -> Json:
    """A fragment of a tool call; what is None is left out."""
    function = {key: value for key, value in (("name", name), ("arguments", args)) if value is not None}
    given = {"index": index, "id": id, "function": function}
    return {key: value for key, value in given.items() if value is not None}


def calls(*fragments: Json, finish: str | None = None) -> Json:
    return delta(finish, tool_calls=list(fragments))


def say(event: Event) -> str | None:
    """An event in a few words, `None` for those that only frame others."""
    data = event.json()
    place = f"{data.get('output_index')}"
    part = data.get("content_index", data.get("summary_index"))
    place += f".{part}" if part is not None else ""
    kind = event.type.removeprefix("response.")
    match kind:
        case "output_item.added":
            return f"+{place} {data['item']['type']}"
        case "output_item.done":
            return f"-{place} {data['item'].get('status', '')}".rstrip()
        case "content_part.added" | "reasoning_summary_part.added":
            return f"+{place} {data['part']['type']}"
        case "output_text.annotation.added":
            return f"@{place} {data['annotation'].get('url')}"
        case "audio.delta" | "audio.transcript.delta":
            return f"{kind} {data['delta']}"
        case "error":
            return f"error {data['code']}: {data['message']}"
        case "completed" | "incomplete" | "failed" | "cancelled":
            response = data["response"]
            reason = (response["incomplete_details"] or {}).get("reason") or (response["error"] or {}).get(
                "code"
            )
            return f"{kind} {reason or ''}".rstrip()
        case _ if kind.endswith(".delta"):
            return f"{place} {data['delta']}"
        case _:
            return None


def transcode(
    chunks: Iterable[Json | str], *, done: bool = True, **options: Any
) -> tuple[list[Event], Transcoder]:
    transcoder = to_responses(**options)
    events = transcoder.feed_events([*(json.dumps(c) if isinstance(c, dict) else c for c in chunks)])
    if done:
        events += transcoder.feed_events("[DONE]")
    return events + transcoder.finish_events(), transcoder


def told(events: Iterable[Event]) -> list[str]:
    return [words for words in map(say, events) if words is not None]


def check(events: Sequence[Event]) -> Json:
    """What holds for every stream; returns the final response."""
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert all(event.name == event.type for event in events)
    terminals = {"response.completed", "response.incomplete", "response.failed", "response.cancelled"}
    assert [event.type in terminals for event in events] == [False] * (len(events) - 1) + [True]
    added = [event["output_index"] for event in events if event.type == "response.output_item.added"]
    done = [event["output_index"] for event in events if event.type == "response.output_item.done"]
    assert added == list(range(len(added)))
    assert sorted(done) == added
    assert not lint(list(events))
    final: Json = events[-1]["response"]
    deltas_only = ResponseAccumulator(strict=True)
    for event in events[:-1]:
        deltas_only.feed(event)
    rebuilt = deltas_only.snapshot()
    assert rebuilt is not None
    assert rebuilt["output"] == final["output"]
    accumulator = ResponseAccumulator(strict=True)
    accumulator.feed(list(events))
    assert accumulator.final() == final
    assert not accumulator.diagnostics
    return final


STOP = delta("stop")

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}

# Words, what becomes of the item, of an error, of the response.
FINISHES = [
    ("stop,STOP,tool_calls,end_turn,eos,stop_sequence", "completed", None, "completed"),
    ("length,MAX_TOKENS,model_length", "incomplete", None, "incomplete max_output_tokens"),
    ("content_filter,SAFETY,content_filter: RECITATION", "incomplete", None, "incomplete content_filter"),
    ("abort,insufficient_system_resource,function_call_filter: MALFORMED_FUNCTION_CALL", "incomplete",
     "the upstream's finish reason is", "failed server_error"),
]  # fmt: skip

MESSAGES: dict[str, tuple[list[Json | str], list[str]]] = {
    "48 zero chunks": ([], ["error server_error: ...", "failed server_error"]),
    "49 role, empty content, stop": ([delta(role="assistant", content=""), delta("stop", content="")],
     ["completed"]),
    "50 reasoning, text": (
        [delta(reasoning_content="r"), delta(content="t"), STOP],
        ["+0 reasoning", "+0.0 summary_text", "0.0 r", "-0", "+1 message", "+1.0 output_text", "1.0 t",
         "-1 completed", "completed"],
    ),
    "51 text, reasoning, text": (
        [delta(content="a"), delta(reasoning="r"), delta(content="b"), STOP],
        ["+0 message", "+0.0 output_text", "0.0 a", "-0 completed", "+1 reasoning", "+1.0 summary_text",
         "1.0 r",
         "-1", "+2 message", "+2.0 output_text", "2.0 b", "-2 completed", "completed"],
    ),
    "52 text, refusal": (
        [delta(content="t"), delta(refusal="no"), STOP],
        ["+0 message", "+0.0 output_text", "0.0 t", "+0.1 refusal", "0.1 no", "-0 completed", "completed"],
    ),
    "53 tool call, text": (
        [calls(fragment(0, "c", "f", "{}")), delta(content="t"), STOP],
        ["+0 function_call", "0 {}", "-0 completed", "+1 message", "+1.0 output_text", "1.0 t",
         "-1 completed",
         "completed"],
    ),
    "54 interleaved fragments": (
        [calls(fragment(0, "a", "f", ""), fragment(1, "b", "g", "")), calls(fragment(0, args="[")),
         calls(fragment(1, args="{")), calls(fragment(0, args="]")), calls(fragment(1, args="}"),
          finish="tool_calls")],
        ["+0 function_call", "+1 function_call", "0 [", "1 {", "0 ]", "1 }", "-0 completed", "-1 completed",
         "completed"],
    ),
    "55 index from 1": (
        [calls(fragment(1, "a", "f", "{}")), STOP],
        ["+0 function_call", "0 {}", "-0 completed", "completed"],
    ),
    "56 no index": (
        [calls(fragment(None, "a", "f", "1"), fragment(None, "b", "f", "2")), STOP],
        ["+0 function_call", "0 1", "+1 function_call", "1 2", "-0 completed", "-1 completed", "completed"],
    ),
    "57 blank id and name later": (
        [calls(fragment(0, "a", "f", "")), calls(fragment(0, "", "", "{}")), STOP],
        ["+0 function_call", "0 {}", "-0 completed", "completed"],
    ),
    "58 arguments before id and name": (
        [calls(fragment(0, args="[1")), calls(fragment(0, "a", args=",")), calls(fragment(0, name="f",
         args="2]")), STOP],
        ["+0 function_call", "0 [1,2]", "-0 completed", "completed"],
    ),
    "60 no arguments": (
        [calls(fragment(0, "a", "f")), STOP],
        ["+0 function_call", "-0 completed", "completed"],
    ),
    "61 content as list": (
        [delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "r"}]},
                        {"type": "text", "text": "t"}]), STOP],
        ["+0 reasoning", "+0.0 summary_text", "0.0 r", "-0", "+1 message", "+1.0 output_text", "1.0 t",
         "-1 completed", "completed"],
    ),
    "62 reasoning twice": (
        [delta(reasoning="r", reasoning_content="r"), STOP],
        ["+0 reasoning", "+0.0 summary_text", "0.0 r", "-0", "completed"],
    ),
    "63 all in one chunk": (
        [delta("tool_calls", tool_calls=[fragment(0, "a", "f", "{}")], content="t", reasoning="r")],
        ["+0 reasoning", "+0.0 summary_text", "0.0 r", "-0", "+1 message", "+1.0 output_text", "1.0 t",
         "-1 completed", "+2 function_call", "2 {}", "-2 completed", "completed"],
    ),
    "64 thinking blocks": (
        [delta(reasoning_content="a", thinking_blocks=[{"type": "thinking", "thinking": "a"}]),
         delta(reasoning_content="", thinking_blocks=[{"type": "thinking", "thinking": "",
          "signature": "s1"}]),
         delta(thinking_blocks=[{"type": "thinking", "thinking": "b", "signature": "s2"},
                                {"type": "redacted_thinking", "data": "x"}]), STOP],
        ["+0 reasoning", "+0.0 summary_text", "0.0 a", "+0.1 summary_text", "0.1 b", "-0", "completed"],
    ),
    "67 length": (
        [delta(content="t"), delta("length")],
        ["+0 message", "+0.0 output_text", "0.0 t", "-0 incomplete", "incomplete max_output_tokens"],
    ),
    "67 length within a call": (
        [calls(fragment(0, "a", "f", "{}")), calls(fragment(1, "b", "g", "{"), finish="length")],
        ["+0 function_call", "0 {}", "+1 function_call", "1 {", "-0 completed", "-1 incomplete",
         "incomplete max_output_tokens"],
    ),
    "68 content_filter without content": ([delta("content_filter", content="")],
     ["incomplete content_filter"]),
    "69 finish reason beside a null delta": (
        [delta(content="t"), {"choices": [{"index": 0, "delta": None, "finish_reason": "length"}]}],
        ["+0 message", "+0.0 output_text", "0.0 t", "-0 incomplete", "incomplete max_output_tokens"],
    ),
    "70 choices out of order": (
        [{"choices": [{"index": 1, "delta": {"content": "x"}}, {"index": 0, "delta": {"content": "t"}}]},
         {"choices": [{"index": 1, "delta": {"content": "y"}}]}, STOP],
        ["+0 message", "+0.0 output_text", "0.0 t", "-0 completed", "completed"],
    ),
    "72 error in the middle": (
        [delta(content="t"), {"error": {"code": "overloaded", "message": "busy", "type": "x"}}],
        ["+0 message", "+0.0 output_text", "0.0 t", "-0 incomplete", "error overloaded: busy",
         "failed overloaded"],
    ),
    "72 error after the finish reason": (
        [delta("stop", content="t"), {"error": "late"}],
        ["+0 message", "+0.0 output_text", "0.0 t", "-0 incomplete", "error server_error: late",
         "failed server_error"],
    ),
    "an error in the choice, then usage": (
        [delta(content="t"), failed(), {"choices": [], "usage": {"total_tokens": 3}}],
        ["+0 message", "+0.0 output_text", "0.0 t", "-0 incomplete", "error server_error: died",
         "failed server_error"],
    ),
    "an error in the choice without a finish reason": (
        [delta(content="t"), failed(None, content="u"), delta(content="v")],
        ["+0 message", "+0.0 output_text", "0.0 t", "0.0 u", "0.0 v", "-0 incomplete",
         "error server_error: died", "failed server_error"],
    ),
    "an error in the choice that says it stopped": (
        [failed("stop", {"code": 429, "message": "slow"})],
        ["error rate_limit_exceeded: slow", "failed rate_limit_exceeded"],
    ),
    "no error in the choice": (
        [failed("stop", None, content="t")],
        ["+0 message", "+0.0 output_text", "0.0 t", "-0 completed", "completed"],
    ),
    "73 custom tool": (
        [calls({"index": 0, "id": "a", "type": "custom", "custom": {"name": "f", "input": "x"}}),
         calls({"index": 0, "custom": {"input": "y"}}), STOP],
        ["+0 custom_tool_call", "0 x", "0 y", "-0 completed", "completed"],
    ),
    "74 legacy function call": (
        [delta(function_call={"name": "f", "arguments": ""}), delta(function_call={"arguments": "{}"}),
         delta("function_call")],
        ["+0 function_call", "0 {}", "-0 completed", "completed"],
    ),
    "75 citations": (
        [{"citations": ["u", "v"], **delta(content="a")}, {"citations": ["u", "v", "w"],
         **delta(content="b")}, STOP],
        ["+0 message", "+0.0 output_text", "0.0 a", "@0.0 u", "@0.0 v", "0.0 b", "@0.0 w", "-0 completed",
         "completed"],
    ),
    "annotations before text": (
        [delta(annotations=[{"type": "url_citation", "url_citation": {"url": "u", "title": "T"}}]),
         delta(content="t"), STOP],
        ["+0 message", "+0.0 output_text", "0.0 t", "@0.0 u", "-0 completed", "completed"],
    ),
    "arguments as an object": (
        [calls(fragment(0, "a", "f", {"x": [1, 2]})), STOP],
        ["+0 function_call", '0 {"x":[1,2]}', "-0 completed", "completed"],
    ),
    "text while a call is not whole": (
        [calls(fragment(0, "a", "f", "{")), delta(content="t"), calls(fragment(0, args="}")), STOP],
        ["+0 function_call", "0 {", "+1 message", "+1.0 output_text", "1.0 t", "0 }", "-1 completed",
         "-0 completed", "completed"],
    ),
    "a call without id": (
        [calls(fragment(0, None, "f", "{}")), delta("tool_calls")],
        ["+0 function_call", "0 {}", "-0 completed", "completed"],
    ),
    "audio": (
        [delta(audio={"id": "x", "data": "AA=="}), delta(audio={"transcript": "hi"}), STOP],
        ["audio.delta AA==", "audio.transcript.delta hi", "completed"],
    ),
    "whole message": (
        [{"object": "chat.completion", "choices": [{"index": 0, "message": {"role": "assistant",
         "content": "t"},
                                                    "finish_reason": "stop"}]}],
        ["+0 message", "+0.0 output_text", "0.0 t", "-0 completed", "completed"],
    ),
    "finish reason error": ([delta(content="t"), delta("error")], [
        "+0 message", "+0.0 output_text", "0.0 t", "-0 incomplete", "error server_error: ...",
         "failed server_error",
    ]),
    "reasoning details alone": (
        [delta(reasoning_details=[{"type": "reasoning.text", "text": "r"}]), STOP],
        ["+0 reasoning", "+0.0 summary_text", "0.0 r", "-0", "completed"],
    ),
    **{
        f"finish reason {word}": (
            [delta(content="t"), delta(word)],
            ["+0 message", "+0.0 output_text", "0.0 t", f"-0 {status}",
             *([f"error server_error: {says} {word}"] if says else []), terminal],
        )
        for words, status, says, terminal in FINISHES
        for word in words.split(",")
    },
    "unknown finish reason": ([delta("whim", content="t")], [
        "+0 message", "+0.0 output_text", "0.0 t", "-0 completed", "completed",
    ]),
}  # fmt: skip


@pytest.mark.parametrize("row", MESSAGES.values(), ids=MESSAGES.keys())
def test_chat_to_responses(row: tuple[list[Json | str], list[str]]) -> None:
    chunks, expected = row
    events, _ = transcode(chunks)
    check(events)
    words = told(events)
    if any(line.endswith("...") for line in expected):
        words = [line.split(": ")[0] + ": ..." if line.startswith("error") else line for line in words]
    assert words == expected


@pytest.mark.parametrize(
    ("chunks", "counted"),
    [
        ([delta(content="t")], {"finish_reason_missing": 1}),
        ([delta("whim", content="t")], {"finish_reason_unknown": 1}),
        *(([delta(word)], {}) for words, *_ in FINISHES for word in words.split(",")),
        (["{", delta("stop", content="t")], {"malformed": 1}),
        ([{"choices": [{"index": 1, "delta": {"content": "x"}}]}, STOP], {"other_choice": 1}),
        ([{"choices": [{"index": -1, "delta": {"content": "x"}}]}, STOP], {"bad_index": 1}),
        ([delta("stop", content="a"), delta(content="b")], {"late_delta": 1}),
        ([delta("stop"), delta("length")], {"finish_reason_changed": 1}),
        ([delta(content=5), STOP], {"bad_value": 1}),
        ([delta(content=[{"type": "image_url"}]), STOP], {"content_dropped": 1}),
        ([delta(content="t", reasoning={"effort": "low"}), STOP], {"reasoning_dropped": 1}),
        ([delta(content="t", images=[IMAGE, IMAGE]), delta("stop", images=[])], {"content_dropped": 2}),
        ([delta(content="t", images=[IMAGE])] * 3 + [STOP], {"content_dropped": 3}),
        (
            [{"choices": [{"message": {"content": "t", "images": [IMAGE]}, "finish_reason": "stop"}]}],
            {"content_dropped": 1},
        ),
        ([delta("stop", images=None), delta(images={})], {"bad_value": 1}),
        ([calls(fragment(0, "a", "f", {})), STOP], {"arguments_not_text": 1}),
        (
            [calls(fragment(0, "a", "f", "1")), calls(fragment(0, "b", args="2")), STOP],
            {"tool_id_changed": 1},
        ),
        (
            [calls(fragment(0, "a", "f", "1")), calls(fragment(0, "b", "g", "2")), STOP],
            {"tool_index_reused": 1},
        ),
        ([calls(fragment(0, "a", args="1")), STOP], {"tool_name_missing": 1}),
        ([delta(annotations=[{"type": "x"}], content="t"), STOP], {"annotation_dropped": 1}),
        ([{"citations": ["u"], "choices": []}, STOP], {"annotation_dropped": 1}),
        ([STOP, "[DONE]", STOP], {"after_terminal": 1}),
    ],
)
def test_diagnostics(chunks: list[Json | str], counted: dict[str, int]) -> None:
    events, transcoder = transcode(chunks)
    assert transcoder.diagnostics == counted
    check(events)


@pytest.mark.parametrize(
    ("chunks", "counted"),
    [
        *(
            ([delta(**{field: value}), STOP], {"bad_value": 1})
            for field, value in [
                ("content", {}),
                ("refusal", []),
                ("reasoning_content", ["r"]),
                ("reasoning_details", {}),
                ("thinking_blocks", "t"),
                ("tool_calls", 5),
                ("function_call", "f"),
                ("audio", []),
                ("annotations", {}),
                ("images", "u"),
            ]
        ),
        ([STOP, delta(audio={"transcript": "t"})], {"late_delta": 1}),
        ([STOP, delta(content="t", images=None)], {"late_delta": 1}),
        ([STOP, delta("length")], {"finish_reason_changed": 1}),
    ],
)
def test_the_accumulator_counts_the_same(chunks: list[Json | str], counted: dict[str, int]) -> None:
    events, transcoder = transcode(chunks, done=False)
    check(events)
    accumulator = ChatAccumulator()
    for chunk in chunks:
        accumulator.feed(json.dumps(chunk))
    accumulator.finish()
    assert transcoder.diagnostics == accumulator.diagnostics == counted


def test_what_goes_with_a_call() -> None:
    extra = {"google": {"thought_signature": "s"}}
    chunk = calls({**fragment(0, "a__thought__t", "f", "{}"), "extra_content": extra, "type": "function"})
    late = calls({"index": 0, "provider_specific_fields": {"x": 1}})
    events, _ = transcode([chunk, late, STOP])
    added = next(event["item"] for event in events if event.type == "response.output_item.added")
    assert (added["call_id"], added["thought_signature"], added["extra_content"]) == ("a", "t", extra)
    [item] = check(events)["output"]
    assert item["provider_specific_fields"] == {"x": 1}
    assert item["extra_content"] == extra


def test_what_goes_with_reasoning() -> None:
    chunks, _ = MESSAGES["64 thinking blocks"]
    events, _ = transcode(chunks)
    [item] = check(events)["output"]
    assert json.loads(item["encrypted_content"]) == [
        {"type": "thinking", "thinking": "a", "signature": "s1"},
        {"type": "thinking", "thinking": "b", "signature": "s2"},
        {"type": "redacted_thinking", "data": "x"},
    ]
    events, _ = transcode(
        [delta(reasoning="r", reasoning_details=[{"type": "reasoning.text", "text": "r"}]), STOP]
    )
    [item] = check(events)["output"]
    assert item["reasoning_details"] == [{"type": "reasoning.text", "text": "r"}]
    assert item["summary"] == [{"type": "summary_text", "text": "r"}]


def test_logprobs() -> None:
    first = [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}]
    second = [{"token": "b", "logprob": -1, "bytes": [98], "top_logprobs": []}]
    chunks = [
        {
            "choices": [
                {"index": 0, "delta": {"content": text}, "logprobs": {"content": list_, "refusal": None}}
            ]
        }
        for text, list_ in (("a", first), ("b", second))
    ]
    events, _ = transcode([*chunks, STOP])
    deltas = [event["logprobs"] for event in events if event.type == "response.output_text.delta"]
    assert deltas == [first, second]
    assert check(events)["output"][0]["content"][0]["logprobs"] == first + second


def cite(start: int, end: int) -> list[Json]:
    citation = {"url": "u", "title": "", "start_index": start, "end_index": end}
    return [{"type": "url_citation", "url_citation": citation}]


@pytest.mark.parametrize(
    ("chunks", "places"),
    [
        ([delta(content="ab"), calls(fragment(0, "a", "f", "{}")),
          delta(content="cd", annotations=cite(2, 4))], [(0, 2)]),
        ([delta(content="é😀"), calls(fragment(0, "a", "f", "{}")), delta(annotations=cite(3, 4)),
          delta(content="cd")], [(1, 2)]),
        ([delta(content="a"), delta(content="b", annotations=cite(0, 2)), delta(reasoning="r"),
          delta(content="cd"), delta(content="ef", annotations=cite(4, 6))], [(0, 2), (2, 4)]),
        ([delta(content="ab"), delta(refusal="no"), delta(content="cd", annotations=cite(2, 4))], [(0, 2)]),
        ([delta(content="ab"), delta(reasoning="r"), delta(content="c"), delta(content="d"),
          delta(reasoning="r"), delta(content="ef", annotations=cite(4, 6))], [(0, 2)]),
        # Of a message that has ended.
        ([delta(content="ab"), delta(reasoning="r"), delta(content="cd", annotations=cite(0, 2))], [(0, 0)]),
    ],
)  # fmt: skip
def test_citations_count_from_their_part(chunks: list[Json | str], places: list[tuple[int, int]]) -> None:
    events, _ = transcode([*chunks, STOP])
    parts = [part for item in check(events)["output"] for part in item.get("content") or ()]
    found = [each for part in parts for each in part.get("annotations", ())]
    assert [(each["start_index"], each["end_index"]) for each in found] == places
    events, _ = transcode([*chunks, STOP], messages="one")
    if "refusal" not in json.dumps(chunks):
        [part] = [part for item in check(events)["output"] for part in item.get("content") or ()]
        deltas = [chunk["choices"][0]["delta"] for chunk in chunks if isinstance(chunk, dict)]
        given = [each["url_citation"] for given in deltas for each in given.get("annotations", ())]
        assert [{"type": "url_citation", **each} for each in given] == part["annotations"]


def test_citations_there_and_back() -> None:
    chunks = [delta(content="ab"), delta(reasoning="r"), delta(content="cd", annotations=cite(2, 4)), STOP]
    there, back = to_responses(), to_chat()
    written = back.feed(there.feed(sse(chunks, done=True)) + there.finish())
    [completion] = completions(written)
    assert completion["choices"][0]["message"]["annotations"] == cite(2, 4)


USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


@pytest.mark.parametrize(
    "chunks",
    [
        [
            {**delta(content="t"), "usage": {**USAGE, "total_tokens": 1}},
            {**STOP, "usage": USAGE},
            {"usage": None},
        ],
        [delta("stop", content="t"), {"choices": [], "usage": USAGE}],
        [{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": USAGE}]}],
        [{**STOP, "x_groq": {"id": "g", "usage": USAGE}}],
    ],
    ids=["65 in every chunk", "65 behind the finish reason", "in the choice", "x_groq"],
)
def test_usage(chunks: list[Json | str]) -> None:
    events, _ = transcode(chunks)
    assert check(events)["usage"] == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 7,
    }


@pytest.mark.parametrize(
    ("policy", "expected"), [("failed", "failed server_error"), ("incomplete", "incomplete stream_truncated")]
)
@pytest.mark.parametrize("chunks", [[], [delta(content="t")], [calls(fragment(0, "a", "f", "{}"))]])
def test_a_cut_stream_never_completes(
    policy: Literal["failed", "incomplete"], expected: str, chunks: Any
) -> None:
    events, transcoder = transcode(chunks, done=False, truncated=policy)
    final = check(events)
    assert told(events)[-1] == expected
    assert transcoder.diagnostics == {"truncated": 1}
    assert all(item["status"] == "incomplete" for item in final["output"])


def test_error_events_and_bodies() -> None:
    body = b'{"error": {"message": "no credit", "code": "insufficient_quota"}}'
    for stream in (
        b"event: error\ndata: " + body + b"\n\n",
        b'event: error\ndata: {"message": "no credit", "code": "insufficient_quota"}\n\n',
        b'data: {"object": "error", "message": "no credit", "code": "insufficient_quota"}\n\n',
        body,
    ):
        transcoder = to_responses()
        out = transcoder.feed(stream) + transcoder.finish()
        events = Decoder().feed(out)
        check(events)
        assert told(events) == ["error insufficient_quota: no credit", "failed insufficient_quota"]
    for body, message in (
        (b'[{"error": {"message": "no key"}}]', "no key"),
        (b'{"detail": "Not Found"}', '{"detail":"Not Found"}'),
        (b'{"type": "about:blank", "title": "Not Found"}', '{"type":"about:blank","title":"Not Found"}'),
        (b'{"message": "no route"}', "no route"),
        (b"<html>", "<html>"),
    ):
        transcoder = to_responses()
        events = Decoder().feed(transcoder.feed(body) + transcoder.finish())
        assert events[-1]["response"]["error"]["message"] == message
        back = Transcoder("responses", "chat")
        chunks = Decoder().feed(back.feed(body) + back.finish())
        assert chunks[-1]["error"]["message"] == message
    transcoder = to_responses()
    out = transcoder.feed(b"event: error\ndata: Bad Gateway\n\n") + transcoder.finish()
    assert told(Decoder().feed(out)) == ["error server_error: Bad Gateway", "failed server_error"]


def test_options() -> None:
    no_arguments = [calls(fragment(0, "a", "f")), STOP]
    events, _ = transcode(no_arguments, empty_arguments="{}")
    assert check(events)["output"][0]["arguments"] == "{}"
    events, _ = transcode([delta(reasoning="r"), STOP], reasoning="raw")
    assert told(events) == ["+0 reasoning", "+0.0 reasoning_text", "0.0 r", "-0", "completed"]
    chunks = [delta(content="a"), calls(fragment(0, "a", "f", "{}")), delta(content="b"), STOP]
    events, _ = transcode(chunks, messages="one")
    assert [item["type"] for item in check(events)["output"]] == ["message", "function_call"]
    request = {
        "model": "m",
        "input": "x",
        "instructions": "Be brief.",
        "tools": [],
        "stream": True,
        "top_p": None,
        "user": "u",
        "prompt_cache_retention": "24h",
    }
    events, _ = transcode([{"model": "other", **STOP}], echo=request)
    for event in (events[0], events[-1]):
        response = event["response"]
        assert (response["model"], response["instructions"]) == ("m", "Be brief.")
        assert (response["user"], response["prompt_cache_retention"]) == ("u", "24h")
        assert "input" not in response
        assert "stream" not in response
    events, _ = transcode([{"model": ""}, {"model": "m", "service_tier": "default", **STOP}])
    assert (check(events)["model"], check(events)["service_tier"]) == ("m", "default")


def test_ids_and_time_are_injected() -> None:
    made: list[str] = []

    def new_id(prefix: str) -> str:
        made.append(prefix)
        return f"{prefix}{len(made)}"

    transcoder = Transcoder("chat", "responses", new_id=new_id, now=lambda: 12.9)
    events = transcoder.feed_events(
        [delta(content="t"), delta(reasoning="r"), calls(fragment(0, None, "f", "{}")), STOP]
    )
    events += transcoder.finish_events()
    final = check(events)
    assert made == ["resp_", "msg_", "rs_", "fc_", "call_"]
    assert (final["id"], final["created_at"]) == ("resp_1", 12)
    assert [item["id"] for item in final["output"]] == ["msg_2", "rs_3", "fc_4"]

    def fail(prefix: str) -> str:
        raise RuntimeError(prefix)

    transcoder = Transcoder("chat", "responses", id="resp_1", new_id=fail)
    with pytest.raises(RuntimeError, match="msg_"):
        transcoder.feed_events(delta(content="t"))


@pytest.mark.parametrize(
    ("arguments", "options", "error"),
    [
        (("chat", "chat"), {}, ValueError),
        (("chat", "responses"), {"reasoning": "x"}, ValueError),
        (("chat", "responses"), {"messages": "x"}, ValueError),
        (("chat", "responses"), {"compat": "x"}, ValueError),
        (("chat", "responses"), {"new_id": 1}, TypeError),
        (("chat", "responses"), {"now": lambda: -1.0}, ValueError),
        (("chat", "responses"), {"id": "a\nb"}, DecodeError),
    ],
)
def test_refused_options(arguments: tuple[Any, Any], options: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        Transcoder(*arguments, **options)


def test_strict() -> None:
    transcoder = to_responses(strict=True)
    transcoder.feed_events(delta(content="t"))
    with pytest.raises(DecodeError, match="bad_value"):
        transcoder.feed_events(delta(content=1))
    with pytest.raises(DecodeError, match="bad_value"):
        transcoder.feed_events(delta(content="u"))
    rest = transcoder.finish_events()
    assert told(rest)[-1] == "failed server_error"
    assert transcoder.done


def test_limits_end_the_stream_as_failed() -> None:
    transcoder = to_responses(limits=Limits(max_message_bytes=100))
    written = transcoder.feed(sse([delta(content="x" * 60)]))
    with pytest.raises(LimitExceeded):
        transcoder.feed(sse([delta(content="x" * 60)]))
    written += transcoder.finish()
    check(Decoder().feed(written))
    assert transcoder.finish() == b""


def test_fail_and_cancel() -> None:
    transcoder = to_responses()
    written = transcoder.feed(sse([delta(content="t")])) + transcoder.fail("no answer", code="timeout")
    check(Decoder().feed(written))
    assert told(Decoder().feed(written))[-2:] == ["error timeout: no answer", "failed timeout"]
    assert transcoder.fail("again") == transcoder.cancel() == transcoder.finish() == b""
    transcoder = to_responses()
    written = transcoder.feed(sse([delta(content="t")])) + transcoder.cancel()
    assert told(Decoder().feed(written))[-2:] == ["-0 incomplete", "cancelled"]


def test_77_events_do_not_change() -> None:
    transcoder = to_responses()
    events = transcoder.feed_events(delta(content="a"))
    before = [event.data for event in events]
    events[0].json()["response"]["output"].append("x")
    rest = transcoder.feed_events([delta(content="b"), STOP]) + transcoder.finish_events()
    assert [event.data for event in events] == before
    assert rest[-1]["response"]["output"][0]["content"][0]["text"] == "ab"


def test_surrogate_halves_join() -> None:
    halves = [
        r'{"choices":[{"index":0,"delta":{"content":"\ud83d"}}]}',
        r'{"choices":[{"index":0,"delta":{"content":"\ude00"}}]}',
    ]
    events, _ = transcode([*halves, STOP])
    assert check(events)["output"][0]["content"][0]["text"] == "😀"


@recordings
def test_recordings_in_any_split(recording: list[bytes]) -> None:
    stream = b"".join(b"data: " + line + b"\n\n" for line in recording if line.strip()) + b"data: [DONE]\n\n"

    def run(chunks: Iterable[Any]) -> bytes:
        numbers = count()
        transcoder = to_responses(new_id=lambda prefix: f"{prefix}{next(numbers)}")
        return b"".join([*map(transcoder.feed, chunks), transcoder.finish()])

    whole = run([stream])
    final = check(Decoder().feed(whole))
    assert final["status"] == "completed"
    size = len(stream)
    for step in (1, 7, 1000, max(1, size // 3)):
        assert run(stream[at : at + step] for at in range(0, size, step)) == whole
    # Every place to cut a short one in two; of a long one, places that fall on all parts of its chunks.
    for cut in range(0, size, 1 if size < 20_000 else 211):
        assert run([stream[:cut], stream[cut:]]) == whole


def completions(stream: bytes) -> list[Json]:
    accumulator = ChatAccumulator()
    accumulator.feed(stream)
    accumulator.finish()
    return accumulator.responses


@recordings
def test_recordings_there_and_back(recording: list[bytes]) -> None:
    stream = b"".join(b"data: " + line + b"\n\n" for line in recording if line.strip()) + b"data: [DONE]\n\n"
    there, back = to_responses(), to_chat(include_usage=True)
    written = back.feed(there.feed(stream) + there.finish()) + back.finish()
    assert written.endswith(b"data: [DONE]\n\n")
    for step in (1, 1000):
        there, back = to_responses(), to_chat(include_usage=True)
        pieces = [back.feed(there.feed(stream[at : at + step])) for at in range(0, len(stream), step)]
        assert b"".join(pieces) + back.feed(there.finish()) + back.finish() == written
    before, [after] = completions(stream), completions(written)

    def texts(completion: Json) -> str:
        content = completion["choices"][0]["message"]["content"] or ""
        if isinstance(content, str):
            return content
        return "".join(part["text"] for part in content if part["type"] == "text")

    def functions(completion: Json) -> list[tuple[str, Json]]:
        made = completion["choices"][0]["message"].get("tool_calls", [])
        return [(call["id"], call["function"]) for call in made]

    assert "".join(map(texts, before)) == texts(after)
    assert [call for completion in before for call in functions(completion)] == functions(after)
    assert before[-1]["choices"][0]["finish_reason"] == after["choices"][0]["finish_reason"]
    for key in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert before[-1]["usage"][key] == after["usage"][key]
    details = before[-1]["usage"].get("completion_tokens_details") or {}
    assert details.items() <= after["usage"]["completion_tokens_details"].items()


def pieces(text: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(text, max_size=4)


characters = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)


@settings(max_examples=150, deadline=None)
@given(
    pieces(characters),
    pieces(characters),
    pieces(characters),
    st.lists(pieces(characters), max_size=3),
    st.sampled_from(["stop", "length", "content_filter"]),
    st.integers(1, 40),
)
def test_any_chat_there_and_back(
    thoughts: list[str],
    texts: list[str],
    refusals: list[str],
    arguments: list[list[str]],
    reason: str,
    step: int,
) -> None:
    """Reasoning, content, refusal, tool calls, finish reason and usage come back as they were."""
    chunks = [delta(reasoning_content=thought) for thought in thoughts]
    chunks += [delta(content=text) for text in texts]
    chunks += [delta(refusal=refusal) for refusal in refusals]
    for place, call in enumerate(arguments):
        chunks.append(calls(fragment(place, f"call_{place}", f"f{place}", "")))
        chunks += [calls(fragment(place, args=piece)) for piece in call]
    reason = "tool_calls" if arguments and reason == "stop" else reason
    stream = sse([*chunks, delta(reason), {"choices": [], "usage": USAGE}], done=True)
    there, back = to_responses(), to_chat(include_usage=True)
    written = [back.feed(there.feed(stream[at : at + step])) for at in range(0, len(stream), step)]
    [before], [after] = completions(stream), completions(b"".join([*written, back.feed(there.finish())]))
    for key in ("finish_reason", "index"):
        assert before["choices"][0][key] == after["choices"][0][key]
    one, other = before["choices"][0]["message"], after["choices"][0]["message"]
    for key in ("content", "refusal", "reasoning_content", "tool_calls"):
        assert (one.get(key) or None) == (other.get(key) or None), key
    assert before["usage"].items() <= after["usage"].items()


text = st.text(max_size=6) | st.sampled_from(["", "\u2028", "😀", '"', "\n"])
any_fragment = st.builds(
    fragment,
    st.none() | st.integers(0, 2),
    st.none() | st.sampled_from(["", "a", "b"]),
    st.none() | st.sampled_from(["", "f", "g"]),
    st.none() | st.sampled_from(["", "{", "}", "{}", {"x": 1}]),
)
any_delta = st.fixed_dictionaries(
    {},
    optional={
        "content": st.none()
        | text
        | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": text})),
        "refusal": st.none() | text,
        "reasoning_content": st.none() | text,
        "reasoning": st.none() | text,
        "thinking_blocks": st.lists(
            st.fixed_dictionaries(
                {"type": st.just("thinking"), "thinking": text}, optional={"signature": text}
            )
        ),
        "tool_calls": st.lists(any_fragment, max_size=3),
        "function_call": st.fixed_dictionaries({}, optional={"name": text, "arguments": text}),
        "annotations": st.lists(
            st.sampled_from([{"type": "url_citation", "url_citation": {"url": "u"}}, {}])
        ),
        "audio": st.fixed_dictionaries({}, optional={"data": st.just("AA=="), "transcript": text}),
    },
)
reasons = st.none() | st.sampled_from(["stop", "length", "content_filter", "tool_calls", "error", "whim"])
any_chunk: st.SearchStrategy[Json] = st.builds(
    lambda delta, reason, usage: {
        "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
        **({"usage": USAGE} if usage else {}),
    },
    any_delta,
    reasons,
    st.booleans(),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(any_chunk, max_size=8),
    st.booleans(),
    st.sampled_from(["many", "one"]),
    st.sampled_from([None, "openai-agents"]),
    st.sampled_from(["", "{}"]),
)
def test_any_chunks(
    chunks: list[Json], done: bool, messages: Literal["many", "one"], compat: Any, empty: Literal["", "{}"]
) -> None:
    events, _ = transcode(chunks, done=done, messages=messages, compat=compat, empty_arguments=empty)
    final = check(events)
    finished = any(chunk["choices"][0]["finish_reason"] for chunk in chunks)
    if not finished and not (done and chunks):
        assert final["status"] == "failed"
    if final["status"] == "completed":
        assert all(item.get("status", "completed") == "completed" for item in final["output"])


@settings(max_examples=50, deadline=None)
@given(st.lists(any_chunk, max_size=4))
def test_any_chunks_in_any_split(chunks: list[Json]) -> None:
    stream = sse(chunks, done=True)
    written = set()
    for pieces in feedings(stream):
        number = count()
        transcoder = to_responses(new_id=lambda prefix, number=number: f"{prefix}{next(number)}")
        written.add(b"".join([*map(transcoder.feed, pieces), transcoder.finish()]))
    assert len(written) == 1
