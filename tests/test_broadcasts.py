"""Broadcasts by id: in memory, and on a real Redis so that any replica serves any subscriber."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis.asyncio
from redis_server import RedisServer
from relay_streams import RESPONSES, terminals

from penstock import Decoder, lint
from penstock.broadcasts import Broadcasts, RedisBroadcasts
from penstock.subscription import Subscription


async def read(subscription: Subscription) -> bytes:
    return b"".join([chunk async for chunk in subscription])


def payloads(stream: bytes) -> list[bytes]:
    return [event.data for event in Decoder().feed(stream)]


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


Replicas = Callable[..., RedisBroadcasts]


@pytest.fixture
async def replica(redis_server: RedisServer) -> AsyncIterator[Replicas]:
    """Makes replicas that share one Redis, each with a client of its own."""
    made: list[RedisBroadcasts] = []
    clients = []

    def make(**options: Any) -> RedisBroadcasts:
        clients.append(redis.asyncio.Redis.from_url(redis_server.url))
        made.append(RedisBroadcasts(clients[-1], **options))
        return made[-1]

    yield make
    for registry in made:
        await registry.aclose()
    await clients[0].flushall()
    for client in clients:
        await client.aclose()


async def test_an_id_is_its_tenant_s() -> None:
    registry = Broadcasts()
    mine = await registry.open("resp_1", tenant="a")
    theirs = await registry.open("resp_1", tenant="b")
    assert await registry.get("resp_1", tenant="a") is mine
    assert await registry.get("resp_1", tenant="b") is theirs
    assert await registry.get("resp_1") is None
    assert await registry.get("resp_2", tenant="a") is None
    with pytest.raises(ValueError, match="this id"):
        await registry.open("resp_1", tenant="a")
    await registry.aclose()
    assert mine.ended
    assert len(registry) == 0


async def test_the_end_is_kept_for_a_while() -> None:
    registry = Broadcasts(ttl=0.05)
    broadcast = await registry.open("r")
    await broadcast.publish(b"".join(RESPONSES))
    await asyncio.sleep(0.1)
    await broadcast.finish()
    assert await registry.get("r") is broadcast
    await until(lambda: len(registry) == 0)
    again = await registry.open("r")
    registry._forget(("", "r"), broadcast)  # a late timer of the one before
    assert await registry.get("r") is again
    await registry.aclose()


async def test_there_are_only_so_many() -> None:
    registry = Broadcasts(max_streams=2)
    first, _second = await registry.open("1"), await registry.open("2")
    with pytest.raises(RuntimeError, match="too many"):
        await registry.open("3")
    await first.finish()
    await registry.open("3")
    assert await registry.get("1") is None
    await registry.aclose()


@pytest.mark.parametrize("options", [{"ttl": 0}, {"max_streams": 0}])
def test_wrong_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="positive"):
        Broadcasts(**options)


@pytest.mark.parametrize("joined", [0, 7, 20, len(RESPONSES)])
async def test_any_replica_serves_any_subscriber(replica: Replicas, joined: int) -> None:
    here, there = replica(), replica()
    broadcast = await here.open("r", tenant="t")
    for frame in RESPONSES[:joined]:
        await broadcast.publish(frame)
    mirror = await there.get("r", tenant="t")
    assert mirror is not None
    assert await there.get("r", tenant="t") is mirror
    readers = [asyncio.ensure_future(read(mirror.subscribe(starting_after=-1))) for _ in range(3)]
    for frame in RESPONSES[joined:]:
        await broadcast.publish(frame)
    await broadcast.finish()
    expected = payloads(b"".join(RESPONSES))
    for reader in readers:
        assert payloads(await reader) == expected
    late = await replica().get("r", tenant="t")
    assert late is not None
    assert payloads(await read(late.subscribe(starting_after=30))) == expected[31:]
    await until(lambda: late.ended)
    assert lint(await read(late.subscribe())) == []
    await until(lambda: not here._published and not there._followers)


async def test_ids_are_the_tenant_s_on_every_replica(replica: Replicas) -> None:
    here, there = replica(), replica()
    await here.open("r", tenant="a")
    assert await there.get("r", tenant="b") is None
    assert await there.get("r") is None
    assert here._name(("a", "bc")) != here._name(("ab", "c"))
    with pytest.raises(ValueError, match="this id"):
        await there.open("r", tenant="a")


async def test_two_replicas_cannot_open_one_id(replica: Replicas) -> None:
    registries = [replica() for _ in range(5)]
    opened = await asyncio.gather(*(each.open("r") for each in registries), return_exceptions=True)
    assert sum(isinstance(each, ValueError) for each in opened) == 4


async def test_without_redis_a_stream_can_be_opened(replica: Replicas, redis_server: RedisServer) -> None:
    here = replica()
    redis_server.kill()
    try:
        broadcast = await here.open("r")
        await broadcast.publish(b"".join(RESPONSES))
        await broadcast.finish()
        assert payloads(await read(broadcast.subscribe(starting_after=-1))) == payloads(b"".join(RESPONSES))
    finally:
        redis_server.start()


async def test_a_failure_is_told_on_every_replica(replica: Replicas) -> None:
    here, there = replica(), replica()
    broadcast = await here.open("r")
    await broadcast.publish(b"".join(RESPONSES[:9]))
    mirror = await there.get("r")
    assert mirror is not None
    reader = asyncio.ensure_future(read(mirror.subscribe(starting_after=-1)))
    await broadcast.fail("The dam broke.")
    stream = await reader
    assert b"The dam broke." in stream
    assert lint(stream) == []


async def test_the_end_is_kept_for_a_while_in_redis_too(replica: Replicas) -> None:
    here = replica(ttl=0.2)
    broadcast = await here.open("r")
    await broadcast.publish(b"".join(RESPONSES))
    await broadcast.finish()
    assert await replica().get("r") is not None
    await asyncio.sleep(0.3)
    assert await replica().get("r") is None


async def test_a_lost_publisher_is_noticed(replica: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.broadcasts.BLOCK_MILLISECONDS", 50)
    here, there = replica(lease=0.3), replica()
    broadcast = await here.open("r")
    await broadcast.publish(b"".join(RESPONSES[:9]))
    mirror = await there.get("r")
    assert mirror is not None
    reader = asyncio.ensure_future(read(mirror.subscribe(starting_after=-1)))
    await asyncio.sleep(0.6)
    assert not reader.done()  # its lease is renewed, though nothing is said
    assert here._renewer is not None
    here._renewer.cancel()
    stream = await reader
    assert terminals(stream, "responses") == ["response.failed"]
    assert b"publisher is gone" in stream
    await broadcast.finish()


async def test_without_redis_the_stream_goes_on_where_it_is(
    replica: Replicas, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    here, there = replica(), replica()
    broadcast = await here.open("r")
    await broadcast.publish(b"".join(RESPONSES[:9]))
    mirror = await there.get("r")
    assert mirror is not None
    await until(lambda: mirror.events == 9)
    local = asyncio.ensure_future(read(broadcast.subscribe(starting_after=-1)))
    remote = asyncio.ensure_future(read(mirror.subscribe(starting_after=-1)))
    redis_server.kill()
    try:
        for frame in RESPONSES[9:]:
            await broadcast.publish(frame)
        await broadcast.finish()
        assert payloads(await local) == payloads(b"".join(RESPONSES))
        assert terminals(await remote, "responses") == ["response.failed"]
        assert "could not be written to Redis" in caplog.text
        assert "could not be read from Redis" in caplog.text
    finally:
        redis_server.start()


async def test_readers_that_are_cancelled_leave_redis_whole(replica: Replicas) -> None:
    """A reply that nobody waited for must not become the answer to the next question."""
    here = replica()
    broadcast = await here.open("r")
    await broadcast.publish(b"".join(RESPONSES[:9]))
    there = replica()
    for _ in range(8):
        mirror = await there.get("r")
        assert mirror is not None
        await asyncio.sleep(0.002)
        followers = list(there._followers)
        await mirror.fail("enough")
        for follower in followers:
            follower.cancel()
        await until(lambda: not there._followers)
        there._streams.clear()
        assert await there._client.exists(there._name(("", "r"))) == 1
    await broadcast.finish()


async def test_more_streams_are_followed_than_a_pool_of_redis_py_has_connections(
    redis_server: RedisServer,
) -> None:
    publisher, follower = (RedisBroadcasts.from_url(redis_server.url) for _ in range(2))
    streams = [await publisher.open(f"many {number}") for number in range(120)]
    mirrors = await asyncio.gather(*(follower.get(f"many {number}") for number in range(120)))
    await asyncio.gather(*(stream.publish({"type": "ping"}) for stream in streams))
    await asyncio.gather(*(stream.finish() for stream in streams))
    for mirror in mirrors:
        assert mirror is not None
        assert b"ping" in b"".join([frame async for frame in mirror.subscribe()])
    await publisher.aclose()
    await follower.aclose()
