"""The machine of a connection: whose event is whose, in rows, and against random servers that misbehave."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import Event, Limits
from penstock.errors import LimitExceeded, OutcomeUnknown, ResponseError
from penstock.session import flight as module
from penstock.session.failures import error_of, failure_of
from penstock.session.flight import Flight
from penstock.session.machine import MAX_RETIRED, TERMINALS, Machine

JSON = dict[str, Any]


def event(kind: str, **fields: Any) -> Event:
    return Event(json.dumps({"type": kind, **fields}))


def response(kind: str, name: str | None = "r1", lane: str | None = None, **fields: Any) -> Event:
    """An event with a response in it."""
    label = {} if lane is None else {"stream_id": lane}
    inner = {"id": name, "status": kind, "output": [], **fields}
    return event(f"response.{kind}", response=inner, **label)


def delta(text: str = "hi", item: str = "m1", lane: str | None = None, **fields: Any) -> Event:
    label = {} if lane is None else {"stream_id": lane}
    place = {"output_index": 0, "content_index": 0, "item_id": item}
    return event("response.output_text.delta", delta=text, **place, **label, **fields)


def error(code: str = "server_error", lane: str | None = None, **fields: Any) -> Event:
    label = {} if lane is None else {"stream_id": lane}
    return event("error", status=500, error={"code": code, "message": "m"}, **label, **fields)


def feed(machine: Machine, *events: Event) -> None:
    for one in events:
        machine.receive(one)


def shown(flight: Flight) -> list[str]:
    return [one.type.removeprefix("response.") for one in flight.events]


def test_a_response_from_created_to_its_terminal() -> None:
    machine = Machine()
    flight = machine.begin(None)
    assert not flight.ready
    feed(machine, response("created"), response("in_progress"), delta(), response("completed"))
    assert shown(flight) == ["created", "in_progress", "output_text.delta", "completed"]
    assert (flight.response_id, flight.terminal, flight.over, flight.closed) == (
        "r1", "response.completed", True, True,
    )  # fmt: skip
    assert flight.error is None
    assert list(machine.flights) == []
    assert not machine.outbox


def test_one_flight_a_lane() -> None:
    machine = Machine()
    machine.begin("a")
    machine.begin(None)
    with pytest.raises(RuntimeError):
        machine.begin("a")


STRAYS: dict[str, list[Event]] = {
    "nothing in flight": [response("completed", "r0"), delta()],
    "another lane": [response("created", "r0", "b"), delta(lane="b")],
}


@pytest.mark.parametrize("events", STRAYS.values(), ids=STRAYS)
def test_what_nobody_asked_for_is_dropped(events: list[Event]) -> None:
    machine = Machine()
    flight = None
    if events[0].stream_id:
        flight = machine.begin("a")
        machine.begin("c")
    feed(machine, *events)
    assert machine.strays == 2
    assert flight is None or not flight.events


@pytest.mark.parametrize("text", ["nonsense", "null", "[]", '{"type":7}', "{}", '{"type":'])
def test_what_is_no_event_is_counted(text: str) -> None:
    machine = Machine()
    flight = machine.begin(None)
    machine.receive(Event(text))
    feed(machine, response("created"), delta(), response("completed"))
    assert machine.unreadable == 1
    assert len(flight.events) == 3


AFTER_CREATED: dict[str, tuple[list[Event], list[str]]] = {
    "another's terminal": ([response("completed", "r2"), delta()], ["output_text.delta"]),
    "created again": ([response("created"), delta()], ["output_text.delta"]),
    "another's created": ([response("created", "r2"), delta()], ["output_text.delta"]),
    "no id": ([response("completed", None)], ["completed"]),
    "twice the terminal": ([response("completed"), response("completed")], ["completed"]),
    "after the terminal": ([response("completed"), delta()], ["completed"]),
    "unknown events": (
        [event("codex.rate_limits", a=1), delta()],
        ["codex.rate_limits", "output_text.delta"],
    ),
    "cancelled by the server": ([response("cancelled")], ["cancelled"]),
}


@pytest.mark.parametrize(("events", "expected"), AFTER_CREATED.values(), ids=AFTER_CREATED)
def test_a_response_shows_its_own_events_alone(events: list[Event], expected: list[str]) -> None:
    machine = Machine()
    flight = machine.begin(None)
    feed(machine, response("created"), *events)
    assert shown(flight) == ["created", *expected]


def test_a_gateway_may_leave_out_how_it_begins() -> None:
    machine = Machine()
    flight = machine.begin(None)
    feed(machine, delta(), response("completed"))
    assert shown(flight) == ["output_text.delta", "completed"]
    flight = machine.begin(None)
    feed(machine, response("in_progress", "r2"), delta(), response("completed", "r2"))
    assert (flight.terminal, flight.response_id) == ("response.completed", "r2")


def test_a_server_may_leave_out_the_lane() -> None:
    machine = Machine()
    flight = machine.begin("a")
    feed(machine, response("created"), delta(), response("completed"))
    assert len(flight.events) == 3
    first, second = machine.begin("a"), machine.begin("b")
    feed(machine, response("created", "r2"), delta())
    assert not first.events
    assert not second.events
    assert machine.strays == 2


def test_lanes_side_by_side() -> None:
    """Edge case 47."""
    machine = Machine()
    flights = {lane: machine.begin(lane) for lane in (None, "a", "b")}
    for kind in ("created", "in_progress"):
        feed(machine, *(response(kind, f"r{lane}", lane) for lane in flights))
    for lane in ("a", None, "b", "a", None):
        feed(machine, delta(str(lane), lane=lane))
    feed(machine, *(response("completed", f"r{lane}", lane) for lane in flights))
    for lane, flight in flights.items():
        texts = {one.delta for one in flight.events if one.delta}
        assert texts == {str(lane)}
        assert flight.response_id == f"r{lane}"


# Cancelling.


def test_a_cancel_names_the_response() -> None:
    machine = Machine()
    flight = machine.begin(None)
    feed(machine, response("created"), delta())
    machine.cancel(flight)
    machine.cancel(flight)
    assert list(machine.outbox) == [{"type": "response.cancel", "response_id": "r1"}]
    assert not flight.events
    assert flight.closed
    assert not flight.over
    feed(machine, delta(), response("incomplete"))
    assert flight.over
    assert not flight.events
    assert flight.error is None


def test_a_cancel_before_created_is_sent_when_the_id_is_known() -> None:
    """Edge case 98."""
    machine = Machine()
    flight = machine.begin(None)
    machine.cancel(flight)
    assert not machine.outbox
    feed(machine, response("created"))
    assert machine.outbox.popleft()["response_id"] == "r1"
    feed(machine, delta(), response("completed"))
    assert flight.over
    assert not flight.events


def test_a_cancel_of_what_is_over_does_nothing() -> None:
    """Bug 1 and 2 of pipecat: no cancel goes to an old response, and nothing is left to drain."""
    machine = Machine()
    flight = machine.begin(None)
    feed(machine, response("created"), response("completed"))
    machine.cancel(flight)
    assert not machine.outbox
    assert machine.flight(None) is None
    following = machine.begin(None)
    feed(machine, response("created", "r2"), response("completed", "r2"))
    assert following.terminal == "response.completed"
    assert not machine.outbox


def test_an_error_ends_a_drain() -> None:
    """Bug 4, edge case 101."""
    machine = Machine()
    flight = machine.begin(None)
    feed(machine, response("created"))
    machine.cancel(flight)
    feed(machine, error())
    assert flight.over
    assert flight.error is None


def test_another_s_terminal_ends_no_drain() -> None:
    machine = Machine()
    flight = machine.begin(None)
    feed(machine, response("created"))
    machine.cancel(flight)
    feed(machine, response("completed", "r0"))
    assert not flight.over


LATE: dict[str, Event] = {
    "its terminal again": response("incomplete"),
    "its created again": response("created"),
    "a delta": delta(),
    "a delta with a number": delta(sequence_number=9),
    "a delta of an item never seen": delta(item="m9", sequence_number=9),
    "an item never seen": event("response.output_item.added", item={"id": "m9"}, sequence_number=9),
    "a delta without any name": event("response.output_text.delta", delta="x", sequence_number=9),
    "an uncounted delta of an item never seen": delta(item="m9"),
    "an item seen": event("response.output_item.done", item={"id": "m1"}),
}


@pytest.mark.parametrize("late", LATE.values(), ids=LATE)
@pytest.mark.parametrize("begun", [False, True])
def test_late_events_of_a_cancelled_response_do_not_enter_the_next(late: Event, begun: bool) -> None:
    """Bug 3."""
    machine = Machine()
    first = machine.begin(None)
    item = event("response.output_item.added", output_index=0, item={"id": "m1", "type": "message"})
    feed(machine, response("created"), item, delta())
    machine.cancel(first)
    feed(machine, response("incomplete"))
    second = machine.begin(None)
    created = event("response.created", response={"id": "r2", "output": []}, sequence_number=0)
    feed(machine, *([created, late] if begun else [late, created]))
    own = event("response.output_item.added", output_index=0, item={"id": "m2"}, sequence_number=1)
    feed(machine, own, delta("own", "m2", sequence_number=2), response("completed", "r2"))
    assert shown(second) == ["created", "output_item.added", "output_text.delta", "completed"]
    assert [one.delta for one in second.events if one.delta] == ["own"]


@pytest.mark.parametrize("counted", [None, 0, 1], ids=["uncounted", "from 0", "from 1"])
@pytest.mark.parametrize("ended", ["cancel", "error"])
@pytest.mark.parametrize("name", ["m1", "", "__fake_id__"])
@pytest.mark.parametrize("ids", [("r1", "r2"), ("r1", "r1"), ("", "")], ids=str)
def test_a_server_that_repeats_ids_is_understood_after_a_cancel(
    ids: tuple[str, str], name: str, ended: str, counted: int | None
) -> None:
    """TensorRT-LLM's items have no ids, those of LiteLLM and openai-agents all have the same."""
    machine = Machine()
    for number, response_id in enumerate((*ids, ids[1])):
        flight = machine.begin(None)
        item = {"id": name, "type": "message", "content": []}
        said = [
            response("created", response_id),
            event("response.output_item.added", output_index=0, item=item),
            *(delta(word, name) for word in "abc"),
            event("response.output_item.done", output_index=0, item=item),
            response("completed", response_id),
        ]
        if counted is not None:
            numbered = enumerate(said, counted)
            said = [Event(json.dumps(one.json() | {"sequence_number": n})) for n, one in numbered]
        if number:
            feed(machine, *said)
            assert [*flight.events] == said
            assert flight.response_id == response_id
            assert flight.terminal == "response.completed"
        elif ended == "error":
            feed(machine, *said[:4], error())
        else:
            feed(machine, *said[:3])
            machine.cancel(flight)
            feed(machine, *said[3:5], response("incomplete", response_id))


