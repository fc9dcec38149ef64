"""An upstream that streams one response without end, as fast as it is read: `with Firehose() as upstream`."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from types import TracebackType
from typing import Any, Final, Self

from penstock import write_events

HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


def _begin() -> bytes:
    item: dict[str, Any] = {"type": "message", "id": "msg_1", "status": "in_progress", "role": "assistant"}
    response = {"id": "resp_1", "object": "response", "status": "in_progress", "model": "m", "output": []}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": "", "annotations": []}
    return write_events([
        {"type": "response.created", "sequence_number": 0, "response": response},
        {"type": "response.output_item.added", "sequence_number": 1, "output_index": 0,
         "item": {**item, "content": []}},
        {"type": "response.content_part.added", "sequence_number": 2, **place, "part": part},
    ])  # fmt: skip


def _deltas() -> bytes:
    """Some 64 KiB of events that are long and say little: a gateway remembers what has been said."""
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": " ", "logprobs": []}
    event = {"type": "response.output_text.delta", "sequence_number": 3, **place, "obfuscation": "x" * 16_000}
    return write_events([event]) * 4


class Firehose:
    """Counts what it has written, and how many of its streams run and how many have to wait."""

    def __init__(self) -> None:
        self.begin, self.block = _begin(), _deltas()
        self.written = 0
        self.streams: set[_Stream] = set()
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._over: asyncio.Event
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve()), name="firehose", daemon=True
        )

    @property
    def waiting(self) -> int:
        """Streams whose reader has stopped reading."""
        return sum(stream.paused for stream in list(self.streams))

    def still(self, seconds: float) -> bool:
        """Whether nothing is written for so long."""
        written = self.written
        time.sleep(seconds)
        return written == self.written

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        listener = socket.create_server(("127.0.0.1", 0), backlog=4_096)
        self.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        server = await self._loop.create_server(lambda: _Stream(self), sock=listener, backlog=4_096)
        self._ready.set()
        await self._over.wait()
        server.close()
        for stream in list(self.streams):
            stream.transport.abort()

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()


class _Stream(asyncio.Protocol):
    transport: Any

    def __init__(self, firehose: Firehose) -> None:
        self._firehose = firehose
        self._request = b""
        self.paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        # What the kernel takes in passing is not the gateway's; little of it makes the test a short one.
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32_768)
        self.transport.set_write_buffer_limits(high=0)
        self._firehose.streams.add(self)

    def data_received(self, data: bytes) -> None:
        self._request += data
        _, blank, body = self._request.partition(b"\r\n\r\n")
        if blank and body.endswith(b"}"):
            self._request = b""
            self.transport.write(HEAD + self._firehose.begin)
            self._pour()

    def _pour(self) -> None:
        if not self.paused and not self.transport.is_closing():
            self.transport.write(self._firehose.block)
            self._firehose.written += len(self._firehose.block)
            asyncio.get_running_loop().call_soon(self._pour)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        asyncio.get_running_loop().call_soon(self._pour)

    def connection_lost(self, error: Exception | None) -> None:
        self._firehose.streams.discard(self)
