"""One stream on its way from an upstream to a client, over one ASGI call.

Two coroutines share the work. `_forward` reads the upstream and writes to the client, one piece at a time, so
that a client that does not read stops the reading; it runs in the request's own task. `_watch` waits for the
client's leaving and for whatever time brings: keep-alives, time-outs, the end of a drain. It is the one extra
task. Where the stream may outlive its request the two change places.

Servers differ in what `send` says of a client that has gone, and most say nothing, so nothing is concluded
from it: `receive` is what tells.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from penstock._penstock import Limits, Relay
from penstock.asgi.editor import Editor
from penstock.asgi.failures import is_document, is_upstream_s, refusal, words
from penstock.asgi.policies import Cancel, Detach, DisconnectPolicy, Drain, KeepAlive
from penstock.asgi.upstream import Upstream, open_upstream
from penstock.errors import (
    MAX_BODY_BYTES,
    ClientDisconnected,
    IncompleteStream,
    StreamTimeout,
)
from penstock.stream_core import response_error
from penstock.timeouts import Timeouts

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.asgi.types import Receive, Send
    from penstock.hooks import Hooks

log = logging.getLogger("penstock.asgi")

Head: TypeAlias = tuple[int, list[tuple[bytes, bytes]]]
"""Status and headers."""

CUT: Final = "the upstream's stream ended before its response did"
ERROR_BODY_SECONDS: Final = 10.0
"""How long the body of an upstream's HTTP error is waited for."""

_detached: Final[set[asyncio.Task[None]]] = set()
"""Streams that outlive their requests: the event loop itself holds its tasks weakly."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What is the same for every exchange of a response."""

    dialect: Literal["auto", "responses", "chat", "messages"] | None
    limits: Limits
    keep_alive: KeepAlive
    on_disconnect: DisconnectPolicy
    write_timeout: float | None
    idle_timeout: float | None
    first_event_timeout: float | None
    max_duration: float | None


