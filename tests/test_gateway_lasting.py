"""A store that is away for a while, and one that stays away."""

from __future__ import annotations

import time
from typing import Any

import pytest

from penstock.errors import PreviousResponseNotFound, StoreUnavailable
from penstock.gateway.lasting import Lasting
from penstock.store import MemoryStore


class Failing(MemoryStore):
    """Fails so many times before it does anything."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    def _fail(self) -> None:
        self.failures -= 1
        if self.failures >= 0:
            raise StoreUnavailable("away", backend="redis", reason="test")

    async def append(self, *arguments: Any, **options: Any) -> bool:
        self._fail()
        return await super().append(*arguments, **options)

    async def load_history(self, *arguments: Any, **options: Any) -> Any:
        self._fail()
        return await super().load_history(*arguments, **options)

    async def load_turn(self, tenant: str, response_id: str) -> Any:
        self._fail()
        return await super().load_turn(tenant, response_id)

    async def delete(self, tenant: str, response_id: str) -> bool:
        self._fail()
        return await super().delete(tenant, response_id)


async def test_what_fails_for_a_while_is_tried_again() -> None:
    under = Failing(3)
    store = Lasting(under, 10)
    assert await store.append("t", {"id": "a"}, input="hello")
    under.failures = 1
    assert len(await store.load_history("t", "a")) == 1
    under.failures = 1
    assert await store.load_turn("t", "a") is not None
    under.failures = 1
    assert await store.delete("t", "a")
    assert await store.expire() == 0
    await store.close()


async def test_what_stays_away_is_given_up() -> None:
    store = Lasting(Failing(1_000_000), 0.1)
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await store.append("t", {"id": "a"})
    assert time.monotonic() - began < 5
    with pytest.raises(StoreUnavailable):
        await Lasting(Failing(1), 0).load_turn("t", "a")


async def test_what_is_no_failure_of_the_store_is_not_tried_again() -> None:
    with pytest.raises(PreviousResponseNotFound):
        await Lasting(MemoryStore(), 60).load_history("t", "none")
