"""`ChatAccumulator`: vectors in every carrier and cut, a naive twin on recorded streams, cuts, limits."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chat_oracle
import pytest
from feeding import feedings
from hypothesis import given
from hypothesis import strategies as st
from openai_streams import RECORDINGS, chat_stream, sse

from penstock import (
    ChatAccumulator,
    ConcurrencyError,
    DecodeError,
    Decoder,
    Event,
    IncompleteStream,
    InternalError,
    LimitExceeded,
    Limits,
)
from penstock._penstock import _panic_next

Json = dict[str, Any]

ROWS = [
    {**json.loads(line), "file": path.stem}
    for path in sorted((Path(__file__).parent / "vectors" / "chat").glob("*.jsonl"))
    for line in path.read_text("ascii").splitlines()
]
FILES = sorted((RECORDINGS / "chat").glob("*.jsonl"))

recordings = pytest.mark.parametrize(
    "recording",
    [pytest.param(path.read_bytes().splitlines(), id=path.stem) for path in FILES]
    or [pytest.param([], marks=pytest.mark.skip(reason="no recordings"))],
)
vectors = pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['file']}: {row['name']}")


def payload(chunk: Any) -> str:
    """A vector's chunk as its payload."""
    if isinstance(chunk, str):
        return chunk
    return json.dumps(chunk["data"] if "event" in chunk else chunk)


def event(chunk: Any) -> Event:
    return Event(
        payload(chunk), name=chunk["event"] if isinstance(chunk, dict) and "event" in chunk else None
    )


def stream(row: Json) -> bytes:
    """A vector as the event stream a server would send."""
    events = [event(chunk) for chunk in row["chunks"]]
    names = [f"event: {each.name}\n" if each.name else "" for each in events]
    return b"".join(
        name.encode() + b"data: " + each.data + b"\n\n" for name, each in zip(names, events, strict=True)
    )


def fed(*pieces: Any) -> ChatAccumulator:
    accumulator = ChatAccumulator()
    for piece in pieces:
        accumulator.feed(piece)
    accumulator.finish()
    return accumulator


def tells_of_an_error(chunk: Any) -> bool:
    """Whether a vector's chunk holds an error or is one."""
    if isinstance(chunk, str):
        return False
    if "event" in chunk or chunk.get("object") == "error":
        return True
    choices = [choice for choice in chunk.get("choices") or [] if isinstance(choice, dict)]
    return any(each.get("error") for each in [chunk, *choices])


def pointed(document: Any, pointer: str) -> Any:
    for part in pointer.split("/")[1:]:
        document = document[int(part) if isinstance(document, list) else part]
    return document


def said(accumulator: ChatAccumulator) -> list[Any]:
    """Everything an accumulator says; equal for equal streams."""
    return [
        accumulator.snapshot(),
        accumulator.terminal,
        accumulator.status,
        accumulator.usage,
        accumulator.error,
        accumulator.output_text,
        accumulator.function_calls,
        accumulator.tokens,
        accumulator.responses,
    ]


def chunk(delta: Json | None = None, reason: str | None = None, **members: Any) -> Json:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": reason}
    return {"id": "c", "object": "chat.completion.chunk", "choices": [choice], **members}


@vectors
def test_vectors(row: Json) -> None:
    accumulator = fed(*map(event, row["chunks"]))
    snapshot = accumulator.snapshot()
    for pointer, expected in row["expect"].items():
        assert pointed(snapshot, pointer) == expected, pointer
    for pointer in row.get("missing", ()):
        with pytest.raises(KeyError):
            pointed(snapshot, pointer)
    assert accumulator.terminal == row["terminal"]
    assert (accumulator.error is not None) == any(map(tells_of_an_error, row["chunks"]))
    assert accumulator.diagnostics == row["diagnostics"]
    if "calls" in row:
        keys = {"call_id": "id", "name": "name", "arguments": "arguments", "complete": "complete"}
        calls = [
            {new: call[old] or "" if new == "id" else call[old] for old, new in keys.items()}
            for call in accumulator.function_calls
        ]
        assert calls == row["calls"]
    assert accumulator.output_text == row.get("output_text", accumulator.output_text)
    assert accumulator.tokens == row.get("tokens", accumulator.tokens)
    whole = accumulator.terminal in {"finish_reason", "[DONE]"} and snapshot is not None
    assert len(accumulator.responses) == row.get("completed", 0) + whole


