"""Error frames and refused upgrades as the errors penstock raises; no message repeats what came."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from penstock.errors import ResponseError
from penstock.sources import Http
from penstock.stream_core import response_error

if TYPE_CHECKING:
    from penstock._penstock import Event

__all__ = [
    "ALREADY_IN_FLIGHT",
    "CONNECTION_LIMIT",
    "PREVIOUS_NOT_FOUND",
    "ConnectionGone",
    "answers_cancel",
    "error_of",
    "failure_of",
    "is_of_request",
    "refusal",
]

CONNECTION_LIMIT: Final = "websocket_connection_limit_reached"
PREVIOUS_NOT_FOUND: Final = "previous_response_not_found"
ALREADY_IN_FLIGHT: Final = "response_already_in_flight"


class ConnectionGone(Exception):  # noqa: N818 - an occasion; what it means depends on what was in flight
    """A transport has ended, with a WebSocket's close code if it said one. It never leaves a session."""

    def __init__(self, code: int | None = None) -> None:
        super().__init__("the connection is closed")
        self.code = code


def error_of(event: Event) -> ResponseError:
    """The error of an `error` event: nested, flat, with or without a status under either of its names."""
    status = event.get("status", event.get("status_code"))
    whole = isinstance(status, int) and not isinstance(status, bool)
    error = response_error(event.data, Http(status if whole else 0, "", None, live=True))
    inner = event.get("error")
    kind = inner.get("type") if isinstance(inner, dict) else event.get("error_type")
    return ResponseError(
        _message("the server answered with an error", error.code),
        status=error.status or None,
        error=error.error,
        code=error.code,
        type=kind if isinstance(kind, str) else None,
        param=error.param,
        body=event.data,
    )


def answers_cancel(error: ResponseError) -> bool:
    """Whether an error says that there was nothing to cancel, or that no such message is known."""
    code, message = error.code or "", (error.error or {}).get("message")
    named = error.param in ("type", "response_id") or (isinstance(message, str) and "cancel" in message)
    told = "event" in code or "cancel" in code or code.startswith("response_")
    return named or (told and code != ALREADY_IN_FLIGHT)


def is_of_request(error: ResponseError) -> bool:
    """Whether an error can only be about a `response.create`: what it names, or the server's own state."""
    status = error.status or 0
    return (
        error.code in (ALREADY_IN_FLIGHT, CONNECTION_LIMIT, PREVIOUS_NOT_FOUND)
        or error.param is not None
        or status in (401, 403, 429)
        or status >= 500
    )


def failure_of(response: dict[str, Any]) -> ResponseError:
    """The error of a response that failed."""
    inner = response.get("error")
    fields = inner if isinstance(inner, dict) else {}
    code, param = fields.get("code"), fields.get("param")
    code = code if isinstance(code, str) else None
    return ResponseError(
        _message("the response failed", code),
        error=fields or None,
        code=code,
        type=fields.get("type"),
        param=param if isinstance(param, str) else None,
    )


def refusal(status: int, body: bytes, request_id: str | None) -> ResponseError:
    """The error of an upgrade that was refused."""
    return response_error(body, Http(status, "", request_id, live=True))


def _message(what: str, code: str | None) -> str:
    # A code is a word of the API; anything longer or stranger could be the request's own.
    known = code is not None and len(code) <= 80 and code.replace("_", "").isalnum() and code.isascii()
    return f"{what}: {code}" if known else what
