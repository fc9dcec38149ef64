"""What is due when, and the thread that sees to it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from functools import partial
from math import inf
from typing import Any

import pytest

from penstock import timeouts
from penstock.timeouts import Kind, Timeouts, Watch, Watchdog


def test_nothing_to_watch() -> None:
    assert not Timeouts(idle=None, duration=None, first_event=None)
    assert Timeouts(idle=None, duration=None, first_event=None).next(5.0) == (inf, "idle")


@pytest.mark.parametrize(
    ("options", "waiting_since", "expected"),
    [
        ({"idle": 10}, 0.0, (113.0, "idle")),  # the consumer is busy: look again later
        ({"idle": 10}, 101.0, (111.0, "idle")),
        ({"idle": 10, "duration": 11}, 101.0, (111.0, "idle")),
        ({"idle": 10, "duration": 5}, 101.0, (105.0, "duration")),
        ({"idle": 10, "duration": 5, "first_event": 4}, 101.0, (104.0, "first_event")),
        ({"idle": 10, "first_event": 40}, 101.0, (111.0, "idle")),
        ({"first_event": 4}, 101.0, (104.0, "first_event")),
    ],
)
def test_what_is_due(options: Any, waiting_since: float, expected: Any) -> None:
    times = Timeouts(**{"idle": None, "duration": None, "first_event": None, **options})
    times.began, times.waiting_since = 100.0, waiting_since
    assert times
    assert times.next(103.0) == expected


@pytest.mark.parametrize("name", ["idle", "duration", "first_event"])
@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_time_outs_are_positive(name: str, seconds: float) -> None:
    with pytest.raises(ValueError, match=name):
        Timeouts(**{"idle": None, "duration": None, "first_event": None, name: seconds})


@pytest.mark.parametrize("kind", ["idle", "duration", "first_event"])
def test_error_says_what_expired(kind: Kind) -> None:
    error = Timeouts(idle=1.5, duration=1.5, first_event=1.5).error(kind)
    assert (error.kind, error.seconds) == (kind, 1.5)
    assert "1.5 s" in str(error)


# The watchdog


def test_watchdog_rests_when_there_is_nothing_to_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeouts, "LINGER_SECONDS", 0.05)
    dog = Watchdog()
    for _ in range(2):
        expired = threading.Event()
        times = Timeouts(idle=None, duration=0.1, first_event=None)
        times.began = time.monotonic()
        dog.add(Watch(times, expired.set))
        assert expired.wait(5)
        deadline = time.monotonic() + 5
        while dog._thread is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert dog._thread is None


def test_watchdog_minds_a_deadline_that_is_earlier_than_the_others() -> None:
    dog = Watchdog()
    calls: list[str] = []
    done = threading.Event()

    def expired(name: str) -> None:
        calls.append(name)
        done.set()

    for name, seconds in (("late", 300.0), ("removed", 0.15), ("early", 0.2), ("later", 301.0)):
        times = Timeouts(idle=seconds, duration=None, first_event=None)
        times.waiting_since = time.monotonic()
        watch = Watch(times, partial(expired, name))
        time.sleep(0.01)  # let the thread look at the others first
        dog.add(watch)
        if name == "removed":
            dog.remove(watch)
    assert done.wait(5)
    assert calls == ["early"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_forked_child_has_a_watchdog_of_its_own() -> None:
    program = """
import os, socket, sys, time
from penstock.stream import Stream
from penstock.errors import StreamTimeout
from penstock.timeouts import watchdog

def times_out():
    ours, theirs = socket.socketpair()
    try:
        Stream(ours.makefile("rb"), idle_timeout=0.1).final()
    except StreamTimeout:
        return True

ours, theirs = socket.socketpair()
alive = Stream(ours.makefile("rb"), idle_timeout=30)
theirs.sendall(b"data: {}\\n\\n")
next(alive)
before = watchdog()
child = os.fork()
if child == 0:
    os._exit(0 if watchdog() is not before and times_out() else 1)
_, status = os.waitpid(child, 0)
theirs.sendall(b"data: {}\\n\\n")
next(alive)
sys.exit(status or not times_out())
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=30)


def test_fork_leaves_the_parents_watches_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    before = timeouts.watchdog()
    monkeypatch.setattr(timeouts, "_watchdog", before)
    timeouts._forget_after_fork()
    assert timeouts.watchdog() is not before
