"""One forwarded connection, from the handshake to both sides' end.

Each direction reads a message only when the last has been taken, so a slow side slows the other down and
nothing piles up. One direction runs in the caller's task and one in a task beside it; whichever notices the
end wakes the other, and both sides are closed then, also when the caller is cancelled. What is observed is
observed beside the stream (`taps`); what is under way when the upstream is lost gets its terminal event
(`flights`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Protocol

from penstock._penstock import Event
from penstock.errors import PenstockError
from penstock.websocket.attending import Attendant
from penstock.websocket.channels import Channel, ClosedError, open_channel
from penstock.websocket.closing import ABNORMAL, close_code
from penstock.websocket.flights import Flights
from penstock.websocket.limits import ConnectionLimits, Gate, refusal_of
from penstock.websocket.opening import Authenticate, Opening, let_in, say, turn_away, turned_away_by
from penstock.websocket.origins import Origins
from penstock.websocket.taps import TapQueue
from penstock.websocket.wire import RefusedError, create_params, error_frame, input_items, text_bytes

__all__ = ["OBSERVED", "AsyncRewriter", "Forwarding", "Outcome", "Rewriter"]

log = logging.getLogger("penstock.websocket")

OBSERVED: Final = frozenset(
    {"response.created", "response.completed", "response.failed", "response.incomplete", "error"}
)
"""The types of events that `on_event` is called with unless `observe` says otherwise."""

GOING_AWAY: Final = RefusedError(
    "The server is going away.", status=503, code="server_going_away", close_code=1001
)
UPSTREAM_LOST: Final = RefusedError("The upstream closed the connection.", status=502, code="server_error")

Side = Literal["client", "upstream", "penstock"]


class Rewriter(Protocol):
    """Changes texts on their way; so ids are sealed for clients and opened for the upstream."""

    def to_client(self, text: str, /) -> str:
        """A text of the upstream's as the client is to see it."""

    def to_upstream(self, text: str, /) -> str:
        """A text of the client's as the upstream is to see it; raises `PenstockError` to refuse it."""


class AsyncRewriter(Protocol):
    """A `Rewriter` that takes its time, for which its direction waits. What it makes None of is left out."""

    def to_client(self, text: str, /) -> str | Awaitable[str | None]:
        """See `Rewriter`."""

    def to_upstream(self, text: str, /) -> str | Awaitable[str]:
        """See `Rewriter`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a forwarded connection ended.

    Attributes:
        by: who ended it; "penstock" where a rule did.
        code, reason: how, as received from that side or, by penstock, as told to the client.
        error: the rule's error, a `RefusedError` or `LimitExceeded`; None otherwise.
        upwards, downwards: messages passed on to the upstream and to the client.
        unobserved: calls of observers that were dropped because they were too slow.
    """

    by: Side
    code: int
    reason: str = ""
    error: PenstockError | None = None
    upwards: int = 0
    downwards: int = 0
    unobserved: int = 0