def test_a_late_event_of_an_item_whose_id_is_used_again_does_not_enter() -> None:
    machine = Machine()
    first = machine.begin(None)
    feed(machine, response("created"), delta())
    machine.cancel(first)
    feed(machine, delta("late"), response("incomplete"))
    second = machine.begin(None)
    created = event("response.created", response={"id": "r2", "output": []}, sequence_number=0)
    added = event("response.output_item.added", output_index=0, item={"id": "m1"}, sequence_number=1)
    feed(machine, created, added, delta("ghost", sequence_number=7), delta("own", sequence_number=2))
    assert [one.delta for one in second.events if one.delta] == ["own"]


def test_an_echo_of_a_response_s_beginning_gives_way_to_the_next_one_s() -> None:
    machine = Machine()
    feed_one = machine.begin(None)
    feed(machine, response("created"), response("completed"))
    assert feed_one.over
    flight = machine.begin(None)
    feed(machine, response("created"), response("created", "r2"), response("created"), delta())
    feed(machine, response("completed", "r2"))
    assert shown(flight) == ["created", "output_text.delta", "completed"]
    assert flight.response_id == "r2"


def test_a_server_with_rotating_ids_is_understood_after_a_cancel() -> None:
    """Edge case 21: by their numbers, where the ids say nothing."""
    machine = Machine()
    machine.cancel(machine.begin(None))
    feed(machine, response("created"), response("completed"))
    flight = machine.begin(None)
    feed(machine, event("response.created", response={"id": "r2"}, sequence_number=0))
    feed(machine, *(delta(item=f"x{n}", sequence_number=n) for n in range(1, 6)))
    assert len(flight.events) == 6


