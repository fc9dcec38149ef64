"""One timer for a connection: what nobody takes is noticed, and what is taken in time is not."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from penstock.websocket.attending import Attendant
from penstock.websocket.limits import ConnectionLimits
from penstock.websocket.wire import RefusedError


async def attend(late: list[RefusedError], seconds: float | None, side: str | None, takes: float) -> bool:
    """Wait while a side has a message to take; whether the wait was ended."""
    attendant = Attendant(ConnectionLimits(write_seconds=seconds), late.append)
    try:
        async with asyncio.timeout(None) as scope:
            attendant.start(scope)
            if side is not None:
                attendant.sending[side] = asyncio.get_running_loop().time()
            await asyncio.sleep(takes)
            attendant.sending.clear()
            await asyncio.sleep(takes)
    except TimeoutError:
        assert scope.expired()
    finally:
        attendant.stop()
    return scope.expired()


@pytest.mark.parametrize(("side", "code"), [("client", 1008), ("upstream", 1013)])
async def test_a_side_that_takes_nothing(side: str, code: int) -> None:
    late: list[RefusedError] = []
    assert await attend(late, 0.05, side, takes=20)
    (refusal,) = late
    assert (refusal.code, refusal.close_code, refusal.status) == (f"{side}_too_slow", code, 504)


@pytest.mark.parametrize("side", ["client", None])
async def test_a_side_that_takes_its_time(side: str | None) -> None:
    late: list[RefusedError] = []
    assert not await attend(late, 20, side, takes=0.05)
    assert late == []


async def test_nobody_looks_if_nobody_asked() -> None:
    late: list[RefusedError] = []
    assert not await attend(late, None, "client", takes=0.02)
    assert late == []


async def test_waking() -> None:
    attendant = Attendant(ConnectionLimits(), lambda _: None)
    attendant.wake()  # nothing is read yet
    began = asyncio.get_running_loop().time()
    with suppress(TimeoutError):
        async with asyncio.timeout(None) as scope:
            attendant.start(scope)
            asyncio.get_running_loop().call_soon(attendant.wake)
            await asyncio.sleep(5)
    assert asyncio.get_running_loop().time() - began < 4
    attendant.wake()  # nothing is read any more, and nobody has said so
    attendant.stop()
    attendant.wake()
