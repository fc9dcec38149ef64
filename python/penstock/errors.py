"""The errors penstock raises, and the data each carries.

    Exception
    └── PenstockError
        ├── DecodeError (ValueError)           the bytes are not what the framing or JSON demands
        ├── IllegalEvent (ValueError)          a call that would have written what the dialect does not allow
        ├── UnhashableItem (TypeError, ValueError)   an object that has no JSON text to hash
        ├── LimitExceeded                      the input is larger than `Limits` allows
        ├── IncompleteStream                   the stream ended without a terminal event
        │   └── OutcomeUnknown                 the connection was lost with a request in flight
        ├── StreamTimeout (TimeoutError)       the upstream was silent, or the stream took too long
        ├── ResponseError                      the upstream answered with an error instead of a stream
        ├── ClientDisconnected                 the client left before the stream had ended
        ├── GuardFailed                        a hook that guards the stream refused it
        ├── InvalidResponseId                  a response id that is forged, foreign or damaged
        ├── PreviousResponseNotFound           a `previous_response_id` that no store knows
        ├── TurnConflict                       a response id that is stored with other content
        ├── StoreUnavailable                   the database behind a store failed or did not answer
        ├── ConcurrencyError (RuntimeError)    two threads or tasks used one object at once
        └── InternalError                      a bug in penstock; the object that raised it is spent

Rules of this file: an error carries its facts as attributes, so a handler never parses a message. A
message names limits, offsets, states and codes only; what came over the wire or from the caller (keys,
headers, prompts, output) is reachable through attributes and never part of `str()` or `repr()`. Every error
survives `pickle` and `copy`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_E = TypeVar("_E", bound="PenstockError")

__all__ = [
    "ClientDisconnected",
    "ConcurrencyError",
    "DecodeError",
    "GuardFailed",
    "IllegalEvent",
    "IncompleteStream",
    "InternalError",
    "InvalidResponseId",
    "LimitExceeded",
    "OutcomeUnknown",
    "PenstockError",
    "PreviousResponseNotFound",
    "ResponseError",
    "StoreUnavailable",
    "StreamTimeout",
    "TurnConflict",
    "UnhashableItem",
]

MAX_BODY_BYTES: Final = 64 * 1024
"""What `ResponseError.body` keeps at most: providers' error bodies are below 4 KiB, pages rarely more."""


class PenstockError(Exception):
    """The base of every error that penstock raises on its own account."""

    def __reduce__(self) -> tuple[Callable[..., Self], tuple[type[Self], tuple[Any, ...]], dict[str, Any]]:
        # The default calls `cls(*args)`, which has no place for keyword-only fields.
        return _restore, (type(self), self.args), self.__dict__


class DecodeError(PenstockError, ValueError):
    """Bytes that the framing, UTF-8 (in strict mode) or JSON does not allow.

    Attributes:
        offset: byte offset of the first offending byte, from the start of the input; None if unknown.
        reason: a short, stable name of what is wrong, such as ``"utf8"``; None if the message says all.
        events: what was decoded from the same chunk before the error, so that nothing is lost.
    """

    def __init__(
        self,
        message: str,
        *,
        offset: int | None = None,
        reason: str | None = None,
        events: Iterable[Any] = (),
    ) -> None:
        super().__init__(message)
        self.offset = offset
        self.reason = reason
        self.events: list[Any] = list(events)


class IllegalEvent(PenstockError, ValueError):
    """A call that would have written an event which a legal stream does not have; it changed nothing.

    Attributes:
        rule: the name of the rule, such as ``"after_item_done"``; the one `penstock.lint` reports it by.
        event: the type of the event that would have been written; None where it is about no single event.
    """

    def __init__(self, message: str, *, rule: str, event: str | None = None) -> None:
        super().__init__(message)
        self.rule = rule
        self.event = event


