"""The WebSocket mode of the Responses API, served from HTTP back ends that stream.

    connection = ManagedConnection(HttpBackEnd(client, url, headers=KEY), store=store, tenant="acme")
    await connection.serve(websocket, allowed_origins=ORIGINS)

One object serves one client. The caller's task reads what the client sends, also while responses run, so a
cancellation is heard and a client's leaving ends its upstream requests at once; each response that runs has
a task. Which may run is decided in `lanes`, what a response looks like on the wire in `reply`; one response
from its request to its terminal event is a `turn`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

from penstock._penstock import Event
from penstock.errors import DecodeError, LimitExceeded, PenstockError
from penstock.hooks import HOOK_SECONDS, Hooks
from penstock.store import Bounds, ConnectionStore, ConversationStore, MemoryStore
from penstock.websocket.attending import Attendant
from penstock.websocket.back_ends import BackEnd
from penstock.websocket.channels import Channel, ClosedError, open_channel
from penstock.websocket.forwarding import GOING_AWAY, OBSERVED, Outcome, Rewriter, Side
from penstock.websocket.lanes import Job, LaneLimits, Lanes, lane_name
from penstock.websocket.limits import ConnectionLimits, Gate, refusal_of
from penstock.websocket.opening import Authenticate, let_in, say, turn_away, turned_away_by
from penstock.websocket.origins import Origins
from penstock.websocket.reply import CANCELLED
from penstock.websocket.requests import check
from penstock.websocket.taps import TapQueue
from penstock.websocket.turn import BUG, Turn, TurnTimeouts
from penstock.websocket.wire import RefusedError, create_params, dump, error_frame, input_items, text_bytes

__all__ = ["ManagedConnection", "ManagedLimits"]

log = logging.getLogger("penstock.websocket")

UNSTORED: Final = Bounds(max_turns=1_024, max_bytes=64 * 1024 * 1024)
"""What a connection keeps of its own: the responses of ``"store": false``."""

Route = Callable[[dict[str, Any]], BackEnd]

LIMIT_REACHED: Final = RefusedError(
    "Responses websocket connection limit reached. Create a new websocket connection to continue.",
    code="websocket_connection_limit_reached",
    close_code=1001,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagedLimits:
    """Bounds of a managed connection. Seconds may be None, for no bound.

    Attributes:
        connection: on what the client sends, and how fast it reads.
        lanes: on the responses of the connection.
        timeouts: on one response's upstream.
        max_seconds: of the connection; the API's 60 minutes. Then no new response is begun.
        grace_seconds: for the responses that still run then.
    """

    connection: ConnectionLimits = field(default_factory=ConnectionLimits)
    lanes: LaneLimits = field(default_factory=LaneLimits)
    timeouts: TurnTimeouts = field(default_factory=TurnTimeouts)
    max_seconds: float | None = 3600.0
    grace_seconds: float | None = 300.0


class ManagedConnection:
    """Serves one client.

    Args:
        back_end: whom to ask; or a function that chooses by a request's members, such as its model, and
            raises `RefusedError` for what it has nobody for.
        store: where responses are kept unless the client says ``"store": false``; by default a memory of
            this connection's own.
        tenant: whose sessions the client may reach; an authentication hook may set another.
        limits: of the connection.
        rewriter: changes texts both ways; how ids are sealed.
        on_event: called with each event whose type is one of `OBSERVED`, beside the stream.
        hooks: see `penstock.hooks`; each response has its own run of them. What they see of a request has its
            input as a list of items.
        hook_timeout: seconds that one call of a hook may take.
    """

    def __init__(
        self,
        back_end: BackEnd | Route,
        *,
        store: ConversationStore | None = None,
        tenant: str = "default",
        limits: ManagedLimits | None = None,
        rewriter: Rewriter | None = None,
        on_event: Callable[[Event], Any] | None = None,
        hooks: Iterable[Any] = (),
        hook_timeout: float = HOOK_SECONDS,
    ) -> None:
        self._route = back_end if callable(back_end) else lambda _params: back_end
        self._shared = MemoryStore() if store is None else store
        self._tenant = tenant
        self._limits = limits or ManagedLimits()
        self._rewriter = rewriter
        self._on_event = on_event
        self._hooks = tuple(hooks)
        self._hook_timeout = hook_timeout
        self._lanes = Lanes(self._limits.lanes)
        self._turns: dict[Job, Turn] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._taps = TapQueue()
        self._outcome: Outcome | None = None
        self._expired = False
        self._closing = False
        self._timer: asyncio.TimerHandle | None = None
        self._messages = 0
        self._frames = 0

    async def serve(
        self,
        client: Any,
        *,
        allowed_origins: Iterable[str | None] | None,
        authenticate: Authenticate | None = None,
        subprotocol: str | None = None,
    ) -> Outcome:
        """Serve a client until it leaves or is put out; see `forward` for the arguments.

        Of the outcome, `upwards` counts the client's messages and `downwards` the frames it was sent.
        """
        loop = asyncio.get_running_loop()
        self._client = channel = open_channel(client)
        self._loop = loop
        self._turn = asyncio.Lock()
        self._attendant = Attendant(self._limits.connection, self._put_off)
        self._gate = Gate(self._limits.connection, loop.time())
        self._store = ConnectionStore(self._shared, bounds=UNSTORED)
        entered = False
        try:
            opening = await let_in(
                channel,
                origins=Origins(allowed_origins),
                authenticate=authenticate,
                limits=self._limits.connection,
                gate=self._gate,
                subprotocol=subprotocol,
            )
            self._tenant = opening.tenant or self._tenant
            await channel.accept(subprotocol)
            entered = True
            if self._limits.max_seconds is not None:
                self._timer = loop.call_later(self._limits.max_seconds, self._expire)
            await self._read(channel, opening.forward)
        except ClosedError as error:
            self._end("client", error.code, error.reason)
        except RefusedError as refusal:  # not let in
            self._end("penstock", turned_away_by(refusal), refusal.code or "", refusal)
        finally:
            outcome = self._outcome or Outcome("penstock", 1001, "going away", GOING_AWAY)
            await self._close(channel, outcome, entered=entered)
        return replace(outcome, upwards=self._messages, downwards=self._frames, unobserved=self._taps.dropped)

    async def _read(self, channel: Channel, first: str | None) -> None:
        """Read what the client sends until it leaves, or until somebody has set the outcome."""
        try:
            async with asyncio.timeout(None) as scope:
                self._attendant.start(scope)
                if first is not None:
                    await self._answer(first)
                while True:
                    message = await channel.receive()
                    self._messages += 1
                    error = self._gate.take(message, self._loop.time())
                    if error is not None:
                        self._put_off(error)
                        return
                    await self._answer(message)
        except TimeoutError:
            if not scope.expired():
                raise
        finally:
            self._attendant.stop()

    async def _answer(self, message: str | bytes) -> None:
        """Do what a message says, or tell what is wrong with it; the connection goes on."""
        lane: str | None = None
        try:
            if isinstance(message, bytes):
                raise RefusedError("Messages must be text.", code="binary_message")
            frame = _frame_of(message if self._rewriter is None else self._rewriter.to_upstream(message))
            lane = frame.get("stream_id") if isinstance(frame.get("stream_id"), str) else None
            match frame.get("type"):
                case "response.create":
                    self._create(frame, text_bytes(message))
                case "response.cancel":
                    await self._cancel(frame)
                case "response.steer":
                    await self._send(_steering_refused(frame))
                case "response.processed":  # some clients say so; there is nothing to do
                    pass
                case kind:
                    known = isinstance(kind, str) and len(kind) <= 64
                    raise RefusedError(
                        f"Unknown event type: {kind!r}." if known else "An event needs a type.", param="type"
                    )
        except PenstockError as error:
            if isinstance(error, ClosedError):
                raise
            refusal = error if isinstance(error, RefusedError) else RefusedError(f"{error}")
            await self._send(error_frame(refusal, stream_id=lane))

    def _create(self, frame: dict[str, Any], size: int) -> None:
        if self._expired:
            raise LIMIT_REACHED
        params = create_params(frame)
        lane = lane_name(params.pop("stream_id", None))
        check(params)
        params["input"] = input_items(params)
        self._start(self._lanes.admit(Job(params, lane, size)))

    def _start(self, jobs: list[Job]) -> None:
        for job in jobs:
            hooks = Hooks(self._hooks, timeout=self._hook_timeout)
            turn = Turn(job, self._send, self._store, self._tenant, self._limits.timeouts, hooks=hooks)
            self._turns[job] = turn
            task = self._loop.create_task(self._carry_out(job, turn))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry_out(self, job: Job, turn: Turn) -> None:
        """Run one turn; whatever becomes of it, its lane goes on."""
        try:
            try:
                await turn.run(self._route)
            except ClosedError:
                return  # there is nobody left to tell; the reader notices by itself, or by the time-out
            except Exception:
                # Nothing more can be said in order, such as when ids cannot be sealed.
                log.exception("a response could not be sent")
                self._put_off(BUG)
                self._attendant.wake()
            finally:
                if not self._closing:
                    del self._turns[job]
                    self._start(self._lanes.finish(job))
            if self._expired and self._lanes.idle:
                self._put_off(LIMIT_REACHED)
                self._attendant.wake()
        finally:
            await turn.aclose()

    async def _cancel(self, frame: dict[str, Any]) -> None:
        """Cancel the response that is named, or that of the lane; one that has ended meanwhile has ended."""
        response_id = frame.get("response_id")
        lane = lane_name(frame.get("stream_id"))
        if not isinstance(response_id, str | None):
            raise RefusedError("'response_id' must be a string.", param="response_id")
        job = self._lanes.running(lane) if response_id is None else self._lanes.find(response_id)
        if job is not None:
            self._turns[job].cancel()
        elif response_id is None and self._lanes.withdraw(lane) is not None:
            await self._send(error_frame(CANCELLED, stream_id=lane))

    async def _send(self, text: str) -> None:
        if self._rewriter is not None:
            text = self._rewriter.to_client(text)
        if self._on_event is not None:
            event = Event(text)
            if event.type in OBSERVED:
                self._taps.put(len(text), self._on_event, event)
        async with self._turn:
            self._attendant.sending["client"] = self._loop.time()
            try:
                await self._client.send(text)
            finally:
                del self._attendant.sending["client"]
        self._frames += 1

    def _expire(self) -> None:
        """The connection has had its time: what runs may end, nothing new begins."""
        if self._expired or self._lanes.idle:
            self._put_off(LIMIT_REACHED)
            self._attendant.wake()
        self._expired = True
        if self._limits.grace_seconds is not None:
            self._timer = self._loop.call_later(self._limits.grace_seconds, self._expire)

    def _put_off(self, error: PenstockError) -> None:
        """Note that a rule ends it."""
        refusal = refusal_of(error)
        self._end("penstock", refusal.close_code or 1008, refusal.code or "", error)

    def _end(self, by: Side, code: int, reason: str, error: PenstockError | None = None) -> None:
        if self._outcome is None:
            self._outcome = Outcome(by, code, reason, error)

    async def _close(self, channel: Channel, outcome: Outcome, *, entered: bool) -> None:
        """End what runs, upstream first; then tell the client, if it is still there."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        refusal = GOING_AWAY if outcome.error is None else refusal_of(outcome.error)
        if outcome.by == "client":
            await channel.close(1000)
        elif entered:
            frames = [frame for turn in self._turns.values() for frame in turn.abandon(refusal)]
            frames += [error_frame(refusal, stream_id=job.lane) for job in self._lanes.waiting]
            with suppress(PenstockError):  # what cannot be rewritten is not said
                rewrite = str if self._rewriter is None else self._rewriter.to_client
                await say(channel, *map(rewrite, frames or [error_frame(refusal)]))
            await channel.close(outcome.code, outcome.reason)
        else:
            await turn_away(channel, refusal)
        await self._store.close()
        await self._taps.aclose()


def _frame_of(text: str) -> dict[str, Any]:
    """A message as the object that it must be. Raises `RefusedError`."""
    try:
        frame = Event(text).json()
    except (DecodeError, LimitExceeded) as error:
        raise RefusedError("The message is no valid JSON.") from error
    if not isinstance(frame, dict):
        raise RefusedError("The message is no JSON object.")
    return frame


def _steering_refused(frame: dict[str, Any]) -> str:
    """The answer to `response.steer`: a back end over HTTP has begun what it was asked."""
    error = {"code": "steering_not_supported", "message": "Responses cannot be steered here."}
    steer = {name: frame.get(name) for name in ("previous_response_id", "input")}
    return dump({"type": "response.steer.failed", "error": error, "steer": steer})
