"""`Transcoder("responses", "chat")`: each rule as a row, and the way back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai_streams import RECORDINGS, sse

from penstock import ChatAccumulator, DecodeError, Decoder, Event, ResponseAccumulator, Transcoder

Json = dict[str, Any]

FILES = sorted((RECORDINGS / "responses").glob("*.jsonl"))


def to_chat(**options: Any) -> Transcoder:
    return Transcoder("responses", "chat", id="chatcmpl-1", now=lambda: 1.5, **options)


CREATED: Json = {"type": "response.created", "response": {"id": "resp_1", "model": "m", "output": []}}


def ended(kind: str = "completed", **members: Any) -> Json:
    return {"type": f"response.{kind}", "response": {"id": "resp_1", "model": "m", "status": kind, **members}}


def added(item: Json, index: int = 0) -> Json:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def done(item: Json, index: int = 0) -> Json:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def string(kind: str, index: int = 0, part: int | None = None, **members: Any) -> Json:
    place = {} if part is None else {"summary_index" if "summary" in kind else "content_index": part}
    return {"type": f"response.{kind}", "output_index": index, "item_id": "x", **place, **members}


def transcode(events: list[Json], **options: Any) -> tuple[list[Json], Transcoder]:
    transcoder = to_chat(**options)
    chunks = transcoder.feed_events(events) + transcoder.finish_events()
    return [chunk.json() for chunk in chunks], transcoder


def deltas(chunks: list[Json]) -> list[Json]:
    """What the chunks add, without the first, which names the role."""
    first, *rest = [choice for chunk in chunks for choice in chunk.get("choices", ())]
    assert first["delta"] == {"role": "assistant", "content": ""}
    return [choice["delta"] for choice in rest if choice["finish_reason"] is None]


FUNCTION = {"type": "function_call", "id": "fc", "call_id": "c", "name": "f", "arguments": "", "x_sig": 1}
CUSTOM = {"type": "custom_tool_call", "id": "ct", "call_id": "c", "name": "f", "input": ""}
URL = {"type": "url_citation", "url": "u", "title": "T", "start_index": 0, "end_index": 1}
LOGPROBS = [{"token": "t", "logprob": -1, "top_logprobs": []}]

ROWS: dict[str, tuple[list[Json], list[Json], str]] = {
    "text": (
        [
            string("output_text.delta", part=0, delta="a"),
            string("output_text.delta", part=0, delta="b"),
            string("output_text.done", part=0, text="ab"),
            ended(),
        ],
        [{"content": "a"}, {"content": "b"}],
        "stop",
    ),
    "refusal": ([string("refusal.delta", part=0, delta="no"), ended()], [{"refusal": "no"}], "stop"),
    "reasoning": (
        [
            string("reasoning_summary_text.delta", part=0, delta="a"),
            string("reasoning_summary_text.delta", part=1, delta="b"),
            string("reasoning_text.delta", 1, part=0, delta="c"),
            ended(),
        ],
        [{"reasoning_content": text} for text in ("a", "\n\n", "b", "\n\n", "c")],
        "stop",
    ),
    "function call": (
        [
            added(FUNCTION),
            string("function_call_arguments.delta", delta="{"),
            string("function_call_arguments.delta", delta="}"),
            string("function_call_arguments.done", arguments="{}"),
            done({**FUNCTION, "arguments": "{}"}),
            ended(),
        ],
        [
            {
                "tool_calls": [
                    {
                        "index": 0,
                        "id": "c",
                        "type": "function",
                        "function": {"name": "f", "arguments": ""},
                        "x_sig": 1,
                    }
                ]
            },
            {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]},
        ],
        "tool_calls",
    ),
    "custom tool call": (
        [added(CUSTOM, 3), string("custom_tool_call_input.delta", 3, delta="x"), ended()],
        [
            {"tool_calls": [{"index": 0, "id": "c", "type": "custom", "custom": {"name": "f", "input": ""}}]},
            {"tool_calls": [{"index": 0, "custom": {"input": "x"}}]},
        ],
        "tool_calls",
    ),
    "arguments only as a whole": (
        [added(FUNCTION), string("function_call_arguments.done", arguments="{}"), ended()],
        [
            {
                "tool_calls": [
                    {
                        "index": 0,
                        "id": "c",
                        "type": "function",
                        "function": {"name": "f", "arguments": ""},
                        "x_sig": 1,
                    }
                ]
            },
            {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
        ],
        "tool_calls",
    ),
    "only the final response": (
        [
            ended(
                output=[
                    {"type": "message", "content": [{"type": "output_text", "text": "t", "annotations": []}]},
                    {"type": "message", "content": [{"type": "refusal", "refusal": "no"}]},
                ]
            )
        ],
        [{"content": "t"}, {"refusal": "no"}],
        "stop",
    ),
    "annotation": (
        [string("output_text.annotation.added", part=0, annotation_index=0, annotation=URL), ended()],
        [
            {
                "annotations": [
                    {
                        "type": "url_citation",
                        "url_citation": {"url": "u", "title": "T", "start_index": 0, "end_index": 1},
                    }
                ]
            }
        ],
        "stop",
    ),
    "annotation of no more than an address": (
        [
            string(
                "output_text.annotation.added",
                part=0,
                annotation_index=0,
                annotation={"type": "url_citation", "url": "u"},
            ),
            ended(),
        ],
        [
            {
                "annotations": [
                    {
                        "type": "url_citation",
                        "url_citation": {"url": "u", "title": "", "start_index": 0, "end_index": 0},
                    }
                ]
            }
        ],
        "stop",
    ),
    "encrypted thinking blocks": (
        [
            done(
                {
                    "type": "reasoning",
                    "summary": [],
                    "encrypted_content": '[{"type":"thinking","thinking":"a","signature":"s"}]',
                }
            ),
            ended(),
        ],
        [{"thinking_blocks": [{"type": "thinking", "thinking": "a", "signature": "s"}]}],
        "stop",
    ),
    "audio": (
        [
            {"type": "response.audio.delta", "delta": "AA=="},
            {"type": "response.audio.transcript.delta", "delta": "t"},
            ended(),
        ],
        [{"audio": {"data": "AA=="}}, {"audio": {"transcript": "t"}}],
        "stop",
    ),
    "length": ([ended("incomplete", incomplete_details={"reason": "max_output_tokens"})], [], "length"),
    "content filter": (
        [ended("incomplete", incomplete_details={"reason": "content_filter"})],
        [],
        "content_filter",
    ),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_responses_to_chat(row: tuple[list[Json], list[Json], str]) -> None:
    events, expected, reason = row
    chunks, transcoder = transcode([CREATED, *events])
    assert deltas(chunks) == expected
    assert chunks[-1]["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": reason}]
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    assert all(head.items() <= chunk.items() for chunk in chunks)
    assert transcoder.diagnostics == {}
    assert transcoder.done


def test_logprobs() -> None:
    chunks, _ = transcode(
        [CREATED, string("output_text.delta", part=0, delta="t", logprobs=LOGPROBS), ended()]
    )
    assert chunks[1]["choices"][0]["logprobs"] == {"content": LOGPROBS, "refusal": None}


def test_tokens_without_alternatives() -> None:
    given = [{"token": "t", "logprob": -1}]
    chunks, _ = transcode([CREATED, string("output_text.delta", part=0, delta="t", logprobs=given), ended()])
    assert chunks[1]["choices"][0]["logprobs"]["content"] == LOGPROBS


def test_log_probabilities_that_are_no_list_are_none() -> None:
    events = [CREATED, string("output_text.delta", part=0, delta="t", logprobs={"a": 1}), ended()]
    chunks, _ = transcode(events)
    assert chunks[1]["choices"][0]["logprobs"] is None


MESSAGE = {"type": "message", "id": "m", "content": [{"type": "output_text", "text": "t"}]}
ANSWER = {
    "object": "response",
    "id": "resp_1",
    "model": "m",
    "output": [MESSAGE, FUNCTION | {"arguments": "{}"}],
}


def test_an_answer_that_was_not_streamed() -> None:
    for body in (
        json.dumps({**ANSWER, "status": "completed"}),
        json.dumps({**ANSWER, "status": "completed"}, indent=1),
    ):
        transcoder = to_chat()
        chunks = Decoder(sentinel=None).feed(transcoder.feed(body.encode()) + transcoder.finish())
        added = deltas([chunk.json() for chunk in chunks[:-1]])
        assert added[0] == {"content": "t"}
        assert [call["function"]["arguments"] for d in added[1:] for call in d["tool_calls"]] == ["", "{}"]
        assert chunks[-2].json()["choices"][0]["finish_reason"] == "tool_calls"
        assert transcoder.diagnostics == {}
    for status, error in (("failed", {"code": "c", "message": "m"}), ("cancelled", None)):
        transcoder = to_chat()
        written = transcoder.feed_events([{**ANSWER, "status": status, "error": error}])
        assert written[-1]["error"]["code"] == (error or {"code": "cancelled"})["code"]
    transcoder = to_chat()
    assert transcoder.feed_events([{**ANSWER, "status": "in_progress"}]) == []
    assert transcoder.diagnostics == {"content_dropped": 1}


CITED = {"type": "url_citation", "url": "u", "title": "T", "start_index": 0, "end_index": 1}


def test_annotations_count_from_the_start_of_the_content() -> None:
    part = {"type": "output_text", "text": "ü", "annotations": [CITED, {"type": "file_path"}]}
    events = [
        CREATED,
        string("output_text.delta", 0, part=0, delta="é👋"),
        string("output_text.delta", 1, part=0, delta="ü"),
        string("output_text.annotation.added", 1, part=0, annotation=CITED),
        done({**MESSAGE, "content": [part]}, 1),
        string("output_text.delta", 2, part=0, delta="ü"),
        done({**MESSAGE, "content": [part]}, 2),
        ended(),
    ]
    chunks, transcoder = transcode(events)
    cited = [a["url_citation"] for delta in deltas(chunks) for a in delta.get("annotations", ())]
    assert [(each["start_index"], each["end_index"]) for each in cited] == [(2, 3), (3, 4)]
    assert transcoder.diagnostics == {"annotation_dropped": 1}


def test_what_stands_only_in_what_is_done_is_written() -> None:
    part = {"type": "output_text", "text": "t", "annotations": [CITED], "logprobs": LOGPROBS}
    for events in (
        [CREATED, done({**MESSAGE, "content": [part]}), ended()],
        [CREATED, string("output_text.done", part=0, text="t", logprobs=LOGPROBS),
         done({**MESSAGE, "content": [part]}), ended()],
        [{**ANSWER, "output": [{**MESSAGE, "content": [part]}], "status": "completed"}],
    ):  # fmt: skip
        chunks, transcoder = transcode(events)
        text, cited = deltas(chunks)
        assert text == {"content": "t"}
        assert cited["annotations"][0]["url_citation"] == {k: v for k, v in CITED.items() if k != "type"}
        assert chunks[1]["choices"][0]["logprobs"]["content"] == LOGPROBS
        assert transcoder.diagnostics == {}


def test_what_was_opened_and_comes_only_at_the_end() -> None:
    opened = added({**MESSAGE, "content": []})
    chunks, transcoder = transcode([CREATED, opened, ended(output=[MESSAGE])])
    assert deltas(chunks) == [{"content": "t"}]
    assert transcoder.diagnostics == {}


USAGE = {
    "input_tokens": 3,
    "input_tokens_details": {"cached_tokens": 1},
    "output_tokens": 4,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 7,
}


def test_usage_is_written_when_asked_for() -> None:
    chunks, _ = transcode([CREATED, ended(usage=USAGE)], include_usage=True)
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None, None]
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    chunks, _ = transcode([CREATED, ended(usage=USAGE)])
    assert all("usage" not in chunk for chunk in chunks)


NESTED = {"type": "error", "error": {"type": "t", "code": "c", "message": "m", "param": "p"}}


@pytest.mark.parametrize(
    ("events", "error"),
    [
        ([CREATED, NESTED, ended("failed", error={"code": "d", "message": "n"})], ("server_error", "d", "n")),
        ([CREATED, NESTED, ended("failed")], ("t", "c", "m")),
        ([CREATED, NESTED, ended("failed", error={"code": "c", "message": "m"})], ("t", "c", "m")),
        ([CREATED, NESTED], ("t", "c", "m")),
        ([{"type": "error", "code": "c", "message": "m"}], ("server_error", "c", "m")),
        ([{"error": {"code": "c", "message": "m"}}], ("server_error", "c", "m")),
        ([CREATED], ("server_error", "server_error", None)),
        ([], ("server_error", "server_error", None)),
        ([CREATED, ended("cancelled")], ("server_error", "cancelled", None)),
        ([CREATED, ended("incomplete", incomplete_details={"reason": "stream_truncated"})],
         ("server_error", "server_error", None)),
    ],
)  # fmt: skip
def test_errors(events: list[Json], error: tuple[str, str, str | None]) -> None:
    transcoder = to_chat()
    written = transcoder.feed(sse(events)) + transcoder.finish()
    assert written.endswith(b"\n\ndata: [DONE]\n\n")
    last = Decoder(sentinel=None).feed(written)[-2].json()["error"]
    assert (last["type"], last["code"]) == error[:2]
    assert error[2] in (None, last["message"])
    accumulator = ChatAccumulator()
    accumulator.feed(written)
    assert accumulator.terminal == "error"


def test_what_has_no_form_is_counted() -> None:
    search = {"type": "web_search_call", "id": "ws", "status": "in_progress"}
    events = [
        CREATED,
        added(search),
        string("web_search_call.searching"),
        string("web_search_call.completed"),
        done({"type": "reasoning", "summary": [], "encrypted_content": "gAAA"}, 1),
        string("output_text.annotation.added", 2, part=0, annotation={"type": "file_citation"}),
        {"type": "codex.rate_limits"},
        ended(),
        {"type": "response.output_text.delta", "delta": "late"},
    ]
    chunks, transcoder = transcode(events)
    assert deltas(chunks) == []
    assert transcoder.diagnostics == {
        "content_dropped": 1,
        "response.web_search_call.searching": 1,
        "response.web_search_call.completed": 1,
        "reasoning_dropped": 1,
        "annotation_dropped": 1,
        "codex.rate_limits": 1,
        "after_terminal": 1,
    }


def test_strict() -> None:
    transcoder = to_chat(strict=True)
    transcoder.feed_events(CREATED)
    with pytest.raises(DecodeError, match="bad_value"):
        transcoder.feed_events({"type": "response.output_text.delta", "delta": 1})
    assert b'"error"' in transcoder.finish()


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_recordings(path: Any) -> None:
    """The first response of each recording says the same as a completion."""
    events: list[Event] = [Event(line) for line in path.read_bytes().splitlines() if line.strip()]
    accumulator = ResponseAccumulator()
    transcoder = to_chat(include_usage=True)
    chunks: list[Event] = []
    for event in events:
        accumulator.feed(event)
        chunks += transcoder.feed_events(event)
        if transcoder.done:
            break
    accumulator.finish()
    chunks += transcoder.finish_events()
    chat = ChatAccumulator()
    chat.feed(chunks)
    # What was streamed cannot be taken back.
    if "delta_mismatch" not in transcoder.diagnostics:
        assert chat.output_text == accumulator.output_text
    made = [
        (call["name"], call["arguments"], call["call_id"])
        for call in accumulator.function_calls
        if call["type"] == "function_call"
    ]
    snapshot = chat.snapshot()
    calls = (
        snapshot["choices"][0]["message"].get("tool_calls", []) if snapshot and snapshot["choices"] else []
    )
    got = [
        (call["function"]["name"], call["function"]["arguments"], call["id"])
        for call in calls
        if call["type"] == "function"
    ]
    assert got == made
    if accumulator.status == "completed":
        assert chat.usage is None or chat.usage["total_tokens"] == accumulator.usage["total_tokens"]  # type: ignore[index]
        assert chat.terminal == "finish_reason"
    else:
        assert chat.terminal == "error"


def test_any_split() -> None:
    stream = sse([CREATED, *ROWS["function call"][0]])
    whole = to_chat().feed(stream)
    for cut in range(len(stream)):
        transcoder = to_chat()
        assert transcoder.feed(stream[:cut]) + transcoder.feed(stream[cut:]) == whole
    assert (
        json.loads(whole.split(b"\n\n")[-3].removeprefix(b"data: "))["choices"][0]["finish_reason"]
        == "tool_calls"
    )
