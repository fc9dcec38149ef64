"""What a failure is to the client: a code and words in the stream, or an HTTP error before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock._penstock import Decoder, Relay
from penstock.errors import (
    GuardFailed,
    IncompleteStream,
    LimitExceeded,
    PenstockError,
    ResponseError,
    StreamTimeout,
)
from penstock.stream_core import CLIENTS

if TYPE_CHECKING:
    from penstock.sources import Http

__all__ = ["is_document", "is_upstream_s", "refusal", "words"]


def is_document(http: Http) -> bool:
    """Whether an HTTP response is no event stream: an error, or a document in its place."""
    return http.status >= 400 or "json" in http.media_type.replace("ndjson", "") or "html" in http.media_type


def is_upstream_s(failure: Exception) -> bool:
    """Whether a failure tells of the upstream, and not of the application's own code."""
    package = type(failure).__module__.partition(".")[0]
    return isinstance(failure, PenstockError | OSError) or package in CLIENTS


def words(failure: Exception) -> tuple[str, str]:
    """Code and message for the client; words of the upstream and of foreign exceptions stay here."""
    if isinstance(failure, GuardFailed):
        return failure.code, str(failure)
    if isinstance(failure, StreamTimeout):
        return "timeout", str(failure)
    if isinstance(failure, ResponseError):
        return failure.code or failure.type or "server_error", str(failure)
    if isinstance(failure, IncompleteStream | LimitExceeded):
        return "server_error", str(failure)
    if isinstance(failure, TimeoutError):
        return "timeout", "the upstream took too long"
    return "server_error", "the upstream failed"


def refusal(failure: Exception, code: str, message: str) -> tuple[int, bytes, str]:
    """Status, body and media type of the HTTP error that a failure is."""
    if isinstance(failure, ResponseError) and (failure.status or 0) >= 400 and failure.error is not None:
        return failure.status or 502, failure.body, "application/json"
    status = 502
    if isinstance(failure, ResponseError):
        status = failure.status if failure.status and failure.status >= 400 else 502
    elif isinstance(failure, TimeoutError):
        status = 504
    elif isinstance(failure, GuardFailed):
        status = 400
    elif not is_upstream_s(failure):
        status = 500
    # The relay knows how an error is written; in a dialect without events it is the whole body.
    framed = Relay(dialect="chat").fail(message, code=code)
    [event, _done] = Decoder(sentinel=None).feed(framed)
    return status, event.data, "application/json"
