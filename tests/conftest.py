"""Fixtures shared by the tests of the faces."""

import signal
from collections.abc import Iterator

import pytest
import redis_server as redis
from upstream import Upstream, running


@pytest.fixture(scope="session", autouse=True)
def interrupts() -> None:
    """What tests start can be interrupted, though a shell that runs them in its background ignores it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_upstream() -> Iterator[Upstream]:
    with running() as upstream:
        yield upstream


@pytest.fixture
def upstream(shared_upstream: Upstream) -> Iterator[Upstream]:
    """A server on loopback; the test that leaves a connection open fails."""
    yield shared_upstream
    assert shared_upstream.settled(), f"{len(shared_upstream.connections)} connections left open"


@pytest.fixture(scope="session")
def redis_server() -> Iterator[redis.RedisServer]:
    """A real Redis, which syncs its file with every write."""
    if redis.PROGRAM is None:
        pytest.skip("redis-server is not installed")
    with redis.running() as server:
        yield server


@pytest.fixture
def own_server() -> Iterator[redis.RedisServer]:
    """A Redis that a test may kill."""
    if redis.PROGRAM is None:
        pytest.skip("redis-server is not installed")
    with redis.running() as server:
        yield server
