"""The broadcasts of a process, or of many: who may ask for which, and for how long.

`Broadcasts` keeps them in memory. `RedisBroadcasts` also writes them to Redis Streams, so that any replica
can serve any subscriber: the one that has the upstream publishes, each other one follows a stream once for
all its subscribers. A broadcast is named by its tenant and its id together; an id alone opens nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, Self

from penstock._penstock import Event, Limits
from penstock.broadcast import Broadcast
from penstock.errors import StoreUnavailable

__all__ = ["Broadcasts", "RedisBroadcasts"]

log = logging.getLogger("penstock.broadcasts")

TTL_SECONDS: Final = 300.0
"""How long an ended stream can be asked for: a client that lost its connection is back within minutes."""

MAX_STREAMS: Final = 10_000
"""How many streams are kept; of those that have ended, the oldest go first."""

LEASE_SECONDS: Final = 60.0
"""How long a stream in Redis outlives a publisher that says nothing of it any more."""

WRITERS: Final = 1_024
"""Connections beside those of the followers, for streams that are written at the same time."""

REPLY_SECONDS: Final = 30.0
"""How long a client of one's own waits for Redis, which stands still as long as its disk does."""

BLOCK_MILLISECONDS: Final = 2_000
"""How long one read of Redis waits for news."""

Key = tuple[str, str]


class Broadcasts:
    """Broadcasts in the memory of this process.

    Args:
        ttl: seconds for which a stream that has ended is kept.
        max_streams: how many are kept at most.
    """

    def __init__(self, *, ttl: float = TTL_SECONDS, max_streams: int = MAX_STREAMS) -> None:
        if not ttl > 0 or max_streams < 1:
            raise ValueError("ttl and max_streams must be positive")
        self._ttl = ttl
        self._max_streams = max_streams
        self._streams: dict[Key, Broadcast] = {}

    async def open(
        self, id: str, *, tenant: str = "", dialect: Any = "auto", limits: Limits | None = None
    ) -> Broadcast:
        """A new broadcast, known by its id to its tenant.

        Raises:
            ValueError: the tenant has one of this id.
            RuntimeError: there are too many, and none of them has ended.
        """
        key = (tenant, id)
        if key in self._streams:
            raise ValueError("there is a broadcast of this id")
        return self._keep(key, Broadcast(dialect=dialect, limits=limits))

    async def get(self, id: str, *, tenant: str = "") -> Broadcast | None:
        """The broadcast of an id; None if its tenant has none, or its time is over."""
        return self._streams.get((tenant, id))

    async def aclose(self) -> None:
        """Forget all; those that are open end as failed."""
        for broadcast in list(self._streams.values()):
            await broadcast.fail("the server is going down")
        self._streams.clear()

    def __len__(self) -> int:
        return len(self._streams)

    def _keep(self, key: Key, broadcast: Broadcast) -> Broadcast:
        if len(self._streams) >= self._max_streams:
            oldest = next((key for key, kept in self._streams.items() if kept.ended), None)
            if oldest is None:
                raise RuntimeError("there are too many broadcasts, and none has ended")
            del self._streams[oldest]
        self._streams[key] = broadcast
        broadcast._on_end = partial(self._forget_later, key, broadcast)
        return broadcast

    def _forget_later(self, key: Key, broadcast: Broadcast) -> None:
        asyncio.get_running_loop().call_later(self._ttl, self._forget, key, broadcast)

    def _forget(self, key: Key, broadcast: Broadcast) -> None:
        if self._streams.get(key) is broadcast:
            del self._streams[key]


