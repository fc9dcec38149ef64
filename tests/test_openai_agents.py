"""Transcoded events as the openai package's models, and in the order of openai-agents."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai_streams import RECORDINGS, sse
from test_transcode import STOP, USAGE, calls, delta, fragment, transcode

pytest.importorskip("openai")

from openai.types.chat import ChatCompletionChunk
from openai.types.responses import Response
from pydantic import BaseModel

from penstock import DecodeError
from penstock.integrations.openai_agents import FAKE_ID, TypedEvents, handle_stream

Json = dict[str, Any]

FILES = sorted((RECORDINGS / "chat").glob("*.jsonl"))


def prototype(id: str = "resp_1") -> Response:
    return Response(
        id=id,
        created_at=7,
        model="m",
        object="response",
        output=[],
        tool_choice="auto",
        tools=[],
        parallel_tool_calls=True,
        instructions="i",
    )


async def source(chunks: Iterable[Any]) -> AsyncIterator[Any]:
    for chunk in chunks:
        yield chunk


async def test_typed_events() -> None:
    chunks: list[Any] = [
        ChatCompletionChunk.model_validate({
            "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "x", **delta(content="a")
        }),
        delta(content="b"),
        json.dumps(delta(content="c")),
        *(bytes([byte]) for byte in sse([delta("stop"), {"choices": [], "usage": USAGE}], done=True)),
    ]  # fmt: skip
    events = [event async for event in handle_stream(prototype(), source(chunks))]
    assert events[0].type == "response.created"
    last = events[-1]
    assert last.type == "response.completed"
    response = last.response
    assert (response.id, response.created_at, response.model) == ("resp_1", 7, "m")
    assert (response.output_text, response.instructions) == ("abc", "i")
    assert response.usage is not None
    assert response.usage.total_tokens == 7


async def test_it_takes_the_place_of_the_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    agents = pytest.importorskip("agents")
    handler = pytest.importorskip("agents.models.chatcmpl_stream_handler").ChatCmplStreamHandler
    monkeypatch.setattr(handler, "handle_stream", staticmethod(handle_stream))
    agents.set_tracing_disabled(disabled=True)
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "x"}
    chunks = [delta(reasoning_content="r"), delta(content="Hi "), delta(content="you"), delta("stop")]
    usage = {"choices": [], "usage": USAGE}

    class Stream:
        """A stream as the openai package has it."""

        def __init__(self) -> None:
            self._chunks = [ChatCompletionChunk.model_validate(head | chunk) for chunk in [*chunks, usage]]

        def __aiter__(self) -> AsyncIterator[ChatCompletionChunk]:
            return source(self._chunks)

        async def close(self) -> None:
            self._chunks.clear()

    async def create(**_: Any) -> Stream:
        return Stream()

    completions = SimpleNamespace(completions=SimpleNamespace(create=create))
    client = SimpleNamespace(chat=completions, base_url="http://upstream.test/v1")
    model = agents.OpenAIChatCompletionsModel(model="m", openai_client=client)
    result = agents.Runner.run_streamed(agents.Agent(name="a", model=model), "Hello?")
    types = [event.data.type async for event in result.stream_events() if event.type == "raw_response_event"]
    assert types[:2] == ["response.created", "response.in_progress"]
    assert types[-1] == "response.completed"
    assert result.final_output == "Hi you"
    assert result.context_wrapper.usage.total_tokens == 7


async def test_what_else_the_handler_takes() -> None:
    given = {"raise_on_length_truncation": True, "require_finish_reason": True, "preserve_raw_usage": True}
    events = [
        event async for event in handle_stream(prototype(), source([delta("length")]), "m", False, **given)
    ]
    assert events[-1].type == "response.incomplete"
    other = {"choices": [{"index": 1, "delta": {"content": "b"}}]}
    with pytest.raises(DecodeError, match="other_choice"):
        async for _ in handle_stream(prototype(), source([other]), None, True):
            pass


class Other(BaseModel):
    """A chunk as another package has it."""

    choices: list[Any]


async def test_chunks_of_other_packages() -> None:
    chunks = [Other.model_validate(delta(content="a")), Other.model_validate(STOP)]
    events = [event async for event in handle_stream(prototype(), source(chunks))]
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == "a"


async def test_placeholders_are_replaced() -> None:
    events = [event async for event in handle_stream(prototype(FAKE_ID), source([STOP]), "other")]
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.id.startswith("resp_")
    assert last.response.model == "other"


async def test_a_cut_stream_fails() -> None:
    events = [event async for event in handle_stream(prototype(), source([delta(content="a")]))]
    assert events[-1].type == "response.failed"


async def test_closing() -> None:
    closed = []

    async def chunks() -> AsyncIterator[Any]:
        try:
            yield delta(content="a")
            yield delta(content="b")
        finally:
            closed.append(True)

    events = handle_stream(prototype(), chunks())
    await anext(events)
    await events.aclose()
    await events.aclose()
    assert closed
    assert [event async for event in events] == []
    await TypedEvents(_Bare(), events._transcoder).aclose()


class _Bare:
    def __aiter__(self) -> _Bare:
        return self

    async def __anext__(self) -> Any:
        raise StopAsyncIteration


def order(events: Iterable[Any]) -> list[tuple[Any, ...]]:
    """What stands where; openai-agents writes empty deltas as well."""
    return [
        (
            event["type"],
            *(event.get(key) for key in ("output_index", "content_index", "summary_index", "delta")),
        )
        for event in events
        if event.get("delta") != "" or not event["type"].endswith(".delta")
    ]


LEGAL: dict[str, list[Json]] = {
    "text": [delta(role="assistant", content=""), delta(content="a"), delta(content="b"), STOP],
    "reasoning, text": [delta(reasoning_content="r"), delta(content="t"), STOP],
    "reasoning, call": [
        delta(reasoning_content="r"),
        calls(fragment(0, "c", "f", "{}")),
        delta("tool_calls"),
    ],
    "text, calls": [
        delta(content="t"),
        calls(fragment(0, "a", "f", "")),
        calls(fragment(0, args="{}")),
        calls(fragment(1, "b", "g", "{}")),
        delta("tool_calls"),
    ],
    "call, text": [calls(fragment(0, "a", "f", "{}")), delta(content="t"), STOP],
    "withheld": [delta(content=""), delta("content_filter")],
    "withheld behind reasoning": [delta(reasoning_content="r"), delta("content_filter")],
    "reasoning, empty text, reasoning, text": [
        delta(reasoning_content="a"),
        delta(content=""),
        delta(reasoning_content="b"),
        delta(content="t"),
        STOP,
    ],
    "empty text beside reasoning": [
        *(delta(content="", reasoning_content=piece) for piece in ("a", "b", "", "c", "")),
        delta(content="t"),
        STOP,
    ],
    "reasoning, a call without its name, reasoning": [
        delta(reasoning_content="a"),
        calls(fragment(0, "c")),
        delta(reasoning_content="b"),
        calls(fragment(0, name="f", args="{}")),
        delta("tool_calls"),
    ],
    "usage": [delta(content="t"), STOP, {"choices": [], "usage": USAGE}],
}
RECORDED = {
    path.stem: [json.loads(line) for line in path.read_bytes().splitlines() if line.strip()] for path in FILES
}


def both(chunks: list[Json]) -> tuple[list[Json], list[Json]]:
    """The events that openai-agents makes of chunks, and those of their types that penstock makes."""
    handler = pytest.importorskip("agents.models.chatcmpl_stream_handler").ChatCmplStreamHandler
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "x"}
    try:
        typed = [ChatCompletionChunk.model_validate(head | chunk) for chunk in chunks]
    except ValueError:
        pytest.skip("the openai package has no model for what this provider sends")

    async def run() -> list[Json]:
        return [event.model_dump() async for event in handler.handle_stream(prototype(), source(typed))]

    theirs = asyncio.run(run())
    yielded = {event["type"] for event in theirs}
    ours = [event.json() for event in transcode(chunks, compat="openai-agents")[0]]
    return theirs, [event for event in ours if event["type"] in yielded]


def in_their_order(chunks: list[Json]) -> None:
    theirs, ours = both(chunks)
    terminals = ("response.completed", "response.incomplete")
    assert order(event for event in ours if event["type"] not in terminals) == order(
        event for event in theirs if event["type"] not in terminals
    )


@pytest.mark.parametrize("chunks", [*LEGAL.values(), *RECORDED.values()], ids=[*LEGAL, *RECORDED])
def test_the_order_is_that_of_openai_agents(chunks: list[Json]) -> None:
    if sum(bool(chunk["choices"] and chunk["choices"][0].get("finish_reason")) for chunk in chunks) > 1:
        pytest.skip("two completions in one recording")
    in_their_order(chunks)


@pytest.mark.parametrize(
    "answer", [[delta(content="t")], [calls(fragment(0, "c", "f", "{}"))], [delta(refusal="no")]]
)
def test_raw_reasoning_ends_where_theirs_does(answer: list[Json]) -> None:
    """They have no part for it, which ours has; all else stands in their order."""
    theirs, ours = both([delta(reasoning="r"), *answer, delta(reasoning="s"), STOP])
    parts = ("response.content_part.added", "response.content_part.done")
    ours = [event for event in ours if event["type"] not in parts or event["output_index"] != 0]
    assert "response.reasoning_text.done" in {event["type"] for event in theirs}
    assert order(ours[:-1]) == order(theirs[:-1])


PIECES = st.sampled_from(["a", "yy ", "é👋", "\n"])


@st.composite
def call_chunks(draw: st.DrawFn, first: int) -> list[Json]:
    """Some calls, their fragments one after the other or by turns."""
    indices = range(first, first + draw(st.integers(1, 3)))
    begun = [
        calls(fragment(index, f"call_{index}", "f", draw(st.sampled_from(["", "{"])))) for index in indices
    ]
    grown = [calls(fragment(index, args=piece)) for index in indices for piece in ('"a":', "1", "}")]
    return begun + list(draw(st.permutations(grown)))


@st.composite
def legal_streams(draw: st.DrawFn) -> list[Json]:
    """Streams of which openai-agents makes legal ones: no raw reasoning, no text beside a refusal, no cut."""
    chunks = [delta(role="assistant", content=draw(st.sampled_from(["", None])))]
    beside: list[Json] = [{}, {"content": ""}, {"content": None}]
    for piece in draw(st.lists(PIECES | st.sampled_from(["", None]), max_size=5)):
        chunks.append(delta(reasoning_content=piece, **draw(st.sampled_from(beside))))
    said = draw(st.sampled_from(["content", "refusal"]))
    count = 0
    talks = draw(st.lists(st.booleans(), max_size=4))
    for is_call in talks:
        if is_call:
            chunks += draw(call_chunks(count))
            count += 3
        else:
            chunks += [delta(**{said: piece}) for piece in draw(st.lists(PIECES, min_size=1, max_size=3))]
    reasons = ["tool_calls"] if count else ["stop"] if talks else ["stop", "content_filter"]
    finish = delta(draw(st.sampled_from(reasons)), **draw(st.sampled_from(beside)))
    usage = {"choices": [], "usage": USAGE}
    return [*chunks, finish, *draw(st.sampled_from([[], [usage]]))]


@settings(max_examples=60, deadline=None)
@given(legal_streams())
def test_any_legal_stream_has_their_order(chunks: list[Json]) -> None:
    in_their_order(chunks)
