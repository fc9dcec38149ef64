"""The same messages over HTTP: each `response.create` is a POST, and its answer an event stream.

httpx, httpx2 and aiohttp clients are known by the methods they have. Nothing can be said to a response over
HTTP but to go away: a cancel ends the stream.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from penstock.errors import IncompleteStream, PenstockError, StreamTimeout
from penstock.pump import CLOSE_SECONDS
from penstock.session.codec import dump
from penstock.session.failures import ConnectionGone
from penstock.stream import AsyncStream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock._penstock import Event, Limits

__all__ = ["HttpTransport", "own_client"]

_closing: Final[set[asyncio.Task[None]]] = set()
"""Requests being withdrawn: the event loop itself holds its tasks weakly."""


def own_client(timeout: float) -> Any:
    """A client of httpx for a session that was given none; the stream has its own time-outs."""
    import httpx  # noqa: PLC0415 - only sessions over HTTP need it

    return httpx.AsyncClient(timeout=httpx.Timeout(None, connect=timeout), follow_redirects=False)


class HttpTransport:
    """One request and its answer, behind the interface of a WebSocket that carries one response."""

    keeps_state = False

    def __init__(self, client: Any, url: str, headers: Mapping[str, str], limits: Limits) -> None:
        self._client, self._url, self._limits = client, url, limits
        self._headers = {**headers, "content-type": "application/json", "accept": "text/event-stream"}
        self._posting: asyncio.Task[AsyncStream] | None = None
        self._begun = asyncio.Event()
        self._closer: asyncio.Task[None] | None = None
        self._stream: AsyncStream | None = None
        self._closed = False

    @property
    def alive(self) -> bool:
        """Whether events may come."""
        return not self._closed

    async def send(self, message: Mapping[str, Any]) -> None:
        """Begin to post a `response.create`; end the stream for a `response.cancel`."""
        if message["type"] == "response.cancel":
            await self.aclose()
        else:
            body = {name: value for name, value in message.items() if name not in ("type", "stream_id")}
            content = dump({**body, "stream": True}).encode()
            # In a task, so that whoever waits for the head may give up waiting and come back.
            self._posting = asyncio.get_running_loop().create_task(self._post(content))

    async def _post(self, content: bytes) -> AsyncStream:
        client = self._client
        if hasattr(client, "build_request"):  # httpx, httpx2
            request = client.build_request(
                "POST", self._url, content=content, headers=self._headers, extensions={"trace": self._trace}
            )
            response = await client.send(request, stream=True, follow_redirects=False)
        else:  # aiohttp
            self._begun.set()
            response = await client.post(
                self._url,
                data=content,
                headers=self._headers,
                allow_redirects=False,
                timeout=type(client.timeout)(total=None),  # the default is five minutes for all of it
            )
        return AsyncStream(response, dialect=None, limits=self._limits, idle_timeout=None)

    async def receive(self) -> list[Event]:
        """Wait for the events of the next read.

        Raises:
            ConnectionGone: the answer is at its end, or there is none.
            PenstockError: the server refused the request, or its answer is no event stream.
        """
        if self._closed or self._posting is None:
            raise ConnectionGone
        try:
            if self._stream is None:
                self._stream = await asyncio.shield(self._posting)
            batch: list[Event] = await anext(self._stream.batches())
        except StopAsyncIteration:
            self._closed = True
            raise ConnectionGone() from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and task is not None and not task.cancelling():
                raise ConnectionGone() from None  # the request was given up, not its reader
            raise
        except (IncompleteStream, StreamTimeout) as error:
            self._closed = True
            raise ConnectionGone() from error
        except PenstockError:
            self._closed = True
            raise
        except Exception as error:
            # Whatever a client calls it: no answer came.
            self._closed = True
            raise ConnectionGone() from error
        return batch

    def abort(self) -> None:
        """Nothing is shared with another response: `aclose` is at hand for it."""
        self._closed = True

    async def aclose(self) -> None:
        """End the stream, or the request; may be called again."""
        self._closed = True
        if self._stream is not None:
            await self._stream.aclose()
        elif self._posting is not None and self._closer is None:
            self._closer = asyncio.get_running_loop().create_task(self._withdraw(self._posting))
            _closing.add(self._closer)
            self._closer.add_done_callback(_closing.discard)

    async def _withdraw(self, posting: asyncio.Task[AsyncStream]) -> None:
        """End a request that has no answer yet, or one that nobody has begun to read.

        httpcore loses a connection's place in its pool when it is cancelled between connecting and sending.
        """
        begun = asyncio.ensure_future(self._begun.wait())
        await asyncio.wait([posting, begun], timeout=CLOSE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        begun.cancel()
        posting.cancel()
        await asyncio.wait([posting])
        with suppress(asyncio.CancelledError, Exception):  # whatever came of it, nobody wants it
            await posting.result().aclose()

    async def _trace(self, event: str, _info: Any) -> None:
        if event.endswith("send_request_headers.started"):
            self._begun.set()
