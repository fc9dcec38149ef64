"""LLM event streams: decode, accumulate, transcode and forward, at the lowest CPU cost per event.

>>> import penstock
>>> decoder = penstock.Decoder()
>>> [event.delta for event in decoder.feed(b'data: {"type":"response.output_text.delta","delta":"Hi"}\\n\\n')]
['Hi']
"""

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
from penstock.broadcast import Broadcast
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
from penstock.session.session import ResponsesSession
from penstock.stats import StreamStats
from penstock.stream import AsyncStream, Stream

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
