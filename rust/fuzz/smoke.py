"""Runs each fuzz target for some seconds, from seeds made of `tests/vectors`, and stops at the first finding.

`make fuzz-smoke` builds the targets and calls this. A longer run is the same with more `--seconds`; what it
learns stays in `corpus/`. An input that fails is kept in `artifacts/` and named in the output.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
VECTORS: Final = HERE.parent.parent / "tests" / "vectors"

MAX_BYTES: Final = 4096
"""Of one input: long enough for several blocks, pieces and events, short enough for thousands a second."""
MAX_SECONDS: Final = 5
"""For one input; the slowest need milliseconds, so that this is a hang even on a busy machine."""
MAX_MIB: Final = 512
"""Of the whole process, the address sanitizer's own memory included."""

ITEMS: Final = (
    "\x00Grüße 👩‍💻🇳🇴 e\u0301".encode(),
    b"\x01no, thank you",
    b"\x02think\n\nagain",
    b"\x03raw",
    b'\x04{"a": [1]}',
    b"\x05input",
    b"\x06print(1)",
    b"\x07image_generation_call",
)
"""Items of a response, for `synthesize`; see there."""

RESPONSE: Final = {
    "id": "resp_1",
    "status": "completed",
    "output": [
        {
            "type": "message",
            "content": [{"type": "output_text", "text": "Hi", "logprobs": [{"token": "Hi"}]}],
        },
        {"id": "p", "type": "apply_patch_call", "operation": {"type": "update_file", "diff": "+a"}},
        {"id": "m", "type": "mcp_call", "arguments": "{}", "output": "found"},
    ],
}

CALLS: Final = (
    b"\x00",
    b"\x05Hello",
    b'\x06[{"token":"x","logprob":-1}]',
    b'\x0b{"type":"url_citation"}',
    b"\x07no",
    b'\x0d{"phase":"commentary"}',
    b'\x01{"encrypted_content":""}',
    b"\x19think",
    b"\x1c",
    b"\x18raw\r\n\r\ndata: x",
    b"\x1d",
    b"\x02f",
    b'\x2a{"a":1}',
    b"\x2d",
    b'\x03{"type":"web_search_call"}',
    b"\x3cresponse.web_search_call.searching",
    b"\x3d",
    b'\x04{"id":"x","type":"compaction"}',
    b"\x0f",
)
"""Calls of the emitter, for `emit_parse`; see there."""

HARMONY: Final = (
    b"<|channel|>analysis<|message|>Think.<|end|><|start|>assistant<|channel|>final<|message|>Hi<|return|>",
    b'<|start|>assistant to=functions.f<|channel|>commentary <|constrain|>json<|message|>{"a":1}<|call|>',
    b"<|channel|>commentary<|message|>So.<|end|><|start|>user<|message|>And?<|end|><|startoftext|>",
    b"<|channel|>analysis to=python code<|message|>1<|call|><|start|>assistant<|channel|>final Hello<|end|>",
    b'<|channel|>analysis to=browser.find<|message|>{"pattern":"x"}<|call|>Hello<|endoftext|>',
    b"<|channel|>analysis to=browser.open<|message|>https://a/<|call|>",
    b'<|channel|>analysis to=browser.search<|message|>{"query":"x"}<|call|>',
)
"""Texts of gpt-oss, for `harmony`."""

IDS: Final = (
    b"resp_00ff",
    b"msg_1",
    b"chatcmpl-1",
    b"resp_YTtiO2M=",
    b"resp_bGl0ZWxsbTpjdXN0b21fbGxtX3Byb3ZpZGVyOm87bW9kZWxfaWQ6bTtyZXNwb25zZV9pZDpyZXNwXzE=",
    b"encitem_bGl0ZWxsbTptb2RlbF9pZDpkZXAtMTtpdGVtX2lkOnJzXzE=",
    b"litellm_enc:bW9kZWxfaWQ6ZGVwLTE=;gAAAA==",
)
"""Ids, for `ids_open`; see there."""

FIXED: Final = {
    "emit_parse": [bytes([options]) + b"\xff".join(CALLS) for options in range(8)],
    "harmony": [bytes([options, 0x55]) + text for options in range(0, 128, 5) for text in HARMONY],
    "ids_open": [bytes([options]) + id for options in range(32) for id in IDS],
    "synthesize": [
        *(bytes([choice, 4]) + b"\xff".join(ITEMS) for choice in range(64)),
        *(bytes([0x80 | 0x10 * n, 2]) + json.dumps(RESPONSE).encode() for n in range(4)),
    ],
}
"""The inputs of targets for which no vector was made."""

ENVIRONMENT: Final = {
    "RUSTC_BOOTSTRAP": "1",  # cargo-fuzz asks for flags that stable hides
    "RUST_BACKTRACE": "0",  # the failed assertion says what is wrong; the input reproduces it
    "ASAN_OPTIONS": "quarantine_size_mb=16",  # of 256, which would be most of MAX_MIB
}


