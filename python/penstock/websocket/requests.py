"""What a client of a managed connection asks for, and what its back end is asked.

The back end knows nothing of sessions: it is sent the whole history and the new input, and none of the
connection's own members. Members that the API does not have are not passed on.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from penstock._penstock import Event, Transcoder
from penstock.request_bodies import UnsupportedFieldError, responses_request_to_chat
from penstock.websocket.wire import RefusedError, dump

__all__ = ["MEMBERS", "check", "echo", "request_body", "transcoder"]

Json = dict[str, Any]

MEMBERS: Final = frozenset({
    "access_programs", "context_management", "conversation", "include", "instructions", "max_output_tokens",
    "max_tool_calls", "metadata", "model", "moderation", "parallel_tool_calls", "prompt", "prompt_cache_key",
    "prompt_cache_options", "prompt_cache_retention", "reasoning", "safety_identifier", "service_tier",
    "store", "stream_options", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p",
    "truncation", "user",
})  # fmt: skip
"""Members of a request that a back end is sent, beside the input."""

_ECHOED: Final = (
    "instructions", "max_output_tokens", "max_tool_calls", "metadata", "parallel_tool_calls",
    "previous_response_id", "prompt_cache_key", "reasoning", "safety_identifier", "service_tier", "store",
    "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p", "truncation", "user",
)  # fmt: skip


def check(params: Json) -> None:
    """Refuse what no back end would be asked with.

    Raises:
        RefusedError: a member has a value that the WebSocket mode does not allow.
    """
    for name in ("model", "previous_response_id"):
        if not isinstance(params.get(name), str | None) or params.get(name) == "":
            raise RefusedError(f"'{name}' must be a string.", param=name)
    if params.get("model") is None:
        raise RefusedError("'model' is missing.", param="model")
    for name in ("store", "generate"):
        if not isinstance(params.get(name), bool | None):
            raise RefusedError(f"'{name}' must be a boolean.", param=name)
    if params.get("background"):
        raise RefusedError("'background' is not supported over WebSocket.", param="background")


def echo(params: Json) -> Json:
    """What a response object repeats of its request."""
    return {name: params[name] for name in _ECHOED if params.get(name) is not None}


def request_body(params: Json, context: bytes, dialect: Literal["responses", "chat"]) -> bytes:
    """The body of the HTTP request for one response.

    Args:
        params: the client's.
        context: the history and the new input, a JSON array; its bytes are not read for a back end of the
            same dialect.

    Raises:
        RefusedError: the request has something that a back end of Chat Completions has no form for.
    """
    asked = {name: value for name, value in params.items() if name in MEMBERS and value is not None}
    asked["stream"] = True
    try:
        if dialect == "responses":
            return dump(asked)[:-1].encode() + b',"input":' + context + b"}"
        asked.pop("store", None)  # the sessions are kept here
        converted = responses_request_to_chat({**asked, "input": Event(context).json()})
        return dump(converted.body).encode()
    except UnsupportedFieldError as error:
        raise RefusedError(
            f"'{error.path}' is not supported by this model.", code="unsupported_parameter", param=error.path
        ) from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RefusedError("The request does not have the form of the API.") from error


def transcoder(params: Json, dialect: Literal["responses", "chat"]) -> Transcoder | None:
    """What makes a back end's events those of the Responses API; None where they are."""
    if dialect == "responses":
        return None
    return Transcoder("chat", "responses", model=params["model"], echo=echo(params))
