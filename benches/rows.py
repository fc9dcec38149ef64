"""The table: what is measured, and what it is to cost.

Targets are for one core of the machine that a record names. A ratio says how many times as long a peer must
take, in the same run; peers without one are there to compare.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

OPENAI_TYPED: Final = "openai, typed stream"
OPENAI_FINAL: Final = "openai, typed stream and accumulator"
HTTPX_SSE_JSON: Final = "httpx-sse + json"
MSGSPEC_TYPE: Final = "msgspec struct of type, on split lines"
PYDANTIC_EVENT: Final = "pydantic event + model_dump_json"
PYDANTIC_SLICES: Final = "pydantic event of each slice + model_dump_json"
STREAMABLE_PARSER: Final = "openai-harmony StreamableParser, pydantic event + model_dump_json"
ORJSON_LINES: Final = "orjson alone, on split lines"
AGENTS: Final = "openai-agents handler + model_dump_json, on typed chunks"
COPIED_LIST: Final = "dict of lists, copied (as LiteLLM)"
DEQUE_COPY: Final = "OrderedDict of deques, copied (as TensorRT-LLM)"
DEEP_COPY: Final = "deepcopy of the list"
QUEUES: Final = "a queue a subscriber"
STARLETTE: Final = "Starlette StreamingResponse"
PIPECAT: Final = "json.dumps + hashlib (as pipecat)"
BASE64_IDS: Final = "base64 in Python (as LiteLLM)"


@dataclass(frozen=True)
class Row:
    """One kind of work.

    Attributes:
        key: its name in the record.
        work: its name in the table.
        target: the most it may be, in `unit`; None where nothing was promised.
        unit: of the figure; `×` is a ratio of times.
        figure: what is compared with the target: the median time of the work itself, the median of what it
            takes more than its reference, or how many times as long.
        ratios: by peer, how many times as long the peer must take.
    """

    key: str
    work: str
    target: float | None = None
    unit: Literal["ns", "ms", "MB", "×"] = "ns"
    figure: Literal["time", "difference", "ratio"] = "time"
    ratios: Mapping[str, float] = field(default_factory=dict)


DECODE = Row(
    "decode",
    "feed, iterate, read type and delta",
    180,
    ratios={MSGSPEC_TYPE: 1, HTTPX_SSE_JSON: 20, OPENAI_TYPED: 300},
)
PROJECTION = Row("projection", 'feed with fields=("type", "delta")', 100, ratios={MSGSPEC_TYPE: 2})
JSON = Row("json", "feed, json() of every event", 470, ratios={ORJSON_LINES: 1 / 0.85})
SINGLE = Row("single", "one event a chunk: feed, read type and delta", 400)

RESPONSE = Row("response", "bytes to the final Response", 150, ratios={OPENAI_FINAL: 500})
CHAT = Row("chat", "bytes to the final ChatCompletion")

EMIT = Row("emit", "a text delta to event-stream bytes", 200, ratios={PYDANTIC_EVENT: 20})
SYNTHESIZE = Row(
    "synthesize", "a whole response to event-stream bytes, a delta", ratios={PYDANTIC_SLICES: 20}
)
LINT = Row("lint", "lint, an event", 1_000)
HARMONY = Row("harmony", "Harmony text to event-stream bytes, a token", 1_000)
TRANSCODE = Row("transcode", "chat chunks to Responses bytes", 700, ratios={AGENTS: 100})

RELAY = Row("relay", "Relay: pass an event through, accumulated")
BROADCAST = Row("broadcast", "Broadcast: an event to one of 500 subscribers", 3_000)
RESPONDING = Row("responding", "EventStreamResponse: an event to ASGI's send")

ASYNC_BATCHES = Row("async-batches", "async for batch, on top of decoding", 30, figure="difference")
ASYNC_EVENTS = Row("async-events", "async for event, on top of decoding", 150, figure="difference")
BLOCKING = Row("blocking", "for event of a Stream, on top of decoding", figure="difference")
ASYNC_BATCHES_64K = replace(
    ASYNC_BATCHES, key="async-batches-64k", work="async for batch, the same, in reads of 64 KiB"
)
ASYNC_EVENTS_64K = replace(
    ASYNC_EVENTS, key="async-events-64k", work="async for event, the same, in reads of 64 KiB"
)

OPENAI = Row("openai", "openai drop-in: Responses, type and delta", ratios={OPENAI_TYPED: 20})
OPENAI_CHAT = Row("openai-chat", "openai drop-in: chat, content of each chunk", ratios={OPENAI_TYPED: 20})

FORWARD = Row(
    "websocket-forward",
    "a WebSocket frame forwarded, the forwarder's thread alone",
    ratios={"two tasks + json of each frame": 1},
)

LINEAR = {
    "line": Row("linear-line", "64 MiB against 16 MiB: one line", 4.5, "×", "ratio"),
    "data-lines": Row("linear-data-lines", "64 MiB against 16 MiB: data lines", 4.5, "×", "ratio"),
    "comments": Row("linear-comments", "64 MiB against 16 MiB: comments", 4.5, "×", "ratio"),
    "arguments": Row("linear-arguments", "64 MiB against 16 MiB: tool arguments", 4.5, "×", "ratio"),
}

STORE_APPEND = Row("store-append", "MemoryStore: append to a conversation of 1,000 turns", 5_000)
STORE_APPEND_DICTS = Row("store-append-dicts", "MemoryStore: the same, from dicts")
STORE_LOAD = Row("store-load", "MemoryStore: load the history of 1,000 turns", 5_000)
STORE_DATA = Row("store-data", "MemoryStore: read that history as one JSON text")
STORE_JSON = Row("store-json", "MemoryStore: read that history as objects")
STORE_GROWTH = Row(
    "store-growth", "MemoryStore: append to 10,000 turns against append to 10", 1.5, "×", "ratio"
)

HASH = Row("hash-items", "hash_items: 100 items, 60 KB", ratios={PIPECAT: 4})
HASH_ALONE = Row("hash-alone", "hash_items against SHA-256 of its text alone", 1.3, "×", "ratio")
HASH_JSON = Row("hash-json", "hash_json: the same items as text")
CHAIN_SHORT = Row("chain-100", "PrefixChain: one new item on 100", 2_000, ratios={PIPECAT: 100})
CHAIN_LONG = Row("chain-10000", "PrefixChain: one new item on 10,000", 2_000, ratios={PIPECAT: 10_000})

SEAL = Row("seal", "seal an id", 1_000)
OPEN = Row("open", "open a sealed id", 1_000)
ENCODE = Row("litellm-encode", "encode an id as LiteLLM does")
DECODE_ID = Row("litellm-decode", "decode an id as LiteLLM does")
REWRITE = Row("rewrite", "rewrite the id in response.created", 300)
PASS = Row("rewrite-pass", "rewrite an event without a response")

IMPORT = Row("import", "import penstock, on top of starting Python", 30, "ms", "difference")
WHEEL = Row("wheel", "size of the wheel", 3, "MB")

ROWS: Final = {
    row.key: row
    for row in (
        DECODE,
        PROJECTION,
        JSON,
        SINGLE,
        RESPONSE,
        CHAT,
        EMIT,
        SYNTHESIZE,
        LINT,
        HARMONY,
        RELAY,
        BROADCAST,
        RESPONDING,
        TRANSCODE,
        ASYNC_BATCHES,
        ASYNC_BATCHES_64K,
        ASYNC_EVENTS,
        ASYNC_EVENTS_64K,
        BLOCKING,
        OPENAI,
        OPENAI_CHAT,
        STORE_APPEND,
        STORE_APPEND_DICTS,
        STORE_LOAD,
        STORE_DATA,
        STORE_JSON,
        FORWARD,
        *LINEAR.values(),
        STORE_GROWTH,
        HASH,
        HASH_ALONE,
        HASH_JSON,
        CHAIN_SHORT,
        CHAIN_LONG,
        SEAL,
        OPEN,
        ENCODE,
        DECODE_ID,
        REWRITE,
        PASS,
        IMPORT,
        WHEEL,
    )
}
