"""`lint` on streams that openai-agents and LiteLLM make themselves: what it is known to get wrong is found.

The same chat streams through penstock are legal by the strict rules, and end as their upstream did.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benches.originals import agents_streams, litellm_streams
from benches.originals.chats import CHATS, wire
from penstock import Transcoder, lint
from penstock.replay import ReplayServer

LITELLM = Path(os.environ.get("PENSTOCK_LITELLM", Path(sys.prefix) / "litellm"))
"""Where `make` has put it, with an openai package that it can work with."""

Events = list[str]

NUMBERS = {"PS401", "PS402"}
"""LiteLLM's bridge numbers some events, from 1 on."""
UNANNOUNCED = NUMBERS | {"PS110", "PS301"}
"""Reasoning in a part that was never added, in an item that never ends."""
PREFILLED = NUMBERS | {"PS112", "PS207", "PS309"}
"""LiteLLM's fake stream: items and parts hold their text when they are added, the response its usage."""

LITELLM_DEFECTS: dict[str, set[str]] = {
    "text": NUMBERS,
    "reasoning": UNANNOUNCED,
    "raw-reasoning": UNANNOUNCED,
    "both-in-one": UNANNOUNCED | {"PS501"},  # the text beside the reasoning is lost
    "late-reasoning": NUMBERS | {"PS201"},  # deltas of an item that is never added
    "refusal": NUMBERS,
    "call": NUMBERS,
    "early-arguments": NUMBERS | {"PS501"},  # the deltas begin in the middle
    "calls": NUMBERS,
    "text-and-call": NUMBERS,
    "call-and-text": NUMBERS,
    "length": NUMBERS,
    "cut": NUMBERS,
    "empty": NUMBERS,
    "nothing": NUMBERS,
    "replay-text": PREFILLED,
    "replay-full": PREFILLED | {"PS301"},
    "replay-refusal": PREFILLED,
    "replay-incomplete": PREFILLED | {"PS108", "PS111"},  # always completed
}

UNDONE = {"PS103", "PS108", "PS307"}
"""openai-agents: no `in_progress`, a response without status, no `done` event of any string."""
SAME_ID = UNDONE | {"PS211"}
"""Every item has the same id."""

AGENTS_DEFECTS: dict[str, set[str]] = {
    "text": UNDONE,
    "reasoning": SAME_ID,
    "raw-reasoning": SAME_ID | {"PS207", "PS301", "PS306"},  # the part of the reasoning is never added
    "both-in-one": SAME_ID,
    "late-reasoning": SAME_ID | {"PS202", "PS204", "PS504"},  # two items at one index
    "refusal": UNDONE,
    "call": UNDONE,
    "early-arguments": UNDONE | {"PS503"},  # the deltas begin in the middle
    "calls": SAME_ID,
    "text-and-call": SAME_ID,
    "call-and-text": SAME_ID,
    "length": UNDONE,
    "cut": UNDONE,
    "empty": UNDONE - {"PS307"},
    "nothing": UNDONE - {"PS307"},
}


@pytest.fixture(scope="module")
def litellm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, Events]]:
    """By stream, the class of its iterator and its events."""
    if not LITELLM.is_dir():
        pytest.skip("LiteLLM is not installed; make bench-test does it")
    folder = tmp_path_factory.mktemp("chats")
    for name, chunks in CHATS.items():
        (folder / f"{name}.sse").write_bytes(wire(chunks, done=name != "cut"))
    # It would fetch the prices of models from the network.
    environment = {**os.environ, "PYTHONPATH": str(LITELLM), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    program = Path(litellm_streams.__file__)
    with ReplayServer(recordings=list(folder.iterdir())) as server:
        command = [sys.executable, "-W", "ignore", str(program), server.base_url, *LITELLM_DEFECTS]
        run = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
    assert run.returncode == 0, run.stderr[-4000:]
    rows = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("[")]
    assert [name for name, *_ in rows] == list(LITELLM_DEFECTS), run.stderr[-4000:]
    return {name: (kind, events) for name, kind, events in rows}


@pytest.fixture(scope="module")
def agents() -> dict[str, Events]:
    pytest.importorskip("agents")
    return agents_streams.streams(CHATS)


def codes(events: Any) -> set[str]:
    return {finding.code for finding in lint(events)}


def last(events: Events) -> Any:
    return json.loads(events[-1])


@pytest.mark.parametrize("name", LITELLM_DEFECTS)
def test_litellm(litellm: dict[str, tuple[str, Events]], name: str) -> None:
    kind, events = litellm[name]
    fake = name.startswith("replay-")
    assert kind == ("MockResponsesAPIStreamingIterator" if fake else "LiteLLMCompletionStreamingIterator")
    assert codes(events) == LITELLM_DEFECTS[name]


def test_litellm_s_fake_stream_says_everything_twice(litellm: dict[str, tuple[str, Events]]) -> None:
    events = [json.loads(event) for event in litellm["replay-text"][1]]
    (part,) = [event["part"]["text"] for event in events if event["type"] == "response.content_part.added"]
    deltas = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
    assert part == "".join(deltas) != ""


def test_litellm_makes_up_completion(litellm: dict[str, tuple[str, Events]]) -> None:
    for name in ("cut", "nothing", "replay-incomplete"):
        assert last(litellm[name][1])["type"] == "response.completed"
    assert not any("no." in event for event in litellm["refusal"][1]), "the refusal came through"


@pytest.mark.parametrize("name", AGENTS_DEFECTS)
def test_openai_agents(agents: dict[str, Events], name: str) -> None:
    assert codes(agents[name]) == AGENTS_DEFECTS[name]


def test_openai_agents_makes_up_completion(agents: dict[str, Events]) -> None:
    for name in ("cut", "length", "nothing"):
        assert last(agents[name])["type"] == "response.completed"


ENDS = {"cut": "failed", "length": "incomplete", "nothing": "completed"}
"""How penstock ends those that do not simply complete; `[DONE]` without anything is a completed message."""


@pytest.mark.parametrize("compat", [None, "openai-agents"])
@pytest.mark.parametrize("name", CHATS)
def test_penstock(name: str, compat: Any) -> None:
    transcoder = Transcoder("chat", "responses", id="resp_1", compat=compat)
    written = transcoder.feed(wire(CHATS[name], done=name != "cut")) + transcoder.finish()
    assert lint(written, strict=compat is None) == []
    assert f"event: response.{ENDS.get(name, 'completed')}\n".encode() in written
