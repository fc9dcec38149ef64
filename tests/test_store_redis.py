"""`RedisStore` against a real server: what it adds to what every store promises. Kills are real ones."""

from __future__ import annotations

import asyncio
import os
import random
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis_server as servers
from redis import asyncio as redis_asyncio
from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from penstock import LimitExceeded, PreviousResponseNotFound, StoreUnavailable
from penstock.store import Bounds, scripts
from penstock.store.redis import RedisStore

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

KILLS = 50
CANCELS = int(os.environ.get("PENSTOCK_CANCELS", "2000"))
"""In a minute it is ten thousand of them."""
KEYS = 32


@pytest.fixture
async def client(redis_server: servers.RedisServer) -> AsyncIterator[Any]:
    client = redis_asyncio.from_url(redis_server.url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
async def store(client: Any) -> RedisStore:
    return RedisStore(client)


async def say(store: RedisStore, name: str, parent: str | None = None, tenant: str = "t") -> bool:
    return await store.append(tenant, {"id": name}, input=name, parent=parent)


async def said(store: RedisStore, name: str, tenant: str = "t") -> list[str]:
    return [item["content"] for item in await store.load_history(tenant, name)]


async def test_killing_the_server_loses_no_acknowledged_turn(
    own_server: servers.RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two writers race on one conversation, over and over, while the server is killed under them."""
    monkeypatch.setattr("penstock.store.redis.PAUSES", ())  # it does not come back meanwhile
    moments = random.Random(17)  # noqa: S311 - reproducible, no secret
    told: dict[str, str | None] = {}
    enough = asyncio.Event()
    dead = until = 0

    async def writer(store: RedisStore, who: str, kill: int) -> None:
        parent = f"trunk{kill - 1}" if kill else None
        trunk = f"trunk{kill}"
        try:
            await say(store, trunk, parent)  # both writers' turn
            told[trunk] = parent
            parent = trunk
            for number in range(10_000):
                turn = f"{who}{kill}-{number}"
                await say(store, turn, parent)
                told[turn] = parent
                parent = turn
                if len(told) >= until:
                    enough.set()
        except StoreUnavailable:
            nonlocal dead
            dead += 1

    for kill in range(KILLS):
        async with RedisStore.from_url(own_server.url) as store:
            await say(store, f"trunk{kill}", f"trunk{kill - 1}" if kill else None)
            writers = [asyncio.create_task(writer(store, who, kill)) for who in "ab"]
            until = len(told) + moments.randrange(1, 60)
            enough.clear()
            await enough.wait()
            own_server.kill()
            await asyncio.gather(*writers)
        own_server.start()
    assert dead == 2 * KILLS
    async with RedisStore.from_url(own_server.url) as store:
        assert await store.durability() == "always"
        for turn, parent in told.items():
            loaded = await store.load_turn("t", turn)
            assert loaded is not None, "an acknowledged turn is lost"
            assert (loaded.parent, loaded.input.json()[0]["content"]) == (parent, turn)
        for who in "ab":
            for kill in range(KILLS):
                chain = [turn for turn in told if turn.startswith(f"{who}{kill}-")]
                expected = [f"trunk{before}" for before in range(kill + 1)] + chain
                assert await said(store, chain[-1] if chain else f"trunk{kill}") == expected
        await whole(store)
    assert len(told) > 10 * KILLS


async def whole(store: RedisStore) -> None:
    """No half turns: names, items and what holds them are one another's, and the bytes are their sum."""
    client = store._client
    (key,) = await client.keys("*:turns")
    turns, links, holds, uses, state = (key.replace(b"turns", name.encode()) for name in servers.NAMES)
    count = await client.hlen(turns)
    assert count == await client.zcard(uses)
    assert sorted(await client.hkeys(holds)) == sorted(await client.hkeys(links))
    named = sum(int(value) for value in await client.hvals(holds))
    roots = 1
    assert named == count + await client.hlen(links) - roots
    assert int(await client.hget(state, "bytes")) > 512 * count


async def test_cancelled_calls_never_get_another_s_reply(
    redis_server: servers.RedisServer, client: Any
) -> None:
    """redis-py returned connections with unread replies to the pool (CVE-2023-28858 and -28859)."""
    del client  # emptied the server
    rng = random.Random(5)  # noqa: S311 - reproducible, no secret
    async with slowed(redis_server.port) as port:
        options: dict[str, Any] = {"max_connections": 24}
        async with RedisStore.from_url(f"redis://127.0.0.1:{port}", **options) as store:
            await store.durability()
            for key in range(KEYS):
                await say(store, f"key{key}", tenant=f"tenant {key}")
            cancelled = 0
            while cancelled < CANCELS:
                keys = [rng.randrange(KEYS) for _ in range(20)]
                tasks = [asyncio.create_task(said(store, f"key{key}", f"tenant {key}")) for key in keys]
                await asyncio.sleep(rng.random() * 0.004)
                for task in tasks:
                    if rng.random() < 0.8:
                        cancelled += task.cancel()
                outcomes = await asyncio.gather(*tasks, return_exceptions=True)
                for key, outcome in zip(keys, outcomes, strict=True):
                    assert isinstance(outcome, asyncio.CancelledError) or outcome == [f"key{key}"], outcome
            for key in range(KEYS):
                assert await said(store, f"key{key}", f"tenant {key}") == [f"key{key}"]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[int]:
    """The port of a server, of which nothing goes on behind the end."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)


@asynccontextmanager
async def slowed(port: int) -> AsyncIterator[int]:
    """A proxy that holds every reply back for up to a few milliseconds."""
    rng = random.Random(6)  # noqa: S311 - reproducible, no secret

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, delay: float) -> None:
            try:
                while data := await source.read(65_536):
                    await asyncio.sleep(rng.random() * delay)
                    target.write(data)
                    await target.drain()
            except OSError:
                pass
            finally:
                target.close()

        await asyncio.gather(pump(reader, up_writer, 0), pump(up_reader, writer, 0.004))

    async with serving(serve) as proxy:
        yield proxy


async def test_more_calls_than_connections_wait_for_their_turn(redis_server: servers.RedisServer) -> None:
    """A pool of redis-py raises for the hundred and first call."""
    for most in (100, 2):
        async with RedisStore.from_url(redis_server.url, prefix=f"of {most}", max_connections=most) as store:
            names = [f"r{number}" for number in range(300)]
            assert await asyncio.gather(*(say(store, name) for name in names)) == [True] * 300
            assert await asyncio.gather(*(said(store, name) for name in names)) == [[name] for name in names]


async def test_an_append_whose_reply_is_lost_is_made_again_and_is_the_same(
    redis_server: servers.RedisServer, client: Any
) -> None:
    async with deaf(redis_server.port) as (url, lose), RedisStore.from_url(url) as store:
        parent = None
        for times in (0, 1, 2, 3, 1, 3):
            lose(times)
            name = f"{parent}+{times}"
            assert await say(store, name, parent) is True
            assert await say(store, name, parent) is False
            parent = name
        assert parent is not None
        lose(1)
        assert len(await said(store, parent)) == 6
        lose(4)
        with pytest.raises(StoreUnavailable) as raised:
            await say(store, "last", parent)
        assert raised.value.reason == "ConnectionError"
        assert await say(store, "last", parent) is False, "it was stored, if nobody could say so"
    await whole(RedisStore(client))


@asynccontextmanager
async def deaf(port: int) -> AsyncIterator[tuple[str, Callable[[int], None]]]:
    """The url of a proxy, and what has it lose so many replies to scripts, with their connections."""
    left = 0

    def lose(times: int) -> None:
        nonlocal left
        left = times

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
        scripts_sent = False

        async def upwards() -> None:
            nonlocal scripts_sent
            while data := await reader.read(65_536):
                scripts_sent = scripts_sent or b"EVALSHA" in data
                up_writer.write(data)

        async def downwards() -> None:
            nonlocal left
            while data := await up_reader.read(65_536):
                if scripts_sent and left:
                    left -= 1
                    break
                writer.write(data)
            writer.close()

        try:
            await asyncio.gather(upwards(), downwards(), return_exceptions=True)
        finally:
            up_writer.close()
            writer.close()

    async with serving(serve) as proxy:
        yield f"redis://127.0.0.1:{proxy}", lose


async def test_a_server_that_stands_still_is_waited_for(own_server: servers.RedisServer) -> None:
    async with RedisStore.from_url(own_server.url) as store:
        await say(store, "r1")
        own_server.stop()
        waiting = [asyncio.create_task(say(store, f"r{number}", "r1")) for number in range(2, 5)]
        async with RedisStore.from_url(own_server.url, wait=0.2) as impatient:
            with pytest.raises(StoreUnavailable) as raised:
                await say(impatient, "r5", "r1")
        assert (raised.value.backend, raised.value.reason) == ("redis", "TimeoutError")
        assert not any(task.done() for task in waiting)
        own_server.go_on()
        assert await asyncio.gather(*waiting) == [True] * 3
        await say(store, "r5", "r1")  # there already, or on its way
        await whole(store)


async def test_waiting_for_one_s_turn_is_waiting(own_server: servers.RedisServer) -> None:
    async with RedisStore.from_url(own_server.url, wait=0.2, max_connections=1) as store:
        await say(store, "r1")
        own_server.stop()
        outcomes = await asyncio.gather(*(say(store, f"x{n}") for n in range(5)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 5
        own_server.go_on()
        assert await RedisStore(store._client).append("t", {"id": "r2"}, parent="r1") is True


@pytest.mark.parametrize("wait", [0, -1, float("nan")])
def test_a_wait_is_some_time(wait: float) -> None:
    with pytest.raises(ValueError, match="more than 0"):
        RedisStore.from_url("redis://127.0.0.1:1", wait=wait)


async def test_stores_that_share_connections_take_no_reply_of_one_another(client: Any) -> None:
    """Each call is named, and no two stores have a name in common."""
    asked: list[bytes] = []

    async def evalsha(*sent: Any) -> Any:
        asked.append(sent[7])
        return [sent[7], b"missing"]

    client.evalsha = evalsha
    for store in (RedisStore(client), RedisStore(client)):
        for _ in range(3):
            assert await store.load_turn("t", "r1") is None
    assert len({*asked}) == 6


MINE = b"the call's own name"


class Mixed:
    """A client that answers as if replies had been mixed up, unless they begin with `MINE`."""

    def __init__(self, reply: Any) -> None:
        self.reply = reply

    def get_encoder(self) -> Any:
        made: Any = redis_asyncio.Redis()
        return made.get_encoder()

    async def config_get(self, _: str) -> dict[bytes, bytes]:
        return {b"appendonly": b"yes", b"appendfsync": b"always"}

    async def evalsha(self, *sent: Any) -> Any:
        if isinstance(self.reply, Exception):
            raise self.reply
        if isinstance(self.reply, list):
            return [sent[7] if part == MINE else part for part in self.reply]
        return self.reply


@pytest.mark.parametrize("reply", [b"OK", [], [b"999", b"found", b"[]", b"[]"], None, 7], ids=repr)
async def test_a_reply_that_is_another_call_s_is_refused(reply: Any) -> None:
    client: Any = Mixed(reply)
    with pytest.raises(StoreUnavailable) as raised:
        await RedisStore(client).load_history("t", "r1")
    assert raised.value.reason == "mixed"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ResponseError("OOM command not allowed, with args beginning with: secret"), "OOM"),
        (ResponseError("unknown command 'secret'"), "ResponseError"),
        (RedisConnectionError("Error 111 connecting to secret:6379"), "ConnectionError"),
        (RedisTimeoutError("Timeout reading from secret:6379"), "TimeoutError"),
        (RedisClusterException("no reachable node: secret:6379"), "RedisClusterException"),
        (OSError("secret:6379"), "OSError"),
    ],
    ids=["oom", "response", "connection", "time-out", "cluster", "system"],
)
async def test_errors_tell_their_kind_and_nothing_of_the_command(error: Exception, reason: str) -> None:
    client: Any = Mixed(error)
    with pytest.raises(StoreUnavailable) as raised:
        await RedisStore(client).append("t", {"id": "secret"}, input="secret")
    assert (raised.value.backend, raised.value.reason) == ("redis", reason)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "durability"),
    [
        ({"appendonly": False}, "off"),
        ({"appendfsync": "everysec"}, "everysec"),
        ({"appendfsync": "no"}, "no"),
    ],
    ids=str,
)
async def test_weak_durability_is_warned_of_once(settings: dict[str, Any], durability: str) -> None:
    if servers.PROGRAM is None:
        pytest.skip("redis-server is not installed")
    with servers.running(**settings) as server:
        async with RedisStore.from_url(server.url) as store:
            with pytest.warns(RuntimeWarning, match=f"append-only file: {durability}") as warned:
                await asyncio.gather(*(say(store, "r1") for _ in range(20)))
            assert len(warned) == 1
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert await store.durability() == durability
                await say(store, "r2", "r1")
            assert repr(store) == f"<RedisStore durability={durability}>"


async def test_a_server_that_does_not_tell_is_warned_of() -> None:
    client: Any = Mixed([])

    async def refused(_: str) -> None:
        raise ResponseError("unknown command 'CONFIG'")

    client.config_get = refused
    with pytest.warns(RuntimeWarning, match="unknown"):
        assert await RedisStore(client).durability() == "unknown"
    client.config_get = lambda _: answer({"appendonly": "yes", "appendfsync": "sometimes"})
    with pytest.warns(RuntimeWarning, match="unknown"):
        assert await RedisStore(client).durability() == "unknown"


async def answer(value: Any) -> Any:
    return value


async def test_keys_of_a_tenant_share_a_slot_and_show_nothing(store: RedisStore, client: Any) -> None:
    for tenant in ("alice", "a}{b", "{", "x" * 300):
        await say(store, "secret", tenant=tenant)
    keys = [key.decode() for key in await client.keys("*")]
    assert len(keys) == 4 * 5
    tags = {key.split("{")[1].split("}")[0] for key in keys}
    assert len(tags) == 4
    for key in keys:
        prefix, tag, name = key.replace("{", "").replace("}", "").split(":")
        assert (prefix, len(tag), name in servers.NAMES) == ("penstock", 64, True)
    for tag in tags:
        assert len({key_slot(key.encode()) for key in keys if tag in key}) == 1


def test_scripts_touch_no_key_that_was_not_passed() -> None:
    """What a cluster demands; `KEYS` alone tells it where a script belongs."""
    for script in (scripts.APPEND, scripts.HISTORY, scripts.TURN, scripts.DELETE, scripts.EXPIRE):
        for line in script.splitlines():
            if "redis.call(" in line and "'TIME'" not in line:
                key = line.split("redis.call(")[1].split(",")[1].split(")")[0].strip()
                assert key in {"TURNS", "LINKS", "HOLDS", "USES", "STATE", "key", "unpack(KEYS"}, line


async def test_a_cluster_takes_it_all() -> None:
    """A real one, if of one node: it checks that the keys of a script share a slot, and routes by them."""
    if servers.PROGRAM is None:
        pytest.skip("redis-server is not installed")
    with servers.running(cluster=True) as server:
        node: Any = redis_asyncio.from_url(server.url)
        await node.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        while b"cluster_state:ok" not in await node.execute_command("CLUSTER", "INFO"):  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(0.05)
        await node.aclose()
        cluster = redis_asyncio.RedisCluster.from_url(server.url)
        store = RedisStore(cluster, bounds=Bounds(max_history_items=4, max_tenant_turns=8))
        assert await store.durability() == "always"
        for tenant in ("alice", "b}o{b"):
            for number in range(12):
                await say(store, f"r{number}", f"r{number - 1}" if number else None, tenant)
            assert await said(store, "r11", tenant) == ["r8", "r9", "r10", "r11"]
            assert await store.delete(tenant, "r11") is True
            assert await store.load_turn(tenant, "r2") is None
        assert await store.expire() == 0
        await cluster.aclose()


async def test_a_server_that_is_down_is_asked_again() -> None:
    """What it would have told of its settings is not known, and so not kept."""
    client: Any = Mixed([MINE, b"found", b"[]", b"[]"])
    answers = client.config_get

    async def down(_: str) -> None:
        raise RedisConnectionError("Error 111 connecting to secret:6379")

    client.config_get = down
    store = RedisStore(client)
    with pytest.raises(StoreUnavailable) as raised:
        await store.load_history("t", "r1")
    assert raised.value.reason == "ConnectionError"
    client.config_get = answers
    assert len(await store.load_history("t", "r1")) == 0


async def test_abandoned_tenants_go_by_themselves(client: Any) -> None:
    store = RedisStore(client, bounds=Bounds(ttl=1_000))
    await say(store, "r1")
    keys = await client.keys("*")
    assert len(keys) == len(servers.NAMES)
    for key in keys:
        assert 0 < await client.pttl(key) <= 1_000_000
        await client.pexpire(key, 500_000)
    assert await said(store, "r1") == ["r1"]
    for key in keys:
        assert await client.pttl(key) > 500_000, "a use is not noted"
        await client.pexpire(key, 1)
    while await client.keys("*"):  # noqa: ASYNC110 - only asking tells
        await asyncio.sleep(0.01)
    with pytest.raises(PreviousResponseNotFound):
        await said(store, "r1")
    unlimited = RedisStore(client, bounds=Bounds(ttl=None, max_turns=None, max_tenant_turns=None))
    await say(unlimited, "r1")
    for key in await client.keys("*"):
        assert await client.pttl(key) == -1


async def test_nothing_is_left_of_what_was_deleted(client: Any) -> None:
    store = RedisStore(client, bounds=Bounds(max_history_items=6))
    names = [f"r{number}" for number in range(20)]
    for before, name in zip([None, *names], names, strict=False):
        await say(store, name, before)
    assert await said(store, "r19") == [
        f"r{number}" for number in range(20 - len(await said(store, "r19")), 20)
    ]
    for name in names[::2] + names[1::2]:
        assert await store.delete("t", name)
    assert await client.keys("*") == []


async def test_a_history_whose_start_the_server_dropped_is_not_passed_off_as_whole(
    store: RedisStore, client: Any
) -> None:
    for before, name in ((None, "r1"), ("r1", "r2"), ("r2", "r3")):
        await say(store, name, before)
    (links,) = await client.keys("*:links")
    await client.hdel(links, 1)
    with pytest.raises(PreviousResponseNotFound):
        await said(store, "r3")
    await client.hdel(links, 2, 3)
    with pytest.raises(PreviousResponseNotFound):
        await say(store, "r4", "r3")
    assert await store.load_turn("t", "r3") is None
    assert await store.delete("t", "r3") is True


async def test_a_parent_that_vanishes_while_its_history_is_shortened(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RedisStore(client, bounds=Bounds(max_history_items=2))
    await store.append("t", {"id": "r1"}, input=[{"n": 1}, {"n": 2}])
    load, calls = store._items, 0

    async def and_delete(tenant: str, name: str) -> Any:
        nonlocal calls
        calls += 1
        items = await load(tenant, name)
        await store.delete(tenant, name)
        return items

    monkeypatch.setattr(store, "_items", and_delete)
    with pytest.raises(PreviousResponseNotFound):
        await say(store, "r2", "r1")
    assert calls == 1


async def test_scripts_are_loaded_again_after_they_were_flushed(store: RedisStore, client: Any) -> None:
    await say(store, "r1")
    await client.script_flush()
    assert await said(store, "r1") == ["r1"]


async def test_clients_that_decode_and_prefixes_with_braces_are_refused() -> None:
    client = redis_asyncio.Redis(decode_responses=True)
    with pytest.raises(ValueError, match="decode_responses"):
        RedisStore(client)
    with pytest.raises(ValueError, match="prefix"):
        RedisStore(redis_asyncio.Redis(), prefix="{x}")


async def test_expiring_knows_its_tenants_and_no_others(client: Any) -> None:
    now = [1_000_000.0]
    stores = [
        RedisStore(client, prefix=prefix, bounds=Bounds(ttl=100), clock=lambda: now[0])
        for prefix in ("a[b]*?\\", "a[b]*?\\c", "ab")
    ]
    for store in stores:
        for tenant in ("alice", "b}o{b", "carol"):
            await say(store, "r1", tenant=tenant)
    await client.set("a[b]*?\\:else", b"")
    now[0] += 50
    assert await said(stores[0], "r1", "carol") == ["r1"]
    assert [await store.expire() for store in stores] == [0, 0, 0]
    now[0] += 60
    assert await stores[0].expire_tenant("alice") == 1
    assert [await store.expire() for store in stores] == [1, 3, 3]
    now[0] += 60
    assert [await store.expire() for store in stores] == [1, 0, 0]
    assert await client.keys("*") == [b"a[b]*?\\:else"]


async def test_a_client_of_the_caller_s_stays_open(store: RedisStore, client: Any) -> None:
    await say(store, "r1")
    await store.close()
    assert await client.ping()


async def test_a_turn_that_is_too_large_is_not_sent(client: Any) -> None:
    store = RedisStore(client, bounds=Bounds(max_bytes=1_000))
    with pytest.raises(LimitExceeded):
        await store.append("t", {"id": "r1"}, input="x" * 1_000)
    assert await client.keys("*") == []
