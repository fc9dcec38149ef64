"""The WebSocket mode of the Responses API, server side: client events, lanes, lineage and steering.

One connection takes any number of `response.create`, flat or nested. Without a `stream_id` one response is in
flight at a time, and a second is refused; named lanes are served first come first served each, and side by
side. What a `previous_response_id` may name is the latest response of any lane on this connection, or any
that was stored.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from typing import Any, Final

from .faults import Faults
from .frames import WebSocket
from .history import History, items_of
from .http import ClientGone, HttpError, Request
from .ledger import Asked, Stats
from .player import Player, dump
from .turn import LIMIT_REACHED, Turn, error_frame

__all__ = ["MAX_ACTIVE", "MAX_LANES", "Talk"]

JSON = dict[str, Any]

MAX_LANES: Final = 32
"""Named lanes of one connection."""
MAX_ACTIVE: Final = 16
"""Responses in flight on one connection; those of further lanes wait."""
MAX_WAITING: Final = 256
"""Requests that wait in one lane."""
MAX_STEERS: Final = 8
"""Steers that wait for one response."""

Lane = str | None


class Talk:
    """One WebSocket connection, from its first message to its last.

    `standing` are the faults that its upgrade asked for; requests and responses are written into `stats` and
    `asked`.
    """

    def __init__(
        self,
        socket: WebSocket,
        request: Request,
        player: Player,
        *,
        standing: Faults,
        stats: Stats,
        asked: deque[Asked],
    ) -> None:
        self.ghosts: list[bytes] = []
        self._socket, self._request, self._player = socket, request, player
        self._standing, self._stats, self._asked = standing, stats, asked
        self._connection = stats.websockets
        self._recent = History(MAX_LANES + 1)
        self._latest: dict[Lane, str] = {}
        self._lanes: dict[Lane, deque[JSON]] = {}
        self._playing: dict[Lane, Turn] = {}
        self._owed: dict[str, list[Any]] = {}
        self._places = asyncio.Semaphore(MAX_ACTIVE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._born = asyncio.get_running_loop().time()
        self._steers = 0
        self.send, self.close, self.reset = socket.send, socket.close, socket.reset

    async def run(self) -> None:
        """Listen until the client goes. Raises `ClientGone`."""
        try:
            while True:
                await self._hear(await self._socket.receive())
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _hear(self, message: str | bytes) -> None:
        try:
            event = json.loads(message) if isinstance(message, str) else None
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            await self._complain("invalid_request_error", "A client event is a JSON object in a text frame.")
            return
        kind = event.pop("type", None)
        if kind == "response.create":
            await self._create(event)
        elif kind == "response.cancel":
            await self._cancel(event.get("response_id"))
        elif kind == "response.steer":
            await self._steer(event)
        elif kind != "response.processed":
            await self._complain("invalid_request_error", f"Unknown event type {str(kind)[:80]!r}.")

    async def _cancel(self, response_id: Any) -> None:
        for turn in [*self._playing.values()]:
            if turn.id == response_id:
                turn.cancel()
                if turn.act.faults.cancel_as == "unknown":
                    await self._complain("invalid_request_error", "Unknown event type 'response.cancel'.")

    async def _complain(self, code: str, message: str = "", lane: Lane = None) -> None:
        await self.send(error_frame(code, message, faults=self._standing, lane=lane))

    async def _create(self, event: JSON) -> None:
        inner = event.get("response")
        body = {**inner} if isinstance(inner, dict) and inner else event
        lane = body.pop("stream_id", event.get("stream_id"))
        body.pop("type", None)
        if lane is not None and (not isinstance(lane, str) or not lane):
            await self._complain("invalid_request_error", "stream_id must be a string.")
        elif asyncio.get_running_loop().time() - self._born > self._standing.max_age:
            await self._complain(LIMIT_REACHED, lane=lane)
            await self.close(1000)
        elif lane is None and lane in self._lanes:
            await self._complain("response_already_in_flight")
        elif lane is not None and lane not in self._latest and len(self._named) >= MAX_LANES:
            await self._complain("websocket_stream_limit_reached", lane=lane)
        elif len(self._lanes.get(lane, ())) >= MAX_WAITING:
            await self._complain("rate_limit_exceeded", lane=lane)
        else:
            self._latest.setdefault(lane, "")
            if lane in self._lanes:
                self._lanes[lane].append(body)
            else:
                self._lanes[lane] = deque([body])
                task = asyncio.get_running_loop().create_task(self._serve(lane))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    @property
    def _named(self) -> list[Lane]:
        return [lane for lane in self._latest if lane is not None]

    async def _serve(self, lane: Lane) -> None:
        """Play what waits in a lane, one after the other, until nothing does."""
        waiting = self._lanes[lane]
        try:
            while waiting:
                async with self._places:
                    await self._play(lane, waiting.popleft())
        except ClientGone:
            pass
        finally:
            del self._lanes[lane]

    async def _play(self, lane: Lane, body: JSON) -> None:
        """Play one request's response, and the successors that steers make of it."""
        following: JSON | None = body
        while following is not None:
            try:
                turn = self._turn(lane, following)
            except HttpError as error:
                self._stats.refused += 1
                self._evict(following)
                frame = error_frame(
                    error.code or "invalid_request_error",
                    error.message,
                    faults=self._standing,
                    lane=lane,
                    param=error.param,
                    status=error.status,
                )
                await self.send(frame)
                return
            await self._perform(turn)
            following = await self._conclude(turn)

    def _turn(self, lane: Lane, body: JSON) -> Turn:
        self._stats.requests += 1
        before = self._recent.before(body, self._player.history)
        owed = self._owed.pop(str(body.get("previous_response_id")), [])
        body["input"] = [*owed, *items_of(body.get("input", ""))]
        self._asked.append(Asked(self._connection, lane, {**body}, before.context()))
        act = self._player.act(self._request, body, self._stats.requests, before)
        return Turn(lane, body, act, before)

    async def _perform(self, turn: Turn) -> None:
        """Play a response and count how it ended. Raises `ClientGone`."""
        stats = self._stats
        stats.streams += 1
        stats.active += 1
        self._playing[turn.lane] = turn
        try:
            await turn.play(self)
        except BaseException:
            stats.aborted += turn.result is None
            raise
        else:
            stats.faulted += turn.result is None
        finally:
            stats.completed += turn.result is not None
            stats.active -= 1
            del self._playing[turn.lane]

    async def _conclude(self, turn: Turn) -> JSON | None:
        """Keep what can be continued; the request of the successor, if a steer asks for one."""
        if turn.failed:
            self._evict(turn.body)
        if turn.result is None or turn.failed or turn.cancelled:
            return None  # a cancel evicts nothing, and what it left is no answer
        if not turn.act.faults.forget:
            self._recent.drop(self._latest[turn.lane])
            self._latest[turn.lane] = turn.id
            self._recent.keep(turn.id, turn.past)
            if turn.body.get("store") is not False:
                self._player.history.keep(turn.id, turn.past)
        if not turn.steers:
            return None
        items = [item for _, steered in turn.steers for item in steered]
        if not turn.act.calls:
            return {**turn.body, "input": items, "previous_response_id": turn.id}
        self._owed[turn.id] = items
        required = [
            {"type": "function_call_output", "call_id": item["call_id"], "name": item["name"]}
            for item in turn.result["output"]
            if item["type"] == "function_call"
        ]
        for steer_id, _ in turn.steers:
            event = turn.act.stream.aside(
                "response.steer.pending",
                steer={"id": steer_id, "previous_response_id": turn.id},
                reason="waiting_for_required_input",
                required_input=required,
            )
            await self._aside(turn.lane, event)
        return None

    def _evict(self, body: JSON) -> None:
        """A continuation that failed takes the connection's copy of what it continued with it."""
        self._recent.drop(str(body.get("previous_response_id")))

    async def _steer(self, event: JSON) -> None:
        named, given = event.get("previous_response_id"), event.get("input")
        turn = next((turn for turn in self._playing.values() if turn.id == named and turn.sent), None)
        if not _steers(given):
            code = "invalid_input"
        elif turn is None:
            known = self._recent.find(named) or self._player.history.find(named)
            code = "response_already_completed" if known else "response_not_found"
        elif turn.result is not None:
            code = "response_already_completed"
        elif len(turn.steers) >= MAX_STEERS:
            code = "too_many_pending_steers"
        else:
            self._steers += 1
            steer_id = f"steer_{self._steers:08x}"
            accepted = {"id": steer_id, "previous_response_id": turn.id}
            turn.steer(steer_id, items_of(given))
            await self._aside(turn.lane, turn.act.stream.aside("response.steer.accepted", steer=accepted))
            return
        error = {"type": "invalid_request_error", "code": code, "message": f"The steer failed: {code}."}
        refused = {"previous_response_id": named, "input": given}
        failed = {"type": "response.steer.failed", "sequence_number": 0, "error": error, "steer": refused}
        await self._aside(None if turn is None else turn.lane, failed)

    async def _aside(self, lane: Lane, event: JSON) -> None:
        await self.send(dump(event if lane is None else {**event, "stream_id": lane}))


def _steers(given: Any) -> bool:
    """Whether an input may steer: text, or messages of the user."""
    if isinstance(given, str):
        return bool(given)
    return (
        isinstance(given, list)
        and bool(given)
        and all(
            isinstance(item, dict) and item.get("role") == "user" and item.get("type", "message") == "message"
            for item in given
        )
    )
