"""One response on the wire: the upstream's bytes, what a lane adds to them, and one terminal event."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import Decoder, Event, Transcoder, lint
from penstock.replay import SCRIPTS, ReplayServer
from penstock.websocket.reply import Reply
from penstock.websocket.wire import RefusedError

JSON = dict[str, Any]
TERMINALS = {"response.completed", "response.failed", "response.incomplete", "error"}
PATHS = {"responses": "/responses", "chat": "/chat/completions"}
STREAMS = [(dialect, script) for dialect in PATHS for script in SCRIPTS]
BROKE_OFF = RefusedError("The upstream broke off.", status=502, code="server_error")


@pytest.fixture(scope="module")
def server() -> Iterator[ReplayServer]:
    with ReplayServer() as running:
        yield running


@cache
def recorded(url: str, dialect: str, script: str) -> list[Event]:
    """The events of an upstream's stream."""
    said = {"input": "hi"} if dialect == "responses" else {"messages": [{"role": "user", "content": "hi"}]}
    tools = [{"type": "function", "name": "look", "parameters": {}}] if dialect == "responses" else []
    body = {"model": script, "stream": True, **said, **({"tools": tools} if tools else {})}
    decoder = Decoder()
    return decoder.feed(httpx.post(url, json=body).content) + decoder.finish()


def replying(dialect: str, **options: Any) -> Reply:
    reply = Reply(**options)
    if dialect == "chat":
        reply.transcode(Transcoder("chat", "responses", model="m"))
    return reply


def kinds(frames: list[str]) -> list[str]:
    return [json.loads(frame)["type"] for frame in frames]


def check(frames: list[str]) -> JSON:
    """Hold frames to what every response must be; the terminal."""
    assert [kind in TERMINALS for kind in kinds(frames)] == [False] * (len(frames) - 1) + [True]
    numbers = [json.loads(frame).get("sequence_number") for frame in frames]
    assert numbers == list(range(len(frames))) or numbers == [None]
    last: JSON = json.loads(frames[-1])
    return last


@pytest.mark.parametrize(("dialect", "script"), STREAMS)
def test_a_whole_stream(server: ReplayServer, dialect: str, script: str) -> None:
    events = recorded(server.base_url + PATHS[dialect], dialect, script)
    reply = replying(dialect)
    frames = reply.take(events)
    frames += reply.end()
    assert reply.ended
    terminal = check([*frames, reply.terminal])
    if dialect == "responses":
        passed = [event.data.decode() for event in events if event.type != "error"]
        if terminal["type"] != "response.failed":
            assert [*frames, reply.terminal] == passed
        else:
            assert frames == passed[:-1]
    assert reply.response_id == terminal["response"]["id"]
    assert (reply.final is not None) == (terminal["type"] in ("response.completed", "response.incomplete"))
    if reply.final is not None:
        assert reply.final["output"] == terminal["response"]["output"]
    # Nothing after the end changes anything.
    before = reply.terminal
    assert reply.take(events) == reply.end() == reply.fail(BROKE_OFF) == reply.cancel() == []
    assert reply.terminal == before


@pytest.mark.parametrize(("dialect", "script"), STREAMS)
@pytest.mark.parametrize("ending", ["end", "fail", "cancel"])
def test_cut_after_every_event(server: ReplayServer, dialect: str, script: str, ending: str) -> None:
    events = recorded(server.base_url + PATHS[dialect], dialect, script)
    for cut in [*range(min(len(events), 14)), *range(14, len(events), 23), len(events) - 1]:
        reply = replying(dialect, lane="a")
        frames = reply.take(events[:cut])
        if reply.ended:
            continue
        frames += reply.fail(BROKE_OFF) if ending == "fail" else getattr(reply, ending)()
        terminal = check([*frames, reply.terminal])
        assert terminal["stream_id"] == "a"
        if any(
            event.type == "error" or "finish_reason" in str(event.get("choices")) for event in events[:cut]
        ):
            pass  # the upstream has said more than half of how it ends
        if not reply.begun:
            assert terminal["type"] == "error"
        elif ending == "cancel":
            assert terminal["type"] == "response.incomplete"
            assert terminal["response"]["incomplete_details"] == {"reason": "cancelled"}
        elif reply.final is None:
            assert terminal["type"] == "response.failed"
            assert terminal["response"]["error"]["code"]


