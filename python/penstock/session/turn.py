"""One turn of a conversation, as its consumer sees it: an asynchronous iterator of events.

A turn owns no task. It sends its request when the first event is asked for, and every call may be cancelled
and made again: state changes between waits only. What is retried, and never twice for one reason:

- with the whole input, when the server does not know the response to be continued;
- on a fresh connection, when the server's time limit for connections was reached, or when it still has the
  response before this one in flight, because it knows no cancel;
- and where the session was told so, when the connection was lost or the first output did not come in time.

None of that happens once anything of an answer was delivered: a consumer never reads a text twice.
"""

from __future__ import annotations

from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, Self

from penstock.errors import (
    ConcurrencyError,
    IncompleteStream,
    OutcomeUnknown,
    PenstockError,
    ResponseError,
    StreamTimeout,
)
from penstock.session.calls import FunctionCall, calls_of
from penstock.session.chain import items_of
from penstock.session.failures import ALREADY_IN_FLIGHT, CONNECTION_LIMIT, PREVIOUS_NOT_FOUND, failure_of
from penstock.session.figures import TurnFigures
from penstock.session.machine import PRELUDE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock._penstock import Event
    from penstock.session.chain import Asked, Plan
    from penstock.session.flight import Flight
    from penstock.session.link import Connection
    from penstock.session.session import ResponsesSession

__all__ = ["Turn"]

Status = Literal["new", "in_progress", "completed", "incomplete", "failed", "cancelled", "error"]