@vectors
def test_every_carrier_says_the_same(row: Json) -> None:
    events = [event(each) for each in row["chunks"]]
    expected = said(fed(*events))
    assert said(fed(events)) == expected
    assert said(fed(tuple(events))) == expected
    if not any(each.name for each in events):
        assert said(fed(*map(payload, row["chunks"]))) == expected
        assert said(fed(*map(payload, row["chunks"][:1]), row["chunks"][1:])) == expected
    # A stream has no events without data, and keeps what a payload is.
    assert said(fed(stream(row))) == expected
    assert said(fed(*Decoder(sentinel=None).feed(stream(row)))) == expected


@vectors
def test_every_cut_says_the_same(row: Json) -> None:
    data = stream(row)
    expected = said(fed(data))
    for pieces in (
        feedings(data[:1500], random_splits=2) if len(data) <= 1500 else ([data[:700], data[700:]],)
    ):
        assert said(fed(*pieces)) == expected


@recordings
def test_recordings_equal_the_oracle(recording: list[bytes]) -> None:
    chunks = [json.loads(line) for line in recording]
    expected = chat_oracle.completions(chunks)
    accumulator = fed(*recording)
    assert accumulator.responses == expected
    assert accumulator.final() == expected[-1]
    assert accumulator.diagnostics == {}
    assert said(fed(*chunks)) == said(accumulator)
    assert accumulator.usage == expected[-1]["usage"]
    for call in accumulator.function_calls:
        assert call["complete"]
        assert accumulator.partial_arguments(call["call_id"]) == json.loads(call["arguments"])


