"""`penstock.lint`: legal streams and recordings pass, and every defect of the originals is found."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai_streams import RECORDINGS, sse

from penstock import Decoder, Finding, LimitExceeded, Limits, ResponseEmitter, lint
from penstock._penstock import _Linter

Events = list[dict[str, Any]]

EXCEPTIONS = {
    "openai-custom-tool.1": {"PS311", "PS412"},
    "openai-shell-container.1": {"PS501"},
}
"""What strict reading finds in recordings. Both are made by hand: the one without numbers and without
`custom_tool_call_input.done`, the other with deltas that are another sentence than its text."""


def legal() -> Events:
    """Reasoning, a message, and two calls side by side."""
    e = ResponseEmitter(model="m", id="resp_1", format="events", created_at=1)
    e.start()
    reasoning = e.open_item("reasoning", id="rs_1")
    e.reasoning_summary(reasoning, "think")
    e.close_item(reasoning)
    message = e.open_item("message", id="msg_1")
    e.text(message, "Hello ")
    e.text(message, "world")
    e.refusal(message, "no")
    e.close_item(message)
    first = e.open_item("function_call", id="fc_1", name="f", call_id="call_1")
    second = e.open_item("function_call", id="fc_2", name="g", call_id="call_2")
    e.arguments(first, '{"a":')
    e.arguments(second, "{}")
    e.arguments(first, "1}")
    e.close_item(first)
    e.close_item(second)
    e.complete()
    return [copy.deepcopy(event.json()) for event in e.take()]


def where(events: Events, kind: str, nth: int = 0) -> int:
    return [place for place, event in enumerate(events) if event["type"].endswith(kind)][nth]


def without(events: Events, *kinds: str) -> Events:
    return [event for event in events if not event["type"].endswith(kinds)]


def numbered(events: Events, start: int = 0) -> Events:
    return [{**event, "sequence_number": number} for number, event in enumerate(events, start)]


def codes(source: Any, **options: Any) -> list[str]:
    return [finding.code for finding in lint(source, **options)]


def test_a_legal_stream_in_every_form() -> None:
    events = legal()
    stream = sse(events)
    lines = b"\n".join(json.dumps(event).encode() for event in events)
    forms: list[Any] = [
        events,
        iter(events),
        stream,
        bytearray(stream),
        stream.decode().encode(),
        lines,
        [lines[:100], lines[100:]],
        [b"", b" ", b"\n", lines],
        b"\xef\xbb\xbf" + lines,
        [b"\n"] * 100 + [stream],
        [stream[place : place + 7] for place in range(0, len(stream), 7)],
        Decoder().feed(stream),
        [json.dumps(event) for event in events],
        [json.dumps(event).encode() for event in events],
    ]
    for form in forms:
        assert lint(form, strict=True) == []


def test_findings_say_what_and_where() -> None:
    events = legal()
    place = where(events, "output_text.delta")
    events[place]["output_index"] = 9
    (finding,) = lint(events, ignore=["text_mismatch"])
    assert finding == Finding(
        "PS201",
        "item_not_added",
        place,
        "response.output_text.delta",
        9,
        "The event is about an item that was never added.",
    )
    assert str(finding) == (
        f"PS201 event {place} response.output_text.delta (output_index 9): "
        "The event is about an item that was never added."
    )


def openai_agents(events: Events) -> Events:
    """Without the events that the original never sends, its ids all alike."""
    events = without(events, "in_progress", "output_text.done", "refusal.done", "arguments.done")
    for event in events:
        for holder in (event, event.get("item", {})):
            for key in ("id", "item_id"):
                if key in holder:
                    holder[key] = "__fake_id__"
    return numbered(events)


def same_index(events: Events) -> Events:
    """Reasoning and message at one index."""
    for event in events:
        if event.get("output_index") == 1:
            event["output_index"] = 0
    return events


def shifted_content_index(events: Events) -> Events:
    """The text streams at an index that counts the reasoning, and ends at another."""
    for event in events:
        if event["type"].endswith("output_text.delta"):
            event["content_index"] = 1
    return events


def announced_again(events: Events) -> Events:
    added = where(events, "output_item.added", 1)
    refusal = where(events, "refusal.delta")
    return numbered([*events[:refusal], events[added], *events[refusal:]])


def late_reasoning(events: Events) -> Events:
    """The reasoning item ends after the message."""
    done = where(events, "output_item.done")
    message = where(events, "output_item.done", 1)
    reordered = [*events[:done], *events[done + 1 : message + 1], events[done], *events[message + 1 :]]
    return numbered(reordered)


def completed_alone(events: Events) -> Events:
    return numbered(events[-1:])


def delta_stored(events: Events) -> Events:
    """The beginning of the arguments is kept but never sent."""
    del events[where(events, "arguments.delta")]
    return numbered(events)


def delta_stored_and_never_done(events: Events) -> Events:
    """The same, and the arguments never end: two defects, although both show in one event."""
    return numbered(without(delta_stored(events), "arguments.done"))


def order_of_output(events: Events) -> Events:
    events[-1]["response"]["output"].reverse()
    return events


def length_completed(events: Events) -> Events:
    """Cut by length, yet completed."""
    done = events[where(events, "output_item.done", 3)]
    done["item"]["status"] = "incomplete"
    return events


def litellm_fake(events: Events) -> Events:
    """Deltas on the response's id, then completed: nothing else."""
    deltas = [event for event in events if event["type"].endswith("output_text.delta")]
    for event in deltas:
        event.update(item_id="resp_1", output_index=0)
    return [*deltas, events[-1]]


