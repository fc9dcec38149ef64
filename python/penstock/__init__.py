"""LLM event streams: decode, accumulate, transcode and forward, at the lowest CPU cost per event.

>>> import penstock
>>> decoder = penstock.Decoder()
>>> [event.delta for event in decoder.feed(b'data: {"type":"response.output_text.delta","delta":"Hi"}\\n\\n')]
['Hi']
"""

from typing import TYPE_CHECKING

from penstock._penstock import (
    ChatAccumulator,
    Decoder,
    Event,
    HarmonyParser,
    Limits,
    PartialJSON,
    Relay,
    ResponseAccumulator,
    ResponseEmitter,
    Transcoder,
    synthesize,
    write_events,
    write_sse,
)
from penstock.errors import (
    ClientDisconnected,
    ConcurrencyError,
    DecodeError,
    GuardFailed,
    IllegalEvent,
    IncompleteStream,
    InternalError,
    InvalidResponseId,
    LimitExceeded,
    OutcomeUnknown,
    PenstockError,
    PreviousResponseNotFound,
    ResponseError,
    StoreUnavailable,
    StreamTimeout,
    TurnConflict,
    UnhashableItem,
)
from penstock.linting import Finding, lint
from penstock.stats import StreamStats
from penstock.stream import AsyncStream, Stream

if TYPE_CHECKING:
    from penstock.broadcast import Broadcast
    from penstock.session.session import ResponsesSession

__all__ = [
    "AsyncStream",
    "Broadcast",
    "ChatAccumulator",
    "ClientDisconnected",
    "ConcurrencyError",
    "DecodeError",
    "Decoder",
    "Event",
    "Finding",
    "GuardFailed",
    "HarmonyParser",
    "IllegalEvent",
    "IncompleteStream",
    "InternalError",
    "InvalidResponseId",
    "LimitExceeded",
    "Limits",
    "OutcomeUnknown",
    "PartialJSON",
    "PenstockError",
    "PreviousResponseNotFound",
    "Relay",
    "ResponseAccumulator",
    "ResponseEmitter",
    "ResponseError",
    "ResponsesSession",
    "StoreUnavailable",
    "Stream",
    "StreamStats",
    "StreamTimeout",
    "Transcoder",
    "TurnConflict",
    "UnhashableItem",
    "lint",
    "synthesize",
    "write_events",
    "write_sse",
]

_LATER = {"Broadcast": "penstock.broadcast", "ResponsesSession": "penstock.session.session"}
"""What is imported when it is first asked for: these two take longer than all the rest."""

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 - few programs need it

        found = globals()[name] = getattr(import_module(_LATER[name]), name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
