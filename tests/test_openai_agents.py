"""Transcoded events as the openai package's models, and in the order of openai-agents."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
from openai_streams import RECORDINGS, sse
from test_transcode import STOP, USAGE, calls, delta, fragment, transcode

pytest.importorskip("openai")

from openai.types.chat import ChatCompletionChunk
from openai.types.responses import Response
from pydantic import BaseModel

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
    "usage": [delta(content="t"), STOP, {"choices": [], "usage": USAGE}],
}
RECORDED = {
    path.stem: [json.loads(line) for line in path.read_bytes().splitlines() if line.strip()] for path in FILES
}


@pytest.mark.parametrize("chunks", [*LEGAL.values(), *RECORDED.values()], ids=[*LEGAL, *RECORDED])
def test_the_order_is_that_of_openai_agents(chunks: list[Json]) -> None:
    handler = pytest.importorskip("agents.models.chatcmpl_stream_handler").ChatCmplStreamHandler
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "x"}
    try:
        typed = [ChatCompletionChunk.model_validate(head | chunk) for chunk in chunks]
    except ValueError:
        pytest.skip("the openai package has no model for what this provider sends")
    if sum(bool(chunk["choices"] and chunk["choices"][0].get("finish_reason")) for chunk in chunks) > 1:
        pytest.skip("two completions in one recording")

    async def run() -> list[Json]:
        return [event.model_dump() async for event in handler.handle_stream(prototype(), source(typed))]

    theirs = asyncio.run(run())
    yielded = {event["type"] for event in theirs}
    ours = [event.json() for event in transcode(chunks, compat="openai-agents")[0]]
    ours = [event for event in ours if event["type"] in yielded]
    terminals = ("response.completed", "response.incomplete")
    assert order(event for event in ours if event["type"] not in terminals) == order(
        event for event in theirs if event["type"] not in terminals
    )
