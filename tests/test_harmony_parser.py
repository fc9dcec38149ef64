"""`HarmonyParser`: each channel, recipient and ending as a row, in any split, and each old bug as a test."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable

import pytest
from harmony_oracle import messages
from harmony_support import (
    ANALYSIS,
    CALL,
    FINAL,
    MALFORMED,
    MESSAGES,
    REASONS,
    TEXTS,
    USAGE,
    Json,
    brief,
    checked,
    final_items,
    outline,
    output,
    parser,
    same,
    written,
)
from hypothesis import given
from hypothesis import strategies as st

from penstock import DecodeError, Decoder, Event, IllegalEvent, LimitExceeded, Limits, lint
from penstock.harmony import harmony_to_items


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


@pytest.mark.parametrize("text", TEXTS)
def test_any_split_says_the_same(text: str) -> None:
    whole = written([text])
    for pieces in ([text[:cut], text[cut:]] for cut in range(len(text))):
        assert same(written(pieces), whole)
    assert same(written(text), whole)


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


def test_without_a_reason_only_the_model_completes() -> None:
    for text, status in [
        ("", "failed"),
        (ANALYSIS, "failed"),
        (ANALYSIS + FINAL.removesuffix("<|return|>"), "failed"),
        (ANALYSIS + FINAL.replace("<|return|>", "<|end|>"), "failed"),
        (FINAL, "completed"),
        (CALL, "completed"),
        (FINAL.replace("<|return|>", "<|endoftext|>"), "completed"),
        (FINAL + ANALYSIS, "failed"),
        (CALL + "<|start|>assistant", "failed"),
    ]:
        events = written([text], None)
        assert events[-1]["type"] == f"response.{status}", text
        if status == "failed":
            assert events[-1]["response"]["error"]["message"] == "the model's text ended before its turn did"
            made = parser(truncated="incomplete")
            assert lint(made.feed(text) + made.finish(), strict=True) == []
            assert (made.final() or {})["incomplete_details"] == {"reason": "stream_truncated"}


def test_what_is_whole_stays_whole_when_the_rest_is_cut() -> None:
    *items, last = output(written([ANALYSIS, CALL, FINAL.removesuffix("<|return|>")], "length"))
    assert [item.get("status") for item in items] == [None, "completed"]
    assert last["status"] == "incomplete"
    assert last["content"][0]["text"] == "Hi"


def test_fail_and_cancel() -> None:
    made = parser(format="events")
    events = made.feed("<|channel|>final<|message|>Hi")
    events += made.fail("CUDA out of memory", code="rate_limit_exceeded")
    assert made.fail("again") == made.cancel() == made.finish("stop") == made.feed("more") == []
    *_, error, failed = checked(made, events)
    assert (error["type"], error["code"], error["message"]) == (
        "error",
        "rate_limit_exceeded",
        "CUDA out of memory",
    )
    assert failed["response"]["error"] == {"code": "rate_limit_exceeded", "message": "CUDA out of memory"}

    made = parser(format="events")
    events = made.feed("<|channel|>final<|message|>Hi<|") + made.cancel()
    assert brief(output(checked(made, events))[0])[-1] == "Hi<|"
    assert events[-1].type == "response.cancelled"


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_text_is_taken_for_what_it_says(name: str) -> None:
    text, expected, diagnostics = MALFORMED[name]
    made = parser(format="events")
    events = checked(made, [*made.feed(text), *made.finish("stop")])
    assert [brief(item) for item in output(events)] == expected
    assert made.diagnostics == diagnostics


@pytest.mark.parametrize("name", [name for name, row in MALFORMED.items() if row[2]])
def test_strict_refuses_what_is_malformed(name: str) -> None:
    text, _, diagnostics = MALFORMED[name]
    made = parser(format="events", strict=True)
    before = made.feed("")
    with pytest.raises(DecodeError) as caught:
        made.feed(text + "<|return|>")
    assert caught.value.reason in diagnostics
    with pytest.raises(DecodeError, match=caught.value.reason):
        made.feed("more")
    assert checked(made, [*before, *made.finish("stop")])[-1]["type"] == "response.failed"


def test_reasoning_as_summary() -> None:
    events = written([ANALYSIS, FINAL], reasoning="summary")
    assert output(events)[0]["summary"] == [{"type": "summary_text", "text": "Think."}]
    assert "reasoning_summary_text.delta" in outline(events)


def test_custom_tools_and_containers() -> None:
    text = "<|channel|>commentary to=functions.patch<|message|>*** Begin<|call|>"
    events = written([text], custom_tools=["other", "patch"])
    assert [brief(item) for item in output(events)] == [("custom_tool_call", "patch", "*** Begin")]
    assert "custom_tool_call_input.delta" in outline(events)
    text = "<|channel|>analysis to=python<|message|>1<|call|>"
    [item] = output(written([text], container_id="cntr_1"))
    assert item["container_id"] == "cntr_1"


def test_events_of_each_kind_of_item() -> None:
    start, end = ["created", "in_progress"], ["completed"]
    for text, expected in [
        (ANALYSIS, ["reasoning_text.delta", "reasoning_text.done"]),
        (FINAL, ["output_text.delta", "output_text.done"]),
    ]:
        added, done = ["output_item.added", "content_part.added"], ["content_part.done", "output_item.done"]
        assert outline(written([text])) == [*start, *added, *expected, *done, *end]
    for text, expected in [
        (CALL, ["function_call_arguments.delta", "function_call_arguments.done"]),
        (
            "<|channel|>analysis to=python<|message|>1<|call|>",
            [
                "code_interpreter_call.in_progress",
                "code_interpreter_call_code.delta",
                "code_interpreter_call_code.done",
            ],
        ),
        (
            "<|channel|>analysis to=browser.search<|message|>{}<|call|>",
            [f"web_search_call.{status}" for status in ("in_progress", "searching", "completed")],
        ),
    ]:
        assert outline(written([text])) == [*start, "output_item.added", *expected, "output_item.done", *end]


SPECIAL = ["start", "end", "message", "channel", "constrain", "call", "return", "startoftext", "unheard_of"]
HEADERS = [
    "<|channel|>analysis",
    "<|channel|>final",
    "<|channel|>commentary",
    "<|channel|>commentary to=functions.f <|constrain|>json",
    " to=functions.g<|channel|>commentary",
    "<|channel|>analysis to=python code",
    "<|channel|>analysis to=browser.search code",
]
PIECES = st.lists(st.sampled_from(["a", "é😀", "\n", ">", '"', "{}", "\u2028", " "]), max_size=4).map("".join)
SAID = st.lists(
    st.tuples(st.sampled_from(HEADERS), PIECES, st.sampled_from(["<|end|>", "<|call|>"])), max_size=4
).map(lambda said: "<|start|>assistant".join(f"{head}<|message|>{text}{end}" for head, text, end in said))
ANYTHING = st.lists(
    st.sampled_from(
        [
            *(f"<|{name}|>" for name in SPECIAL),
            *[
                "assistant",
                "user",
                " to=functions.f",
                "analysis",
                "final",
                "commentary",
                " json",
                "Hi",
                "é😀",
            ],
            *["<|", "<", "|>", "\n", "<|en"],
        ]
    ),
    max_size=12,
).map("".join)
CUTS = st.lists(st.integers(0, 200), max_size=6)


@given(SAID)
def test_well_formed_text_is_what_the_oracle_reads(text: str) -> None:
    ids = itertools.count()
    expected = harmony_to_items(messages(text), ids=lambda prefix: f"{prefix}{next(ids)}")
    assert output(written([text])) == expected


@given(st.one_of(SAID, ANYTHING), CUTS, st.sampled_from([None, *REASONS]))
def test_any_text_in_any_split_says_the_same(text: str, cuts: list[int], reason: str | None) -> None:
    data = text.encode()
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    pieces = [data[start:end] for start, end in itertools.pairwise(places)]
    assert same(written(pieces, reason), written([data], reason))


@pytest.mark.parametrize(
    "text", [*(row[0] for row in MESSAGES.values()), *(row[0] for row in MALFORMED.values())]
)
def test_formats_say_the_same(text: str) -> None:
    events = written([text])
    sse = parser()
    decoded = Decoder().feed(sse.feed(text) + sse.finish("stop", usage=USAGE))
    assert [event.json() for event in decoded] == events
    assert all(event.name == event.type for event in decoded)
    sockets = parser(format="websocket", stream_id="lane")
    texts = sockets.feed(text) + sockets.finish("stop", usage=USAGE)
    assert [json.loads(text) for text in texts] == [{**event, "stream_id": "lane"} for event in events]


def test_options_of_the_writer() -> None:
    made = parser(escape_separators=True, echo={"instructions": "be"}, pad_to=64)
    stream = made.feed("<|channel|>final<|message|>a\u2028b") + made.finish("stop")
    assert "\u2028".encode() not in stream
    assert b"obfuscation" in stream
    assert (made.final() or {})["instructions"] == "be"
    assert made.id == "resp_1"
    assert repr(made) == "<HarmonyParser finished>"
    assert repr(parser()) == "<HarmonyParser open>"


def test_wrong_options() -> None:
    wrong: list[tuple[Json, type[Exception]]] = [
        ({"format": "xml"}, ValueError),
        ({"reasoning": "none"}, ValueError),
        ({"truncated": "completed"}, ValueError),
        ({"created_at": -1}, ValueError),
        ({"pad_to": 0}, ValueError),
        ({"ids": "msg_1"}, TypeError),
        ({"custom_tools": [1]}, TypeError),
        ({"id": "a\nb"}, IllegalEvent),
        ({"echo": {"output": []}}, IllegalEvent),
        ({"echo": "{"}, DecodeError),
    ]
    for options, error in wrong:
        with pytest.raises(error):
            parser(**options)
    made = parser()
    with pytest.raises(ValueError, match='reason is "stop"'):
        made.finish("finished")
    assert not made.finished
    with pytest.raises(TypeError):
        made.feed(1)  # type: ignore[arg-type]


def test_what_the_generator_of_ids_raises_is_raised() -> None:
    def ids(prefix: str) -> str:
        if prefix == "msg_":
            raise KeyError(prefix)
        return prefix + "1"

    made = parser(ids=ids)
    with pytest.raises(KeyError, match="msg_"):
        made.feed(FINAL)
    assert b"response.failed" in made.finish("stop")
    with pytest.raises(KeyError, match="msg_"):
        harmony_to_items([{"role": "assistant", "channel": "final", "content": "Hi"}], ids=ids)


@pytest.mark.parametrize(
    ("limits", "text", "limit"),
    [
        (Limits(max_message_bytes=20), "<|channel|>final<|message|>" + "a" * 30, "max_message_bytes"),
        (Limits(max_message_bytes=20), "<|start|>" + "a" * 30, "max_message_bytes"),
        (
            Limits(max_message_bytes=200),
            "<|channel|>analysis to=browser.find<|message|>" + "a" * 300,
            "max_message_bytes",
        ),
        (Limits(max_parts=3), ANALYSIS * 3, "max_parts"),
        (Limits(max_tool_calls=2), CALL * 3, "max_tool_calls"),
    ],
)
def test_limits_end_the_response_as_failed(limits: Limits, text: str, limit: str) -> None:
    made = parser(format="events", limits=limits)
    with pytest.raises(LimitExceeded) as caught:
        made.feed(text)
    assert caught.value.limit == limit
    with pytest.raises(LimitExceeded):
        made.feed("more")
    *_, failed = checked(made, made.finish("stop"))
    assert failed["response"]["status"] == "failed"
    assert limit in failed["response"]["error"]["message"]


def test_a_long_answer_is_read_in_linear_time_and_kept_once() -> None:
    made = parser(limits=Limits(max_message_bytes=None))
    made.feed("<|channel|>final<|message|>")
    for _ in range(50_000):
        made.feed("<a ")
    made.finish("stop")
    assert final_items(made)[0]["content"][0]["text"] == "<a " * 50_000


def test_the_emission_bugs_of_tensorrt_llm_are_gone() -> None:
    """Each numbered as in the list of what its `ResponsesStreaming` did with Harmony."""
    made = parser(format="events")
    events = made.feed(  # 4 and 5: many tokens and a change of message in one piece
        "<|channel|>analysis<|message|>One two three.<|end|><|start|>assistant" + CALL + FINAL
    )
    events += made.finish("stop", usage=USAGE)
    told = checked(made, events)
    final = told[-1]["response"]

    ids = {index: item["id"] for index, item in enumerate(final["output"])}
    for event in told:
        if "item_id" in event:  # 1: no id is empty; 8: the final items have the ids that were streamed
            assert event["item_id"] == ids[event["output_index"]]
    done = [event for event in told if event["type"] == "response.output_item.done"]
    assert [event["item"] for event in done] == final["output"]
    # 3: the done events stand at the index that was announced
    assert [event["output_index"] for event in done] == [0, 1, 2]
    # 4, 5: all text is delivered, and every item closed
    assert [brief(item)[1] for item in final["output"]] == ["One two three.", "f", "final_answer"]
    # 6: arguments stream
    assert "response.function_call_arguments.delta" in {event["type"] for event in told}
    # 7: the part of reasoning is announced as what it is, and closed
    parts = [event["part"]["type"] for event in told if event["type"].startswith("response.content_part")]
    assert parts == ["reasoning_text"] * 2 + ["output_text"] * 2
    # 9: every event has its number
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    assert final["usage"] == USAGE


def test_parts_of_one_message_have_an_index_each() -> None:
    """2: `content_index` never advanced."""
    message = {"role": "assistant", "channel": "final", "content": [{"text": "a"}, {"text": "b"}]}
    [item] = harmony_to_items([message])
    assert [part["text"] for part in item["content"]] == ["a", "b"]


def test_an_empty_generator_is_a_failure() -> None:
    """10: no output at all left the stream without a final response."""
    assert outline(written([], None)) == ["created", "in_progress", "error", "failed"]
    assert outline(written([], "stop")) == ["created", "in_progress", "completed"]


def test_an_exception_of_the_engine_ends_the_stream() -> None:
    """11: it left the stream without a terminal event."""

    def engine() -> Iterable[str]:
        yield "<|channel|>analysis<|message|>Thi"
        raise RuntimeError("CUDA error")

    made = parser(format="events")
    events: list[Event] = []
    try:
        for piece in engine():
            events += made.feed(piece)
    except RuntimeError as error:
        events += made.fail(str(error))
    assert outline(checked(made, events))[-2:] == ["error", "failed"]
    assert final_items(made)[0]["status"] == "incomplete"


def test_the_terminal_event_is_that_of_the_reason() -> None:
    """12: it was `response.completed` whatever had happened."""
    for reason, (status, _) in REASONS.items():
        assert written([FINAL], reason)[-1]["type"] == f"response.{status}"