def litellm_synthetic(events: Events) -> Events:
    """Everything is announced with its whole content, and the response with its usage."""
    final = events[-1]["response"]
    for event in events:
        if event["type"].endswith("output_item.added"):
            event["item"] = final["output"][event["output_index"]]
        if event["type"].endswith("content_part.added"):
            event["part"] = final["output"][event["output_index"]]["content"][event["content_index"]]
    events[0]["response"]["usage"] = {"total_tokens": 3}
    return events


def litellm_numbers(events: Events) -> Events:
    """From 1 on, and not on every event."""
    events = numbered(events, 1)
    del events[5]["sequence_number"]
    return events


def lost_text(events: Events) -> Events:
    """A chunk with reasoning and content loses its content."""
    del events[where(events, "output_text.delta")]
    return numbered(events)


def custom_as_function(events: Events) -> Events:
    """A custom tool call streamed as the arguments of a function."""
    for event in events:
        item = event.get("item")
        if item and item.get("id") == "fc_1":
            event["item"] = {
                "id": "fc_1",
                "type": "custom_tool_call",
                "status": item["status"],
                "call_id": "call_1",
                "name": "f",
                "input": "",
            }
    return events


def message_completed_response_incomplete(events: Events) -> Events:
    events[-1]["type"] = "response.incomplete"
    return events


def tensorrt(events: Events) -> Events:
    """Empty item ids."""
    for event in events:
        if "item_id" in event:
            event["item_id"] = ""
    return events


def done_elsewhere(events: Events) -> Events:
    """The index counts on before the done events."""
    for event in events:
        if event["type"].endswith(("output_item.done", "_part.done", "_text.done")):
            event["output_index"] += 1
    return events


def reasoning_as_output_text(events: Events) -> Events:
    e = ResponseEmitter(model="m", format="events")
    e.start()
    e.reasoning_text(e.open_item("reasoning"), "raw")
    e.cancel()
    events = [copy.deepcopy(event.json()) for event in e.take()]
    events[where(events, "content_part.added")]["part"]["type"] = "output_text"
    return without(events, "content_part.done")


def fresh_ids(events: Events) -> Events:
    for item in events[-1]["response"]["output"]:
        item["id"] = "fresh_" + item["id"]
    return events


def no_terminal(events: Events) -> Events:
    return events[:-1]


def always_completed(events: Events) -> Events:
    events[-1]["response"]["status"] = "incomplete"
    return events


def error_only(events: Events) -> Events:
    return [*events[:2], {"type": "error", "sequence_number": 2, "message": "x"}]


def after_the_end(events: Events) -> Events:
    return numbered([*events, events[5]])


def open_item(events: Events) -> Events:
    return numbered(without(events, "output_item.done"))


def empty_output(events: Events) -> Events:
    events[-1]["response"]["output"] = []
    return events


def other_call_at_the_end(events: Events) -> Events:
    events[-1]["response"]["output"][2]["call_id"] = "call_fresh"
    return events


def other_call_when_done(events: Events) -> Events:
    for item in (events[where(events, "item.done", 2)]["item"], events[-1]["response"]["output"][2]):
        item["name"] = "other"
    return events


