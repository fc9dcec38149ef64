"""The client side of a conversation with the Responses API: the chain kept, only what is new sent.

    async with ResponsesSession(url, key, model, tools=tools) as session:
        async for event in session.create(items): ...

Over a WebSocket, or over HTTP where the server refuses one with 426. `chain` says what is sent, `machine`
whose event is whose, `link` how turns share a connection, `pool` which connection that is, and `turn` what is
retried; here they are put together.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from penstock._penstock import Limits
from penstock.errors import ConcurrencyError, IncompleteStream
from penstock.session.chain import Asked, Chains, items_of
from penstock.session.failures import ConnectionGone
from penstock.session.turn import Turn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from penstock.session.flight import Flight
    from penstock.session.link import Connection

__all__ = ["ResponsesSession"]

IDLE_SECONDS: Final = 120.0
"""How long a model may be silent; as for streams over HTTP."""

DRAIN_SECONDS: Final = 2.0
"""How long the end of a cancelled response is waited for, in all, before the socket is replaced."""

ROTATE_SECONDS: Final = 55 * 60.0
"""The age at which an idle connection is replaced: the server's limit is an hour."""

CONNECT_SECONDS: Final = 10.0

CANCEL_SECONDS: Final = 1.0
"""How long a cancel may take to be written, to a server that does not read."""

_OWN: Final = frozenset({"background", "input", "previous_response_id", "stream", "stream_id", "type"})

LAUNCHES: Final = 3
"""Connections a request is tried on before any has taken it."""


