"""The Responses WebSocket mode on the wire: what a request says, and how an error is told.

A request is one text frame `{"type": "response.create", …}` with the members of `POST /responses` beside the
type or, as some gateways have it, in an object `response`. An error frame is
`{"type": "error", "status": 400, "error": {"type", "code", "message", "param"}}`.
"""

from __future__ import annotations

import json
from typing import Any, Final

from penstock.errors import PenstockError

__all__ = [
    "RefusedError",
    "create_params",
    "dump",
    "ended_frame",
    "error_frame",
    "input_items",
    "text_bytes",
]

Json = dict[str, Any]

_TYPES: Final = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class RefusedError(PenstockError):
    """What a client is told instead of a stream: the connection, or one request of it, is refused.

    Hooks raise it too. All of it reaches the client, `message` word for word.

    Attributes:
        message: for people.
        status: the HTTP status that stands for it.
        code: a stable name, such as ``"previous_response_not_found"``.
        type: OpenAI's class of errors; by default the status's.
        param: the request's member at fault.
        close_code: ends the connection where it is not None.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        code: str | None = None,
        type: str | None = None,
        param: str | None = None,
        close_code: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.type = type or _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
        self.param = param
        self.close_code = close_code

    def error(self) -> Json:
        """The error object of OpenAI's APIs."""
        return {"type": self.type, "code": self.code, "message": self.message, "param": self.param}


def error_frame(refusal: RefusedError, *, stream_id: str | None = None) -> str:
    """The error frame that tells of a refusal, on its lane."""
    frame: Json = {"type": "error", "status": refusal.status, "error": refusal.error()}
    if stream_id is not None:
        frame["stream_id"] = stream_id
    return dump(frame)


def ended_frame(
    response: Json, cause: RefusedError | str, *, sequence_number: int, stream_id: str | None = None
) -> str:
    """The terminal event of a response that got as far as `response` shows and no further.

    Args:
        cause: the error it failed of; or the reason why it is incomplete, such as ``"cancelled"``.
    """
    output = [
        {**item, "status": "incomplete"} if item.get("status") == "in_progress" else item
        for item in response.get("output") or ()
    ]
    if isinstance(cause, RefusedError):
        status, error, details = "failed", {"code": cause.code, "message": cause.message}, None
    else:
        status, error, details = "incomplete", None, {"reason": cause}
    ended = {**response, "status": status, "error": error, "incomplete_details": details, "output": output}
    frame: Json = {"type": f"response.{status}", "sequence_number": sequence_number, "response": ended}
    if stream_id is not None:
        frame["stream_id"] = stream_id
    return dump(frame)


def create_params(frame: Json) -> Json:
    """The members of a `response.create`, flat or nested; a nested object that is empty counts as flat."""
    nested = frame.get("response")
    if isinstance(nested, dict) and nested:
        lane = {"stream_id": frame["stream_id"]} if frame.get("stream_id") is not None else {}
        return {**nested, **lane}
    return {key: value for key, value in frame.items() if key not in ("type", "response")}


def input_items(params: Json) -> list[Json]:
    """The input of a request as a list of items: text is a message of the user's.

    Raises:
        RefusedError: the input is neither text nor a list of objects.
    """
    given = params.get("input")
    if given is None:
        return []
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": given}]}]
    if not isinstance(given, list) or not all(isinstance(item, dict) for item in given):
        raise RefusedError("'input' must be a string or an array of objects.", param="input")
    return given


def dump(value: Any) -> str:
    """Compact JSON, as the text of a frame; escaped where a lone surrogate leaves no other way.

    Raises:
        ValueError: a number beyond all floats, such as a client's ``1e999``: JSON has no form for it.
    """
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text


def text_bytes(message: str | bytes) -> int:
    """The size of a message on the wire."""
    if isinstance(message, bytes) or message.isascii():
        return len(message)
    return len(message.encode("utf-8", "surrogatepass"))