def other_name_of_arguments(events: Events) -> Events:
    events[where(events, "arguments.done")]["name"] = "other"
    return events


def prefilled_with_no_list(events: Events) -> Events:
    events[where(events, "item.added", 1)]["item"]["content"] = "Hello world"
    return events


def other_response(events: Events) -> Events:
    events[-1]["response"]["id"] = "resp_other"
    return events


DEFECTS: list[tuple[Callable[[Events], Events], set[str]]] = [
    # semantics of openai-agents: its missing events, ids, indices, order and ends
    (openai_agents, {"PS103", "PS211", "PS307"}),
    (same_index, {"PS202"}),
    (shifted_content_index, {"PS301", "PS302"}),
    (announced_again, {"PS202"}),
    (late_reasoning, set()),
    (completed_alone, {"PS101"}),
    (delta_stored, {"PS501"}),
    (delta_stored_and_never_done, {"PS307", "PS503"}),
    (order_of_output, {"PS504"}),
    (length_completed, {"PS111"}),
    # LiteLLM: its fake streams and its bridge
    (litellm_fake, {"PS101"}),
    (litellm_synthetic, {"PS207", "PS309", "PS112"}),
    (litellm_numbers, {"PS402", "PS401"}),
    (lost_text, {"PS501"}),
    (custom_as_function, {"PS208"}),
    (message_completed_response_incomplete, {"PS108"}),
    # TensorRT-LLM: its emission of Harmony
    (tensorrt, {"PS404"}),
    (done_elsewhere, {"PS204", "PS301"}),
    (reasoning_as_output_text, {"PS305"}),
    (fresh_ids, {"PS504"}),
    (other_call_at_the_end, {"PS504"}),
    (other_call_when_done, {"PS213"}),
    (other_name_of_arguments, {"PS213"}),
    (prefilled_with_no_list, {"PS207"}),
    (no_terminal, {"PS105"}),
    (always_completed, {"PS108"}),
    # others
    (error_only, {"PS106"}),
    (after_the_end, {"PS104"}),
    (open_item, {"PS110"}),
    (empty_output, {"PS505"}),
    (other_response, {"PS109"}),
]


@pytest.mark.parametrize(("defect", "expected"), DEFECTS, ids=lambda value: getattr(value, "__name__", ""))
def test_defects_of_the_originals(defect: Callable[[Events], Events], expected: set[str]) -> None:
    found = codes(defect(legal()))
    assert expected <= set(found), found
    assert bool(found) == bool(expected)


def test_a_late_reasoning_item_is_for_strict_readers() -> None:
    assert set(codes(late_reasoning(legal()), strict=True)) == {"PS210"}


NO_OBJECTS: list[tuple[Callable[[Events], Any], Any]] = [
    (lambda events: events[where(events, "item.added", 1)]["item"], "content"),
    (lambda events: events[where(events, "item.done", 1)]["item"], "content"),
    (lambda events: events[where(events, "item.done", 0)]["item"], "summary"),
]


@pytest.mark.parametrize(("holder", "key"), NO_OBJECTS)
def test_parts_that_are_no_objects(holder: Callable[[Events], Any], key: str) -> None:
    events = legal()
    holder(events)[key] = [1]
    assert codes(events) == ["PS406"]


@pytest.mark.parametrize("output", [5, "x", {"a": 1}])
def test_output_that_is_no_list(output: Any) -> None:
    events = legal()
    events[-1]["response"]["output"] = output
    assert codes(events) == ["PS406"]


@given(st.data())
def test_whatever_comes_is_a_finding(data: st.DataObject) -> None:
    events = legal()
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "id", "text"]), inner)
        ),
    )
    for _ in range(data.draw(st.integers(1, 3))):
        holder = data.draw(st.sampled_from(events))
        for key in ("item", "part", "response"):
            if isinstance(holder.get(key), dict) and data.draw(st.booleans()):
                holder = holder[key]
        holder[data.draw(st.sampled_from(sorted(holder)))] = data.draw(values)
    for finding in lint(events, strict=True):
        assert str(finding).startswith(f"{finding.code} event ")


def test_annotations_that_never_streamed_are_for_strict_readers() -> None:
    events = legal()
    annotations = [{"type": "file_path", "file_id": "f", "index": 0}]
    events[where(events, "content_part.done")]["part"]["annotations"] = annotations
    assert codes(events) == []
    assert codes(events, strict=True) == ["PS507"]