def test_a_server_that_leaves_numbers_out_is_understood_after_a_cancel() -> None:
    machine = Machine()
    for name in ("r1", "r2"):
        flight = machine.begin(None)
        item = event("response.output_item.added", output_index=0, item={"id": f"m{name}"}, sequence_number=4)
        said = [delta(item=f"m{name}", sequence_number=number) for number in (6, 7, 11)]
        feed(machine, response("created", name), item, *said)
        assert [*flight.events][2:] == said
        machine.cancel(flight)
        feed(machine, response("incomplete", name))


# Errors.


def late_cancel(lane: str | None = None) -> tuple[Machine, Flight]:
    """A connection whose last response was complete before its cancel was read, and the next request."""
    machine = Machine()
    first = machine.begin(lane)
    feed(machine, response("created", lane=lane), delta(lane=lane))
    machine.cancel(first)
    feed(machine, response("completed", lane=lane))
    assert first.over
    return machine, machine.begin(lane)


ANSWERS: list[JSON] = [
    {"code": "unknown_event"},
    {"code": "response_not_found"},
    {"code": "response_cancel_not_active"},
    {"code": "invalid_value", "param": "type"},
    {"code": None, "message": "Unsupported: 'response.cancel'."},
]


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_the_answer_to_a_late_cancel_is_not_the_next_request_s(answer: JSON) -> None:
    """Or that would fail, and each response from then on be taken for that to the request after its own."""
    machine, flight = late_cancel()
    feed(machine, event("error", status=400, error=answer))
    assert not flight.closed
    feed(machine, response("created", "r2"), delta("two", "m2"), response("completed", "r2"))
    assert (flight.response_id, flight.error, machine.unclear) == ("r2", None, False)


