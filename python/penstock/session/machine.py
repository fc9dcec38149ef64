"""Whose event is it, and is the response over: the client's state of one connection, without sockets.

Messages go in by `Machine.receive`, and what they mean stands in the `flight` they belong to; messages to
send come out of `Machine.outbox`. The rules:

- A flight ends with exactly one terminal event or one error. What comes for it afterwards is dropped.
- A response is known by its id from `response.created` on. Events that name another, and events in a lane
  that has nothing in flight, are dropped.
- A cancelled flight stays on the wire until its terminal or an error frame has come, and none of its events
  is shown. If its id is not known yet, the cancel is sent when it is.
- Once a flight was cancelled or ended by an error frame, the connection is under suspicion: late events of it
  may follow, and most events name no response. From then on an event must fit by its item or its number. What
  gateways give to all their items or responses alike is no name of any.
- A cancel that came too late may be answered by an error when the next request is on its way already. An
  error that may be that answer or the request's is told to the request. But the response to it may come all
  the same, and would be taken for that to the one after; so the connection takes no more of them.
- A lost connection leaves the outcome of every flight unknown.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from penstock._penstock import Event, Limits
from penstock.errors import OutcomeUnknown, PenstockError, ResponseError
from penstock.session.failures import CONNECTION_LIMIT, answers_cancel, error_of, is_of_request
from penstock.session.flight import Flight, accumulator

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PRELUDE", "TERMINALS", "Machine"]

PRELUDE: Final = frozenset({"response.created", "response.queued", "response.in_progress"})
"""What says that a response began, and nothing of what is in it."""

TERMINALS: Final = frozenset(
    {"response.completed", "response.incomplete", "response.failed", "response.cancelled"}
)

MAX_RETIRED: Final = 1_024
"""Ids of responses and items that are over, by which late events are known."""

_STEERS: Final = frozenset({"response.steer.accepted", "response.steer.pending", "response.steer.failed"})
_ITEMS: Final = frozenset({"response.output_item.added", "response.output_item.done"})
_NAMELESS: Final = frozenset({"", "__fake_id__"})
"""Ids of gateways that have none to give."""

_NO_TYPE: Final = "message"
"""What an event is taken for whose payload names no type, or is no JSON object."""


class Machine:
    """The flights of one connection, at most one in each lane.

    Attributes:
        outbox: messages to send, in order.
        limit_reached: whether the server wants a new connection.
        unclear: whether it cannot be told any more which request the next response belongs to.
        strays: events dropped because they belonged to no flight, or to none that is left.
        unreadable: messages dropped because they were no events.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.outbox: deque[dict[str, Any]] = deque()
        self.limit_reached = False
        self.unclear = False
        self.strays = 0
        self.unreadable = 0
        self._limits = Limits() if limits is None else limits
        self._flights: dict[str | None, Flight] = {}
        self._retired: dict[str, None] = {}
        self._suspicious = False
        self._first_number: int | None = None  # of a response's events: 0, or 1 of some gateways
        self._leaves_gaps = False  # in its numbers, as a gateway does that passes on some events only
        self._late_cancels = 0  # of responses that were complete by then, and not answered yet

    @property
    def flights(self) -> Iterable[Flight]:
        """What is on the wire."""
        return self._flights.values()

    def flight(self, lane: str | None) -> Flight | None:
        """What is on the wire in a lane."""
        return self._flights.get(lane)

    def begin(self, lane: str | None) -> Flight:
        """Note that a request is being sent in a lane, which must be free."""
        if lane in self._flights:
            raise RuntimeError("the lane has a response in flight")
        flight = self._flights[lane] = Flight(lane, self._limits)
        return flight

    def withdraw(self, flight: Flight) -> None:
        """Note that the request could not be sent after all."""
        self._land(flight)

    def cancel(self, flight: Flight) -> None:
        """Want nothing more of a flight; one that is over stays as it is."""
        if not flight.over and not flight.cancelled:
            flight.cancelled = self._suspicious = True
            self._retire(flight)
            self._send_cancel(flight)
        flight._clear()
        flight._close()

    def steer(self, flight: Flight, items: list[Any]) -> None:
        """Ask the response under way to take further input of the user."""
        flight.steers.append(items)
        self.outbox.append(
            {"type": "response.steer", "previous_response_id": flight.response_id, "input": items}
        )

    def lost(self, *, code: int | None = None, cause: BaseException | None = None) -> None:
        """Note that the connection is gone, with a WebSocket's close code where it had one."""
        for flight in [*self._flights.values()]:
            error = OutcomeUnknown(
                "the connection was lost while a response was in flight; it may have run or not",
                partial=flight.accumulator.snapshot(),
                reason="connection_lost",
                response_id=flight.response_id,
                close_code=code,
            )
            error.__cause__ = cause
            self._land(flight, error)

    def fail(self, flight: Flight, error: PenstockError) -> None:
        """Note that a flight ended in an error that came some other way than as an event."""
        self._land(flight, error)

    def receive(self, event: Event) -> None:
        """Take a message in."""
        kind = event.type
        if kind == _NO_TYPE:
            self.unreadable += 1
        elif kind == "error":
            self._take_error(event)
        else:
            flight = self._addressee(event, kind)
            if flight is None or (kind not in _STEERS and self._is_foreign(flight, event, kind)):
                self.strays += 1
            else:
                self._take(flight, event, kind)

    def _addressee(self, event: Event, kind: str) -> Flight | None:
        if kind in _STEERS:
            steered = _part(event, "steer").get("previous_response_id")
            for flight in self._flights.values():
                if flight.response_id == steered:
                    return flight
        lane = event.stream_id
        if lane is None and None not in self._flights and len(self._flights) == 1:
            return next(iter(self._flights.values()))  # of a server that does not label its events
        return self._flights.get(lane)

    def _is_foreign(self, flight: Flight, event: Event, kind: str) -> bool:
        """Whether an event in a flight's lane is of a response that is not its own."""
        if kind in PRELUDE or kind in TERMINALS:
            return self._names_another(flight, event, kind)
        state = flight._state
        if state == "streaming" or (state == "waiting" and not self._suspicious):
            return self._suspicious and not self._fits(flight, event, kind)
        return kind.startswith("response.")

    def _names_another(self, flight: Flight, event: Event, kind: str) -> bool:
        """Whether an event with a response in it has another one in it."""
        name = _part(event, "response").get("id")
        late = name in self._retired
        if flight._state == "streaming":
            if kind == "response.created":
                return late or not self._is_doubtful(flight)
            return late if flight.response_id is None else name not in (None, flight.response_id)
        if kind == "response.created":
            # The very first event begins a response, though another had its name before.
            return late and event.sequence_number not in (None, self._first_number)
        return late or flight._state != "waiting" or self._suspicious

    def _is_doubtful(self, flight: Flight) -> bool:
        """Whether it began under an earlier response's name, so that it may have been that one's echo."""
        return flight.response_id in self._retired

    def _fits(self, flight: Flight, event: Event, kind: str) -> bool:
        """Whether an event that names no response can be of this one, by its item or its number."""
        item = event.item_id
        if item is None and kind in _ITEMS:
            item = _part(event, "item").get("id")
        if not isinstance(item, str) or item in _NAMELESS:
            item = None
        number, last = event.sequence_number, flight._sequence
        follows = None
        if number is not None and last is not None:
            follows = number > last if self._leaves_gaps else number == last + 1
        known, late = item in flight._items, item in self._retired
        if known and not late:
            return True
        if follows is None:
            # An item may have the name of an earlier one, but then it begins before it goes on.
            fits = known or item is None or (kind == "response.output_item.added" if late else kind in _ITEMS)
        else:
            fits = follows
        if fits and item is not None:
            flight._items.add(item)
        return fits

    def _take(self, flight: Flight, event: Event, kind: str) -> None:
        if kind in _STEERS:
            flight._sequence = None  # whether they count is not said
        elif (number := event.sequence_number) is not None:
            gap = flight._sequence is not None and number > flight._sequence + 1
            self._leaves_gaps = self._leaves_gaps or (gap and not self._suspicious)
            flight._sequence = number
        if kind == "response.created":
            self._begin_response(flight, event)
        elif flight._state == "waiting" and kind.startswith("response."):
            flight._state = "streaming"  # a gateway that says nothing before the first item
            flight.response_id = _part(event, "response").get("id") if kind in PRELUDE | TERMINALS else None
        if flight.cancelled:
            self._note(event.item_id)
        else:
            self._show(flight, event)
        if kind in TERMINALS:
            self._end_response(flight, kind)
        elif kind in _STEERS:
            self._take_steer(flight, event, kind)

    def _begin_response(self, flight: Flight, event: Event) -> None:
        response = _part(event, "response")
        if self._first_number is None:
            self._first_number = event.sequence_number
        self._late_cancels = 0  # the server has come to what was sent behind them
        if flight._state == "succeeding":
            output = (flight.accumulator.snapshot() or {}).get("output", [])
            flight.steered += [*output, *(item for items in flight.steers for item in items)]
            flight.steers.clear()
            flight.accumulator = accumulator(flight.lane, self._limits)
        elif self._is_doubtful(flight):
            flight._clear()
        flight._state = "streaming"
        flight.response_id = response.get("id")
        if flight.cancelled:
            self._send_cancel(flight)

    def _show(self, flight: Flight, event: Event) -> None:
        try:
            flight.accumulator.feed(event)
            flight._put(event)
        except PenstockError as error:
            # The one who waits learns of it; on the wire it goes on, and is not wanted any more.
            flight._close(error)
            flight.cancelled = self._suspicious = True
            self._send_cancel(flight)

    def _end_response(self, flight: Flight, kind: str) -> None:
        self._note(flight.response_id)
        if flight.steers:
            flight._state = "succeeding"  # the server has them, or will say that it does not want them
            return
        flight.terminal = kind
        if flight.cancelled and kind in ("response.completed", "response.failed"):
            self._late_cancels += 1
        self._land(flight)

    def _take_steer(self, flight: Flight, event: Event, kind: str) -> None:
        """One that was accepted waits for its successor; any other answer means that none comes for it."""
        if kind == "response.steer.accepted" or not flight.steers:
            return
        refused = _part(event, "steer").get("input")
        flight.steers.pop(flight.steers.index(refused) if refused in flight.steers else 0)
        if flight._state == "succeeding" and not flight.steers:
            flight.terminal = flight.accumulator.terminal
            self._land(flight)

    def _take_error(self, event: Event) -> None:
        error = error_of(event)
        self.limit_reached = self.limit_reached or error.code == CONNECTION_LIMIT
        concerned = self._concerned(event.stream_id, error)
        if self._late_cancels and event.stream_id is None:
            self._late_cancels -= 1
            if answers_cancel(error):
                concerned = []
            elif not is_of_request(error):
                self.unclear = any(flight._state == "waiting" for flight in concerned)
        self.strays += not concerned
        for flight in concerned:
            self._suspicious = True
            self._retire(flight)
            self._land(flight, error)

    def _concerned(self, lane: str | None, error: ResponseError) -> list[Flight]:
        """Whom an error is for. One without a lane is for the connection, if it cannot be told apart."""
        flights = [*self._flights.values()]
        if lane is not None:
            return [flight for flight in flights if flight.lane == lane]
        if error.code == CONNECTION_LIMIT or len(flights) <= 1:
            return flights
        unnamed = [flight for flight in flights if flight.lane is None]
        cancelled = [flight for flight in flights if flight.cancelled]  # of a server that knows no cancel
        waiting = [flight for flight in flights if flight._state == "waiting"]
        return unnamed or cancelled or (waiting if len(waiting) == 1 else flights)

    def _land(self, flight: Flight, error: PenstockError | None = None) -> None:
        flight._state = "over"
        flight._close(error)
        self._flights.pop(flight.lane, None)

    def _retire(self, flight: Flight) -> None:
        """Remember by what late events of a flight will be known."""
        self._note(flight.response_id)
        for item in (flight.accumulator.snapshot() or {}).get("output", []):
            self._note(item.get("id"))

    def _note(self, name: Any) -> None:
        if isinstance(name, str) and name not in _NAMELESS:
            self._retired[name] = None
            while len(self._retired) > MAX_RETIRED:
                del self._retired[next(iter(self._retired))]

    def _send_cancel(self, flight: Flight) -> None:
        if flight.response_id is not None:
            self.outbox.append({"type": "response.cancel", "response_id": flight.response_id})


def _part(event: Event, name: str) -> dict[str, Any]:
    """An object within an event; empty where there is none."""
    value = event.get(name)
    return value if isinstance(value, dict) else {}