class Turn:
    """One request and its response: made by `ResponsesSession.create`, iterated for its events.

        async for event in turn: ...
        turn.function_calls, turn.usage, turn.plan, turn.figures

    Attributes:
        items: the whole input, whatever of it was sent.
        lane: its `stream_id`; None without one.
        plan: what was sent and why; None before.
        figures: what was measured.
        status: how it stands; ``"error"`` where no terminal event ended it.
        error: what ended it, or why the response failed; None otherwise.

    Iterating raises:
        ResponseError: the server answered with an error instead of a terminal event.
        OutcomeUnknown: the connection was lost after the request was sent.
        StreamTimeout: the server was silent for too long; the response was given up.
        LimitExceeded, DecodeError: from the accumulator, after the events before it.
        ConcurrencyError: another task is waiting for this turn, or for another one in its lane.
        OSError: the server could not be reached.

    A response that failed is no exception until `final` is asked for: its `response.failed` is delivered.
    """

    def __init__(
        self,
        session: ResponsesSession,
        items: Sequence[Any],
        settings: dict[str, Any],
        lane: str | None,
        *,
        grows: bool = False,
    ) -> None:
        self.items = [*items]
        self.lane = lane
        self.plan: Plan | None = None
        self.figures = TurnFigures()
        self.status: Status = "new"
        self.error: PenstockError | None = None
        self.settings = settings
        self._session = session
        self._grows = grows
        self._asked: Asked | None = None
        self._connection: Connection | None = None
        self._flight: Flight | None = None
        self._response: dict[str, Any] | None = None
        self._raises = False
        self._busy = False
        self._shown = False  # whether anything of an answer was delivered
        self._retried: set[str] = set()
        self._since = 0.0  # since when the server is waited for
        self._launched = 0.0

    # What has come of it.

    @property
    def over(self) -> bool:
        """Whether no event will come any more."""
        return self.status not in ("new", "in_progress")

    @property
    def response_id(self) -> str | None:
        """The id of the response under way, or of the last."""
        return None if self._flight is None else self._flight.response_id

    @property
    def response(self) -> dict[str, Any] | None:
        """The response so far, or as its terminal event had it; None before its first event."""
        if self._response is None and self._flight is not None:
            return self._flight.accumulator.snapshot()
        return self._response

    @property
    def output_text(self) -> str:
        """The text so far."""
        return "" if self._flight is None else self._flight.accumulator.output_text

    @property
    def usage(self) -> dict[str, Any] | None:
        """What it cost, as the server tells it at the end."""
        return None if self._flight is None else self._flight.accumulator.usage

    @property
    def function_calls(self) -> list[FunctionCall]:
        """The calls to run: those of a response that is complete. Any other may have cut them short."""
        if self.status != "completed" or self._response is None:
            return []
        return calls_of(self._response.get("output") or ())

    async def final(self) -> dict[str, Any]:
        """Read what is left and return the response, complete or incomplete.

        Raises:
            ResponseError: it failed.
            IncompleteStream: it was cancelled.
        """
        async for _event in self:
            pass
        if self.status == "failed" and self.error is not None:
            raise self.error
        if self._response is None:
            raise IncompleteStream("the turn was cancelled", partial=self.response, reason="cancelled")
        return self._response

    # Iteration.

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if self._busy:
            raise ConcurrencyError("another task is waiting for this turn")
        self._busy = True
        try:
            while True:
                flight = self._flight
                if self.over:
                    self._stop()
                    raise StopAsyncIteration
                if flight is None:
                    await self._session._launch(self)
                elif flight.events:
                    return self._show(flight)
                elif flight.closed:
                    await self._session._settle(self)
                    self._conclude(flight)
                else:
                    await self._wait(flight)
        finally:
            self._busy = False

    async def start(self) -> None:
        """Send the request now, instead of when the first event is asked for. Raises as iterating does."""
        if self._busy:
            raise ConcurrencyError("another task is waiting for this turn")
        if self._flight is None and not self.over:
            self._busy = True
            try:
                await self._session._launch(self)
            finally:
                self._busy = False

    def _stop(self) -> None:
        if self._raises and self.error is not None:
            raise self.error.with_traceback(None)

    def _show(self, flight: Flight) -> Event:
        event = flight.take()
        self._since = monotonic()
        kind, delta = event.type, bool(event.delta)
        # Signs of life and what a vendor says beside are nothing of an answer.
        self._shown = self._shown or delta or (kind.startswith("response.") and kind not in PRELUDE)
        self.figures.note(len(event.data), token=delta)
        return event

    async def _wait(self, flight: Flight) -> None:
        """Wait until something has come; give up when a time-out has expired."""
        session, connection = self._session, self._connection
        assert connection is not None  # noqa: S101 - a flight has one
        idle = inf if session.idle_timeout is None else self._since + session.idle_timeout
        first = inf
        if session.first_output_timeout is not None and not self._shown and "timeout" not in self._retried:
            first = self._launched + session.first_output_timeout
        deadline = min(idle, first)
        if not await connection.wait(flight, None if deadline == inf else deadline):
            await self._expire(connection, flight, "idle" if idle <= first else "first_event", deadline)

    async def _expire(
        self, connection: Connection, flight: Flight, kind: Literal["idle", "first_event"], deadline: float
    ) -> None:
        """Give up, if it was the deadline that ended a wait."""
        if self.over or flight.ready or monotonic() < deadline:
            return
        session = self._session
        seconds = (session.idle_timeout if kind == "idle" else session.first_output_timeout) or 0.0
        words = "nothing" if kind == "idle" else "no output"
        error = StreamTimeout(
            f"the server sent {words} for {seconds:g} s",
            kind=kind,
            seconds=seconds,
            partial=flight.accumulator.snapshot(),
        )
        if kind == "first_event" and session.retry_timeout and self._may_retry("timeout"):
            self._flight = None
        else:
            self._end("error", error)
        await session._give_up(connection, flight)

    def _conclude(self, flight: Flight) -> None:
        """Take in that a flight is closed, and all its events were delivered."""
        if flight.error is not None:
            if self._retries(flight.error):
                self._flight = None
                return
            self._session._failed(self)
            self._end("error", flight.error)
            return
        self._response = flight.accumulator.final()
        kind = (flight.terminal or "").removeprefix("response.")
        if kind == "completed":
            self.status = "completed"
            self._session._completed(self, flight)
        elif kind == "failed":
            self._session._failed(self)
            self._end("failed", failure_of(self._response), raises=False)
        else:
            self.status = "incomplete" if kind == "incomplete" else "cancelled"

    def _end(self, status: Status, error: PenstockError | None = None, *, raises: bool = True) -> None:
        self.status, self.error, self._raises = status, error, raises

    # Retries.

    def _retries(self, error: PenstockError) -> bool:
        """Whether to send the request again; what made it fail is put right."""
        session, plan, connection = self._session, self.plan, self._connection
        assert plan is not None  # noqa: S101 - it was sent
        assert connection is not None  # noqa: S101
        code = error.code if isinstance(error, ResponseError) else None
        if code == PREVIOUS_NOT_FOUND and plan.previous_response_id is not None:
            session._chains.forget(plan.previous_response_id)
            return self._may_retry("not_found")
        spoiled = code in (CONNECTION_LIMIT, ALREADY_IN_FLIGHT)
        lost = session.resend_lost and isinstance(error, OutcomeUnknown)
        if (spoiled or lost) and self._may_retry("connection"):
            session._leave(connection)
            return True
        return False

    def _may_retry(self, reason: str) -> bool:
        """Once for each reason, and never when something of an answer was delivered."""
        if self._shown or reason in self._retried:
            return False
        self._retried.add(reason)
        return True

    # What the consumer may do meanwhile.

    async def cancel(self) -> None:
        """Want no more of it: iteration ends, and the server is told as soon as it can be.

        Nothing is waited for; the next turn in the lane gets rid of what still comes. Does nothing to a turn
        that is over. May be called from a task that is being cancelled, and again.
        """
        if self.over:
            return
        self._end("cancelled")
        if self._flight is not None and self._connection is not None:
            await self._session._give_up(self._connection, self._flight)

    async def steer(self, input: str | Sequence[Any]) -> None:
        """Give the response under way further input of the user; WebSocket only.

        The events say what comes of it: `response.steer.accepted`, then the response's own end and a
        successor in the same turn, or `response.steer.failed`. `response` and its like tell of the last.

        Raises:
            RuntimeError: no response is under way, or it came over HTTP.
        """
        flight, connection = self._flight, self._connection
        if flight is None or connection is None or flight.closed or flight.response_id is None:
            raise RuntimeError("no response is under way that could be steered")
        if not connection.keeps_state:
            raise RuntimeError("a response over HTTP cannot be steered")
        connection.machine.steer(flight, items_of(input))
        await connection.flush()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self.cancel()

    def __repr__(self) -> str:
        lane = "" if self.lane is None else f" in lane {self.lane!r}"
        return f"<Turn {self.status}{lane}, {self.plan!r}>"
