"""The demo as a person runs it: in a pipe, on a terminal, without rich, and killed in the middle."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import httpx
import pytest

PENSTOCK = [sys.executable, "-m", "penstock"]
ENVIRONMENT = {
    **os.environ,
    "PYTHONWARNINGS": "error",
    "TERM": "xterm-256color",
    "COLUMNS": "90",
    "LINES": "40",
}

SHOWN = [
    "A penstock carries water from the reservoir to the turbine.",
    "stopped too soon.",
    "read_gauge",
    'station="upper-weir", unit="m", hours=[0, 6, 12, 24]',
    "function_call set_gate",
    "completed",
    "finish_reason",
    "154 total tokens",
    "161 events",
    "response.completed",
    "p50",
    "p99",
    "over a WebSocket",
    "Then close it by half.",
    "breaks off",
    "failed",
    "server_error: the upstream's stream ended before its response did",
    "94 events",
    "7 streams in",
]


def on_a_terminal(command: list[str]) -> tuple[int, str]:
    """Run a command on a pseudo-terminal; its status and what it drew, escape sequences taken out."""
    master, slave = pty.openpty()
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=ENVIRONMENT) as running:
        os.close(slave)
        drawn = b""
        try:
            while select.select([master], [], [], 20)[0]:
                drawn += os.read(master, 65536)
        except OSError:  # EIO: the other side is closed
            pass
        status = running.wait(10)
    os.close(master)
    return status, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.decode())


def missing(text: str) -> list[str]:
    flat = " ".join(text.replace("│", " ").split())
    return [words for words in SHOWN if words not in flat]


@pytest.mark.parametrize("options", [[], ["--plain"]])
def test_in_a_pipe_it_is_plain_lines(options: list[str]) -> None:
    command = [*PENSTOCK, "demo", "--rate", "20", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=ENVIRONMENT, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert missing(done.stdout) == []
    assert not set("╭│\x1b") & set(done.stdout)


def test_on_a_terminal_it_has_panels() -> None:
    status, drawn = on_a_terminal([*PENSTOCK, "demo", "--rate", "20"])
    assert status == 0
    assert missing(drawn) == []
    assert drawn.count("╭─ final Response") == 5
    assert "Traceback" not in drawn


def test_without_rich_a_terminal_gets_plain_lines() -> None:
    blocked = (
        "import sys; sys.modules['rich.console'] = None; from penstock.cli import main; sys.exit(main())"
    )
    status, drawn = on_a_terminal([sys.executable, "-c", blocked, "demo", "--rate", "20"])
    assert status == 0
    assert missing(drawn) == []
    assert "╭" not in drawn


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_upstream_ends_with_the_demo(number: int) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*PENSTOCK, "demo"], stdout=pipe, stderr=pipe, text=True, env=ENVIRONMENT
    ) as running:
        assert running.stdout is not None
        found = re.search(r"http://[\d.:]+", running.stdout.readline())
        assert found
        url = found[0]
        assert httpx.get(f"{url}/health").status_code == 200
        running.send_signal(number)
        _, said = running.communicate(timeout=10)
    assert (running.returncode, said) in [(-signal.SIGKILL, ""), (130, "penstock: interrupted\n")]
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            httpx.get(f"{url}/health")
        except httpx.TransportError:
            return
        time.sleep(0.05)
    pytest.fail("the upstream outlives the demo")