@pytest.mark.parametrize(
    ("answer", "status", "unclear"),
    [
        ({"code": "invalid_request_error"}, 400, True),
        ({}, None, True),
        ({"code": "previous_response_not_found"}, 400, False),
        ({"code": "invalid_value", "param": "model"}, 400, False),
        ({"code": "rate_limit_exceeded"}, 429, False),
        ({"code": "server_error"}, 500, False),
        ({"code": "response_already_in_flight"}, 400, False),
    ],
    ids=str,
)
def test_an_error_that_may_be_either_costs_the_connection(
    answer: JSON, status: int | None, unclear: bool
) -> None:
    machine, flight = late_cancel()
    feed(machine, event("error", status=status, error=answer))
    assert flight.over
    assert isinstance(flight.error, ResponseError)
    assert machine.unclear is unclear


def test_an_answer_is_waited_for_no_longer_than_it_may_come() -> None:
    for lane in (None, "a"):
        machine, flight = late_cancel(lane)
        if lane is None:
            feed(machine, response("created", "r2"))
        feed(
            machine,
            event("error", error={"code": "response_broken"}, **({"stream_id": lane} if lane else {})),
        )
        assert isinstance(flight.error, ResponseError)
        assert not machine.unclear


FRAMES: list[tuple[JSON, tuple[Any, ...]]] = [
    # the frame, (status, code, type, param)
    (
        {"status": 400, "error": {"code": "c", "type": "t", "param": "p", "message": "m"}},
        (400, "c", "t", "p"),
    ),
    ({"status_code": 429, "error": {"code": "c"}}, (429, "c", None, None)),
    ({"error": {"type": "t", "message": "m"}}, (None, None, "t", None)),
    ({"code": "c", "message": "m", "param": "p", "sequence_number": 3}, (None, "c", None, "p")),
    ({"code": "c", "message": "m", "status": 503, "error_type": "t"}, (503, "c", "t", None)),
    ({"error": "words"}, (None, None, None, None)),
    ({"status": True, "error": {"code": 7}}, (None, "7", None, None)),
    ({"message": "m"}, (None, None, None, None)),
]


@pytest.mark.parametrize(("frame", "expected"), FRAMES)
def test_error_frames_in_every_form(frame: JSON, expected: tuple[Any, ...]) -> None:
    """Bug 8 of pipecat: only the nested form was understood."""
    made = error_of(event("error", **frame))
    assert (made.status, made.code, made.type, made.param) == expected


def test_an_error_s_words_are_not_repeated() -> None:
    made = error_of(event("error", error={"code": "the prompt: secret", "message": "secret"}))
    assert "secret" not in f"{made}{made!r}"
    assert made.error is not None
    assert made.error["message"] == "secret"