class RedisBroadcasts(Broadcasts):
    """Broadcasts that every replica can serve, by way of Redis Streams.

    If Redis fails, subscribers of the replica that publishes go on; those of other replicas are told that the
    stream failed, once its lease is over. Following a stream takes one connection of the client's pool, which
    must have that many and some to write with: those of redis-py have 100, unless they are told otherwise.

    Args:
        client: a `redis.asyncio.Redis` that does not decode responses.
        prefix: of the keys.
        ttl: seconds for which a stream that has ended is kept.
        max_streams: how many this process keeps at most.
    """

    def __init__(
        self,
        client: Any,
        *,
        prefix: str = "penstock:broadcast:",
        ttl: float = TTL_SECONDS,
        max_streams: int = MAX_STREAMS,
        lease: float = LEASE_SECONDS,
    ) -> None:
        super().__init__(ttl=ttl, max_streams=max_streams)
        self._client = client
        self._owned = False
        self._prefix = prefix
        self._lease = lease
        self._published: dict[str, _Published] = {}
        self._followers: set[asyncio.Task[None]] = set()
        self._renewer: asyncio.Task[None] | None = None

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """Broadcasts with a client of their own: closed with them, and with a connection for each stream.

        Redis itself takes 10,000 connections of all its clients (``maxclients``).
        """
        from redis.asyncio import from_url  # noqa: PLC0415 - another extra

        connections = options.get("max_streams", MAX_STREAMS) + WRITERS
        made = cls(from_url(url, max_connections=connections, socket_timeout=REPLY_SECONDS), **options)
        made._owned = True
        return made

    async def open(
        self, id: str, *, tenant: str = "", dialect: Any = "auto", limits: Limits | None = None
    ) -> Broadcast:
        """A new broadcast, known by its id to its tenant on every replica.

        Raises:
            ValueError: the tenant has one of this id.
            RuntimeError: there are too many, and none of them has ended.
        """
        name = self._name((tenant, id))
        if (tenant, id) in self._streams or not await self._begin(name):
            raise ValueError("there is a broadcast of this id")
        published = _Published(partial(self._write, name), dialect=dialect, limits=limits)
        self._keep((tenant, id), published)
        self._published[name] = published
        if self._renewer is None or self._renewer.done():
            self._renewer = asyncio.get_running_loop().create_task(self._renew())
        return published

    async def get(self, id: str, *, tenant: str = "") -> Broadcast | None:
        """The broadcast of an id, from wherever it is published; None if its tenant has none, or its time is
        over.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        from redis.exceptions import RedisError  # noqa: PLC0415 - only who has a client has it

        found = await super().get(id, tenant=tenant)
        name = self._name((tenant, id))
        try:
            if found is not None or not await self._client.exists(name):
                return found
        except RedisError as error:
            reason = type(error).__name__
            raise StoreUnavailable(f"Redis failed: {reason}", backend="redis", reason=reason) from None
        if (meanwhile := self._streams.get((tenant, id))) is not None:
            return meanwhile
        mirror = self._keep((tenant, id), Broadcast())
        follower = asyncio.get_running_loop().create_task(self._follow(name, mirror))
        self._followers.add(follower)
        follower.add_done_callback(self._followers.discard)
        return mirror

    async def aclose(self) -> None:
        """Forget all; those that are published here end as failed, for everybody."""
        # What has ended is followed no more, even if a client's connecting swallows the cancellation.
        await super().aclose()
        tasks = [*self._followers, *([self._renewer] if self._renewer is not None else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._owned:
            await self._client.aclose()

    def _name(self, key: Key) -> str:
        # Whatever tenants and ids are made of, no two pairs have one name.
        digest = hashlib.sha256()
        for part in key:
            data = part.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "big") + data)
        return self._prefix + digest.hexdigest()

    async def _begin(self, name: str) -> bool:
        """Write a stream's first entry; whether it is the first."""
        from redis.exceptions import ResponseError  # noqa: PLC0415 - only who has a client has it

        try:
            # Two replicas cannot both add an entry of the same number.
            await self._client.xadd(name, {b"begin": b"1"}, id="0-1")
            await self._client.pexpire(name, int(self._lease * 1000))
        except ResponseError as error:
            if "equal or smaller" in str(error):
                return False
            raise
        except Exception as error:
            log.warning("a broadcast could not be written to Redis: %s", type(error).__name__)
        return True

    async def _write(self, name: str, entries: list[dict[bytes, bytes]], *, ended: bool) -> None:
        seconds = self._ttl if ended else self._lease
        try:
            async with self._client.pipeline(transaction=True) as pipeline:
                for fields in entries:
                    pipeline.xadd(name, fields)
                pipeline.pexpire(name, int(seconds * 1000))
                await pipeline.execute()
        except Exception as error:
            log.warning("a broadcast could not be written to Redis: %s", type(error).__name__)
            self._published.pop(name, None)
            raise _Lost from error
        if ended:
            self._published.pop(name, None)

    async def _renew(self) -> None:
        """Say of every open stream that its publisher is alive."""
        while self._published:
            await asyncio.sleep(self._lease / 3)
            for name in list(self._published):
                with suppress(_Lost):
                    await self._write(name, [], ended=False)

    async def _follow(self, name: str, mirror: Broadcast) -> None:
        """Publish here what is published elsewhere."""
        last = b"0-0"
        try:
            while not mirror.ended:
                reply = await self._client.xread({name: last}, count=512, block=BLOCK_MILLISECONDS)
                if not reply:
                    if not await self._client.exists(name):
                        return
                    continue
                [[_name, entries]] = reply.items() if isinstance(reply, dict) else reply
                last = entries[-1][0]
                frames = b"".join([fields.get(b"frame", b"") for _id, fields in entries])
                await mirror.publish(frames)
                if any(b"end" in fields for _id, fields in entries):
                    await mirror.finish()
        except Exception as error:
            log.warning("a broadcast could not be read from Redis: %s", type(error).__name__)
        finally:
            await mirror.fail("the stream's publisher is gone")


class _Lost(Exception):  # noqa: N818 - an occasion, not a mistake
    """Redis does not answer; the stream goes on without it."""


class _Published(Broadcast):
    """A broadcast whose log is written to Redis as well."""

    def __init__(self, write: Callable[..., Any], *, dialect: Any, limits: Limits | None) -> None:
        super().__init__(dialect=dialect, limits=limits)
        self._write: Callable[..., Any] | None = write
        self._written = 0

    async def publish(self, data: bytes | Event | dict[str, Any] | list[Any]) -> None:
        await super().publish(data)
        await self._flush()

    async def finish(self) -> None:
        await super().finish()
        await self._flush()

    async def fail(self, message: str, *, code: str = "server_error") -> None:
        await super().fail(message, code=code)
        await self._flush()

    async def _flush(self) -> None:
        entries = [{b"frame": entry.frame} for entry in self._log[self._written :]]
        if self.ended:
            entries.append({b"end": b"1"})
        if self._write is None or not entries:
            return
        write = self._write
        self._written = len(self._log)
        if self.ended:
            self._write = None
        try:
            await write(entries, ended=self.ended)
        except _Lost:
            self._write = None
