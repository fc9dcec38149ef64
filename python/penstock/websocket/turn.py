"""One response of a managed connection: from the request to its terminal event."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from penstock._penstock import Event
from penstock.errors import (
    ClientDisconnected,
    DecodeError,
    GuardFailed,
    IncompleteStream,
    LimitExceeded,
    PreviousResponseNotFound,
    ResponseError,
    StoreUnavailable,
    StreamTimeout,
)
from penstock.hooks import Hooks
from penstock.store import ConnectionStore
from penstock.stream import AsyncStream
from penstock.websocket.back_ends import BackEnd
from penstock.websocket.channels import ClosedError
from penstock.websocket.lanes import Job
from penstock.websocket.reply import CANCELLED, Reply
from penstock.websocket.requests import check, echo, request_body, transcoder
from penstock.websocket.wire import RefusedError, dump, input_items

__all__ = ["Turn", "TurnTimeouts"]

log = logging.getLogger("penstock.websocket")

DRAIN_SECONDS: Final = 1.0
"""How long an upstream has, after its terminal event, to end its stream so that its connection lives on."""

BUG: Final = RefusedError("The gateway made a mistake.", status=500, code="server_error", close_code=1011)
NOT_KEPT: Final = RefusedError("The response could not be stored.", status=500, code="server_error")

_PASSED_ON: Final = frozenset({400, 404, 408, 409, 413, 415, 422, 429})
"""Statuses of an upstream that tell of the client's request; others are between it and the gateway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnTimeouts:
    """How long an upstream may take, in seconds or None; see `AsyncStream`.

    Attributes:
        idle: between two bytes.
        first_event: to the first event.
        duration: for all of it.
    """

    idle: float | None = 120.0
    first_event: float | None = None
    duration: float | None = None


class Turn:
    """Carries out one job.

    Args:
        job: what was asked for.
        send: takes a frame to the client; raises `ClosedError`.
        store: of the connection.
        tenant: whose.
        timeouts: on the upstream.
        hooks: of this response.
    """

    def __init__(
        self,
        job: Job,
        send: Callable[[str], Awaitable[None]],
        store: ConnectionStore,
        tenant: str,
        timeouts: TurnTimeouts,
        *,
        hooks: Hooks,
    ) -> None:
        self._job = job
        self._params = job.params
        self._previous: str | None = job.params.get("previous_response_id")
        self._send = send
        self._store = store
        self._tenant = tenant
        self._timeouts = timeouts
        self._hooks = hooks
        self._reply = Reply(lane=job.lane, previous_response_id=self._previous)
        self._stream: AsyncStream | None = None
        self._scope: asyncio.Timeout | None = None
        self._waits = False  # for the upstream; then a cancellation may break in
        self._cancelled = False
        self._released = False  # the terminal frame
        self._drains = False

    async def run(self, route: Callable[[dict[str, Any]], BackEnd]) -> None:
        """Answer the request with frames, the last of which is a terminal event or an error.

        Raises:
            ClosedError: the client has left.
        """
        failure: Exception | None = None
        try:
            frames = await self._edited(await self._begin(route))
        except ClosedError:
            raise
        except Exception as error:
            frames, failure = self._reply.fail(_refusal_of(error)), error
            if isinstance(error, GuardFailed):  # perhaps of what came with the end
                self._reply.revoke(_refusal_of(error))
        for frame in frames:
            await self._send(frame)
        if self._hooks:
            await self._tell_hooks(failure)
        await self._keep()
        self._released = True
        await self._send(self._reply.terminal)

    async def _begin(self, route: Callable[[dict[str, Any]], BackEnd]) -> list[str]:
        """Send all but the last frames, which are returned."""
        if self._hooks:
            await self._ask_hooks()
        params, reply = self._params, self._reply
        context = _input_of(params)
        if self._previous is not None:
            history = await self._store.load_history(self._tenant, self._previous)
            context = _joined(history.data, context)
        if params.get("generate") is False:
            return reply.warm_up(params["model"], echo(params))
        back_end = route(params)
        reply.transcode(transcoder(params, back_end.dialect))
        body = request_body(params, context, back_end.dialect)
        try:
            async with asyncio.timeout(None) as scope:
                self._scope = scope
                await self._read(back_end, body)
        except TimeoutError:
            if not scope.expired():
                raise
        finally:
            self._waits = False
        return reply.cancel() if self._cancelled else reply.end()

    async def _read(self, back_end: BackEnd, body: bytes) -> None:
        """Ask the back end and send its events on, up to the terminal one."""
        reply, timeouts = self._reply, self._timeouts
        if self._cancelled:
            return
        self._waits = True
        try:
            source = await back_end.open(body)
        except RefusedError:
            raise
        except Exception as error:
            log.warning("the back end could not be reached: %s", type(error).__name__)
            raise _UNREACHABLE from error
        self._stream = stream = AsyncStream(
            source,
            dialect=None,
            idle_timeout=timeouts.idle,
            first_event_timeout=timeouts.first_event,
            max_duration=timeouts.duration,
        )
        async for batch in stream.batches():
            self._waits = False
            frames = reply.take(batch)
            self._job.response_id = reply.response_id
            for frame in await self._edited(frames):
                await self._send(frame)
            if reply.ended:
                self._drains = True
            if reply.ended or self._cancelled:
                return
            self._waits = True

    async def _ask_hooks(self) -> None:
        """Let the hooks see the request, and take what they make of it."""
        changed = await self._hooks.request(self._params)
        if changed is not self._params:
            check(changed)
            self._params = {**changed, "input": input_items(changed)}
            self._previous = changed.get("previous_response_id")
            self._reply = Reply(lane=self._job.lane, previous_response_id=self._previous)

    async def _edited(self, frames: list[str]) -> list[str]:
        """Frames as the hooks want them. Raises `GuardFailed`."""
        if not frames or not self._hooks.watches_events:
            return frames
        edited = await self._hooks.edit([Event(frame) for frame in frames])
        return frames if edited is None else [event.data.decode("utf-8", "replace") for event in edited]

    async def _tell_hooks(self, failure: Exception | None) -> None:
        """Tell the hooks how it ended before the client hears of it; a guard may still refuse it."""
        reply, hooks = self._reply, self._hooks
        if failure is not None or reply.told is None:
            await hooks.error(failure or (CANCELLED if self._cancelled else _cut(reply)))
            return
        try:
            if members := await hooks.usage(reply.told):
                reply.charge(members)
            for frame in await self._edited([reply.terminal]):
                reply.amend(frame)
            await hooks.complete(reply.told)
        except GuardFailed as error:
            reply.revoke(_refusal_of(error))
            await hooks.error(error)

    async def _keep(self) -> None:
        """Store the response before anybody hears that it is there; forget what a failure has spoiled."""
        final = self._reply.final
        if final is not None:
            try:
                await self._store.append(
                    self._tenant,
                    final,
                    input=self._params["input"],
                    parent=self._previous,
                    store=self._params.get("store") is not False,
                )
            except Exception:
                log.exception("a response could not be stored")
                self._reply.revoke(NOT_KEPT)
        elif self._previous is not None and not self._cancelled:
            self._store.forget(self._tenant, self._previous)

    def cancel(self) -> None:
        """End the response early, with a terminal event. One that has ended stays as it is."""
        self._cancelled = True
        if self._waits and self._scope is not None:
            self._scope.reschedule(asyncio.get_running_loop().time())

    def abandon(self, refusal: RefusedError) -> list[str]:
        """The frames that end a response whose `run` was cancelled; none if the client has its terminal."""
        if self._released:
            return []
        self._released = True
        return [*self._reply.fail(refusal), self._reply.terminal]

    async def aclose(self) -> None:
        """Let go of the upstream: let it end its stream if that has told all, else at once."""
        stream = self._stream
        try:
            if self._drains and stream is not None:
                with suppress(Exception):
                    async with asyncio.timeout(DRAIN_SECONDS):
                        async for _batch in stream.batches():
                            pass
        finally:
            if stream is not None:
                await stream.aclose()
            # Those that have heard of the end hear nothing more; to the others it was the client's.
            left = ClientDisconnected("the client left before the response had ended")
            left.partial = self._reply.snapshot()
            await self._hooks.error(left)