class Exchange:
    """Carries one stream through. It is used once."""

    def __init__(self, source: Any, request: Any, head: Head, settings: Settings, hooks: Hooks) -> None:
        self._head = head
        self._source = source if request is None or not callable(source) else partial(_late, source, self)
        self.request = request
        self._settings = settings
        self._hooks = hooks
        self._relay = Relay(dialect=settings.dialect, hold=bool(hooks), limits=settings.limits)
        self._editor = Editor(hooks, settings.limits) if hooks.watches_events else None
        self._timeouts = Timeouts(
            idle=settings.idle_timeout,
            duration=settings.max_duration,
            first_event=settings.first_event_timeout,
        )
        self._upstream: Upstream | None = None
        self._started = False
        self._gone = False
        self._over = False  # nothing is left to forward
        self._verdict: Exception | None = None  # why the forwarding was interrupted
        self._drained_by = inf
        self._writing_since = 0.0
        self._written = monotonic()
        self._beat: asyncio.Future[None] | None = None  # a keep-alive is being written
        self._interrupt = asyncio.timeout(None)
        self._nap = asyncio.timeout(None)

    async def run(self, receive: Receive, send: Send) -> None:
        """Serve the call. What the application or its source did wrong is raised once the client has been
        told."""
        self._receive, self._send = receive, send
        self._timeouts.began = monotonic()
        if isinstance(self._settings.on_disconnect, Detach):
            await self._run_detachable(self._settings.on_disconnect.ttl)
            return
        watcher = asyncio.get_running_loop().create_task(self._watch())
        try:
            await self._forward()
        finally:
            self._over = True
            watcher.cancel()
            await asyncio.wait([watcher])
            if not watcher.cancelled() and (error := watcher.exception()) is not None:
                log.warning("a client could not be watched: %s", type(error).__name__)

    async def _run_detachable(self, ttl: float) -> None:
        loop = asyncio.get_running_loop()
        worker = loop.create_task(self._forward())
        worker.add_done_callback(self._wake_watch)
        try:
            await self._watch()
        except BaseException:
            worker.cancel()
            await asyncio.wait([worker])
            raise
        if worker.done() or not self._gone:
            await worker
            return
        _detached.add(worker)
        end = loop.call_later(ttl, lambda: self._stop(self._left()))
        worker.add_done_callback(lambda _worker: end.cancel())
        worker.add_done_callback(_report)

    def _wake_watch(self, _worker: asyncio.Task[None]) -> None:
        self._over = True
        with suppress(RuntimeError):  # it is not napping: it looks by itself
            self._nap.reschedule(asyncio.get_running_loop().time())

    async def _forward(self) -> None:
        """Read, write, end; with hooks on the way, and the upstream let go in any case."""
        try:
            failure: Exception | None
            try:
                async with self._interrupt:
                    failure = await self._forward_all()
            except TimeoutError as error:
                failure = self._verdict or error
            except asyncio.CancelledError:
                # The server gives the request up; what had come is the hooks' to know.
                await self._close()
                await self._hooks.error(self._left())
                raise
            if failure is not None:
                if isinstance(failure, ClientDisconnected):
                    await self._close()  # before the hooks, who may take their time
                await self._conclude(failure)
        finally:
            self._over = True
            await self._close()

    async def _forward_all(self) -> Exception | None:
        """Forward to the end; what went wrong with the upstream."""
        try:
            upstream = await self._open()
            if upstream.http is not None and is_document(upstream.http):
                return await self._read_document(upstream)
            return await self._forward_from(upstream)
        except Exception as error:
            return error

    async def _open(self) -> Upstream:
        self.request = await self._hooks.request(self.request) if self._hooks else self.request
        self._timeouts.waiting_since = monotonic()
        self._upstream = await open_upstream(self._source)
        return self._upstream

    async def _forward_from(self, upstream: Upstream) -> Exception | None:
        take, timeouts, holds = upstream.take, self._timeouts, bool(self._hooks)
        while True:
            timeouts.waiting_since = monotonic()
            try:
                chunk = await take()
            finally:
                timeouts.waiting_since = 0.0
            if chunk is None:
                return await self._end_of_input()
            passed = self._relay.feed(chunk if self._editor is None else await self._editor.feed(chunk))
            if passed:
                timeouts.had_event = timeouts.had_event or self._relay.events > 0
                await self._write(passed)
                if self._verdict is not None:
                    return self._verdict
            if holds and self._relay.held:
                await self._release()

    async def _end_of_input(self) -> Exception | None:
        """The upstream has said all."""
        if self._editor is not None:
            await self._write(self._relay.feed(await self._editor.finish()))
        cut = not self._relay.ended
        if cut and not self._relay.events and not self._started:
            return IncompleteStream("the upstream's stream ended before its first event", reason="eof")
        rest = self._relay.finish()
        if self._relay.held:
            await self._release()
        if cut and not self._is_completed():
            await self._hooks.error(IncompleteStream(CUT, partial=self._relay.snapshot(), reason="eof"))
        elif self._hooks:
            await self._hooks.complete(self._final())
        await self._finish(rest)
        return None

    def _is_completed(self) -> bool:
        # The last event may have lacked nothing but its blank line.
        return self._relay.terminal not in (None, "response.failed", "error")

    async def _release(self) -> None:
        """The stream's last event has come: let the hooks know before the client does."""
        final = self._final()
        usage: dict[str, Any] = {}
        if final is not None:
            usage = await self._hooks.usage(final)
            if usage and isinstance(final.get("usage"), dict):
                final["usage"] |= usage
        await self._hooks.complete(final)
        await self._write(self._relay.release(usage=usage or None))

    def _final(self) -> dict[str, Any] | None:
        try:
            return self._relay.final()
        except IncompleteStream:
            return None

    async def _conclude(self, failure: Exception) -> None:
        """Tell client and hooks that the stream was cut, and raise what is a bug of the application's own."""
        if isinstance(failure, StreamTimeout | IncompleteStream | ClientDisconnected):
            failure.partial = failure.partial or self._relay.snapshot()
        await self._hooks.error(failure)
        if isinstance(failure, ClientDisconnected) and not self._gone:
            await self._finish(b"")  # a broadcast has given this subscriber up; the stream itself goes on
        elif not self._gone:
            code, message = words(failure)
            # Whoever does not take the end in time is gone, too.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.write_timeout):
                    if self._started:
                        await self._finish(self._relay.fail(message, code=code))
                    else:
                        await self._refuse(failure, code, message)
        if not is_upstream_s(failure):
            raise failure

    async def _read_document(self, upstream: Upstream) -> Exception:
        """The upstream answered with something else than a stream: an error, mostly."""
        body = bytearray()
        with suppress(TimeoutError):
            async with asyncio.timeout(ERROR_BODY_SECONDS):
                while len(body) < MAX_BODY_BYTES and (chunk := await upstream.take()) is not None:
                    body += chunk
        return response_error(bytes(body), upstream.http)

    async def _close(self) -> None:
        """Let go of the upstream, in the task that has read it: what it entered there, it leaves there."""
        if self._upstream is not None:
            try:
                await self._upstream.aclose()
            except asyncio.CancelledError:
                # A connection that is closed half belongs to nobody and blocks its pool's slot.
                await asyncio.shield(self._upstream.aclose())
                raise

    async def _write(self, data: bytes) -> None:
        if self._gone or not data:
            return
        if self._beat is not None:
            await self._beat
        self._writing_since = monotonic()
        try:
            if not self._started:
                await self._start()
            await self._send({"type": "http.response.body", "body": data, "more_body": True})
        except OSError:  # some servers say so, and `receive` says it again
            self._gone = True
        finally:
            self._writing_since = 0.0
            self._written = monotonic()

    async def _start(self) -> None:
        self._started = True
        status, headers = self._head
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _finish(self, data: bytes) -> None:
        await self._write(data)
        if self._beat is not None:
            await self._beat
        if not self._gone:
            if not self._started:
                await self._start()
            with suppress(OSError):
                await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _refuse(self, failure: Exception, code: str, message: str) -> None:
        """Answer with an HTTP error, as nothing has been written."""
        self._started = True
        status, body, media_type = refusal(failure, code, message)
        headers = [(b"content-type", media_type.encode("latin-1")), (b"content-length", b"%d" % len(body))]
        with suppress(OSError):
            await self._send({"type": "http.response.start", "status": status, "headers": headers})
            await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def _watch(self) -> None:
        """Wait for the client's leaving and for deadlines, until nothing is left to watch."""
        while not self._over and (self._verdict is None or self._writing_since):
            now = monotonic()
            when, due = self._next(now)
            if when <= now:
                await due()
                continue
            self._nap = asyncio.timeout(None if when == inf else when - now)
            try:
                async with self._nap:
                    if self._gone:
                        await asyncio.get_running_loop().create_future()
                    message = await self._receive()
            except TimeoutError:
                continue
            if message["type"] == "http.disconnect" and not self._leave():
                return

    def _leave(self) -> bool:
        """The client has gone; whether the stream is still to be watched."""
        self._gone = True
        policy = self._settings.on_disconnect
        if isinstance(policy, Cancel):
            self._stop(self._left())
        elif isinstance(policy, Drain):
            self._drained_by = monotonic() + policy.seconds
            return True
        return False

    def _next(self, now: float) -> tuple[float, Callable[[], Any]]:
        """The moment to look again, and what is to be done if it has come.

        What begins later than now ends later than its whole time from now: no nap need be cut short for it.
        """
        when, kind = self._timeouts.next(now)
        due: Callable[[], Any] = partial(self._expire, kind)
        if self._verdict is not None:
            when = inf
        if self._gone:
            return min((when, due), (self._drained_by, self._drop), key=lambda choice: choice[0])
        settings = self._settings
        if settings.write_timeout is not None:
            write_by = (self._writing_since or now) + settings.write_timeout
            if write_by < when:
                when, due = write_by, self._drop
        if settings.keep_alive.frame:
            beat_at = self._written + settings.keep_alive.seconds
            if beat_at <= now and self._writing_since:
                beat_at = now + settings.keep_alive.seconds
            if beat_at < when:
                when, due = beat_at, self._keep_alive
        return when, due

    async def _expire(self, kind: Literal["idle", "duration", "first_event"]) -> None:
        self._stop(self._timeouts.error(kind))

    async def _drop(self) -> None:
        """Give the client up: it has left, or takes nothing any more."""
        self._gone = True
        self._stop(self._left())

    async def _keep_alive(self) -> None:
        self._beat = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._settings.write_timeout):
                if not self._started:
                    await self._start()
                frame = self._settings.keep_alive.frame
                await self._send({"type": "http.response.body", "body": frame, "more_body": True})
        except (OSError, TimeoutError):
            await self._drop()
        finally:
            self._written = monotonic()
            self._beat.set_result(None)
            self._beat = None

    def _stop(self, verdict: Exception) -> None:
        """Interrupt the forwarding, which finds out why by the verdict.

        A piece that is being written to a client is not cut: how much of it would arrive, no server tells.
        """
        if self._verdict is None and not self._over:
            self._verdict = verdict
        if not self._writing_since or self._gone:
            with suppress(RuntimeError):  # it is past what can be interrupted
                self._interrupt.reschedule(asyncio.get_running_loop().time())

    def _left(self) -> ClientDisconnected:
        return ClientDisconnected(
            "the client left before the stream had ended", partial=self._relay.snapshot()
        )


def _late(source: Callable[[Any], Any], exchange: Exchange) -> Any:
    return source(exchange.request)


def _report(worker: asyncio.Task[None]) -> None:
    _detached.discard(worker)
    if not worker.cancelled() and (error := worker.exception()) is not None:
        log.error("a detached stream failed with %s", type(error).__name__)