@pytest.mark.parametrize(
    ("inner", "code"),
    [({"code": "c", "message": "m"}, "c"), (None, None), ("words", None), ({"code": 7, "param": 7}, None)],
)
def test_a_failed_response_s_error(inner: Any, code: str | None) -> None:
    assert failure_of({"error": inner}).code == code


def test_an_error_ends_the_flight_after_its_events() -> None:
    machine = Machine()
    flight = machine.begin(None)
    feed(machine, response("created"), delta(), error("overloaded"), response("failed"))
    assert shown(flight) == ["created", "output_text.delta"]
    assert isinstance(flight.error, ResponseError)
    assert flight.error.code == "overloaded"
    following = machine.begin(None)
    feed(machine, response("failed"), response("created", "r2"), response("completed", "r2"))
    assert shown(following) == ["created", "completed"]


WHOSE: list[tuple[list[str | None], str | None, str, list[str | None]]] = [
    # lanes in flight (capitals have begun, an x is cancelled), the frame's lane, its code, lanes it ends
    (["a", "b"], "a", "c", ["a"]),
    (["a", "b"], "z", "c", []),
    (["A", "b"], None, "c", ["b"]),
    (["A", "B"], None, "c", ["A", "B"]),
    (["a", "b"], None, "c", ["a", "b"]),
    (["A", None], None, "c", [None]),
    (["A"], None, "c", ["A"]),
    ([], None, "c", []),
    (["Ax", "B"], None, "c", ["Ax"]),
    (["A", "b"], None, "websocket_connection_limit_reached", ["A", "b"]),
    ([], None, "websocket_connection_limit_reached", []),
]


@pytest.mark.parametrize(("lanes", "lane", "code", "ended"), WHOSE)
def test_whom_an_error_concerns(
    lanes: list[str | None], lane: str | None, code: str, ended: list[str | None]
) -> None:
    machine = Machine()
    flights = {name: machine.begin(name) for name in lanes}
    feed(machine, *(response("created", f"r{n}", n) for n in lanes if n is not None and n[0].isupper()))
    for name, flight in flights.items():
        if name == "Ax":
            machine.cancel(flight)
    machine.receive(error(code, lane))
    assert [name for name, flight in flights.items() if flight.over] == ended
    assert machine.limit_reached == (code == "websocket_connection_limit_reached")
    assert machine.strays == (not ended)


def test_a_lost_connection_leaves_the_outcome_unknown() -> None:
    machine = Machine()
    begun, waiting, cancelled = machine.begin("a"), machine.begin("b"), machine.begin("c")
    feed(machine, response("created", "r1", "a"), delta(lane="a"))
    machine.cancel(cancelled)
    cause = OSError()
    machine.lost(code=1006, cause=cause)
    assert isinstance(begun.error, OutcomeUnknown)
    assert (begun.error.response_id, begun.error.close_code, begun.error.__cause__) == ("r1", 1006, cause)
    assert begun.error.partial is not None
    assert isinstance(waiting.error, OutcomeUnknown)
    assert waiting.error.response_id is None
    assert cancelled.error is None
    assert cancelled.over
    assert shown(begun) == ["created", "output_text.delta"]


def test_a_withdrawn_flight_leaves_its_lane_free() -> None:
    machine = Machine()
    machine.withdraw(machine.begin(None))
    machine.fail(machine.begin(None), ResponseError("refused"))
    assert machine.flight(None) is None


# Limits.


def test_a_response_beyond_its_limits_is_given_up() -> None:
    machine = Machine(Limits(max_message_bytes=1000))
    flight = machine.begin(None)
    feed(machine, response("created"), delta("x" * 600), delta("x" * 600), delta("x"))
    assert shown(flight) == ["created", "output_text.delta"]
    assert isinstance(flight.error, LimitExceeded)
    assert not flight.over
    assert machine.outbox.popleft()["type"] == "response.cancel"
    feed(machine, response("completed"))
    assert flight.over


def test_events_that_nobody_takes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING_EVENTS", 3)
    machine = Machine()
    flight = machine.begin(None)
    feed(machine, response("created"), *(delta() for _ in range(5)))
    assert len(flight.events) == 3
    assert isinstance(flight.error, LimitExceeded)
    assert (flight.error.limit, flight.error.value) == ("waiting_events", 4)