class Forwarding:
    """One run of `forward`, whose arguments these are."""

    def __init__(
        self,
        client: Channel,
        *,
        limits: ConnectionLimits,
        rewriter: Rewriter | AsyncRewriter | None,
        forwards_binary: bool,
        on_event: Callable[[Event], Any] | None,
        on_input: Callable[[list[dict[str, Any]], Event], Any] | None,
        observed: frozenset[str],
    ) -> None:
        self._client = client
        self._upstream: Channel | None = None
        self._limits = limits
        self._rewriter = rewriter
        self._forwards_binary = forwards_binary
        self._on_event = on_event
        self._on_input = on_input
        self._observed = observed
        self._loop = loop = asyncio.get_running_loop()
        self._gate = Gate(limits, loop.time())
        self._flights = Flights()
        self._taps = TapQueue()
        self._attendant = Attendant(limits, self._put_off)
        self._upwards = 0
        self._downwards = 0
        self._outcome: Outcome | None = None
        self._told = ABNORMAL  # the code from which the other side's is made
        self._exchanging = False

    async def run(
        self,
        upstream: Any,
        *,
        origins: Origins,
        authenticate: Authenticate | None,
        subprotocol: str | None,
    ) -> Outcome:
        """Forward until the end; see `forward`."""
        client = self._client
        if not callable(upstream):
            self._upstream = open_channel(upstream)
        try:
            opening = await let_in(
                client,
                origins=origins,
                authenticate=authenticate,
                limits=self._limits,
                gate=self._gate,
                subprotocol=subprotocol,
            )
            opened = self._upstream or await _open(upstream, opening)
            self._upstream = opened
            await client.accept(subprotocol)
            await self._exchange(opened, opening.forward)
        except ClosedError as error:  # left before anything was exchanged
            self._left(error)
        except RefusedError as refusal:  # not let in
            self._end("penstock", turned_away_by(refusal), refusal.code or "", refusal)
        finally:
            outcome = self._outcome or Outcome("penstock", 1001, "going away", GOING_AWAY)
            await self._close(outcome)
        return replace(
            outcome, upwards=self._upwards, downwards=self._downwards, unobserved=self._taps.dropped
        )

    async def _exchange(self, upstream: Channel, first: str | None) -> None:
        """Run both directions until one ends."""
        self._exchanging = True
        down = self._loop.create_task(self._run(self._read_upstream, upstream))
        try:
            async with asyncio.timeout(None) as scope:
                self._attendant.start(scope)
                await self._run(self._read_client, upstream, first)
        except TimeoutError:
            if not scope.expired():
                raise
        finally:
            self._attendant.stop()
            down.cancel()
            await asyncio.wait([down])
        if not down.cancelled():
            down.result()  # which raises if it was a bug

    async def _run(self, direction: Callable[..., Awaitable[None]], *arguments: Any) -> None:
        """Run a direction to its end, note how it ended, and wake the other."""
        try:
            await direction(*arguments)
        except ClosedError as error:
            self._left(error)
        except PenstockError as error:  # the rewriter's: what cannot be rewritten must not pass
            self._end("penstock", 1011, "", error)
        finally:
            self._attendant.wake()

    async def _read_client(self, upstream: Channel, first: str | None) -> None:
        receive, time = self._client.receive, self._loop.time
        if first is not None:
            await self._pass_up(upstream, first)
        while True:
            message = await receive()
            error = self._gate.take(message, time())
            if error is None and isinstance(message, bytes) and not self._forwards_binary:
                error = RefusedError("Binary messages are not taken.", code="binary_message", close_code=1003)
            if error is not None:
                self._put_off(error)
                return
            await self._pass_up(upstream, message)

    async def _pass_up(self, upstream: Channel, message: str | bytes) -> None:
        if isinstance(message, str):
            event = Event(message)
            if event.type == "response.create":
                self._flights.ask()
                if self._on_input is not None:
                    self._taps.put(text_bytes(message), _observe_input, self._on_input, event)
            if self._rewriter is not None:
                try:
                    rewritten = self._rewriter.to_upstream(message)
                    message = rewritten if isinstance(rewritten, str) else await rewritten
                except PenstockError as error:
                    await self._refuse(error)
                    return
        self._attendant.sending["upstream"] = self._loop.time()
        await upstream.send(message)
        self._attendant.sending.pop("upstream")
        self._upwards += 1

    async def _refuse(self, error: PenstockError) -> None:
        """Answer a message in the upstream's place."""
        refusal = (
            error if isinstance(error, RefusedError) else RefusedError(f"{error}", code="invalid_request")
        )
        frame = error_frame(refusal)
        self._look_at(frame)
        await self._client.send(frame)

    async def _read_upstream(self, upstream: Channel) -> None:
        client, rewriter, look_at = self._client, self._rewriter, self._look_at
        sending, time = self._attendant.sending, self._loop.time
        receive, send = upstream.hot_path()[0], client.hot_path()[1]
        try:
            while True:
                message = await receive()
                if type(message) is str:
                    if rewriter is not None:
                        rewritten = rewriter.to_client(message)
                        if type(rewritten) is not str:
                            rewritten = await rewritten  # type: ignore[misc]
                            if rewritten is None:
                                continue
                        message = rewritten
                    look_at(message)
                sending["client"] = time()
                await send(message)
                del sending["client"]
                self._downwards += 1
        except Exception as error:
            raise (client if "client" in sending else upstream).ended(error) from None

    def _look_at(self, text: str) -> None:
        event = Event(text)
        kind = event.type
        self._flights.see(event, kind, text)
        if kind in self._observed and self._on_event is not None:
            self._taps.put(len(text), self._on_event, event)

    def _left(self, error: ClosedError) -> None:
        """Note that a side is gone."""
        # One that was cut off for what it sent is to the other side one that broke off.
        self._told = ABNORMAL if error.local else error.code
        self._end("client" if error.channel is self._client else "upstream", error.code, error.reason)

    def _put_off(self, error: PenstockError) -> None:
        """Note that a rule ends it."""
        refusal = refusal_of(error)
        self._end("penstock", refusal.close_code or 1008, refusal.code or "", error)

    def _end(self, by: Side, code: int, reason: str, error: PenstockError | None = None) -> None:
        """Note why it ended; the first reason counts."""
        if self._outcome is None:
            self._outcome = Outcome(by, code, reason, error)

    async def _close(self, outcome: Outcome) -> None:
        """Close both sides, each as the other ended; then let observers finish."""
        client, upstream = self._client, self._upstream
        if outcome.by == "client":
            if upstream is not None:
                await upstream.close(close_code(self._told, towards="upstream"), outcome.reason)
            await client.close(1000)
        elif outcome.by == "upstream":
            await self._last_words(UPSTREAM_LOST)
            await client.close(close_code(self._told, towards="client"), outcome.reason)
            if upstream is not None:
                await upstream.close(1000)
        else:
            putting_out = self._put_out(outcome)
            if upstream is not None:
                await asyncio.gather(putting_out, upstream.close(1001))
            else:
                await putting_out
        await self._taps.aclose()

    async def _put_out(self, outcome: Outcome) -> None:
        """Tell the client why it may not stay, or come in, and close."""
        refusal = GOING_AWAY if outcome.error is None else refusal_of(outcome.error)
        if self._exchanging:
            await self._last_words(refusal, alone=True)
            await self._client.close(outcome.code, outcome.reason)
        else:
            await turn_away(self._client, refusal)

    async def _last_words(self, refusal: RefusedError, *, alone: bool = False) -> None:
        """Give each response under way its terminal event; or, `alone`, send an error frame."""
        frames = self._flights.fail(refusal)
        if alone and not frames:
            frames = [error_frame(refusal)]
        for frame in frames:
            self._look_at(frame)
        await say(self._client, *frames)


async def _open(upstream: Callable[[Opening], Awaitable[Any]], opening: Opening) -> Channel:
    try:
        return open_channel(await upstream(opening))
    except RefusedError:
        raise
    except Exception as error:
        log.warning("the upstream could not be opened: %s", type(error).__name__)
        raise RefusedError(
            "The upstream cannot be reached.", status=502, code="upstream_unavailable"
        ) from error


def _observe_input(on_input: Callable[[list[dict[str, Any]], Event], Any], event: Event) -> Any:
    """Call an observer of requests, in its own time: the input is only taken apart here."""
    return on_input(input_items(create_params(event.json())), event)
