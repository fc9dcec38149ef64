"""`ResponseAccumulator`: vectors in every carrier and cut, a naive twin on recorded streams, cuts, limits."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from feeding import feedings
from hypothesis import given
from hypothesis import strategies as st
from openai_streams import RECORDINGS, responses_stream, sse
from responses_oracle import Oracle

from penstock import (
    ConcurrencyError,
    DecodeError,
    Decoder,
    Event,
    IncompleteStream,
    InternalError,
    LimitExceeded,
    Limits,
    ResponseAccumulator,
)
from penstock._penstock import _panic_next

Json = dict[str, Any]

ROWS = [
    {**json.loads(line), "file": path.stem}
    for path in sorted((Path(__file__).parent / "vectors" / "responses").glob("*.jsonl"))
    for line in path.read_text("ascii").splitlines()
]
FILES = sorted((RECORDINGS / "responses").glob("*.jsonl"))
TERMINAL = {"response.completed", "response.incomplete", "response.failed", "response.cancelled"}

# What servers change between an item they have finished and the response they end with.
SERVER_CHANGED = {"encrypted_content", "fingerprint"}
# What deltas have; the rest comes with finished items only.
STREAMED = {"text", "refusal", "arguments", "input", "diff", "commands"}

recordings = pytest.mark.parametrize(
    "recording",
    [pytest.param(path.read_bytes().splitlines(), id=path.stem) for path in FILES]
    or [pytest.param([], marks=pytest.mark.skip(reason="no recordings"))],
)
vectors = pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['file']}: {row['name']}")

CREATED = {"type": "response.created", "response": {"id": "r", "status": "in_progress", "output": []}}
COMPLETED = {"type": "response.completed", "response": {"id": "r", "status": "completed", "output": []}}


def payload(event: Any) -> str:
    """A vector's event as its payload."""
    if isinstance(event, str):
        return event
    return json.dumps(event["data"] if "event" in event else event)


def frame(event: Any) -> Event:
    return Event(
        payload(event), name=event["event"] if isinstance(event, dict) and "event" in event else None
    )


def stream(row: Json) -> bytes:
    """A vector as the event stream a server would send."""
    events = [frame(event) for event in row["events"]]
    names = [f"event: {each.name}\n" if each.name else "" for each in events]
    return b"".join(
        name.encode() + b"data: " + each.data + b"\n\n" for name, each in zip(names, events, strict=True)
    )


def fed(*pieces: Any, finish: bool = True, **options: Any) -> ResponseAccumulator:
    accumulator = ResponseAccumulator(**options)
    for piece in pieces:
        accumulator.feed(piece)
    if finish:
        accumulator.finish()
    return accumulator


def of_row(row: Json, *pieces: Any) -> ResponseAccumulator:
    return fed(*pieces, finish=row.get("finish", True), resume_after=row.get("resume_after"))


def pointed(document: Any, pointer: str) -> Any:
    for part in pointer.split("/")[1:]:
        document = document[int(part) if isinstance(document, list) else part]
    return document


def said(accumulator: ResponseAccumulator) -> list[Any]:
    """Everything an accumulator says; equal for equal streams."""
    return [
        accumulator.snapshot(),
        accumulator.terminal,
        accumulator.status,
        accumulator.truncated,
        accumulator.usage,
        accumulator.error,
        accumulator.output_text,
        accumulator.function_calls,
        accumulator.audio,
        accumulator.transcript,
        accumulator.images,
        accumulator.tokens,
        accumulator.lanes,
        accumulator.sequence_number,
        accumulator.diagnostics,
        accumulator.responses,
    ]


def delta(kind: str, text: str, index: int = 0, **members: Any) -> Json:
    return {"type": f"response.{kind}.delta", "output_index": index, "delta": text, **members}


def text_delta(text: str) -> Json:
    return delta("output_text", text, content_index=0)


def added(item: Json, index: int = 0) -> Json:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