@recordings
def test_recordings_cut_anywhere_never_finish_falsely(recording: list[bytes]) -> None:
    data = b"".join(b"data: " + line + b"\n\n" for line in recording) + b"data: [DONE]\n\n"
    finishing = [number for number, line in enumerate(recording) if chat_finish(json.loads(line))]
    ends = [0]
    for line in recording:
        ends.append(ends[-1] + len(line) + 8)
    step = max(1, len(data) // 400)
    for cut in (*range(0, len(data), step), *(end + offset for end in ends for offset in (-3, -2, -1, 0))):
        if not 0 <= cut <= len(data) or (cut % 7 and len(recording) > 100):
            continue
        accumulator = fed(data[:cut])
        # A payload that only lacks its blank line is whole.
        arrived = sum(end - 2 <= cut for end in ends[1:])
        finished = any(number < arrived for number in finishing)
        if not finished:
            assert accumulator.terminal is None
            assert accumulator.status is None
            with pytest.raises(IncompleteStream) as caught:
                accumulator.final()
            assert caught.value.reason == "eof"
            assert caught.value.partial == accumulator.snapshot()
            assert not any(call["complete"] for call in accumulator.function_calls)
        elif len(finishing) == 1:
            assert accumulator.final() == accumulator.snapshot()


def chat_finish(chunk: Json) -> bool:
    return any(choice.get("finish_reason") for choice in chunk["choices"])


@recordings
def test_the_sdks_model_accepts_what_comes_out(recording: list[bytes]) -> None:
    chat = pytest.importorskip("openai.types.chat")
    for completion in fed(*recording).responses:
        if isinstance(completion["choices"][0]["message"]["content"], list):
            continue  # Mistral's parts, which the SDK's type does not know
        model = chat.ChatCompletion.model_validate(completion)
        assert model.choices[0].message.content == completion["choices"][0]["message"]["content"]
        assert model.model_dump(exclude_unset=True) == completion


@recordings
def test_the_sdks_own_accumulator_agrees_on_text(recording: list[bytes]) -> None:
    chat = pytest.importorskip("openai.types.chat")
    streaming = pytest.importorskip("openai.lib.streaming.chat")
    state = streaming.ChatCompletionStreamState()
    chunks = [json.loads(line) for line in recording]
    if len(chat_oracle.completions(chunks)) > 1 or any(
        isinstance(choice["delta"].get("content"), list) or "index" not in fragment
        for chunk in chunks
        for choice in chunk["choices"]
        for fragment in choice["delta"].get("tool_calls") or [{"index": 0}]
    ):
        pytest.skip("the SDK knows one completion a stream, text content and tool calls with an index")
    for each in chunks:
        state.handle_chunk(
            chat.ChatCompletionChunk.model_validate({**each, "object": "chat.completion.chunk"})
        )
    theirs = state.current_completion_snapshot.choices[0]
    ours = fed(*recording).final()["choices"][0]
    assert (ours["message"]["content"] or "") == (theirs.message.content or "")
    assert ours["finish_reason"] == theirs.finish_reason


def test_a_long_stream_with_everything() -> None:
    chunks = chat_stream()
    accumulator = fed(sse(chunks, named=False, done=True))
    assert accumulator.terminal == "[DONE]"
    assert accumulator.final()["choices"]


texts = st.text(alphabet='a"\\\n\u00e9\u2028\U0001f600\ud83d\ude00', max_size=5)
deltas = st.one_of(
    texts.map(lambda text: {"content": text}),
    texts.map(lambda text: {"reasoning_content": text, "content": None}),
    st.tuples(st.integers(0, 2), texts).map(
        lambda call: {"tool_calls": [{"index": call[0], "function": {"arguments": call[1]}}]}
    ),
)


@given(st.lists(deltas, max_size=12))
def test_pieces_join_as_the_strings_do(deltas: list[Json]) -> None:
    accumulator = fed(*(chunk(delta) for delta in deltas), chunk(reason="stop"))
    message = accumulator.final()["choices"][0]["message"]
    joined = "".join(delta.get("content") or "" for delta in deltas)
    # Two halves of a surrogate pair that came in two pieces are one character; a lone half is replaced.
    expected = joined.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert (message["content"] or "") == expected == accumulator.output_text
    for call in accumulator.function_calls:
        call["arguments"].encode()
    json.dumps(message, ensure_ascii=False).encode()


words = st.text(alphabet="a\u00e9\u2028\U0001f600", max_size=3)
ordinary = st.builds(
    lambda delta, index, reason, usage: {
        "id": "c",
        "model": "m",
        "choices": [{"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}],
        "usage": usage,
    },
    st.one_of(
        st.builds(lambda text: {"content": text}, words | st.none()),
        st.builds(lambda text, role: {"reasoning_content": text, "role": role}, words, st.just("assistant")),
        st.builds(lambda text: {"refusal": text, "content": None}, words),
        st.builds(lambda text: {"x_vendor": text, "content": [{"type": "text", "text": text}]}, words),
        st.builds(lambda text: {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}, words),
    ),
    st.sampled_from([0, 0, 0, 7]),
    st.sampled_from([None, None, None, "stop"]),
    st.none() | st.builds(lambda count: {"total_tokens": count}, st.integers(0, 9)),
)


@given(st.lists(st.tuples(ordinary, st.integers(1, 3)), max_size=8))
def test_ordinary_chunks_equal_the_oracle(runs: list[tuple[Json, int]]) -> None:
    chunks = [each for each, count in runs for _ in range(count)]
    expected = chat_oracle.completion(chunks) if chunks else None
    assert fed(chunks).snapshot() == expected
    assert fed(*(Event(json.dumps(each)) for each in chunks)).snapshot() == expected


@given(st.lists(st.text(max_size=3), min_size=1, max_size=30), st.integers(1, 5))
def test_partial_arguments_are_read_on(pieces: list[str], every: int) -> None:
    value = {"key": "".join(pieces), "list": pieces}
    text = json.dumps(value, ensure_ascii=False)
    accumulator = ChatAccumulator()
    named = {"index": 4, "id": "k", "function": {"name": "f", "arguments": ""}}
    accumulator.feed(chunk({"tool_calls": [named]}))
    assert accumulator.partial_arguments(4) is None
    for at in range(0, len(text), every):
        piece = {"index": 4, "function": {"arguments": text[at : at + every]}}
        accumulator.feed(chunk({"tool_calls": [piece]}))
        partial = accumulator.partial_arguments(4)
        assert isinstance(partial, dict)
        if "list" in partial and len(partial["list"]) > 1:
            assert partial["list"][0] == pieces[0]
    assert accumulator.partial_arguments("k") == accumulator.partial_arguments(4) == value
    assert accumulator.partial_arguments("k")["list"] is accumulator.partial_arguments("k")["list"]


def test_partial_arguments_names_its_call() -> None:
    calls = [{"id": name, "function": {"name": "f", "arguments": f'["{name}'}} for name in ("a", "b")]
    accumulator = fed(chunk({"tool_calls": calls}))
    assert [accumulator.partial_arguments(key) for key in (0, 1, "a", "b")] == [["a"], ["b"], ["a"], ["b"]]
    assert accumulator.partial_arguments() == ["a"]
    assert [accumulator.partial_arguments(key) for key in (2, "c", 2**40)] == [None] * 3
    assert accumulator.partial_arguments(0, choice=1) is None
    legacy = fed(chunk({"function_call": {"name": "f", "arguments": '{"a": 1,'}}))
    assert legacy.partial_arguments(0) == {"a": 1}
    with pytest.raises((TypeError, OverflowError)):
        accumulator.partial_arguments(-1)


def test_partial_arguments_of_replaced_arguments_and_of_the_next_completion() -> None:
    accumulator = ChatAccumulator()
    call = {"index": 0, "id": "k", "function": {"name": "f", "arguments": '{"old": '}}
    accumulator.feed(chunk({"role": "assistant", "tool_calls": [call]}))
    assert accumulator.partial_arguments() == {}
    accumulator.feed(chunk({"tool_calls": [{"index": 0, "function": {"arguments": {"new": [1, 2, 3]}}}]}))
    assert accumulator.partial_arguments() == {"new": [1, 2, 3]}
    accumulator.feed(chunk(reason="tool_calls"))
    accumulator.feed({**chunk({"role": "assistant", "tool_calls": [call]}), "id": "next"})
    assert accumulator.partial_arguments() == {}
    accumulator.feed(chunk({"tool_calls": [{"index": 0, "function": {"arguments": "5}"}}]}))
    assert accumulator.partial_arguments() == {"old": 5}


@pytest.mark.parametrize(
    ("chunks", "done", "reason"),
    [
        ([], False, "eof"),
        ([], True, "empty"),
        ([chunk({"content": "a"})], False, "eof"),
        ([chunk({"content": "a"}, "stop"), {"error": {"message": "boom"}}], True, "error"),
    ],
)
def test_final_refuses_what_is_not_whole(chunks: list[Json], done: bool, reason: str) -> None:
    accumulator = fed(*chunks, *(["[DONE]"] if done else []))
    with pytest.raises(IncompleteStream) as caught:
        accumulator.final()
    assert caught.value.reason == reason
    assert caught.value.partial == accumulator.snapshot()
    assert "boom" not in str(caught.value)


def test_final_before_the_end_is_open() -> None:
    accumulator = ChatAccumulator()
    accumulator.feed(chunk({"content": "a"}))
    with pytest.raises(IncompleteStream) as caught:
        accumulator.final()
    assert caught.value.reason == "open"
    accumulator.feed(chunk(reason="stop"))
    assert accumulator.final()["choices"][0]["finish_reason"] == "stop"
    accumulator.feed({"id": "c", "choices": [], "usage": {"total_tokens": 3}})
    assert accumulator.final()["usage"] == {"total_tokens": 3}


def test_snapshots_are_the_callers() -> None:
    accumulator = fed(chunk({"content": "a"}, "stop"))
    snapshot = accumulator.snapshot()
    assert snapshot is not None
    snapshot["choices"].clear()
    assert accumulator.output_text == "a"
    assert accumulator.final()["choices"]


def test_bytes_of_one_object_are_one_chunk_and_others_a_stream() -> None:
    text = json.dumps(chunk({"content": "a"})).encode()
    accumulator = ChatAccumulator()
    for carrier in (text, bytearray(text), memoryview(text), b" " + text + b"\n", b"data: " + text + b"\n\n"):
        accumulator.feed(carrier)
    accumulator.feed(b"data: ")
    accumulator.feed(text)  # inside a line: not a chunk of its own
    assert accumulator.output_text == "aaaaa"
    accumulator.finish()  # the blank line never came, the payload is whole
    assert accumulator.output_text == "aaaaaa"


def test_the_sentinel_in_a_stream_ends_it() -> None:
    accumulator = fed(b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\ndata: [DONE]\n\n')
    assert accumulator.terminal == "[DONE]"
    assert accumulator.status is None
    assert accumulator.diagnostics == {"finish_reason_missing": 1}


@pytest.mark.parametrize("wrong", [None, 5, 1.5, object(), {1, 2}, [None], [[]]])
def test_other_types_are_refused(wrong: Any) -> None:
    accumulator = ChatAccumulator()
    with pytest.raises(TypeError, match="an accumulator takes"):
        accumulator.feed(wrong)
    accumulator.feed(chunk({"content": "a"}, "stop"))
    assert accumulator.final()


@pytest.mark.parametrize(
    ("limits", "chunks", "limit"),
    [
        (Limits(max_message_bytes=100), [chunk({"content": "a" * 30})] * 9, "max_message_bytes"),
        (Limits(max_message_bytes=100), [chunk({"audio": {"data": "QUJD" * 30}})] * 9, "max_message_bytes"),
        (Limits(max_parts=5), [{"choices": [{"index": index} for index in range(9)]}], "max_parts"),
        (Limits(max_parts=5), [{"choices": [{"index": index}]} for index in range(9)], "max_parts"),
        (Limits(max_parts=5), [{f"x{number}": 1} for number in range(9)], "max_parts"),
        (
            Limits(max_tool_calls=3),
            [chunk({"tool_calls": [{"index": n}]}) for n in range(9)],
            "max_tool_calls",
        ),
        (Limits(max_event_bytes=50), [chunk({"content": "a" * 30})], "max_event_bytes"),
    ],
)
def test_limits(limits: Limits, chunks: list[Json], limit: str) -> None:
    accumulator = ChatAccumulator(limits=limits)
    with pytest.raises(LimitExceeded) as caught:
        accumulator.feed(chunks)
    assert caught.value.limit == limit
    with pytest.raises(LimitExceeded) as again:
        accumulator.feed(chunks[0])
    assert str(again.value) == str(caught.value)
    assert accumulator.terminal is None


@pytest.mark.parametrize("index", [0, 1, 2**16, 2**31 - 1, 2**32, 2**63, -1, 1.5, "0"])
@pytest.mark.parametrize("kind", ["choice", "tool"])
def test_index_bombs_cost_nothing(index: Any, kind: str) -> None:
    delta = {"tool_calls": [{"index": index if kind == "tool" else 0, "id": "k", "function": {"name": "f"}}]}
    accumulator = fed({"choices": [{"index": index if kind == "choice" else 0, "delta": delta}]})
    snapshot = accumulator.snapshot()
    assert snapshot is not None
    assert len(snapshot["choices"]) <= 1
    assert len(json.dumps(snapshot)) < 1000


def test_strict_refuses_by_rule() -> None:
    accumulator = ChatAccumulator(strict=True)
    accumulator.feed(chunk({"content": "a"}, "stop"))
    with pytest.raises(DecodeError) as caught:
        accumulator.feed(chunk({"content": "b"}))
    assert caught.value.reason == "late_delta"
    with pytest.raises(DecodeError):
        accumulator.feed(chunk())
    assert accumulator.output_text == "ab"


def test_a_bug_spoils_this_object_alone() -> None:
    accumulator = ChatAccumulator()
    _panic_next()
    with pytest.raises(InternalError):
        accumulator.feed(chunk())
    assert fed(chunk({"content": "a"}, "stop")).final()


def test_two_threads_get_an_error_and_no_torn_text() -> None:
    accumulator = ChatAccumulator()
    refused = 0

    def work() -> None:
        nonlocal refused
        for _ in range(2000):
            try:
                accumulator.feed(chunk({"content": "ab"}))
            except ConcurrencyError:
                refused += 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert accumulator.output_text == "ab" * (8000 - refused)


def test_repr_shows_no_content() -> None:
    accumulator = ChatAccumulator()
    assert repr(accumulator) == "<ChatAccumulator open tokens=0>"
    accumulator.feed(chunk({"content": "secret"}, "stop"))
    assert repr(accumulator) == "<ChatAccumulator finish_reason tokens=1>"


def feeding_many(count: int) -> Iterator[Json]:
    for number in range(count):
        yield chunk({"content": f"{number} "})


def test_many_pieces_are_one_text() -> None:
    accumulator = fed(list(feeding_many(20_000)), chunk(reason="stop"))
    assert accumulator.output_text == "".join(f"{number} " for number in range(20_000))
    assert accumulator.tokens == 20_000