def main() -> int:
    """Run the targets named on the command line, by default all."""
    known = sorted(path.stem for path in (HERE / "fuzz_targets").glob("*.rs"))
    parser = argparse.ArgumentParser(description="Run fuzz targets for some seconds each.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(known)}; by default all")
    parser.add_argument("--seconds", type=int, default=10, help="for each target (default: 10)")
    parser.add_argument("--cargo-fuzz", default="cargo-fuzz", help="the program (default: cargo-fuzz)")
    args = parser.parse_args()
    targets = args.targets or known
    if unknown := set(targets) - set(known):
        parser.error(f"no target {', '.join(sorted(unknown))}")
    for target in targets:
        sow(target)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(lambda target: run(target, args.cargo_fuzz, args.seconds), targets))
    print(f"fuzz-smoke: {results.count(True)} of {len(targets)} targets without a finding")
    return 0 if all(results) else 1


def run(target: str, cargo_fuzz: str, seconds: int) -> bool:
    """Run one target to its end and print a line, or all it said when it found something."""
    flags = [
        f"-max_total_time={seconds}",
        "-seed=1",  # a smoke test shall say the same twice; new ground is for longer runs
        f"-max_len={MAX_BYTES}",
        f"-timeout={MAX_SECONDS}",
        f"-rss_limit_mb={MAX_MIB}",
        f"-dict={HERE / 'tokens.dict'}",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    done = subprocess.run(  # noqa: S603 - the program is the caller's choice
        [cargo_fuzz, "run", "--fuzz-dir", str(HERE), target, "--", *flags],
        env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    found = dict(re.findall(r"^stat::(\w+):\s+(\d+)$", done.stdout, re.MULTILINE))
    if done.returncode:
        print(done.stdout, f"fuzz-smoke: {target} failed", sep="\n", flush=True)
    else:
        runs, peak = found.get("number_of_executed_units"), found.get("peak_rss_mb")
        print(f"fuzz-smoke: {target}: {runs} runs in {seconds} s, peak {peak} MiB", flush=True)
    return done.returncode == 0


def sow(target: str) -> None:
    """Put the vectors that mean something to a target into its corpus, each under the hash of its bytes."""
    corpus = HERE / "corpus" / target
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in seeds(target):
        if len(seed) <= MAX_BYTES:
            (corpus / sha256(seed).hexdigest()[:40]).write_bytes(seed)


def seeds(target: str) -> Iterator[bytes]:
    """The inputs of a target. What bytes before a vector mean stands at the top of the target's file."""
    streams = [(folder == "ndjson", stream(row)) for folder in ("sse", "ndjson") for row in rows(folder)]
    texts = [stream(row) for folder in ("json", "partial") for row in rows(folder)]
    chats = [payloads(row["chunks"]) for row in rows("chat")]
    chats += [payloads(row["events"]) for row in rows("responses")]
    if target == "sse_decode":
        yield from (stream for _, stream in streams)
    elif target == "sse_split":
        for ndjson, one in streams:
            for options in (0b01000, 0b01010, 0b10100):
                yield bytes([options | ndjson, 0xFF, 3, 1, 4, 0]) + one
        yield from (bytes([0b01010, 0xFF, 2, 100, 255]) + as_stream(chunks) for chunks in chats)
        for row in rows("limits"):
            limits = ["max_line_bytes", "max_event_bytes", "max_idle_bytes", "max_id_bytes"]
            place = limits.index(row["limit"]) if row["limit"] in limits else len(limits)
            if row["maximum"] < 32:
                head = bytes([row.get("framing") == "ndjson", place | row["maximum"] << 3, 2, 5, 1])
                yield from (head + row[side].encode() for side in ("within", "above"))
    elif target in ("json_scan", "canonical_json"):
        yield from texts
        yield from (b"\0".join(chunks) for chunks in chats)
    elif target == "partial":
        yield from (bytes([2, 1, 3]) + text for text in texts)
    elif target in FIXED:
        yield from FIXED[target]
    elif target == "events_any":
        yield from texts
        yield from map(as_stream, chats)
    else:
        heads = (
            bytes([n % 128, 0x55 * (n % 3)]) if target in ("transcode", "rewrite", "relay") else b""
            for n in count()
        )
        yield from (head + as_stream(chunks) for head, chunks in zip(heads, chats, strict=False))


def payloads(chunks: list[Any]) -> list[bytes]:
    """The payloads of a vector's events: a string is the payload itself, an object may be or have it."""
    datas = (chunk.get("data", chunk) if isinstance(chunk, dict) else chunk for chunk in chunks)
    return [(data if isinstance(data, str) else json.dumps(data)).encode() for data in datas]


def as_stream(chunks: list[bytes]) -> bytes:
    """An event stream of these payloads."""
    return b"".join(b"data: " + chunk + b"\n\n" for chunk in chunks)


def stream(row: dict[str, Any]) -> bytes:
    """The input of a vector, as the README beside the vectors describes it."""
    if "bytes" in row:
        return str(row["bytes"]).encode("latin-1")
    if "parts" in row:
        return "".join(text * min(count, MAX_BYTES) for text, count in row["parts"]).encode()
    return str(row["text"]).encode()


def rows(folder: str) -> Iterator[dict[str, Any]]:
    """The vectors of a folder."""
    for path in sorted((VECTORS / folder).glob("*.jsonl")):
        yield from map(json.loads, path.read_text("utf-8").splitlines())


if __name__ == "__main__":
    sys.exit(main())
