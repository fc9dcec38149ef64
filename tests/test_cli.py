"""The `penstock` command as a shell meets it: what it prints, one line for what is wrong, and the status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from penstock.cli import COMMANDS

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