def _cut(reply: Reply) -> IncompleteStream:
    return IncompleteStream(
        "the upstream's stream ended before its response did", partial=reply.snapshot(), reason="eof"
    )


_NOT_FOUND: Final = RefusedError(
    "The previous response was not found.", code="previous_response_not_found", param="previous_response_id"
)
_UNREACHABLE: Final = RefusedError("The upstream cannot be reached.", status=502, code="upstream_unavailable")


def _refusal_of(error: Exception) -> RefusedError:
    """What the client is told of an error."""
    match error:
        case RefusedError():
            refusal = error
        case PreviousResponseNotFound():
            refusal = _NOT_FOUND
        case ResponseError():
            refusal = _refusal_of_response(error)
        case StoreUnavailable():
            refusal = RefusedError("The store does not answer.", status=503, code="store_unavailable")
        case GuardFailed():
            refusal = RefusedError(f"{error}", code=error.code)
        case StreamTimeout():
            message = f"{error}".capitalize() + "."
            refusal = RefusedError(message, status=504, code="server_error")
        case IncompleteStream():
            refusal = RefusedError("The upstream broke off.", status=502, code="server_error")
        case LimitExceeded() | DecodeError():
            refusal = RefusedError("The upstream's stream cannot be read.", status=502, code="server_error")
        case _:
            log.error("a response failed", exc_info=error)
            refusal = BUG
    return refusal


def _refusal_of_response(error: ResponseError) -> RefusedError:
    """An upstream's error document: its own words where it is about the request."""
    status = error.status or 502
    if status in _PASSED_ON:
        words = (error.error or {}).get("message")
        message = words[:2000] if isinstance(words, str) else f"The upstream answered with {status}."
        return RefusedError(message, status=status, code=error.code, type=error.type, param=error.param)
    if status in (401, 403):
        # The gateway's credentials, and what the provider says of them, are none of the client's business.
        return RefusedError("The upstream refused the gateway.", status=502, code="upstream_refused")
    if status >= 500:
        return RefusedError("The upstream failed.", status=status, code="server_error")
    return RefusedError("The upstream's answer is no event stream.", status=502, code="server_error")


def _input_of(params: dict[str, Any]) -> bytes:
    try:
        return dump(params["input"]).encode()
    except ValueError as error:
        raise RefusedError("'input' has a number that is too large.", param="input") from error


def _joined(first: bytes, second: bytes) -> bytes:
    """Two JSON arrays as one."""
    inner = [array.strip()[1:-1] for array in (first, second)]
    return b"[" + b",".join(part for part in inner if part.strip()) + b"]"
