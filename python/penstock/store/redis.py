"""Conversations in Redis."""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import warnings
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias, TypeVar

from redis import asyncio as redis_asyncio
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisClusterException, RedisError, ResponseError

from penstock._penstock import Bounds, Items, _read_turn
from penstock.errors import LimitExceeded, PreviousResponseNotFound, StoreUnavailable, TurnConflict
from penstock.store import scripts
from penstock.store.base import StoreBase, Turn, check_id, check_parent, check_tenant, cut, is_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from penstock.store.base import InputItems, Json

__all__ = ["RedisStore"]

Durability: TypeAlias = Literal["always", "everysec", "no", "off", "unknown"]
"""`appendfsync` of the server's append-only file; off without one, unknown if it does not tell."""

UNLIMITED: Final = 1 << 53
"""Larger than whatever is counted, and exact in Lua."""

WAIT_SECONDS: Final = 30.0
"""How long a call may take in all: a server that syncs each write stands still as long as its disk does."""

CALLS_AT_ONCE: Final = 64
"""Calls that are under way at most: more would only wait in the server, and a client's pool refuses them."""

PAUSES: Final = (0.02, 0.1, 0.3)
"""Seconds before a call whose connection broke is made again."""

_FAILURES: Final = (RedisError, RedisClusterException, OSError)
"""What clients raise, time-outs too; that a cluster has no node left is no `RedisError`."""

_T = TypeVar("_T")


