"""Close codes and reasons between two sides: only what RFC 6455 lets travel, and what may stays as it is."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.websocket.closing import close_code, close_reason

Side = Literal["client", "upstream"]

MAY_TRAVEL = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, *range(3000, 5000)}
"""RFC 6455 §7.4.1 and IANA's registry: what a Close frame may hold."""


@pytest.mark.parametrize(
    ("code", "client", "upstream"),
    [
        (1000, 1000, 1000),
        (1001, 1001, 1001),
        (1005, 1000, 1000),
        (1006, 1011, 1001),
        (1015, 1011, 1001),
        (1004, 1011, 1001),
        (1008, 1008, 1008),
        (1009, 1009, 1009),
        (1010, 1011, 1010),  # a client's word: no server says it
        (1011, 1011, 1011),
        (1012, 1012, 1012),
        (1013, 1013, 1013),
        (1014, 1014, 1014),
        (3000, 3000, 3000),
        (4999, 4999, 4999),
        (0, 1011, 1001),
        (999, 1011, 1001),
        (1016, 1011, 1001),
        (2999, 1011, 1001),
        (5000, 1011, 1001),
    ],
)
def test_codes(code: int, client: int, upstream: int) -> None:
    assert close_code(code, towards="client") == client
    assert close_code(code, towards="upstream") == upstream


@pytest.mark.parametrize("side", ["client", "upstream"])
def test_no_code_is_made_that_may_not_travel(side: Side) -> None:
    for code in range(70_000):
        sent = close_code(code, towards=side)
        assert sent in MAY_TRAVEL
        assert close_code(sent, towards=side) == sent


@given(st.text(max_size=200))
def test_a_reason_fits_and_is_the_beginning(reason: str) -> None:
    cut = close_reason(reason)
    assert len(cut.encode()) <= 123
    whole = reason.encode("utf-8", "replace").decode()
    assert whole.startswith(cut)
    assert cut == whole or len(whole.encode()) > 123


def test_a_reason_is_cut_between_characters() -> None:
    assert close_reason("é" * 100) == "é" * 61
    assert close_reason("a\ud800b") == "a?b"
