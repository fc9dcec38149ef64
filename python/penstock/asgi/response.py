"""`EventStreamResponse`: an event stream as the response of any ASGI application."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from penstock._penstock import Limits
from penstock.asgi import policies
from penstock.asgi.exchange import Exchange, Settings
from penstock.hooks import Hooks

if TYPE_CHECKING:
    from starlette.responses import Response as _Base

    from penstock.asgi.policies import DisconnectPolicy, KeepAlive
    from penstock.asgi.types import Receive, Scope, Send
else:
    try:
        # FastAPI takes what is no Starlette response for data to be serialised.
        from starlette.responses import Response as _Base
    except ImportError:
        _Base = object

__all__ = ["EventStreamResponse"]

WRITE_SECONDS: Final = 30.0
"""How long a client may take nothing: a peer that vanished looks like one that does not read."""

IDLE_SECONDS: Final = 120.0
"""How long an upstream may send nothing: models think for a minute, and keep-alives come every 15 s."""

_DIALECTS: Final = ("auto", "responses", "chat", "messages", None)


class EventStreamResponse(_Base):
    """Streams events to a client: bytes as they came, and always a truthful end.

    It is an ASGI application, and a Starlette response where Starlette is installed. The client's leaving is
    noticed on every server, and the upstream let go at once, or read on, as `on_disconnect` says. The
    upstream is read only as fast as the client reads. A stream that is cut, times out or fails ends in its
    own dialect with what had come; what goes wrong before the first event is an HTTP error, with the
    upstream's status if it has one.

    Args:
        source: what to stream: an async or plain iterable of bytes, `Event`s, dicts or lists of these, a
            penstock stream, a response of httpx or aiohttp, an async context manager of one of these, or a
            function that returns one, now or when awaited. A function is called once the response is under
            way; with `request`, it is called with that. Plain iterables but lists and tuples are read in
            threads.
        status_code: the HTTP status.
        headers: further headers; they replace those that the response has by itself.
        dialect: of the events: "auto", "responses", "chat", "messages", or None for a stream of other events,
            whose end nobody knows: it ends when its source does.
        on_disconnect: what becomes of the stream when the client has left: "cancel", "drain", "detach", or
            one of these with its figures.
        keep_alive: what is written in silences: "comment", "ping", "none", or a `KeepAlive` with its seconds.
        write_timeout: seconds for which the client may take nothing before it counts as gone.
        idle_timeout: seconds for which the upstream may send nothing, from when it is waited for.
        first_event_timeout: seconds until the first event.
        max_duration: seconds for the whole stream.
        hooks: of `penstock.hooks`, called in this order.
        hook_timeout: seconds for one call of a hook.
        request: what `on_request` is called with, and then a `source` that is a function.
        background: a task of Starlette's, run after the stream.
        limits: of events and of what is accumulated.

    Raises:
        ValueError: an option is none of those allowed.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        source: Any,
        *,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        dialect: Literal["auto", "responses", "chat", "messages"] | None = "auto",
        on_disconnect: DisconnectPolicy | Literal["cancel", "drain", "detach"] = "cancel",
        keep_alive: KeepAlive | Literal["comment", "ping", "none"] = "comment",
        write_timeout: float | None = WRITE_SECONDS,
        idle_timeout: float | None = IDLE_SECONDS,
        first_event_timeout: float | None = None,
        max_duration: float | None = None,
        hooks: Iterable[Any] = (),
        hook_timeout: float = 5.0,
        request: Any = None,
        background: Any = None,
        limits: Limits | None = None,
    ) -> None:
        if dialect not in _DIALECTS:
            raise ValueError(f"dialect is one of {_DIALECTS}, not {dialect!r}")
        for name, seconds in (
            ("write", write_timeout),
            ("idle", idle_timeout),
            ("first_event", first_event_timeout),
            ("duration", max_duration),
        ):
            if seconds is not None and not seconds > 0:
                raise ValueError(f"the {name} time-out must be a positive number of seconds or None")
        self._source = source
        self._request = request
        self._hooks = Hooks(hooks, timeout=hook_timeout)
        self.status_code = status_code
        self.background = background
        self.raw_headers = _headers(headers or {})
        self._settings = Settings(
            dialect=dialect,
            limits=Limits() if limits is None else limits,
            keep_alive=policies.keep_alive(keep_alive),
            on_disconnect=policies.on_disconnect(on_disconnect),
            write_timeout=write_timeout,
            idle_timeout=idle_timeout,
            first_event_timeout=first_event_timeout,
            max_duration=max_duration,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the stream, once.

        Raises:
            RuntimeError: it has been served before.
        """
        if self._source is None:
            raise RuntimeError("a streamed response is served once")
        source, self._source = self._source, None
        head = (self.status_code, self.raw_headers)
        exchange = Exchange(source, self._request, head, self._settings, self._hooks)
        await exchange.run(receive, send)
        if self.background is not None:
            await self.background()


def _headers(given: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """The headers of an event stream: nothing on the way may cache or gather it."""
    headers = {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache",
        "x-accel-buffering": "no",
    }
    headers |= {name.lower(): value for name, value in given.items()}
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
