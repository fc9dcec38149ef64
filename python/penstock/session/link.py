"""A connection with its machine, read by whoever waits: no task stands beside the consumers.

Of the flights that wait on one connection, one reads and hands what comes for the others to them; when it has
its own it passes the reading on. So nothing is read that nobody waits for, a slow consumer slows the server
down, and a wait that is cancelled, by whomever, has lost nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from penstock.errors import PenstockError
from penstock.session.failures import ConnectionGone
from penstock.session.flight import Flight
from penstock.session.machine import Machine
from penstock.stream_core import DRAIN_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from penstock._penstock import Event, Limits

__all__ = ["Connection", "Transport"]


class Transport(Protocol):
    """What carries messages: see `over_websocket` and `over_http`."""

    keeps_state: bool

    @property
    def alive(self) -> bool:
        """Whether messages can be exchanged, as far as is known."""

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send one message. Raises `ConnectionGone`."""

    async def receive(self) -> list[Event]:
        """Wait for messages. Raises `ConnectionGone`, or a `PenstockError` that ends what is in flight."""

    def abort(self) -> None:
        """End it at once."""

    async def aclose(self) -> None:
        """End it properly."""


class Connection:
    """One transport, its machine, and those who wait for it.

    Attributes:
        number: which of the session's connections it is, from 1.
        born: when it was opened, by `time.monotonic()`.
        retired: whether no new flight may begin on it.
    """

    def __init__(self, transport: Transport, limits: Limits, number: int) -> None:
        self.machine = Machine(limits)
        self.number = number
        self.born = monotonic()
        self.retired = False
        self._transport = transport
        self._reading = False
        self._waiting: deque[tuple[Flight, asyncio.Future[None]]] = deque()
        self._scopes: dict[Flight, asyncio.Timeout] = {}
        self._sending = asyncio.Lock()

    @property
    def keeps_state(self) -> bool:
        """Whether the server keeps unstored responses as long as the connection lasts."""
        return self._transport.keeps_state

    @property
    def usable(self) -> bool:
        """Whether a request may be sent over it."""
        machine = self.machine
        return not (self.retired or machine.limit_reached or machine.unclear) and self._transport.alive

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight that anybody wants."""
        return all(flight.cancelled for flight in self.machine.flights)

    async def launch(
        self,
        lane: str | None,
        begin: Callable[[Flight], Mapping[str, Any] | None],
        seconds: float | None = None,
    ) -> None:
        """Send a request, which `begin` makes of its flight just before; None if it is not wanted any more.

        A call that is cancelled after that has sent it, and so has one that did not get rid of it within so
        many seconds: the wait for an answer will find out.

        Raises:
            ConnectionGone: it was not sent, and the flight is void.
        """
        async with self._sending:
            flight = self.machine.begin(lane)
            try:
                message = begin(flight)
                if message is not None:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(seconds):
                            await self._transport.send(message)
                else:
                    self.machine.withdraw(flight)
            except Exception:
                self.machine.withdraw(flight)
                raise

    async def flush(self) -> None:
        """Send what the machine wants sent; a connection that is gone tells so when it is read."""
        outbox = self.machine.outbox
        async with self._sending:
            while outbox:
                try:
                    await self._transport.send(outbox[0])
                except ConnectionGone:
                    outbox.clear()
                else:
                    outbox.popleft()

    async def flush_within(self, seconds: float) -> None:
        """Send what the machine wants sent, or as much as can be written in that time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.flush()

    async def wait(self, flight: Flight, deadline: float | None) -> bool:
        """Wait until a flight is ready, or over if it was cancelled; False if the deadline came first.

        The deadline is by `time.monotonic()`. A cancelled call loses nothing.
        """
        while not _done(flight):
            left = None if deadline is None else deadline - monotonic()
            if left is not None and left <= 0:
                return False
            try:
                async with asyncio.timeout(left) as scope:
                    self._scopes[flight] = scope
                    await (self._follow(flight) if self._reading else self._lead(flight))
            except TimeoutError:
                return _done(flight)
            finally:
                self._scopes.pop(flight, None)
        return True

    def interrupt(self, flight: Flight) -> None:
        """Make the wait for a flight return as if its deadline had come."""
        scope = self._scopes.get(flight)
        if scope is not None:
            scope.reschedule(asyncio.get_running_loop().time())

    async def _follow(self, flight: Flight) -> None:
        """Wait to be told: that something has come, or that it is one's turn to read."""
        told = asyncio.get_running_loop().create_future()
        entry = (flight, told)
        self._waiting.append(entry)
        try:
            await told
        except asyncio.CancelledError:
            if told.done() and not told.cancelled():
                self._pass_on()  # it was this one's turn
            raise
        finally:
            self._waiting.remove(entry)

    async def _lead(self, flight: Flight) -> None:
        """Read until a flight is ready."""
        self._reading = True
        try:
            while not _done(flight):
                await self._read()
        finally:
            self._reading = False
            self._pass_on()

    async def _read(self) -> None:
        machine = self.machine
        try:
            for event in await self._transport.receive():
                machine.receive(event)
        except ConnectionGone as gone:
            self.retired = True
            machine.lost(code=gone.code, cause=gone.__cause__)
        except PenstockError as error:
            self.retired = True
            for flight in [*machine.flights]:
                machine.fail(flight, error)
        for waiting, told in self._waiting:
            if _done(waiting) and not told.done():
                told.set_result(None)
        if machine.outbox:
            await self.flush()

    def _pass_on(self) -> None:
        """Let another of those who wait do the reading."""
        for _, told in self._waiting:
            if not told.done():
                told.set_result(None)
                return

    async def settle(self) -> None:
        """Read on behind the last event for a moment, so that an HTTP client can use its socket again."""
        with suppress(TimeoutError, ConnectionGone, PenstockError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while True:
                    await self._transport.receive()

    def abort(self) -> None:
        """End the connection at once; what is in flight has an unknown outcome."""
        self.retired = True
        self._transport.abort()

    async def aclose(self) -> None:
        """End the connection."""
        self.retired = True
        await self._transport.aclose()


def _done(flight: Flight) -> bool:
    return flight.over if flight.cancelled else flight.ready