@vectors
def test_vectors(row: Json) -> None:
    accumulator = of_row(row, *map(frame, row["events"]))
    snapshot = accumulator.snapshot()
    if "snapshot" in row:
        assert snapshot == row["snapshot"]
    for pointer, expected in row.get("expect", {}).items():
        assert pointed(snapshot, pointer) == expected, pointer
    for pointer in row.get("missing", ()):
        with pytest.raises((KeyError, IndexError)):
            pointed(snapshot, pointer)
    assert accumulator.terminal == row.get("terminal")
    assert accumulator.truncated == row.get("truncated", False)
    assert accumulator.diagnostics == row["diagnostics"]
    assert [response["status"] for response in accumulator.responses] == row.get("responses", [])
    attributes = {
        "text": accumulator.output_text,
        "status": accumulator.status,
        "error": accumulator.error,
        "usage": accumulator.usage,
        "calls": accumulator.function_calls,
        "deltas": accumulator.tokens,
        "audio": accumulator.audio and accumulator.audio.decode(),
        "transcript": accumulator.transcript,
    }
    for name, found in attributes.items():
        if name in row:
            assert found == row[name], name
    for index, image in row.get("images", {}).items():
        assert image.items() <= accumulator.images[int(index)].items()
    for stream_id, lane in row.get("lanes", {}).items():
        view = accumulator.lane(stream_id or None)
        assert (view.output_text, view.terminal) == (lane["text"], lane["terminal"])
        assert (stream_id or None) in accumulator.lanes


@vectors
def test_every_carrier_says_the_same(row: Json) -> None:
    events = [frame(each) for each in row["events"]]
    expected = said(of_row(row, *events))
    assert said(of_row(row, events)) == expected
    assert said(of_row(row, tuple(events))) == expected
    if not any(each.name for each in events):
        assert said(of_row(row, *map(payload, row["events"]))) == expected
        assert said(of_row(row, *map(payload, row["events"][:1]), row["events"][1:])) == expected
    if b"" not in [each.data for each in events]:  # a stream has no events without data
        assert said(of_row(row, stream(row))) == expected
        assert said(of_row(row, *Decoder(sentinel=None).feed(stream(row)))) == expected


@vectors
def test_every_cut_says_the_same(row: Json) -> None:
    data = stream(row)
    expected = said(of_row(row, data))
    for pieces in (
        feedings(data, random_splits=2)
        if len(data) <= 700
        else ([data[:500], data[500:]], [data[:650], data[650:]])
    ):
        assert said(of_row(row, *pieces)) == expected


@vectors
def test_strict_names_the_rule_and_changes_nothing(row: Json) -> None:
    accumulator = ResponseAccumulator(strict=True, resume_after=row.get("resume_after"))
    rules = []
    for event in map(frame, row["events"]):
        before = accumulator.snapshot(), accumulator.output_text, accumulator.function_calls
        try:
            accumulator.feed(event)
        except DecodeError as refused:
            rules.append(refused.reason)
            assert (accumulator.snapshot(), accumulator.output_text, accumulator.function_calls) == before
    json_rules = {"unexpected_end", "unexpected_byte", "trailing_data"}
    first = next(("json" if rule in json_rules else rule for rule in rules), None)
    assert first == row.get("strict")


