"""What a client may send: sizes, and rates as buckets that fill steadily."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import LimitExceeded, PenstockError
from penstock.websocket import LaneLimits, ManagedLimits, TurnTimeouts
from penstock.websocket.limits import ConnectionLimits, Gate, refusal_of
from penstock.websocket.wire import RefusedError


def close_code(error: PenstockError | None) -> int | None:
    return None if error is None else refusal_of(error).close_code


@pytest.mark.parametrize(
    ("message", "fits"),
    [
        ("a" * 10, True),
        ("a" * 11, False),
        ("é" * 5, True),
        ("é" * 6, False),
        (b"a" * 10, True),
        (b"a" * 11, False),
    ],
)
def test_sizes_are_counted_in_bytes(message: str | bytes, fits: bool) -> None:
    error = Gate(ConnectionLimits(max_message_bytes=10), 0.0).take(message, 0.0)
    if fits:
        assert error is None
    else:
        assert isinstance(error, LimitExceeded)
        assert (error.limit, error.maximum) == ("max_message_bytes", 10)
        assert error.value > 10
        refusal = refusal_of(error)
        assert (refusal.status, refusal.code, refusal.close_code) == (413, "message_too_big", 1009)


def test_messages_in_a_time() -> None:
    gate = Gate(ConnectionLimits(max_messages=3, per_seconds=6.0), 100.0)
    assert [close_code(gate.take("x", 100.0)) for _ in range(4)] == [None, None, None, 1008]
    gate = Gate(ConnectionLimits(max_messages=3, per_seconds=6.0), 100.0)
    assert [close_code(gate.take("x", 100.0 + 2 * i)) for i in range(50)] == [None] * 50


def test_bytes_in_a_time() -> None:
    gate = Gate(ConnectionLimits(max_bytes=100, max_messages=None, per_seconds=10.0), 0.0)
    assert [close_code(gate.take("x" * 50, 0.0)) for _ in range(3)] == [None, None, 1008]
    gate = Gate(ConnectionLimits(max_bytes=100, max_messages=None, per_seconds=10.0), 0.0)
    assert [close_code(gate.take("x" * 50, 5.0 * i)) for i in range(50)] == [None] * 50


def test_a_rate_s_refusal_says_what_and_no_more() -> None:
    gate = Gate(ConnectionLimits(max_messages=1), 0.0)
    gate.take("x", 0.0)
    error = gate.take("secret", 0.0)
    assert isinstance(error, RefusedError)
    assert (error.status, error.code, error.type) == (429, "rate_limit_exceeded", "rate_limit_error")
    assert "secret" not in f"{error!r}"


def test_no_limits() -> None:
    gate = Gate(ConnectionLimits(max_message_bytes=None, max_messages=None, max_bytes=None), 0.0)
    assert all(gate.take("x" * 10_000, 0.0) is None for _ in range(1000))


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 30)), max_size=60))
def test_never_more_than_twice_the_rate_in_any_window(sent: list[tuple[float, int]]) -> None:
    """What a full bucket and its filling allow together; the naive oracle adds up every window."""
    gate = Gate(ConnectionLimits(max_messages=5, max_bytes=60, per_seconds=10.0), 0.0)
    now, taken = 0.0, []
    for pause, size in sent:
        now += pause
        if gate.take("x" * size, now) is None:
            taken.append((now, size))
        else:
            break
    for begin, _ in taken:
        window = [size for when, size in taken if begin <= when < begin + 10.0]
        assert len(window) <= 10
        assert sum(window) <= 120


@pytest.mark.parametrize("name", ["max_message_bytes", "max_messages", "per_seconds", "write_seconds"])
def test_limits_are_positive(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        ConnectionLimits(**{name: 0})


README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
UNITS = {"": 1, "s": 1, "MiB": 1 << 20}


@pytest.mark.parametrize("kind", [ConnectionLimits, LaneLimits, ManagedLimits, TurnTimeouts])
def test_the_readme_s_table_says_the_defaults(kind: type) -> None:
    rows = re.findall(rf"^\| `{kind.__name__}\.(\w+)` \| ([\d,]+) ?(\w*) \|", README, re.MULTILINE)
    made = kind()
    told = {name: int(count.replace(",", "")) * UNITS[unit] for name, count, unit in rows}
    have = {name: getattr(made, name) for name in made.__slots__}
    assert told == {name: value for name, value in have.items() if isinstance(value, int | float)}
