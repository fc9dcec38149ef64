"""What a forwarder knows of the responses under way, and what it says of them when the upstream is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock import Event
from penstock.websocket.flights import HELD_BYTES, MAX_LANES, TERMINALS, Flights
from penstock.websocket.wire import RefusedError

LOST = RefusedError("Lost.", status=502, code="server_error")
CREATED = {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress", "output": []}}


def delta(text: str, **more: Any) -> dict[str, Any]:
    place = {"output_index": 0, "content_index": 0, "item_id": "m"}
    return {"type": "response.output_text.delta", **place, "delta": text, **more}


def seeing(*events: dict[str, Any] | str, asked: int = 0) -> Flights:
    flights = Flights()
    for _ in range(asked):
        flights.ask()
    for given in events:
        text = given if isinstance(given, str) else json.dumps(given)
        event = Event(text)
        flights.see(event, event.type, text)
    return flights


def ending(flights: Flights) -> list[dict[str, Any]]:
    frames = [json.loads(frame) for frame in flights.fail(LOST)]
    assert flights.fail(LOST) == []  # once
    return frames


def test_nothing_is_under_way() -> None:
    assert ending(seeing()) == []
    assert ending(seeing(delta("x"), {"type": "response.x"}, "nope", {"type": "error"})) == []


@pytest.mark.parametrize("asked", [0, 1])
def test_a_response_under_way(asked: int) -> None:
    (frame,) = ending(seeing(CREATED, delta("hé"), delta("!"), asked=asked))
    assert (frame["type"], frame["sequence_number"]) == ("response.failed", 3)
    assert frame["response"]["output"][0]["content"][0]["text"] == "hé!"
    assert frame["response"]["error"] == {"code": "server_error", "message": "Lost."}


def test_its_number_is_the_next() -> None:
    events = [{**CREATED, "sequence_number": 40}, delta("x", sequence_number=41)]
    (frame,) = ending(seeing(*events))
    assert frame["sequence_number"] == 42


@pytest.mark.parametrize("kind", sorted(TERMINALS))
def test_a_response_that_has_ended(kind: str) -> None:
    assert ending(seeing(CREATED, delta("x"), {"type": kind}, asked=1)) == []
    assert ending(seeing(CREATED, {"type": kind}, {"type": "response.failed"}, asked=1)) == []


def test_requests_that_nothing_came_of() -> None:
    frames = ending(seeing({"type": "error"}, asked=3))
    assert [frame["type"] for frame in frames] == ["error"] * 2
    assert frames[0]["error"]["code"] == "server_error"


def test_lanes() -> None:
    lanes: list[dict[str, Any]] = [{"stream_id": "a"}, {"stream_id": "b"}, {}]
    events = [{**CREATED, **lane} for lane in lanes] + [delta(f"{lane}", **lane) for lane in lanes]
    frames = ending(seeing(*events, {"type": "response.completed", "stream_id": "b"}, asked=3))
    texts = {frame.get("stream_id"): frame["response"]["output"][0]["content"][0]["text"] for frame in frames}
    assert texts == {"a": "{'stream_id': 'a'}", None: "{}"}


def test_a_successor_takes_the_lane() -> None:
    again = {**CREATED, "response": {"id": "resp_2", "status": "in_progress", "output": []}}
    (frame,) = ending(seeing(CREATED, delta("x"), again))
    assert (frame["response"]["id"], frame["response"]["output"]) == ("resp_2", [])


def test_long_texts_are_kept_whole() -> None:
    piece = "x" * (HELD_BYTES // 3)
    (frame,) = ending(seeing(CREATED, *[delta(piece)] * 10))
    assert frame["response"]["output"][0]["content"][0]["text"] == piece * 10
    assert frame["sequence_number"] == 11


def test_a_response_beyond_the_limits_fails_without_output() -> None:
    piece = "x" * 8_000_000
    frames = ending(seeing(CREATED, *[delta(piece)] * 9, delta("more")))
    assert [frame["type"] for frame in frames] == ["error"]


def test_the_lanes_of_a_mad_upstream_are_bounded() -> None:
    flights = seeing(*({**CREATED, "stream_id": f"{number}"} for number in range(MAX_LANES * 2)))
    assert len(ending(flights)) == MAX_LANES
