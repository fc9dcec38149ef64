"""LLM event streams: decode, accumulate, transcode and forward, at the lowest CPU cost per event.

>>> import penstock
>>> decoder = penstock.Decoder()
>>> [event.delta for event in decoder.feed(b'data: {"type":"response.output_text.delta","delta":"Hi"}\\n\\n')]
['Hi']
"""

from penstock._penstock import Decoder, Event, Limits
from penstock.errors import (
    ConcurrencyError,
    DecodeError,
    IncompleteStream,
    InternalError,
    InvalidResponseId,
    LimitExceeded,
    PenstockError,
    PreviousResponseNotFound,
    ResponseError,
    StreamTimeout,
)

__all__ = [
    "ConcurrencyError",
    "DecodeError",
    "Decoder",
    "Event",
    "IncompleteStream",
    "InternalError",
    "InvalidResponseId",
    "LimitExceeded",
    "Limits",
    "PenstockError",
    "PreviousResponseNotFound",
    "ResponseError",
    "StreamTimeout",
]