def test_searches_for_tools_may_change_their_call() -> None:
    e = ResponseEmitter(model="m", format="events")
    e.start()
    item = e.open_item("tool_search_call", call_id="a", members={"arguments": {}, "execution": "client"})
    e.close_item(item, members={"call_id": "b"})
    e.complete()
    assert codes(e.take(), strict=True) == []


def test_frames_must_bear_their_type() -> None:
    stream = sse(legal()).replace(b"event: response.created", b"event: message")
    assert codes(stream) == ["PS407"]


@pytest.mark.parametrize("source", [b"", [], "", b": comment\n\n"])
def test_nothing_at_all_has_no_terminal(source: Any) -> None:
    expected = ["PS409"] if source == "" else ["PS105"]
    assert codes(source)[:1] == expected


def test_options() -> None:
    cut = legal()[:-1]
    assert codes(cut, ignore="PS105") == codes(cut, ignore=["no_terminal"]) == []
    with pytest.raises(ValueError, match="PS999"):
        lint(cut, ignore=["PS999"])
    with pytest.raises(LimitExceeded):
        lint(legal(), limits=Limits(max_message_bytes=5))
    with pytest.raises(TypeError):
        lint([3])  # type: ignore[list-item]
    assert len(lint([{}] * 100, limits=Limits(max_parts=10))) == 10


def test_rules_are_named_once() -> None:
    rules = _Linter.rules()
    assert len({code for code, *_ in rules}) == len({name for _, name, *_ in rules}) == len(rules) > 45
    assert all(code[:2] == "PS" and len(code) == 5 and sentence[-1] == "." for code, _, _, sentence in rules)


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="no recordings")
def test_recordings_are_legal() -> None:
    files = sorted((RECORDINGS / "responses").glob("*.jsonl"))
    assert files
    strict_only = {code for code, _, strict, _ in _Linter.rules() if strict}
    for file in files:
        expected = EXCEPTIONS.get(file.name.removesuffix(".jsonl"), set())
        data = file.read_bytes()
        assert set(codes(data, strict=True)) == expected, file.name
        assert set(codes(data)) == expected - strict_only, file.name
        assert codes(data, ignore=expected, strict=True) == []


def penstock(*arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "penstock", "lint", *arguments]
    return subprocess.run(command, input=data, capture_output=True, timeout=20, check=False)


def test_the_command(tmp_path: Path) -> None:
    file = tmp_path / "stream.sse"
    file.write_bytes(sse(legal()))
    assert penstock(str(file)).returncode == 0
    cut = sse(late_reasoning(legal())[:-1])
    done = penstock("-", data=cut)
    assert (done.returncode, done.stderr) == (1, b"")
    assert done.stdout.decode().startswith("PS105 event ")
    assert penstock("-", "--ignore", "PS105", data=cut).returncode == 0
    strict = penstock("-", "--strict", "--json", data=cut)
    rows = [json.loads(line) for line in strict.stdout.splitlines()]
    assert [row["code"] for row in rows] == ["PS210", "PS105"]
    assert rows[0].keys() == set(Finding._fields)
    lines = b"\n".join(json.dumps(event).encode() for event in legal())
    assert penstock("-", data=lines).returncode == 0
    wrong = penstock("-", "--ignore", "PS999", data=cut)
    assert (wrong.returncode, wrong.stdout) == (2, b"")
    assert penstock(str(tmp_path / "absent")).returncode == 2
    assert penstock("-", data=b"{} x\n{\n").returncode == 1
    assert b"PS101" in penstock("--help").stdout


def test_the_pytest_plugin(tmp_path: Path) -> None:
    file = tmp_path / "test_mine.py"
    file.write_text(
        f"""
LEGAL = {sse(legal())!r}

def test_legal(assert_legal_stream):
    assert_legal_stream(LEGAL, strict=True)

def test_cut(assert_legal_stream):
    assert_legal_stream(LEGAL[:300])

def test_many(assert_legal_stream):
    assert_legal_stream([{{}}] * 50)

def test_ignored(assert_legal_stream):
    assert_legal_stream([], ignore=["PS105"])
"""
    )
    command = [sys.executable, "-m", "pytest", "-q", str(file), "--rootdir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "2 failed, 2 passed" in done.stdout, done.stdout
    for line in ("no legal Responses stream:", "PS105 event", "… and 30 more"):
        assert line in done.stdout