@pytest.mark.parametrize(("dialect", "script"), STREAMS)
def test_a_cut_text_is_kept(server: ReplayServer, dialect: str, script: str) -> None:
    events = recorded(server.base_url + PATHS[dialect], dialect, script)
    reply = replying(dialect)
    frames = reply.take(events[: len(events) // 2])
    frames += reply.fail(BROKE_OFF)
    said = "".join(
        event["delta"] for event in map(json.loads, frames) if event["type"] == "response.output_text.delta"
    )
    output = json.loads(reply.terminal)["response"]["output"]
    parts = [part for item in output if item["type"] == "message" for part in item["content"]]
    assert "".join(part.get("text", "") for part in parts) == said


@pytest.mark.parametrize("script", ["replay-text", "replay-tools"])
def test_lanes_and_links_are_put_into_the_bytes(server: ReplayServer, script: str) -> None:
    events = recorded(server.base_url + "/responses", "responses", script)
    reply = replying("responses", lane="a.b-1", previous_response_id="resp_0é")
    frames = [*reply.take(events), *reply.end(), reply.terminal]
    sources = [event.json() for event in events if event.type != "error"]
    for frame, source in zip(frames, sources, strict=True):
        if "response" in source:
            source["response"]["previous_response_id"] = "resp_0é"
        assert json.loads(frame) == {**source, "stream_id": "a.b-1"}


ODD = (
    b'{"type":"response.x" , "big":123456789012345678901234567890,"f":1e400,"n":-0.0,'
    b'"s":"\\ud83d \xe2\x80\xa8","previous_response_id":"\\"previous_response_id\\":null"}'
)


def test_bytes_that_no_json_library_would_write_again() -> None:
    reply = Reply(lane="a")
    (frame,) = reply.take([Event(ODD)])
    assert frame.encode() == ODD[:-1] + b',"stream_id":"a"}'
    (frame,) = Reply(previous_response_id="resp_0").take([Event(ODD)])
    assert frame.encode() == ODD


def test_the_link_goes_where_the_upstream_has_none() -> None:
    data = (
        '{"type":"response.created","response":{"metadata":{"a":"\\"previous_response_id\\":null"},'
        '"previous_response_id" : null}}'
    )
    (frame,) = Reply(previous_response_id="resp_0").take([Event(data)])
    response = json.loads(frame)["response"]
    assert response == {"metadata": {"a": '"previous_response_id":null'}, "previous_response_id": "resp_0"}


def test_an_upstream_s_own_lane_is_overruled() -> None:
    (frame,) = Reply(lane="a").take([Event('{"type":"response.x","stream_id":"other"}')])
    assert Event(frame).stream_id == json.loads(frame)["stream_id"] == "a"


@pytest.mark.parametrize(
    "data",
    [
        "",
        "[]",
        "1",
        "null",
        "{",
        "hello",
        '{"type":"response.x"',
        '{"type":"response.x","a":nope}',
        "{}}",
        '{"a":1',
    ],
)
@pytest.mark.parametrize("name", [None, "response.x"])
def test_what_is_no_object_is_left_out(data: str, name: str | None) -> None:
    reply = Reply()
    assert kinds(reply.take([Event(data, name=name), Event('{"type":"response.y"}')])) == ["response.y"]
    assert reply.dropped == 1


@pytest.mark.parametrize(
    ("data", "frame"),
    [
        ("{}", '{"type":"response.x"}'),
        (" { }", '{"type":"response.x" }'),
        ('{"a":1}', '{"type":"response.x","a":1}'),
        ('{"type":"response.y"}', '{"type":"response.y"}'),  # the payload's own word counts
    ],
)
def test_a_type_that_only_the_event_s_name_says(data: str, frame: str) -> None:
    assert Reply().take([Event(data, name="response.x")]) == [frame]
    assert Reply().take([Event(data)]) == ([frame] if "type" in data else [])


@pytest.mark.parametrize(
    ("error", "message", "code"),
    [
        ({"error": {"message": "m", "code": "c", "type": "t"}}, "m", "c"),
        ({"message": "m", "code": "c"}, "m", "c"),
        ({"message": "m", "code": None}, "m", "server_error"),
        ({"error": "boom"}, "The upstream failed.", "server_error"),
        ({"error": {"message": 5, "code": 5}}, "The upstream failed.", "server_error"),
        ({}, "The upstream failed.", "server_error"),
    ],
)
@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("followed", [False, True])
def test_an_error_ends_it_once(error: JSON, message: str, code: str, begun: bool, followed: bool) -> None:
    created = {"type": "response.created", "response": {"id": "resp_1"}, "sequence_number": 0}
    failed = {
        "type": "response.failed",
        "response": {"id": "resp_1", "status": "failed"},
        "sequence_number": 2,
    }
    reply = Reply()
    events = [{"type": "error", "sequence_number": 1, **error}]
    events = [created, *events] if begun else events
    events = [*events, failed] if followed else events
    frames = reply.take([Event(json.dumps(event)) for event in events])
    frames += reply.end()
    terminal = check([*frames, reply.terminal])
    told = terminal["response"]["error"] if begun else terminal["error"]
    assert (terminal["type"], told["message"], told["code"]) == (
        "response.failed" if begun else "error",
        message,
        code,
    )


def test_empty_output_is_filled_for_the_store() -> None:
    """The terminal goes out as it came; what is stored is what was streamed."""
    item = {"type": "message", "id": "m", "role": "assistant", "content": []}
    events = [
        {"type": "response.created", "response": {"id": "resp_1"}},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": []}},
    ]
    reply = Reply()
    reply.take([Event(json.dumps(event)) for event in events])
    assert reply.final is not None
    assert reply.final["output"] == [item]
    assert json.loads(reply.terminal)["response"]["output"] == []


def test_a_response_that_could_not_be_kept() -> None:
    reply = Reply(lane="a")
    frames = reply.warm_up("m", {})
    reply.revoke(RefusedError("Not stored.", status=500, code="server_error"))
    terminal = check([*frames, reply.terminal])
    assert terminal["type"] == "response.failed"
    assert terminal["response"]["id"] == reply.response_id
    assert reply.final is None
    reply.revoke(BROKE_OFF)
    assert json.loads(reply.terminal)["response"]["error"]["message"] == "Not stored."


def test_a_warm_up_is_a_legal_life() -> None:
    reply = Reply(lane="a", previous_response_id="resp_0")
    frames = reply.warm_up("m", {"metadata": {"k": "v"}, "previous_response_id": "resp_0"})
    terminal = check([*frames, reply.terminal])
    assert kinds(frames) == ["response.created", "response.in_progress"]
    response = terminal["response"]
    assert (response["status"], response["output"], response["model"]) == ("completed", [], "m")
    assert (response["metadata"], response["previous_response_id"]) == ({"k": "v"}, "resp_0")
    assert response["usage"]["total_tokens"] == 0
    assert not lint([Event(frame) for frame in [*frames, reply.terminal]])


def test_no_terminal_before_the_end() -> None:
    with pytest.raises(RuntimeError):
        _ = Reply().terminal


@given(
    st.lists(
        st.sampled_from(
            ["response.created", "response.in_progress", "response.x", "error", "message", *sorted(TERMINALS)]
        ),
        max_size=12,
    ),
    st.sampled_from(["end", "cancel"]),
)
def test_whatever_comes_there_is_one_terminal(types: list[str], ending: str) -> None:
    reply = Reply()
    frames = []
    for kind in types:
        response = {"id": "resp_1", "status": kind.removeprefix("response."), "output": []}
        event = {"type": kind, "response": response} if kind != "message" else {}
        frames += reply.take([Event(json.dumps(event))])
    frames += getattr(reply, ending)()
    assert [kind in TERMINALS for kind in kinds([*frames, reply.terminal])].count(True) == 1


def test_hooks_put_members_into_the_usage_and_amend_the_end() -> None:
    reply = Reply()
    reply.charge({"cost": 1})  # nothing has ended yet
    assert (reply.told, reply.snapshot()) == (None, None)
    reply.warm_up("m", {})
    reply.charge({"cost": 1})
    usage = json.loads(reply.terminal)["response"]["usage"]
    assert usage["cost"] == 1
    assert reply.final is not None
    assert reply.final["usage"] == usage
    reply.amend("{}")
    assert reply.terminal == "{}"
