"""A raw HTTP/1.1 server on loopback that says exactly what a test tells it to, faults included.

A route is a list of steps: bytes to send, seconds to sleep, or one of the words below. After the last step
the connection is closed. Everything runs in daemon threads, so blocking and asyncio clients can both be its
peer."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, cast

Step = bytes | float | Literal["stall", "reset", "keep"]

STALL: Literal["stall"] = "stall"  # say nothing until the client goes away
RESET: Literal["reset"] = "reset"  # cut the connection with RST
KEEP: Literal["keep"] = "keep"  # wait for the next request on this connection


def event(kind: str, **fields: Any) -> bytes:
    """One event of the Responses dialect as the server writes it."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def delta(text: str) -> bytes:
    return event(
        "response.output_text.delta",
        item_id="msg_1",
        output_index=0,
        content_index=0,
        delta=text,
        logprobs=[],
    )


def _response(status: str, text: str | None) -> dict[str, Any]:
    part: dict[str, Any] = {"type": "output_text", "text": text, "annotations": []}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": status, "content": [part]}
    output = [] if text is None else [message]
    return {"id": "resp_1", "object": "response", "status": status, "model": "m", "output": output}


def responses_stream(text: str = "Hello, world") -> list[bytes]:
    """The events of a whole response, one word a delta."""
    words = [word + " " for word in text.split()]
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    return [
        event("response.created", response=_response("in_progress", None)),
        event("response.output_item.added", output_index=0, item=item),
        event("response.content_part.added", item_id="msg_1", output_index=0, content_index=0, part=part),
        *(delta(word) for word in words),
        event("response.completed", response=_response("completed", "".join(words))),
    ]


def chat_stream(text: str = "Hello, world", *, done: bool = True) -> list[bytes]:
    """The chunks of a whole chat completion, one word a chunk."""

    def chunk(fields: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": fields, "finish_reason": finish_reason}
        body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        return f"data: {json.dumps(body)}\n\n".encode()

    chunks = [chunk({"role": "assistant", "content": ""})]
    chunks += [chunk({"content": word + " "}) for word in text.split()]
    chunks += [chunk({}, "stop")]
    return [*chunks, b"data: [DONE]\n\n"] if done else chunks


def head(status: int = 200, media_type: str = "text/event-stream", **headers: str) -> bytes:
    """The head of an answer whose body ends with the connection, unless the headers say otherwise."""
    lines = [f"HTTP/1.1 {status} Whatever", f"content-type: {media_type}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def chunked(parts: Iterable[bytes], **options: Any) -> list[Step]:
    """An answer in HTTP chunks, one a part, complete."""
    body = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts]
    return [head(transfer_encoding="chunked", **options), *body, b"0\r\n\r\n"]


def document(status: int, body: bytes, media_type: str = "application/json", **headers: str) -> list[Step]:
    """An answer that is no stream."""
    return [head(status, media_type, content_length=str(len(body)), **headers) + body]


class Upstream:
    """The server; `routes` may be changed while it runs."""

    def __init__(self) -> None:
        self.routes: dict[str, list[Step]] = {}
        self.connections: set[socket.socket] = set()
        self.accepted = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._stopped = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    def url(self, *steps: Step | Sequence[Step]) -> str:
        """A new route's address."""
        path = f"/{len(self.routes)}"
        self.routes[path] = [
            one for step in steps for one in (step if isinstance(step, list) else [cast("Step", step)])
        ]
        return f"http://127.0.0.1:{self.port}{path}"

    def settled(self, condition: Callable[[], bool] | None = None, seconds: float = 5.0) -> bool:
        """Whether the condition (by default: no connection is open) comes true in time."""
        deadline = time.monotonic() + seconds
        condition = condition or (lambda: not self.connections)
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    def close(self) -> None:
        self._stopped = True
        with socket.create_connection(("127.0.0.1", self.port)):
            pass  # `accept` does not notice that its socket is closed
        self._listener.close()
        for connection in list(self.connections):
            connection.close()

    def _accept(self) -> None:
        while True:
            connection, _address = self._listener.accept()
            if self._stopped:
                connection.close()
                return
            self.accepted += 1
            self.connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while (path := _request_path(connection)) and self._play(connection, self.routes[path]):
                pass
        except OSError:
            pass
        finally:
            self.connections.discard(connection)
            connection.close()

    def _play(self, connection: socket.socket, steps: list[Step]) -> bool:
        """Whether the connection stays open for another request."""
        for step in steps:
            if isinstance(step, bytes):
                connection.sendall(step)
            elif isinstance(step, float):
                time.sleep(step)
            elif step == STALL:
                connection.recv(1)
            elif step == RESET:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return bool(steps) and steps[-1] == KEEP


def _request_path(connection: socket.socket) -> str:
    request = b""
    while b"\r\n\r\n" not in request:
        data = connection.recv(65536)
        if not data:
            return ""
        request += data
    return request.split(b" ", 2)[1].decode()


@contextmanager
def running() -> Iterator[Upstream]:
    upstream = Upstream()
    try:
        yield upstream
    finally:
        upstream.close()
