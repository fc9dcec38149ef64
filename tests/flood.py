"""A process of its own that is flooded without end and reports what that cost; `test_memory.py` runs it.

    python flood.py line 16384          one endless line in reads of 16 KiB

The flood is generated, never held: the process grows by what the decoder holds. Prints one JSON object.
"""

import json
import sys
from itertools import repeat
from pathlib import Path

from penstock import Decoder, LimitExceeded

MIB = 1 << 20
ENDLESS = 1 << 30
"""Bytes of a flood; the limits end it long before."""

FLOODS = {
    "line": (b"data: ", b"x"),
    "unknown-line": (b"foo", b"x"),
    "data-lines": (b"", b"data: x\n"),
    "empty-data-lines": (b"", b"data\n"),
    "comments": (b"", b": x\n"),
    "bare-comments": (b"", b":\n"),
    "unknown-fields": (b"", b"foo: bar\n"),
    "blank-lines": (b"", b"\n"),
    "names": (b"", b"event: x\n"),
    "ids": (b"", b"id: x\n\n"),
    "json-body": (b'{"error":"', b"x"),
    "html-body": (b"<html>", b"<p>\n"),
    "cr": (b"", b"\r"),
}
NDJSON_FLOODS = {
    "ndjson-line": (b'{"a":"', b"x"),
    "ndjson-blank-lines": (b"", b"\n"),
    "ndjson-spaces": (b"", b" "),
}


def memory(field: str) -> int:
    """Bytes from this process's own status: `VmRSS` now, `VmHWM` at its peak."""
    # Not `ru_maxrss`: it starts at the size of whoever started the process.
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def reads(unit: bytes, size: int) -> list[bytes]:
    """One read of a repeated unit for each place in the unit where a read can start."""
    block = unit * (size // len(unit) + 2)
    return [block[start : start + size] for start in range(len(unit))]


def flood(kind: str, size: int, total: int) -> dict[str, object]:
    """Feed until the decoder refuses, and tell at which byte it did and how far memory grew."""
    head, unit = (FLOODS | NDJSON_FLOODS)[kind]
    decoder = Decoder(framing="ndjson" if kind in NDJSON_FLOODS else "sse")
    chunks = reads(unit, size)
    start = memory("VmRSS")
    limit = offset = None
    at = 0
    try:
        decoder.feed(head)
        for _ in repeat(None, total // size):
            decoder.feed(chunks[at])
            at = (at + size) % len(unit)
    except LimitExceeded as exceeded:
        limit, offset = exceeded.limit, exceeded.offset
    return {"limit": limit, "offset": offset, "fed": decoder.bytes, "grown": memory("VmHWM") - start}


if __name__ == "__main__":
    total = ENDLESS if len(sys.argv) < 4 else int(sys.argv[3])
    print(json.dumps(flood(sys.argv[1], int(sys.argv[2]), total)))