class UnhashableItem(PenstockError, TypeError, ValueError):
    """An object that has no JSON text to hash; `json.dumps` raises a TypeError or ValueError: this is both.

    Attributes:
        reason: ``"type"`` (no JSON value), ``"key"`` (no JSON key), ``"key_order"`` (keys without an order),
            ``"not_finite"``, ``"digits"`` (an integer too long to be written), ``"depth"`` or ``"cycle"``.
        path: where it stands, such as ``"[3].content[0].x"``; empty for the object itself.
    """

    def __init__(self, message: str, *, reason: str, path: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.path = path


class LimitExceeded(PenstockError):
    """Input beyond one of the `Limits`. The object that raised it stays failed.

    Attributes:
        limit: the name of the field of `Limits`.
        maximum: its value.
        value: what the input asked for, at least ``maximum + 1``; same unit as the limit.
        offset: byte offset at which the limit was passed; None where the input has no offsets.
        events: what was decoded from the same chunk before the error.
    """

    def __init__(
        self,
        message: str,
        *,
        limit: str,
        maximum: int,
        value: int,
        offset: int | None = None,
        events: Iterable[Any] = (),
    ) -> None:
        super().__init__(message)
        self.limit = limit
        self.maximum = maximum
        self.value = value
        self.offset = offset
        self.events: list[Any] = list(events)


class IncompleteStream(PenstockError):
    """The stream ended, by a cut or a clean end of input, before its terminal event.

    Attributes:
        partial: the object as far as it came, its status never ``"completed"``; None if nothing came.
            Function calls in it may be cut short and must not be executed.
        reason: a short name of how it ended, such as ``"eof"``; None if unknown.
    """

    def __init__(
        self, message: str, *, partial: dict[str, Any] | None = None, reason: str | None = None
    ) -> None:
        super().__init__(message)
        self.partial = partial
        self.reason = reason


class OutcomeUnknown(IncompleteStream):
    """The connection was lost after a request was sent: it may have run to its end, in part, or not at all.

    Sending it again may do twice what it does; that is for the caller to decide.

    Attributes:
        response_id: of the response, if it had told; with ``store`` it can be asked for.
        close_code: what a WebSocket was closed with; None where it said nothing.
        partial, reason: as for `IncompleteStream`.
    """

    def __init__(
        self,
        message: str,
        *,
        partial: dict[str, Any] | None = None,
        reason: str | None = None,
        response_id: str | None = None,
        close_code: int | None = None,
    ) -> None:
        super().__init__(message, partial=partial, reason=reason)
        self.response_id = response_id
        self.close_code = close_code


class StreamTimeout(PenstockError, TimeoutError):
    """The upstream was silent for too long, or the whole stream took too long. The source has been aborted.

    Attributes:
        kind: ``"first_event"`` (no event yet), ``"idle"`` (no byte since the last) or ``"duration"``.
        seconds: the time-out that expired.
        partial: the object as far as it came, if it was accumulated; None otherwise.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: Literal["idle", "duration", "first_event"],
        seconds: float,
        partial: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.seconds = seconds
        self.partial = partial


class ResponseError(PenstockError):
    """The upstream answered with an error: an HTTP status of 400 or more, or a body that is no event stream.

    Attributes:
        status: the HTTP status, also when it is 200 and the body is an error; None where the source has none.
        error: the error object of the body, from ``{"error": {…}}`` or the flat form; None if it has none.
            Its ``message`` may quote the request, which is why `str()` of this exception leaves it out.
        code, type, param: those fields of `error` where they are strings (a numeric code as text), else None.
        request_id: the provider's id of the request, for its support; None if no header named it.
        body: the first `MAX_BODY_BYTES` of the body, as they came.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        error: dict[str, Any] | None = None,
        code: str | None = None,
        type: str | None = None,
        param: str | None = None,
        request_id: str | None = None,
        body: bytes = b"",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error = error
        self.code = code
        self.type = type
        self.param = param
        self.request_id = request_id
        self.body = bytes(body[:MAX_BODY_BYTES])


class ClientDisconnected(PenstockError):
    """The client left, or stopped reading, before the stream had ended.

    Attributes:
        partial: the object as far as it came; None if nothing came, or nothing was accumulated.
    """

    def __init__(self, message: str, *, partial: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.partial = partial


class GuardFailed(PenstockError):
    """A hook that guards a stream refused it, or failed. A guard raises it with words for the client to read.

    Attributes:
        code: the error's code on the wire.
    """

    def __init__(self, message: str, *, code: str = "content_filter") -> None:
        super().__init__(message)
        self.code = code


class InvalidResponseId(PenstockError):
    """A response id that was not sealed here, was sealed for another tenant, or was damaged on the way.

    Which of these it is, nobody is told. A gateway answers with `status`, `code` and `param`.

    Attributes:
        events: what passed of the same stream's bytes before it, as one `bytes`; nothing for an id by itself.
    """

    status: ClassVar[int] = 403
    code: ClassVar[str] = "invalid_response_id"
    param: ClassVar[str] = "previous_response_id"

    def __init__(self, message: str, *, events: Iterable[Any] = ()) -> None:
        super().__init__(message)
        self.events: list[Any] = list(events)


class PreviousResponseNotFound(PenstockError):
    """No store knows the `previous_response_id`; shaped as the Responses API reports it."""

    status: ClassVar[int] = 400
    code: ClassVar[str] = "previous_response_not_found"
    param: ClassVar[str] = "previous_response_id"


class TurnConflict(PenstockError):
    """A turn was appended under a response id that is stored with other content; nothing was changed."""


class StoreUnavailable(PenstockError):
    """The database behind a store refused, failed or did not answer.

    Whether an append took place is unknown; appending the same turn again is safe.

    Attributes:
        backend: ``"sqlite"`` or ``"redis"``.
        reason: the kind of failure as the database names it, such as ``"SQLITE_FULL"`` or ``"READONLY"``.
    """

    def __init__(self, message: str, *, backend: str, reason: str) -> None:
        super().__init__(message)
        self.backend = backend
        self.reason = reason


class ConcurrencyError(PenstockError, RuntimeError):
    """Two threads or tasks used one object at the same time; the call that raised it changed nothing."""


class InternalError(PenstockError):
    """A bug in penstock, never the input's fault. Only the object that raised it is spoiled.

    The message names the place in penstock's source, if it is known: please report it.
    """


def _restore(cls: type[_E], args: tuple[Any, ...]) -> _E:
    """Rebuild a pickled error without its constructor; its attributes follow as the pickle's state."""
    error = cls.__new__(cls)
    error.args = args
    return error