class ResponsesSession:
    """A conversation, or several in lanes, over one connection that is replaced when it has to be.

    Args:
        url: of the endpoint, ``https://…/v1/responses``, or of the API above it; ``wss`` means the same.
        key: sent as a bearer token; None for none. Never shown.
        model, tools, instructions: of every turn, unless `create` says otherwise.
        store: whether the server stores responses; None leaves it to the server. What is not stored can be
            continued as long as its connection lasts, and over HTTP not at all.
        params: further members of every request.
        compat: ``"pipecat"`` for its rules of when to send only the new items.
        transport: ``"auto"`` is a WebSocket, and HTTP once the server has answered the upgrade with 426.
        client: of httpx, httpx2 or aiohttp, for HTTP; it stays the caller's. By default one of httpx.
        headers: further ones of the upgrade or of every request.
        connect_options: for `websockets.connect`: ``ssl``, ``proxy``, ...
        drain_timeout: see `DRAIN_SECONDS`. With 0 a cancelled response costs its socket at once.
        idle_timeout: the longest silence of the server while a turn waits; None for no bound.
        first_output_timeout: the longest wait for anything beyond "in progress", from the request on.
        retry_timeout: whether a turn that it expired for is tried once more, on a fresh connection and
            without it.
        resend_lost: whether a request is sent once more when its connection was lost before any output came.
            The first one may have run, its tools too.
        rotate_after: see `ROTATE_SECONDS`.
        limits: of each response.

    One lane has one response at a time. A turn that is begun while an earlier one of its lane is not over
    cancels that one, unless another task is waiting for it.

    Raises:
        ValueError: an option is none of those allowed, or the key or a header is no header.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        model: str,
        *,
        tools: Sequence[Any] | None = None,
        instructions: str | None = None,
        store: bool | None = None,
        params: Mapping[str, Any] | None = None,
        compat: Literal["pipecat"] | None = None,
        transport: Literal["auto", "websocket", "http"] = "auto",
        client: Any = None,
        headers: Mapping[str, str] | None = None,
        connect_options: Mapping[str, Any] | None = None,
        drain_timeout: float = DRAIN_SECONDS,
        idle_timeout: float | None = IDLE_SECONDS,
        first_output_timeout: float | None = None,
        retry_timeout: bool = False,
        resend_lost: bool = False,
        connect_timeout: float = CONNECT_SECONDS,
        rotate_after: float = ROTATE_SECONDS,
        limits: Limits | None = None,
    ) -> None:
        if compat not in (None, "pipecat"):
            raise ValueError(f"compat must be None or 'pipecat', not {compat!r}")
        if transport not in ("auto", "websocket", "http"):
            raise ValueError(f"transport must be 'auto', 'websocket' or 'http', not {transport!r}")
        named = {"model": model, "tools": tools, "instructions": instructions, "store": store}
        self._settings: dict[str, Any] = named
        self._settings = self._with(params or {})
        self.model = model
        self.conversation: list[Any] = []
        """What `say` has been told and answered; the caller's to edit."""
        self.idle_timeout = idle_timeout
        self.drain_timeout = drain_timeout
        self.first_output_timeout = first_output_timeout
        self.retry_timeout = retry_timeout
        self.resend_lost = resend_lost
        self._chains = Chains(compat)
        self._turns: dict[str | None, Turn] = {}
        self._closed = False
        from penstock.session.pool import Pool, Target  # noqa: PLC0415 - asyncio takes longer to import than penstock

        authorization = {} if key is None else {"authorization": f"Bearer {key}"}
        target = Target(url, {**authorization, **(headers or {})}, connect_options or {})
        self._host = target.host
        self._pool = Pool(
            target,
            transport,
            client,
            connect_timeout=connect_timeout,
            rotate_after=rotate_after,
            limits=Limits() if limits is None else limits,
            left=self._chains.leave,
        )

    # What its user does.

    def create(
        self,
        input: str | Sequence[Any],
        *,
        stream_id: str | None = None,
        **params: Any,
    ) -> Turn:
        """A turn that answers `input`: all items of the conversation so far, or the first words of one.

        Nothing is sent before it is iterated. `params` are members of this request alone. Raises `ValueError`
        for those that the session decides, `TypeError` for an input that is neither text nor a list.
        """
        return Turn(self, items_of(input), self._with(params), _lane(stream_id))

    def say(self, input: str | Sequence[Any], *, stream_id: str | None = None, **params: Any) -> Turn:
        """A turn that answers the conversation with these new items behind it.

        They become part of `conversation` at once, the answer when it is complete.
        """
        settings, lane = self._with(params), _lane(stream_id)
        self.conversation += items_of(input)
        return Turn(self, self.conversation, settings, lane, grows=True)

    def _with(self, params: Mapping[str, Any]) -> dict[str, Any]:
        if not _OWN.isdisjoint(params):
            raise ValueError(f"the session decides: {', '.join(sorted(_OWN.intersection(params)))}")
        return {**self._settings, **params}

    async def warm_up(
        self,
        input: str | Sequence[Any] = (),
        *,
        stream_id: str | None = None,
        **params: Any,
    ) -> Turn | None:
        """Have the server prepare what is known already; the items are part of the chain from then on.

        Returns the turn, which is over, or None over HTTP, where there is no such thing. Raises as a turn
        does.
        """
        await self.connect()
        if self._pool.transport == "http":
            return None
        turn = self.create(input, stream_id=stream_id, generate=False, **params)
        await turn.final()
        return turn

    async def connect(self) -> None:
        """Open the connection before it is needed. Raises `ResponseError` or `OSError`."""
        if self._pool.transport != "http":
            await self._pool.connection()

    @property
    def transport(self) -> Literal["auto", "websocket", "http"]:
        """What turns go over; ``"auto"`` until that is known."""
        return self._pool.transport

    @property
    def connections(self) -> int:
        """How many connections were opened so far; over HTTP, how many requests were made."""
        return self._pool.opened

    async def aclose(self) -> None:
        """Close all connections and end all turns; may be called again."""
        self._closed = True
        for turn in self._turns.values():
            if not turn.over:
                partial = turn.response
                turn._end(
                    "error", IncompleteStream("the session was closed", partial=partial, reason="closed")
                )
                if turn._connection is not None and turn._flight is not None:
                    turn._connection.interrupt(turn._flight)
        await self._pool.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"{self.connections} connections so far"
        return f"<ResponsesSession with {self._host}, {self.transport}, {state}>"

    # What turns ask of it.

    async def _launch(self, turn: Turn) -> None:
        """Send a turn's request, over a connection on which nothing stands in its way."""
        await self._take_lane(turn)
        refusals = 0
        while refusals < LAUNCHES:
            connection = await self._pool.connection()
            lane = turn.lane if connection.keeps_state else None
            if await self._clear(connection, lane, turn):
                try:
                    await self._send(turn, connection, lane)
                except ConnectionGone:
                    self._leave(connection)
                    refusals += 1
                else:
                    return
        raise ConnectionError("the server closes its connections before a request is sent")

    async def _take_lane(self, turn: Turn) -> None:
        if self._closed:
            raise RuntimeError("the session is closed")
        before = self._turns.get(turn.lane)
        if before is not None and before is not turn and not before.over:
            if before._busy:
                raise ConcurrencyError("another task is waiting for a turn in this lane: use a stream_id")
            await before.cancel()
        self._turns = {lane: other for lane, other in self._turns.items() if not other.over}
        self._turns[turn.lane] = turn

    async def _send(self, turn: Turn, connection: Connection, lane: str | None) -> None:
        settings = turn.settings

        def begin(flight: Flight) -> dict[str, Any] | None:
            if turn.over:  # cancelled while it waited for its connection
                return None
            asked = Asked.of(turn.items, settings)
            plan = self._chains.plan(turn.items, asked, turn.lane, connection)
            message: dict[str, Any] = {"type": "response.create"}
            message |= {name: value for name, value in settings.items() if value is not None}
            message["input"] = plan.input
            if plan.previous_response_id is not None:
                message["previous_response_id"] = plan.previous_response_id
            if lane is not None:
                message["stream_id"] = lane
            now = monotonic()
            turn.plan, turn._asked, turn.status = plan, asked, "in_progress"
            turn._flight, turn._connection = flight, connection
            turn._since = turn._launched = now
            figures = turn.figures
            figures.started = figures.started or now
            figures.attempts += 1
            figures.connection = connection.number
            figures.sent_items, figures.total_items = len(plan.input), plan.total
            return message

        try:
            await connection.launch(lane, begin, self.idle_timeout)
        except Exception:
            turn._flight, turn.status = None, "new"
            raise

    async def _clear(self, connection: Connection, lane: str | None, turn: Turn) -> bool:
        """Get rid of what is left of an earlier response in a lane; False if that cost the connection."""
        flight = connection.machine.flight(lane)
        if flight is None:
            return True
        began = monotonic()
        if flight.drain_until is None:
            flight.drain_until = began + self.drain_timeout
        connection.machine.cancel(flight)
        await connection.flush_within(flight.drain_until - began)
        drained = await connection.wait(flight, flight.drain_until)
        turn.figures.drained += monotonic() - began
        if not drained:
            self._leave(connection)
        return drained and connection.usable

    async def _give_up(self, connection: Connection, flight: Flight) -> None:
        """Have the server told that a response is not wanted; a turn that waits for it is woken."""
        connection.machine.cancel(flight)
        connection.interrupt(flight)
        if connection.keeps_state:
            await connection.flush_within(CANCEL_SECONDS)
        else:
            connection.machine.withdraw(flight)
            await self._pool.discard(connection)

    async def _settle(self, turn: Turn) -> None:
        """Let go of a connection that carried this turn alone."""
        connection = turn._connection
        if connection is not None and not connection.keeps_state and not connection.retired:
            await connection.settle()
            await self._pool.discard(connection)

    def _completed(self, turn: Turn, flight: Flight) -> None:
        """Take in a complete response: what the next turn may continue."""
        connection, name = turn._connection, flight.response_id
        if turn._grows:
            self.conversation += [*flight.steered, *_output(flight)]
        if connection is None or turn._asked is None or not isinstance(name, str) or not name:
            return
        stored = turn.settings.get("store") is not False
        kept = stored or connection.keeps_state
        self._chains.extend(
            turn.lane,
            name,
            turn._asked.then(flight.steered),
            output=_output(flight),
            connection=connection if kept and not stored else None,
            kept=kept,
        )

    def _failed(self, turn: Turn) -> None:
        """Take in a failed one: what it continued is gone, unless it was stored."""
        plan = turn.plan
        stored = turn.settings.get("store") is not False
        if plan is not None and plan.previous_response_id is not None and not stored:
            self._chains.forget(plan.previous_response_id)

    def _leave(self, connection: Connection) -> None:
        """Use a connection no more, except for what is in flight on it."""
        self._pool.leave(connection)


def _output(flight: Flight) -> list[Any]:
    """What the model said, made anew: of the conversation's items each is its owner's to edit."""
    output = (flight.accumulator.snapshot() or {}).get("output")
    return output if isinstance(output, list) else []


def _lane(name: str | None) -> str | None:
    """Refuse a lane that its events could not be known by."""
    if name is not None:
        if not isinstance(name, str):
            raise TypeError(f"stream_id must be a str, not {type(name).__name__}")
        name.encode()  # a lone surrogate does not come back as it went: UnicodeEncodeError, a ValueError
    return name