def test_and_so_are_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """But whoever keeps up with what comes may have as much of it as there is."""
    size = len(delta().data)
    monkeypatch.setattr(module, "MAX_WAITING_BYTES", 3 * size)
    machine = Machine()
    flight = machine.begin(None)
    feed(machine, response("created"))
    for _ in range(20):
        feed(machine, delta(), delta(), delta())
        assert flight.error is None
        taken = [flight.take() for _ in range(len(flight.events))]
        assert flight.waiting == 0
        assert len(taken) >= 3
    feed(machine, *(delta() for _ in range(9)))
    assert len(flight.events) == 4
    assert isinstance(flight.error, LimitExceeded)
    assert (flight.error.limit, flight.error.value) == ("waiting_bytes", 4 * size)


def test_what_is_remembered_is_bounded() -> None:
    machine = Machine()
    for number in range(2 * MAX_RETIRED):
        machine.begin(None)
        feed(machine, response("created", f"r{number}"), response("completed", f"r{number}"))
    assert len(machine._retired) == MAX_RETIRED


# Steering.


def steer(kind: str, **fields: Any) -> Event:
    return event(f"response.steer.{kind}", steer={"id": "s1", "previous_response_id": "r1", **fields})


def test_a_steered_response_is_followed_by_its_successor() -> None:
    """Edge case 108."""
    machine = Machine()
    flight = machine.begin(None)
    feed(machine, response("created"), delta("one"))
    machine.steer(flight, [{"role": "user", "content": "left"}])
    assert machine.outbox.popleft() == {
        "type": "response.steer",
        "previous_response_id": "r1",
        "input": [{"role": "user", "content": "left"}],
    }
    feed(machine, steer("accepted"), response("incomplete", output=[{"type": "message", "id": "m1"}]))
    assert not flight.over
    assert not flight.closed
    feed(machine, delta("late"), response("created", "r2"), delta("two", "m2"), response("completed", "r2"))
    assert (flight.response_id, flight.terminal) == ("r2", "response.completed")
    assert [one.delta for one in flight.events if one.delta] == ["one", "two"]
    assert flight.steered == [{"type": "message", "id": "m1"}, {"role": "user", "content": "left"}]
    assert flight.accumulator.output_text == "two"


def test_a_steer_s_answer_finds_its_response_without_a_lane() -> None:
    machine = Machine()
    flights = {lane: machine.begin(lane) for lane in ("a", "b")}
    feed(machine, response("created", "r0", "a"), response("created", "r1", "b"))
    machine.steer(flights["b"], ["left"])
    feed(machine, steer("accepted"))
    assert shown(flights["b"]) == ["created", "steer.accepted"]
    assert shown(flights["a"]) == ["created"]


@pytest.mark.parametrize("answer", ["failed", "pending"])
@pytest.mark.parametrize("early", [True, False])
def test_a_steer_that_comes_to_nothing_keeps_nobody_waiting(answer: str, early: bool) -> None:
    machine = Machine()
    flight = machine.begin(None)
    feed(machine, response("created"))
    machine.steer(flight, ["left"])
    answers = [steer(answer, input=["left"])]
    feed(machine, *([*answers, response("completed")] if early else [response("completed"), *answers]))
    assert flight.over
    assert flight.terminal == "response.completed"
    assert flight.steered == []
    feed(machine, *answers)
    assert machine.strays == 1


def test_a_steer_that_failed_is_not_part_of_what_follows() -> None:
    machine = Machine()
    flight = machine.begin("a")
    feed(machine, response("created", "r1", "a"))
    for words in ("left", "right"):
        machine.steer(flight, [words])
    feed(machine, steer("accepted"), steer("failed", input=["left"]))
    feed(machine, response("incomplete", "r1", "a"), response("created", "r2", "a"))
    assert flight.steered == ["right"]


def test_a_cancelled_flight_has_its_successor_cancelled_too() -> None:
    machine = Machine()
    flight = machine.begin(None)
    feed(machine, response("created"))
    machine.steer(flight, ["left"])
    machine.cancel(flight)
    feed(machine, response("incomplete"), response("created", "r2"))
    assert [message.get("response_id") for message in machine.outbox] == [None, "r1", "r2"]
    feed(machine, response("incomplete", "r2"))
    assert flight.over
    assert not flight.events


# Random servers.

