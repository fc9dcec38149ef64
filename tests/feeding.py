"""One way to feed any input: whole, byte by byte, at every two-way split, at random ones, in any carrier.

An event that depends on where the network cut the stream is the one bug a decoder must not have, so every
case goes through every cut.
"""

import mmap
import random
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from penstock import DecodeError, Decoder, Event, LimitExceeded

BytesLike: TypeAlias = "bytes | bytearray | memoryview | array[int] | mmap.mmap"


@dataclass(frozen=True)
class Seen:
    """What an event says that does not depend on its being JSON."""

    data: bytes
    name: str | None
    id: str | None
    type: str
    flushed: bool

    @classmethod
    def of(cls, event: Event) -> "Seen":
        return cls(event.data, event.name, event.id, event.type, event.flushed)


@dataclass(frozen=True)
class Outcome:
    """Everything a decoder said about one stream; equal outcomes are what every cut must give."""

    events: tuple[Seen, ...]
    retry: int | None
    last_event_id: str
    comments: int
    done: bool
    non_sse_body: bytes | None
    error: tuple[object, ...] | None


def run(decoder: Decoder, chunks: Iterable[BytesLike]) -> Outcome:
    """Feed all chunks, end the input and note what came; events that an error carries count."""
    events: list[Event] = []
    error: tuple[object, ...] | None = None
    try:
        for chunk in chunks:
            events += decoder.feed(chunk)
        events += decoder.finish()
    except LimitExceeded as exceeded:
        events += exceeded.events
        error = ("LimitExceeded", exceeded.limit, exceeded.maximum, exceeded.value, exceeded.offset)
    except DecodeError as refused:
        events += refused.events
        error = ("DecodeError", refused.reason, refused.offset)
    return Outcome(
        events=tuple(map(Seen.of, events)),
        retry=decoder.retry,
        last_event_id=decoder.last_event_id,
        comments=decoder.comments,
        done=decoder.done,
        non_sse_body=decoder.non_sse_body,
        error=error,
    )


def split(stream: bytes, cuts: Sequence[int]) -> list[bytes]:
    """Cut a stream at ascending positions."""
    return [stream[start:end] for start, end in zip((0, *cuts), (*cuts, len(stream)), strict=True)]


def feedings(stream: bytes, *, seed: int = 0, random_splits: int = 4) -> Iterator[list[bytes]]:
    """Every way to cut that the tests know; a stream of n bytes gives about n of them."""
    yield [stream]
    yield [stream[at : at + 1] for at in range(len(stream))]
    yield [piece for at in range(len(stream)) for piece in (b"", stream[at : at + 1])]
    for cut in range(len(stream) + 1):
        yield split(stream, [cut])
    chance = random.Random(seed)  # noqa: S311 - a reproducible choice of cuts, not a secret
    for _ in range(random_splits):
        cuts = chance.choices(range(len(stream) + 1), k=chance.randint(2, 9))
        yield split(stream, sorted(cuts))


def _mapped(data: bytes) -> "mmap.mmap | bytes":
    if not data:
        return data  # the system maps no empty memory
    mapped = mmap.mmap(-1, len(data))
    mapped[:] = data
    return mapped


CARRIERS: Mapping[str, Callable[[bytes], BytesLike]] = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "a slice of a memoryview": lambda data: memoryview(b"<<" + data + b">>")[2 : 2 + len(data)],
    "array": lambda data: array("B", data),
    "mmap": _mapped,
}