class RedisStore(StoreBase):
    """A `ConversationStore` in Redis, for many processes and machines.

    Every call is one script, so it happens as a whole or not at all. What a tenant has lies in one slot of a
    cluster. `Bounds.max_turns` and `max_bytes` are counted for each tenant, like those of tenants; the sum is
    bounded by `maxmemory` of the server, its policy noeviction. A cancelled call gives its connection up,
    and each reply is checked to be the one that was asked for, so no call ever gets another's.

    64 calls are under way at once, or as many as the client's pool has connections; others wait for their
    turn. One whose connection breaks is made again, up to three times within half a second: an append then
    tells what it would have told, but a delete may find that it has deleted already. A server that is silent
    is waited for and not asked again, since what keeps it busy may be its disk. After `wait` at the latest a
    call is given up with `StoreUnavailable`, also where the machine simply cannot keep up.

    An acknowledged append survives the server's death if it syncs its append-only file with each write; the
    first call asks for its settings and warns (`RuntimeWarning`) of weaker ones.

    Args:
        client: a client of `redis.asyncio`, which is not closed with the store; see also `from_url`.
        bounds: what each tenant may keep.
        prefix: begins all keys, for servers that hold other things too.
        clock: seconds since 1970; None for the server's clock.
        wait: seconds that a call may take, with waiting for its turn; None for no bound but the client's own.
    """

    def __init__(
        self,
        client: redis_asyncio.Redis | redis_asyncio.RedisCluster,
        *,
        bounds: Bounds | None = None,
        prefix: str = "penstock",
        clock: Callable[[], float] | None = None,
        wait: float | None = WAIT_SECONDS,
    ) -> None:
        if client.get_encoder().decode_responses:
            raise ValueError("the client must not have decode_responses set: items are bytes")
        if "{" in prefix:
            raise ValueError("the prefix must not hold braces: they decide the slot of a key")
        if wait is not None and not wait > 0:
            raise ValueError("wait must be more than 0 seconds")
        self._client: Any = client
        self._owned = False
        self._bounds = bounds or Bounds()
        self._prefix = prefix
        self._clock = clock
        self._wait = wait
        # Told from those of every other store that may use the same connections.
        self._name = secrets.token_hex(6)
        self._nonces = count()
        self._calls = asyncio.Semaphore(_calls_at_once(client))
        self._durability: Durability | None = None
        self._hashes = {
            script: hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()
            for script in (scripts.APPEND, scripts.HISTORY, scripts.TURN, scripts.DELETE, scripts.EXPIRE)
        }

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        bounds: Bounds | None = None,
        prefix: str = "penstock",
        clock: Callable[[], float] | None = None,
        wait: float | None = WAIT_SECONDS,
        **options: Any,
    ) -> Self:
        """A store with a client of its own, `redis.asyncio.from_url(url, **options)`.

        The client waits for replies as long as the store does, unless the url or `options` have a
        ``socket_timeout``.
        """
        client = redis_asyncio.from_url(url, **{"socket_timeout": None, **options})
        store = cls(client, bounds=bounds, prefix=prefix, clock=clock, wait=wait)
        store._owned = True
        return store

    async def append(
        self,
        tenant: str,
        response: Json,
        *,
        input: InputItems = (),
        output: InputItems | None = None,
        parent: str | None = None,
    ) -> bool:
        """See `ConversationStore`."""
        check_tenant(tenant)
        turn = _read_turn(response, input, output, check_parent(parent))
        turn_id, body, input_text, output_text, items, size, link_cost, name_cost = turn
        max_turns, max_bytes = self._most("turns"), self._most("bytes")
        if link_cost + name_cost > max_bytes:
            raise LimitExceeded(
                f"max_tenant_bytes is {max_bytes}, the turn needs {link_cost + name_cost}",
                limit="max_tenant_bytes",
                maximum=max_bytes,
                value=link_cost + name_cost,
            )
        arguments = [turn_id, int(parent is not None), parent or "", body, input_text, output_text]
        arguments += [items, size, link_cost, name_cost, max_turns, max_bytes]
        arguments += [self._bounds.max_history_items or UNLIMITED]
        arguments += [self._bounds.max_history_bytes or UNLIMITED]
        (outcome,) = await self._run(scripts.APPEND, tenant, *arguments)
        if outcome == b"long" and parent is not None:
            before = await self._items(tenant, parent)
            left = before._before(Items(input_text), Items(output_text), self._bounds)
            base = (left.data, len(left), left.size)
            (outcome,) = await self._run(scripts.APPEND, tenant, *arguments, *base)
        if outcome == b"missing":
            raise PreviousResponseNotFound("no stored response has this id")
        if outcome == b"conflict":
            raise TurnConflict("the response id is stored with other content")
        return bool(outcome == b"new")

    async def load_history(
        self, tenant: str, response_id: str, *, max_items: int | None = None, max_bytes: int | None = None
    ) -> Items:
        """See `ConversationStore`."""
        check_tenant(tenant)
        check_id(response_id)
        items = await self._items(tenant, response_id)
        bounds = self._bounds
        items = items.trim(max_items=bounds.max_history_items, max_bytes=bounds.max_history_bytes)
        return cut(items, max_items, max_bytes)

    async def load_turn(self, tenant: str, response_id: str) -> Turn | None:
        """See `ConversationStore`."""
        check_tenant(tenant)
        if not is_id(response_id):
            return None
        outcome, *row = await self._run(scripts.TURN, tenant, response_id)
        if outcome == b"missing":
            return None
        parent, response, input_text, output_text = row
        parent = None if parent is None else parent.decode()
        return Turn(response_id, parent, response, Items(input_text), Items(output_text))

    async def delete(self, tenant: str, response_id: str) -> bool:
        """See `ConversationStore`."""
        check_tenant(tenant)
        if not is_id(response_id):
            return False
        (outcome,) = await self._run(scripts.DELETE, tenant, response_id)
        return bool(outcome == b"found")

    async def expire(self) -> int:
        """See `ConversationStore`. Looks for its tenants among all keys of the database.

        Appends remove what is too old, and Redis the keys of tenants that come no more.
        """
        tags = await self._call(self._find_tags)
        return sum([await self._expire(tag) for tag in tags])

    async def expire_tenant(self, tenant: str) -> int:
        """As `expire`, for one tenant, and without looking for others."""
        return await self._expire(_tag(check_tenant(tenant)))

    async def close(self) -> None:
        """Close the client, if the store made it."""
        if self._owned:
            await self._client.aclose()

    async def durability(self) -> Durability:
        """Whether an acknowledged append survives the server's death: only with "always" it does for sure."""
        if self._durability is None:
            return await self._call(self._learn_durability)
        return self._durability

    async def _learn_durability(self) -> Durability:
        told = await self._ask_durability()
        before, self._durability = self._durability, told
        if before is None and told != "always":  # several calls may be the first
            warnings.warn(
                f"Redis may lose acknowledged turns when it dies (append-only file: {told});"
                " set appendonly yes and appendfsync always",
                RuntimeWarning,
                stacklevel=2,
            )
        return told

    async def _ask_durability(self) -> Durability:
        try:
            settings: dict[Any, Any] = await self._client.config_get("append*")
        except ResponseError:
            return "unknown"  # managed services do not tell
        told = {_text(name): _text(value) for name, value in settings.items()}
        if told.get("appendonly") == "no":
            return "off"
        found = told.get("appendfsync")
        return found if found in ("always", "everysec", "no") else "unknown"  # type: ignore[return-value]

    async def _items(self, tenant: str, response_id: str) -> Items:
        """Everything up to a turn."""
        outcome, *texts = await self._run(scripts.HISTORY, tenant, response_id)
        if outcome == b"missing":
            raise PreviousResponseNotFound("no stored response has this id")
        texts.reverse()
        return Items._join(texts)

    async def _expire(self, tag: str) -> int:
        removed = 0
        while some := int((await self._run_for(tag, scripts.EXPIRE))[0]):
            removed += some
        return removed

    async def _find_tags(self) -> set[str]:
        """The tags of all tenants that have something here."""
        prefix = re.sub(r"([\\*?\[\]])", r"\\\1", self._prefix)
        keys = self._client.scan_iter(match=f"{prefix}:{{*}}:{scripts.KEYS[0]}", count=1_000)
        return {key.rpartition(b"{")[2].partition(b"}")[0].decode() async for key in keys}

    async def _run(self, script: str, tenant: str, *arguments: Any) -> list[Any]:
        return await self._run_for(_tag(tenant), script, *arguments)

    async def _run_for(self, tag: str, script: str, *arguments: Any) -> list[Any]:
        """Run a script for the tenant of a tag; its reply without the nonce."""
        keys = [f"{self._prefix}:{{{tag}}}:{name}" for name in scripts.KEYS]
        nonce = f"{self._name}{next(self._nonces)}".encode()
        now = "" if self._clock is None else int(self._clock() * 1000)
        ttl = UNLIMITED if self._bounds.ttl is None else round(self._bounds.ttl * 1000)
        sent = (len(keys), *keys, nonce, now, ttl, *arguments)
        reply = await self._call(lambda: self._evaluate(script, sent))
        if not isinstance(reply, list) or reply[:1] != [nonce]:
            raise StoreUnavailable("Redis sent another call's reply", backend="redis", reason="mixed")
        return reply[1:]

    async def _evaluate(self, script: str, sent: tuple[Any, ...]) -> Any:
        if self._durability is None:
            await self._learn_durability()
        try:
            return await self._client.evalsha(self._hashes[script], *sent)
        except NoScriptError:
            return await self._client.eval(script, *sent)

    async def _call(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """Make a call in its turn, and again if its connection breaks."""
        try:
            async with asyncio.timeout(self._wait), self._calls:
                for pause in PAUSES:
                    try:
                        return await call()
                    except RedisConnectionError:
                        await asyncio.sleep(pause)
                return await call()
        except _FAILURES as error:
            raise _unavailable(error) from None

    def _most(self, what: str) -> int:
        """The smaller of a tenant's bound and that of the whole store."""
        bounds = (getattr(self._bounds, f"max_tenant_{what}"), getattr(self._bounds, f"max_{what}"))
        return min((bound for bound in bounds if bound is not None), default=UNLIMITED)

    def __repr__(self) -> str:
        return f"<RedisStore durability={self._durability or 'not asked'}>"


def _calls_at_once(client: Any) -> int:
    """A pool refuses a call when all its connections are in use, instead of letting it wait."""
    most = getattr(getattr(client, "connection_pool", None), "max_connections", None)
    return min(most, CALLS_AT_ONCE) if isinstance(most, int) else CALLS_AT_ONCE


def _tag(tenant: str) -> str:
    """What stands for a tenant in keys: names may hold braces, which decide slots."""
    return hashlib.sha256(tenant.encode()).hexdigest()


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _unavailable(error: Exception) -> StoreUnavailable:
    """Without the error itself: some quote the command, and with it what people said."""
    word = str(error).partition(" ")[0]
    reason = word if word.isupper() else type(error).__name__
    return StoreUnavailable(f"Redis failed: {reason}", backend="redis", reason=reason)