LANES: list[str | None] = [None, "a", "b"]


class Server:
    """A server of three lanes that marks all it says, and misbehaves as it is told."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.made = 0
        self.current: dict[str | None, JSON] = {}
        self.ended: list[JSON] = []
        self.flights: list[tuple[Flight, JSON]] = []
        self.taken: dict[int, list[Event]] = {}

    def begin(self, lane: str | None) -> None:
        if self.machine.flight(lane) is None and lane not in self.current:
            self.made += 1
            life = {"id": f"r{self.made}", "lane": lane, "sequence": 0, "spoke": False, "dropped": False}
            self.flights.append((self.machine.begin(lane), life))
            self.current[lane] = life

    def say(self, life: JSON, kind: str) -> None:
        body: JSON = {"type": f"response.{kind}", "sequence_number": life["sequence"], "mark": life["id"]}
        if life["lane"] is not None:
            body["stream_id"] = life["lane"]
        if kind in ("created", "in_progress") or f"response.{kind}" in TERMINALS:
            body["response"] = {"id": life["id"], "output": []}
        else:
            body |= {
                "item_id": f"item{life['id']}",
                "output_index": 0,
                "content_index": 0,
                "delta": life["id"],
            }
            life["spoke"] = True
        life["sequence"] += 1
        self.machine.receive(Event(json.dumps(body)))

    def advance(self, lane: str | None, how: str) -> None:
        life = self.current.get(lane)
        if life is None:
            return
        if life["sequence"] == 0:
            self.say(life, "created")
        elif how == "end":
            self.say(life, "completed")
            del self.current[lane]
            self.ended.append(life)
        else:
            self.say(life, "output_text.delta")

    def fail(self, lane: str | None) -> None:
        life = self.current.pop(lane, None)
        if life is not None:
            label = {} if lane is None else {"stream_id": lane}
            alone = lane is not None or len([*self.machine.flights]) == 1
            if alone:
                life["dropped"] = True
                if life["sequence"]:  # else it never began, and nobody can have heard its name
                    self.ended.append(life)
                self.machine.receive(event("error", error={"code": "c"}, **label))
            else:
                self.current[lane] = life

    def haunt(self, kind: str) -> None:
        """Say something late about a response that is over.

        A delta names its item alone. So it can be known for what it is only if that item was heard of and
        given up: servers there are that give the items of all responses one id.
        """
        if not self.ended:
            return
        life = self.ended[-1]
        if kind != "output_text.delta" or (life["spoke"] and life["dropped"]):
            self.say(life, kind)

    def cancel(self, index: int) -> None:
        if self.flights:
            flight, life = self.flights[index % len(self.flights)]
            life["dropped"] |= not flight.over
            self.machine.cancel(flight)

    def check(self) -> None:
        for number, (flight, life) in enumerate(self.flights):
            seen = self.taken.setdefault(number, [])
            while flight.events:
                seen.append(flight.events.popleft())
            assert {one["mark"] for one in seen} <= {life["id"]}
            ends = [at for at, one in enumerate(seen) if one.type in TERMINALS]
            assert len(ends) <= 1
            assert ends in ([], [len(seen) - 1])
            numbers = [one.sequence_number for one in seen]
            assert numbers == list(range(len(numbers)))
            if flight.over and not flight.cancelled and flight.error is None:
                assert ends
            if ends:
                assert flight.over
                assert flight.terminal == "response.completed"


lanes = st.sampled_from(LANES)
steps = st.one_of(
    st.tuples(st.just("begin"), lanes),
    st.tuples(st.just("advance"), lanes, st.sampled_from(["delta", "delta", "end"])),
    st.tuples(st.just("fail"), lanes),
    st.tuples(
        st.just("haunt"), st.sampled_from(["output_text.delta", "created", "completed", "in_progress"])
    ),
    st.tuples(st.just("cancel"), st.integers(0, 5)),
)


@settings(max_examples=500, deadline=None)
@given(st.lists(steps, max_size=60))
def test_no_foreign_event_and_no_second_terminal_whatever_the_server_says(
    script: list[tuple[Any, ...]],
) -> None:
    server = Server()
    for name, *arguments in script:
        getattr(server, name)(*arguments)
        server.check()
    server.machine.lost()
    server.check()
    assert all(flight.over and flight.closed for flight, _ in server.flights)
