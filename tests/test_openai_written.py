"""Everything penstock writes is valid to the openai package's typed models, in each of its major versions.

`test_openai.py` runs this file a second time with the package's other version.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import pytest

pytest.importorskip("openai")

from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from openai_streams import RECORDINGS
from pydantic import TypeAdapter
from test_emitter import USAGE, emitter, play
from test_synthesize import ITEMS, numbered, response
from test_transcode import MESSAGES, transcode
from test_transcode_chat import CREATED, ROWS
from test_transcode_chat import transcode as transcode_to_chat

from penstock import ChatAccumulator, Event, ResponseAccumulator, ResponseEmitter, synthesize

Json = dict[str, Any]

EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)

UNKNOWN = {
    "response.cancelled",
    "response.apply_patch_call_operation_diff.delta",
    "response.apply_patch_call_operation_diff.done",
}
"""Events of the API for which the package has no models."""


def validate(events: Iterable[Event]) -> Json:
    """Every event, and the final response; returns that."""
    count = 0
    for event in events:
        count += 1
        data = event.json()
        whole = data.get("response", {})
        if error := whole.get("error"):
            # The models list the codes that the API documents; it sends others, and so do gateways.
            error["code"] = "server_error"
        if event.type not in UNKNOWN:
            EVENTS.validate_python(data)
    assert count > 2
    return dict(Response.model_validate(whole).model_dump())


ENDS: dict[str, Callable[[ResponseEmitter], object]] = {
    "completed": lambda e: e.complete(),
    "incomplete": lambda e: e.incomplete("max_output_tokens"),
    "failed": lambda e: e.fail({"code": "server_error", "message": "x"}),
    "cancelled": lambda e: e.cancel(),
}


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("status", ENDS)
def test_emitted(status: str, cut: bool) -> None:
    e = emitter(format="events", echo={"instructions": "Be brief.", "metadata": {"a": "b"}})
    play(e)
    if cut and status != "completed":
        e.text(e.open_item("message"), "cut")
    if status == "failed":
        e.error({"code": "server_error", "message": "x"})
    ENDS[status](e)
    assert validate(e.take())["status"] == status
    assert e.final() is not None


def test_emitted_from_the_queue_and_with_nothing_in_it() -> None:
    e = ResponseEmitter(model="m", format="events", pad_to=64)
    e.queue()
    e.start()
    e.complete()
    assert validate(e.take())["output"] == []


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize(
    "kind",
    ["message", "reasoning", "function_call", "custom_tool_call", "mcp_call", "code_interpreter_call",
     "file_search_call", "web_search_call", "image_generation_call"],
)  # fmt: skip
def test_items_of_which_little_is_told(kind: str, cut: bool) -> None:
    e = ResponseEmitter(model="m", format="events")
    e.start()
    item = e.open_item(kind)
    if cut:
        e.fail({})
    else:
        e.close_item(item)
        e.usage({"input_tokens": 1})
        e.complete()
    validate(e.take())


@pytest.mark.parametrize("compat", [None, "openai-agents"])
@pytest.mark.parametrize("reasoning", ["summary", "raw"])
@pytest.mark.parametrize("row", MESSAGES.values(), ids=MESSAGES.keys())
def test_transcoded_to_responses(
    row: tuple[list[Json | str], list[str]], reasoning: Literal["summary", "raw"], compat: Any
) -> None:
    events, _ = transcode(row[0], compat=compat, reasoning=reasoning)
    validate(events)


def recorded(api: str) -> list[Any]:
    return [pytest.param(path, id=path.stem) for path in sorted((RECORDINGS / api).glob("*.jsonl"))]


def lines(path: Path) -> list[str]:
    return [line.decode() for line in path.read_bytes().splitlines() if line.strip()]


@pytest.mark.parametrize("path", recorded("chat"))
def test_recordings_transcoded_to_responses(path: Path) -> None:
    events, _ = transcode(lines(path))
    validate(events)


def validate_chunks(chunks: list[Json]) -> None:
    """Every chunk but an error, and the completion that they add up to."""
    chat = ChatAccumulator()
    for chunk in chunks:
        chat.feed(chunk)
        if "error" not in chunk:
            ChatCompletionChunk.model_validate(chunk)
    # A completion's audio has an id and an expiry, which no event of a response tells.
    if chat.terminal == "finish_reason" and not any('"audio"' in json.dumps(chunk) for chunk in chunks):
        ChatCompletion.model_validate(chat.final())


# Chunks of the SDK know no other calls than those of functions.
CHUNKED = {name: row for name, row in ROWS.items() if "custom" not in name}


@pytest.mark.parametrize("row", CHUNKED.values(), ids=CHUNKED.keys())
def test_transcoded_to_chat(row: tuple[list[Json], list[Json], str]) -> None:
    chunks, _ = transcode_to_chat([CREATED, *row[0]], include_usage=True)
    validate_chunks(chunks)


@pytest.mark.parametrize("path", recorded("responses"))
def test_recordings_transcoded_to_chat(path: Path) -> None:
    if "custom" in path.stem:
        pytest.skip("chunks of the SDK know no other calls than those of functions")
    try:
        events = [json.loads(line) for line in lines(path)]
    except ValueError:
        pytest.skip("a line of it is no JSON")
    chunks, _ = transcode_to_chat([event for event in events if isinstance(event, dict)], include_usage=True)
    validate_chunks(chunks)


WHOLE: Json = {
    "usage": USAGE,
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "metadata": {},
    "top_p": 1.0,
}
"""What the models want of a response besides what the tests of `synthesize` give it."""

KNOWN = {name: item for name, item in ITEMS.items() if name not in {"vendor", "unknown part"}}


@pytest.mark.parametrize("unit", ["codepoints", "graphemes", "words"])
@pytest.mark.parametrize("item", KNOWN.values(), ids=KNOWN)
def test_synthesized(item: Json, unit: Literal["codepoints", "graphemes", "words"]) -> None:
    validate(synthesize(response(item, **WHOLE), unit=unit, slice=2))


@pytest.mark.parametrize("status", ENDS)
def test_synthesized_with_every_end(status: str) -> None:
    details = {"reason": "max_output_tokens"} if status == "incomplete" else None
    error = {"code": "server_error", "message": "no"} if status == "failed" else None
    members = {**WHOLE, "status": status, "incomplete_details": details, "error": error}
    whole = response(*numbered(KNOWN.values()), **members)
    final = validate(synthesize(whole))
    assert (final["status"], len(final["output"])) == (status, len(KNOWN))


@pytest.mark.parametrize("path", recorded("responses"))
def test_recordings_synthesized(path: Path) -> None:
    """What providers have sent is as valid behind `synthesize` as it was before."""
    accumulator = ResponseAccumulator()
    for line in lines(path):
        accumulator.feed(Event(line))
    for whole in accumulator.responses:
        if whole["status"] not in ENDS:
            continue
        try:
            Response.model_validate(whole)
        except ValueError:
            continue  # of a provider whose responses the models do not know
        validate(synthesize(whole))
