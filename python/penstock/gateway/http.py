"""What every route needs of ASGI: a request read within bounds, JSON answers, and errors in OpenAI's form."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson

__all__ = [
    "WRITE",
    "ApiError",
    "ClientGone",
    "Receive",
    "Request",
    "Scope",
    "Send",
    "Write",
    "error_object",
    "send_body",
    "send_json",
]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Write = Callable[[bytes], bool]
Headers = list[tuple[bytes, bytes]]
Json = dict[str, Any]

WRITE: Final = "penstock.write"
"""The ASGI extension by which a server lets pieces of a streamed body be written at once: `{"piece": write}`.
`write` takes one, or returns False where it has to wait or nobody is there: then `send` is to be awaited."""

TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}


class ClientGone(Exception):  # noqa: N818 — an occasion, not a mistake
    """The client left before it was answered."""


class ApiError(Exception):
    """A request that is refused; `body` is what its client reads. The message never quotes the request."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        type: str | None = None,
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = list(headers)
        self.error = error_object(status, message, code=code, param=param, type=type)

    @property
    def body(self) -> bytes:
        """The JSON to answer with."""
        return orjson.dumps({"error": self.error})


def error_object(
    status: int, message: str, *, code: str | None = None, param: str | None = None, type: str | None = None
) -> Json:
    """`{"message", "type", "param", "code"}`, the type by the status unless it is given."""
    kind = type or TYPES.get(status) or ("server_error" if status >= 500 else "invalid_request_error")
    return {"message": message, "type": kind, "param": param, "code": code}


class Request:
    """One HTTP request, its headers in lower case, its body read when asked for."""

    __slots__ = ("headers", "id", "method", "path", "query", "receive", "recorded", "send", "write")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            self.headers.setdefault(name, value)
        self.query = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1"), max_num_fields=100))
        self.receive = receive
        self.send = send
        """The server's own, for what follows an answer's head; the one that routes get notes the status."""
        self.write: Write | None = (scope.get("extensions") or {}).get(WRITE, {}).get("piece")
        """For pieces of a stream that has begun, where the server has it."""
        self.id = ""
        self.recorded = False
        """Whether a stream's record tells of it, so that the log needs no line of its own."""

    async def body(self, limit: int) -> bytes:
        """The whole body. Raises `ApiError` 413, `ClientGone`."""
        length = self.headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > limit:
            raise ApiError(413, f"The request's body is larger than {limit} bytes.")
        parts, size, more = [], 0, True
        while more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part: bytes = message.get("body", b"")
            more = message.get("more_body", False)
            size += len(part)
            if size > limit:
                raise ApiError(413, f"The request's body is larger than {limit} bytes.")
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def json_object(body: bytes) -> Json:
    """A body as a JSON object. Raises `ApiError` 400."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, f"The body is not JSON: column {error.colno} of line {error.lineno}.") from None
    if not isinstance(value, dict):
        raise ApiError(400, "The body must be a JSON object.")
    return value


async def send_body(send: Send, status: int, body: bytes, media_type: bytes, headers: Headers) -> None:
    """Answer with a whole body."""
    fields = [(b"content-type", media_type), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def send_json(send: Send, status: int, value: Any, headers: Headers) -> None:
    """Answer with JSON: bytes that are some already, or what is to be written so."""
    body = value if isinstance(value, bytes) else orjson.dumps(value)
    await send_body(send, status, body, b"application/json", headers)