@recordings
def test_recordings_equal_the_oracle_at_every_event(recording: list[bytes]) -> None:
    oracle = Oracle()
    accumulator = ResponseAccumulator()
    step = max(1, len(recording) // 100)
    for number, line in enumerate(recording):
        oracle.feed(json.loads(line))
        accumulator.feed(line)
        if number % step == 0 or number + 20 > len(recording):
            assert accumulator.snapshot() == oracle.response
    assert accumulator.responses == oracle.responses
    accumulator.finish()
    assert accumulator.diagnostics.keys() <= {"delta_mismatch"}
    assert said(fed(*map(json.loads, recording))) == said(accumulator)
    assert said(fed(b"".join(b"data: " + line + b"\n\n" for line in recording))) == said(accumulator)


def without(value: Any, keys: set[str]) -> Any:
    if isinstance(value, dict):
        return {key: without(each, keys) for key, each in value.items() if key not in keys}
    return [without(each, keys) for each in value] if isinstance(value, list) else value


def leaves(value: Any, keys: set[str]) -> list[Any]:
    """What stands under the keys, in order."""
    if isinstance(value, list):
        return [leaf for each in value for leaf in leaves(each, keys)]
    if not isinstance(value, dict):
        return []
    return [
        leaf
        for key, each in sorted(value.items())
        for leaf in ([each] if key in keys and isinstance(each, (str, list)) else leaves(each, keys))
        if leaf
    ]


@recordings
def test_the_output_is_rebuilt_without_looking_at_the_end(recording: list[bytes]) -> None:
    events = [json.loads(line) for line in recording]
    expected = [event["response"] for event in events if event["type"] in TERMINAL]
    for event in events:
        if event["type"] in TERMINAL:
            event["response"] = {**event["response"], "output": []}
    rebuilt = fed(*events).responses
    assert without(rebuilt, SERVER_CHANGED) == without(expected, SERVER_CHANGED)
    # Deltas alone have all that is streamed.
    of_deltas = fed(*(event for event in events if event["type"] != "response.output_item.done"))
    announced = [event["item"]["type"] for event in events if event["type"] == "response.output_item.added"]
    for built, whole in zip(of_deltas.responses, expected, strict=True):
        if {"local_shell_call", "apply_patch_call", "program"}.isdisjoint(announced):
            output = without(whole["output"], {"results"})
            assert leaves(built["output"], STREAMED) == leaves(output, STREAMED)


@recordings
def test_recordings_cut_anywhere_never_complete_falsely(recording: list[bytes]) -> None:
    data = b"".join(b"data: " + line + b"\n\n" for line in recording)
    ends = [0]
    for line in recording:
        ends.append(ends[-1] + len(line) + 8)
    events = [json.loads(line) for line in recording]
    oracle, known = Oracle(), 0
    step = max(1, len(data) // 150)
    places = {
        *range(0, len(data), step),
        *(end + offset for end in ends[:: len(ends) // 50 + 1] for offset in (-3, -2, -1, 0)),
    }
    for cut in sorted(place for place in places if 0 <= place <= len(data)):
        # A payload that only lacks its blank line is whole.
        arrived = events[: sum(end - 2 <= cut for end in ends[1:])]
        for event in arrived[known:]:
            oracle.feed(event)
        known = len(arrived)
        accumulator = fed(data[:cut])
        last = max((at for at, event in enumerate(arrived) if event["type"] == "response.created"), default=0)
        kinds = {event["type"] for event in arrived[last:]}
        if kinds & TERMINAL:
            assert accumulator.final() == accumulator.snapshot()
            continue
        if "error" in kinds:
            assert accumulator.final()["status"] == "failed"
            continue
        with pytest.raises(IncompleteStream) as caught:
            accumulator.final()
        assert caught.value.reason == ("eof" if arrived else "empty")
        assert caught.value.partial == accumulator.snapshot() == oracle.response
        assert accumulator.status in {None, "in_progress", "queued"}
        assert accumulator.terminal is None
        assert not any(call["complete"] for call in accumulator.function_calls)


def test_a_long_stream_with_everything() -> None:
    events = responses_stream()
    accumulator = fed(sse(events, done=True))
    assert accumulator.terminal == "response.completed"
    assert accumulator.final() == events[-1]["response"]
    call = accumulator.function_calls[0]
    assert call["complete"]
    assert accumulator.partial_arguments(call["call_id"]) == json.loads(call["arguments"])


texts = st.lists(st.text(alphabet='a"\\\n\u00e9\u2028\U0001f600\ud83d\ude00', max_size=5), max_size=8)


@given(texts)
def test_pieces_join_as_the_strings_do(pieces: list[str]) -> None:
    accumulator = fed(CREATED, *map(text_delta, pieces))
    # Two halves of a surrogate pair that came in two pieces are one character; a lone half is replaced.
    expected = "".join(pieces).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert accumulator.output_text == expected
    assert json.dumps(accumulator.snapshot(), ensure_ascii=False).encode()


@given(st.lists(st.text(max_size=3), min_size=1, max_size=30), st.integers(1, 5))
def test_partial_arguments_are_read_on(pieces: list[str], every: int) -> None:
    value = {"key": "".join(pieces), "list": pieces}
    text = json.dumps(value, ensure_ascii=False)
    accumulator = fed(
        CREATED, added({"type": "function_call", "call_id": "k", "arguments": ""}, 4), finish=False
    )
    assert accumulator.partial_arguments(4) is None
    for at in range(0, len(text), every):
        accumulator.feed(delta("function_call_arguments", text[at : at + every], 4))
        partial = accumulator.partial_arguments(4)
        assert isinstance(partial, dict)
        if "list" in partial and len(partial["list"]) > 1:
            assert partial["list"][0] == pieces[0]
    assert accumulator.partial_arguments("k") == accumulator.partial_arguments(4) == value
    assert accumulator.partial_arguments("k")["list"] is accumulator.partial_arguments("k")["list"]


def test_partial_arguments_of_replaced_arguments_and_of_the_next_response() -> None:
    call = {"type": "function_call", "call_id": "k", "arguments": ""}
    accumulator = fed(CREATED, added(call), delta("function_call_arguments", '{"old": 1'), finish=False)
    assert accumulator.partial_arguments("k") == {}
    whole = {"type": "response.function_call_arguments.done", "output_index": 0, "arguments": '{"new": [2]}'}
    accumulator.feed(whole)
    assert accumulator.partial_arguments("k") == {"new": [2]}
    done = {"type": "response.output_item.done", "output_index": 0, "item": {**call, "arguments": '{"b": 3}'}}
    accumulator.feed(done)
    assert accumulator.partial_arguments(0) == {"b": 3}
    accumulator.feed(COMPLETED)
    assert accumulator.partial_arguments("k") == {"b": 3}
    accumulator.feed(CREATED)
    assert accumulator.partial_arguments("k") is None
    accumulator.feed([added(call), delta("function_call_arguments", "[4")])
    assert accumulator.partial_arguments(0) == []


def test_partial_arguments_names_its_call() -> None:
    custom = {"type": "custom_tool_call", "call_id": "c", "input": ""}
    mcp = {"type": "mcp_call", "id": "m", "arguments": '{"a": 1}'}
    accumulator = fed(CREATED, added(custom), delta("custom_tool_call_input", '["x'), added(mcp, 7))
    assert [accumulator.partial_arguments(key) for key in (0, "c", 7)] == [["x"], ["x"], {"a": 1}]
    assert [accumulator.partial_arguments(key) for key in (1, "m", 2**40)] == [None] * 3
    assert ResponseAccumulator().partial_arguments(0) is None
    with pytest.raises((TypeError, OverflowError)):
        accumulator.partial_arguments(-1)


def test_final_refuses_what_has_not_ended() -> None:
    accumulator = ResponseAccumulator()
    for event, reason in ((None, "empty"), (CREATED, "open"), (text_delta("a"), "open")):
        if event:
            accumulator.feed(event)
        with pytest.raises(IncompleteStream) as caught:
            accumulator.final()
        assert caught.value.reason == reason
        assert caught.value.partial == accumulator.snapshot()
    accumulator.finish()
    with pytest.raises(IncompleteStream, match="before its terminal event") as caught:
        accumulator.final()
    assert caught.value.reason == "eof"
    accumulator.feed(COMPLETED)
    assert accumulator.final()["status"] == "completed"
    assert not accumulator.truncated


def test_a_cut_stream_is_resumed() -> None:
    numbered = [{**event, "sequence_number": number} for number, event in enumerate(responses_stream())]
    data = sse(numbered)
    whole = fed(data)
    for cut in range(1000, len(data) - 1, 977):
        accumulator = fed(data[:cut])
        assert accumulator.truncated
        accumulator.resume()
        begin = max(0, (accumulator.sequence_number or 0) - 3)
        accumulator.feed(sse(numbered[begin:]))
        accumulator.finish()
        assert accumulator.final() == whole.final()
        assert accumulator.tokens == whole.tokens
        assert not accumulator.truncated
    later = ResponseAccumulator(resume_after=5)
    later.feed(sse(numbered))
    assert later.diagnostics["repeated"] == 6
    with pytest.raises(ValueError, match="-1 or more"):
        ResponseAccumulator(resume_after=-2)


def test_snapshots_are_the_callers() -> None:
    accumulator = fed(CREATED, text_delta("a"), COMPLETED)
    snapshot = accumulator.snapshot()
    assert snapshot is not None
    snapshot["output"].clear()
    assert accumulator.output_text == "a"
    assert accumulator.final()["output"]


def test_responses_can_be_taken() -> None:
    accumulator = fed(CREATED, COMPLETED, CREATED, COMPLETED)
    assert len(accumulator.responses) == 2
    assert len(accumulator.take_responses()) == 2
    assert accumulator.responses == accumulator.take_responses() == []
    assert accumulator.final()["status"] == "completed"


def test_lanes_are_views_of_one_accumulator() -> None:
    accumulator = ResponseAccumulator()
    lane = accumulator.lane("b")
    assert lane.snapshot() is None
    for name in ("a", "b"):
        accumulator.feed([{**event, "stream_id": name} for event in (CREATED, text_delta(name))])
    assert (lane.output_text, accumulator.output_text) == ("b", "a")
    assert accumulator.lanes == ["a", "b"]
    lane.feed({**COMPLETED, "stream_id": "b"})
    assert (lane.terminal, accumulator.terminal) == ("response.completed", None)
    assert accumulator.lane(None).snapshot() is None
    accumulator.feed(CREATED)
    assert accumulator.lanes == [None, "a", "b"]
    assert accumulator.output_text == ""
    assert accumulator.lane("a").output_text == "a"


def test_bytes_of_one_object_are_one_event_and_others_a_stream() -> None:
    text = json.dumps(text_delta("a")).encode()
    accumulator = fed(CREATED, finish=False)
    for carrier in (text, bytearray(text), memoryview(text), b" " + text + b"\n", b"data: " + text + b"\n\n"):
        accumulator.feed(carrier)
    accumulator.feed(b"data: ")
    accumulator.feed(text)  # inside a line: not an event of its own
    assert accumulator.output_text == "aaaaa"
    accumulator.finish()  # the blank line never came, the payload is whole
    assert accumulator.output_text == "aaaaaa"


def test_the_sentinel_behind_a_response_says_nothing() -> None:
    for sentinel in ("[DONE]", b"data: [DONE]\n\n", Event("[DONE]")):
        accumulator = fed(CREATED, COMPLETED, sentinel)
        assert accumulator.diagnostics == {}
        assert accumulator.terminal == "response.completed"


@pytest.mark.parametrize("wrong", [None, 5, 1.5, object(), {1, 2}, [None], [[]]])
def test_other_types_are_refused(wrong: Any) -> None:
    accumulator = ResponseAccumulator()
    with pytest.raises(TypeError, match="an accumulator takes"):
        accumulator.feed(wrong)
    accumulator.feed([CREATED, COMPLETED])
    assert accumulator.final()


@pytest.mark.parametrize(
    ("limits", "events", "limit"),
    [
        (Limits(max_message_bytes=200), [text_delta("a" * 30)] * 9, "max_message_bytes"),
        (
            Limits(max_message_bytes=200),
            [{"type": "response.audio.delta", "delta": "QUJD" * 30}] * 9,
            "max_message_bytes",
        ),
        (Limits(max_parts=5), [added({"type": "message"}, index) for index in range(9)], "max_parts"),
        (Limits(max_parts=5), [{**CREATED, "stream_id": str(number)} for number in range(9)], "max_parts"),
        (Limits(max_tool_calls=3), [added({"type": "function_call"}, n) for n in range(9)], "max_tool_calls"),
        (Limits(max_depth=5), [{"type": "x", "a": [[[[[]]]]]}], "max_depth"),
    ],
)
def test_limits(limits: Limits, events: list[Json], limit: str) -> None:
    accumulator = ResponseAccumulator(limits=limits)
    with pytest.raises(LimitExceeded) as caught:
        accumulator.feed([CREATED, *events])
    assert caught.value.limit == limit
    with pytest.raises(LimitExceeded) as again:
        accumulator.feed(CREATED)
    assert str(again.value) == str(caught.value)
    assert accumulator.terminal is None
    assert accumulator.snapshot()
    assert "failed" in repr(accumulator)


@pytest.mark.parametrize("index", [0, 1, 2**16, 2**31 - 1, 2**32, 2**63, -1, 1.5, "0"])
@pytest.mark.parametrize(
    "event",
    [
        added({"type": "message"}),
        text_delta("a"),
        {**text_delta("a"), "content_index": 7},
        delta("reasoning_summary_text", "a", summary_index=0),
        delta("shell_call_command", "a", command_index=0),
        {
            "type": "response.output_text.annotation.added",
            "output_index": 0,
            "annotation_index": 0,
            "annotation": {},
        },
    ],
    ids=lambda event: event["type"],
)
def test_index_bombs_cost_nothing(index: Any, event: Json) -> None:
    for key in [key for key in event if key.endswith("_index")]:
        accumulator = fed(CREATED, {**event, key: index})
        snapshot = accumulator.snapshot()
        assert len(json.dumps(snapshot)) < 1000
        strict = ResponseAccumulator(strict=True)
        strict.feed([CREATED, added({"type": "message", "content": []})])
        if isinstance(index, int) and 0 <= index < 2**63:
            assert "bad_index" not in accumulator.diagnostics
        else:
            assert accumulator.diagnostics["bad_index"] == 1


def test_a_bug_spoils_this_object_alone() -> None:
    accumulator = ResponseAccumulator()
    _panic_next()
    with pytest.raises(InternalError):
        accumulator.feed(CREATED)
    assert fed(CREATED, COMPLETED).final()


def test_threads_get_an_error_and_no_torn_text() -> None:
    accumulator = fed(CREATED, finish=False)
    fed_events = []

    def feed() -> None:
        for _ in range(2000):
            try:
                accumulator.feed(text_delta("ab"))
            except ConcurrencyError:
                continue
            fed_events.append(1)

    threads = [threading.Thread(target=feed) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert accumulator.output_text == "ab" * len(fed_events)
    assert accumulator.tokens == len(fed_events)


def test_repr_says_how_it_stands() -> None:
    accumulator = fed(CREATED, text_delta("a"), finish=False)
    assert repr(accumulator) == "<ResponseAccumulator open tokens=1>"
    accumulator.feed(COMPLETED)
    assert repr(accumulator) == "<ResponseAccumulator response.completed tokens=1>"
