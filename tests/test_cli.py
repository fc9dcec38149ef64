"""The `penstock` command as a shell meets it: what it prints, one line for what is wrong, and the status."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.cli import COMMANDS
from penstock.replay import SCRIPTS, ReplayServer

PENSTOCK = [sys.executable, "-m", "penstock"]
ENVIRONMENT = {**os.environ, "PYTHONWARNINGS": "error", "PYTHONIOENCODING": "", "LC_ALL": "C"}


def penstock(*arguments: str, data: bytes = b"", **more: Any) -> subprocess.CompletedProcess[bytes]:
    command = [*PENSTOCK, *arguments]
    return subprocess.run(
        command, input=data, capture_output=True, timeout=20, env=ENVIRONMENT, check=False, **more
    )


def complaint(done: subprocess.CompletedProcess[bytes]) -> str:
    """The one line on standard error."""
    text = done.stderr.decode()
    assert text.startswith("penstock: "), text
    assert text.count("\n") == 1, text
    return text.removeprefix("penstock: ").rstrip("\n")


def test_help_names_every_command_and_status() -> None:
    done = penstock("--help")
    text = done.stdout.decode()
    assert done.returncode == 0
    assert all(
        name in text and summary.split(",")[0] in " ".join(text.split()) for name, summary in COMMANDS.items()
    )
    assert all(f"  {status} " in text for status in (0, 1, 2, 130, 141))


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command: str) -> None:
    done = penstock(command, "--help")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"exit status:" in done.stdout


def test_the_version_is_the_package_s() -> None:
    done = penstock("--version")
    assert done.stdout.startswith(b"penstock 0.") or done.stdout.startswith(b"penstock 1.")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (["nonsense"], "nonsense"),
        (["replay", "--port", "70000"], "70000"),
        (["replay", "--port", "x"], "--port"),
        (["replay", "--fault", "nonsense"], "unknown fault"),
        (["replay", "--rate", "fast"], "rate=N"),
        (["replay", "--file", "/nonexistent.jsonl"], "/nonexistent.jsonl: No such file"),
        (["replay", "--file", "/"], "/: Is a directory"),
        (["replay", "--host", "192.0.2.1"], "assign"),
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], words: str) -> None:
    done = penstock(*arguments)
    assert done.returncode == 2
    assert words in complaint(done)
    assert done.stdout == b""


class Replay:
    """A `penstock replay` process."""

    def __init__(self, *arguments: str) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [*PENSTOCK, "replay", *arguments], stdin=pipe, stdout=pipe, stderr=pipe, env=ENVIRONMENT
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().decode().strip()

    def __enter__(self) -> Replay:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def stopped(self) -> tuple[int, bytes]:
        """The status and what was said on standard error, once the process has ended."""
        _, said = self.process.communicate(timeout=10)
        return self.process.returncode, said


def test_replay_serves_from_a_process_of_its_own(tmp_path: Path) -> None:
    recorded = tmp_path / "two.jsonl"
    recorded.write_text('{"type":"response.created"}\n{"type":"response.completed","response":{}}\n')
    with Replay("--file", str(recorded), "--rate", "100", "--fault", "crlf") as replay:
        answer = httpx.post(f"{replay.url}/v1/responses", json={"model": "any", "input": "", "stream": True})
        assert answer.text.count("data: ") == 2
        assert "\r\n\r\n" in answer.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_replay_stops_on_a_signal(number: int) -> None:
    with Replay() as replay, httpx.stream("POST", f"{replay.url}/v1/responses", json=STALLED) as answer:
        assert answer.status_code == 200
        replay.process.send_signal(number)
        assert replay.stopped() == (0, b"")


def test_replay_stops_when_its_input_ends() -> None:
    with Replay("--until-eof") as replay:
        assert httpx.get(f"{replay.url}/health").status_code == 200
        assert replay.process.stdin is not None
        replay.process.stdin.close()
        replay.process.stdin = None
        assert replay.process.wait(10) == 0


def test_a_taken_port_is_one_line() -> None:
    with Replay() as replay:
        done = penstock("replay", "--port", replay.url.rpartition(":")[2])
        assert done.returncode == 2
        assert "in use" in complaint(done)


STALLED = {"model": "replay-text+stall@3", "input": "", "stream": True}


def sse(*payloads: object, done: bool = False) -> bytes:
    """Payloads, JSON or raw bytes, as an event stream."""
    data = [payload if isinstance(payload, bytes) else json.dumps(payload).encode() for payload in payloads]
    return b"".join(b"data: %b\n\n" % one for one in [*data, *([b"[DONE]"] if done else [])])


def lines(*payloads: object) -> bytes:
    return b"".join(json.dumps(payload).encode() + b"\n" for payload in payloads)


CREATED = {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress", "output": []}}
DELTA = {
    "type": "response.output_text.delta",
    "output_index": 0,
    "content_index": 0,
    "delta": "Grüße \u2028 🌊",
}
FAILED = {"type": "response.failed", "response": {"error": {"code": "x", "message": "out of\nwater"}}}
COMPLETED = {"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": []}}
CHUNK = {
    "object": "chat.completion.chunk",
    "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}],
}
STOP = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
MESSAGE = {"type": "message_start", "message": {}}

GOOD = {
    "responses": (sse(CREATED, DELTA, COMPLETED), lines(CREATED, DELTA, COMPLETED), "Grüße \u2028 🌊"),
    "carriage returns": (sse(CREATED, COMPLETED).replace(b"\n", b"\r\n"), lines(CREATED, COMPLETED), ""),
    "no last blank line": (sse(CREATED, COMPLETED)[:-2], lines(CREATED, COMPLETED), ""),
    "json lines": (
        b"\n " + lines(CREATED, DELTA, COMPLETED)[:-1],
        lines(CREATED, DELTA, COMPLETED),
        "Grüße \u2028 🌊",
    ),
    "byte order mark": (b"\xef\xbb\xbf" + lines(CREATED, COMPLETED), lines(CREATED, COMPLETED), ""),
    "chat with sentinel": (sse(CHUNK, CHUNK, STOP, done=True), lines(CHUNK, CHUNK, STOP), "HiHi"),
    "chat without": (sse(CHUNK, STOP), lines(CHUNK, STOP), "Hi"),
    "chat, sentinel alone": (sse(CHUNK, done=True), lines(CHUNK), "Hi"),
    "messages": (sse(MESSAGE, {"type": "message_stop"}), lines(MESSAGE, {"type": "message_stop"}), ""),
    "several data lines": (b'data: {"a":\ndata:\ndata: 1}\n\n', b'{"a":  1}\n', ""),
    "numbers and spelling stay": (b'data:{"n":1.0e2,"u":"\\u0041"}\n\n', b'{"n":1.0e2,"u":"\\u0041"}\n', ""),
    "plain words": (
        b"id: 7\nevent: tick\ndata: hello\n\n",
        lines({"type": "tick", "id": "7", "data": "hello"}),
        "",
    ),
    "bad utf-8": (b'data: {"a":"\xff"}\n\n', '{"a":"\ufffd"}\n'.encode(), ""),
    "a second life": (
        sse(CREATED, FAILED, CREATED, COMPLETED),
        lines(CREATED, FAILED, CREATED, COMPLETED),
        "",
    ),
    "only the sentinel": (sse(done=True), b"", ""),
}


@pytest.mark.parametrize("kind", GOOD)
def test_decode_prints_payloads_and_text(tmp_path: Path, kind: str) -> None:
    stream, payloads, text = GOOD[kind]
    file = tmp_path / "stream"
    file.write_bytes(stream)
    for done in (penstock("decode", str(file)), penstock("decode", "-", data=stream)):
        assert (done.returncode, done.stderr, done.stdout) == (0, b"", payloads)
    done = penstock("decode", "--text", str(file))
    assert (done.returncode, done.stderr, done.stdout.decode()) == (0, b"", text)


BAD = {
    "empty": (b"", "empty input", b""),
    "white space": (b" \n\n\n", "no events in 4 bytes", b""),
    "comments": (b": ping\n\n: ping\n\n", "no events in 16 bytes and 2 comments", b""),
    "rubbish": (bytes(range(256)) * 64, "no events in 16384 bytes", b""),
    "zeros": (bytes(2 * 1024 * 1024), "max_idle_bytes", b""),
    "prose": (b"It was a dark and stormy night.\n" * 9, "no events", b""),
    "html": (b"<!doctype html><p>Bad gateway", "an HTML or XML page, not an event stream", b""),
    "json error": (b'{\n "error": {"message": "no such key"}\n}', "a JSON error (no such key), not an", b""),
    "json error, one line": (b'{"error": {"message": "no such key"}}', "an error: no such key", None),
    "json document": (b"[1, 2]", "a JSON document, not an event stream", b""),
    "cut json document": (b'{\n "error": {', "a JSON document that is broken off", b""),
    "cut": (sse(CREATED, DELTA), "cut short after 2 events", lines(CREATED, DELTA)),
    "cut inside an event": (sse(CREATED, DELTA)[:-9], "cut short after 1 events", lines(CREATED)),
    "cut lines": (lines(CREATED, DELTA), "cut short after 2 events", lines(CREATED, DELTA)),
    "cut chat": (sse(CHUNK), "cut short after 1 events", lines(CHUNK)),
    "cut messages": (sse(MESSAGE), "cut short after 1 events", lines(MESSAGE)),
    "failed": (sse(CREATED, FAILED), "ended in an error: out of water", lines(CREATED, FAILED)),
    "flat error": (sse(CREATED, {"type": "error", "message": "m"}), "ended in an error: m", None),
    "wordless error": (sse(CREATED, {"type": "error", "error": 7}), "ended in an error: no message", None),
    "chat error": (sse(CHUNK, {"error": {"message": "m"}}, done=True), "ended in an error: m", None),
    "malformed": (
        sse(CREATED, b'{"type":', COMPLETED),
        "1 of 3 events are not JSON",
        lines(CREATED, {"type": "message", "id": None, "data": '{"type":'}, COMPLETED),
    ),
    "too deep": (sse(b"[" * 1000), "1 of 1 events are not JSON", None),
    "too long a line": (b"data: " + b"x" * (17 << 20), "max_line_bytes", b""),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_decode_says_what_is_wrong_after_what_is_right(kind: str) -> None:
    stream, words, payloads = BAD[kind]
    done = penstock("decode", "-", data=stream)
    assert done.returncode == 1
    assert complaint(done).startswith("standard input: ")
    assert words in complaint(done)
    if payloads is not None:
        assert done.stdout == payloads


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["decode"], "FILE"),
        (["decode", "--text", "--final", "x"], "not allowed with"),
        (["decode", "--framing", "x", "x"], "--framing"),
        (["decode", "/nonexistent/file"], "/nonexistent/file: No such file or directory"),
        (["decode", "/"], "/: Is a directory"),
        (["decode", "x\n\x1b[2Jy"], "No such file"),
    ],
)
def test_decode_of_nothing_is_one_line(arguments: list[str], words: str) -> None:
    done = penstock(*arguments)
    assert done.returncode == 2
    assert words in complaint(done)
    assert b"\x1b" not in done.stderr


def finals(stream: bytes, status: int) -> list[Any]:
    done = penstock("decode", "--final", "-", data=stream)
    assert done.returncode == status, done
    assert (done.stderr == b"") == (status == 0)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def upstream() -> Iterator[ReplayServer]:
    with ReplayServer() as server:
        yield server


def recorded(upstream: ReplayServer, path: str, model: str) -> bytes:
    said = {"input": "x", "messages": [{"role": "user", "content": "x"}]}
    body = {"model": model, **said, "stream": True, "stream_options": {"include_usage": True}}
    return httpx.post(f"{upstream.base_url}/{path}", json=body).content


@pytest.mark.parametrize("model", [name for name in SCRIPTS if name != "replay-failed"])
def test_final_is_the_object_a_stream_adds_up_to(upstream: ReplayServer, model: str) -> None:
    stream = recorded(upstream, "responses", model)
    terminal = json.loads(stream.rstrip().rpartition(b"\ndata: ")[2])
    assert finals(stream, 0) == [terminal["response"]]
    (completion,) = finals(recorded(upstream, "chat/completions", model), 0)
    body = {"model": model, "messages": [{"role": "user", "content": "x"}]}
    whole = httpx.post(f"{upstream.base_url}/chat/completions", json=body).json()
    assert completion["object"] == "chat.completion"
    assert completion["usage"] == whole["usage"]
    assert completion["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
    for field in ("content", "refusal", "reasoning_content"):
        assert completion["choices"][0]["message"].get(field) == whole["choices"][0]["message"].get(field)


def test_final_tells_how_it_ended(upstream: ReplayServer) -> None:
    assert [final["id"] for final in finals(sse(CREATED, COMPLETED, CREATED, COMPLETED), 0)] == ["resp_1"] * 2
    (failed,) = finals(recorded(upstream, "responses", "replay-failed"), 1)
    assert failed["status"] == "failed"
    (cut,) = finals(recorded(upstream, "responses", "replay-text+cut@9"), 1)
    assert (cut["status"], cut["output"][0]["content"][0]["text"]) == (
        "in_progress",
        "A penstock carries water",
    )
    whole, cut = finals(sse(CREATED, COMPLETED, CREATED, DELTA), 1)
    assert (whole["status"], cut["status"]) == ("completed", "in_progress")
    assert finals(sse({"type": "x"}), 0) == []
    assert finals(sse(MESSAGE), 2) == []


def test_framing_and_dialect_may_be_forced() -> None:
    assert penstock("decode", "--framing", "sse", "-", data=lines(CREATED)).returncode == 1
    assert penstock("decode", "--framing", "ndjson", "-", data=b"[1]\n2\n").stdout == b"[1]\n2\n"
    assert penstock("decode", "--dialect", "responses", "-", data=sse({"type": "x"})).returncode == 1
    assert penstock("decode", "--dialect", "auto", "-", data=sse({"type": "x"})).returncode == 0


def test_a_reader_that_stops_reading_is_no_failure() -> None:
    stream = sse(*[CREATED] * 20_000)
    command = f"{shlex.join(PENSTOCK)} decode - | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], input=stream, capture_output=True, timeout=20, check=True)
    assert done.stderr == b""
    assert done.stdout == lines(CREATED) + b"141\n"


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        command = [*PENSTOCK, "decode", "-"]
        done = subprocess.run(command, input=sse(CREATED), stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (2, b"penstock: No space left on device\n")


def test_a_closed_input_is_one_line() -> None:
    command = f"{shlex.join(PENSTOCK)} decode - <&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert (done.returncode, complaint(done)) == (2, "standard input: Bad file descriptor")


@pytest.mark.parametrize("form", [[], ["--text"]])
def test_events_are_printed_as_they_come_and_ctrl_c_is_one_line(form: list[str]) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([*PENSTOCK, "decode", *form, "-"], stdin=pipe, stdout=pipe, stderr=pipe) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write(sse(DELTA))
        running.stdin.flush()
        assert "Grüße" in os.read(running.stdout.fileno(), 4096).decode(
            "unicode_escape" if not form else "utf-8"
        )
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=10)
        assert (running.returncode, out, err) == (130, b"", b"penstock: interrupted\n")


# Not `getrusage`, whose maximum survives `exec` and so is that of the test process.
MEASURED = """
import re, sys
from penstock.cli import main
status = main(sys.argv[1:])
with open("/proc/self/status") as lines:
    print(re.search(r"VmHWM:\\s+(\\d+)", lines.read())[1], file=sys.stderr)
sys.exit(status)
"""


def peak(stream: Path, *form: str) -> int:
    """The most memory, in KiB, that decoding a file takes."""
    command = [sys.executable, "-c", MEASURED, "decode", *form, str(stream)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)
    return int(done.stderr)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("form", [[], ["--text"]])
def test_memory_does_not_grow_with_the_input(tmp_path: Path, form: list[str]) -> None:
    sizes = []
    for megabytes in (1, 24):
        stream = tmp_path / f"{megabytes}.sse"
        delta = sse(DELTA)
        stream.write_bytes(sse(CREATED) + delta * (megabytes * 1024 * 1024 // len(delta)) + sse(COMPLETED))
        sizes.append(peak(stream, *form))
    assert sizes[1] - sizes[0] < 4 * 1024
