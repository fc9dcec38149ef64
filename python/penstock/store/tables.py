"""The tables of `SQLiteStore`, and what is done with them inside a transaction; all of it in one thread.

`links` holds the items: each row those of one turn and a pointer to the row before; items, bytes and depth
count from the first row of a chain. `turns` gives a link its response id. A link stays while a turn names it
or another link builds on it, which `holds` counts. `totals` has what each tenant uses, and all together.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from penstock._penstock import Bounds, Items
from penstock.errors import LimitExceeded, PreviousResponseNotFound, TurnConflict
from penstock.store.base import Turn

if TYPE_CHECKING:
    from collections.abc import Iterator

    NewTurn = tuple[str, bytes, bytes, bytes, int, int, int, int]
    """Id, response, input, output, items, their bytes, cost of the items, cost of the name."""

__all__ = ["Tables"]

VERSION: Final = 1
"""Of the tables; a file of another version is refused."""

BUSY_SECONDS: Final = 30.0
"""How long a call waits for other processes that write."""

MAX_UNWRITTEN_USES: Final = 256
"""Uses that are only noted in memory at most; losing them makes turns seem older than they are."""

MAX_UNWRITTEN_MS: Final = 60_000
"""How long a use may stay unwritten."""

EXPIRED_AT_ONCE: Final = 16
"""Turns that are removed for age with each append; more than one, so that the expired never pile up."""

ALL: Final = ""
"""Stands for all tenants together in `totals`; no tenant is called so."""

SCHEMA: Final = """
CREATE TABLE links (
    link INTEGER PRIMARY KEY,
    parent INTEGER,
    input BLOB NOT NULL,
    output BLOB NOT NULL,
    items INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    depth INTEGER NOT NULL,
    holds INTEGER NOT NULL,
    cost INTEGER NOT NULL
);
CREATE TABLE turns (
    turn INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    parent TEXT,
    link INTEGER NOT NULL,
    cost INTEGER NOT NULL,
    use INTEGER NOT NULL,
    used_at INTEGER NOT NULL,
    response BLOB NOT NULL,
    UNIQUE (tenant, id)
);
CREATE INDEX turns_by_use ON turns (use);
CREATE INDEX turns_of_tenants_by_use ON turns (tenant, use);
CREATE TABLE totals (
    tenant TEXT PRIMARY KEY,
    turns INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) WITHOUT ROWID;
"""


class Found(NamedTuple):
    """A turn that is there."""

    turn: int
    parent: str | None
    link: int


class Tip(NamedTuple):
    """A link, and what there is up to it."""

    link: int | None
    items: int
    bytes: int
    depth: int


NOTHING: Final = Tip(None, 0, 0, 0)


class Link(NamedTuple):
    """A new link."""

    parent: int | None
    input: bytes
    output: bytes
    items: int
    bytes: int
    depth: int
    cost: int


class Tables:
    """An open file. Every method but `close` is called within `transaction()`. Times are milliseconds."""

    def __init__(self, path: str, bounds: Bounds) -> None:
        self._bounds = bounds
        self._ttl = None if bounds.ttl is None else round(bounds.ttl * 1000)
        self._uses: dict[int, int] = {}
        self._uses_since: int | None = None
        if path != ":memory:" and not os.path.exists(path):
            # What people said is nobody else's.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
        except sqlite3.Error:
            self._db.close()
            raise

    def _prepare(self) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            self._db.execute(f"PRAGMA {pragma}")
        with self.transaction(writes=True):
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in SCHEMA.split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version={VERSION}")
            elif version != VERSION:
                raise sqlite3.NotSupportedError(f"the file has tables of version {version}")

    def close(self) -> None:
        """Write what is unwritten and close the file."""
        try:
            if self._uses:
                with self.transaction(writes=True):
                    pass
        except sqlite3.Error:
            pass  # only when turns were last read is lost
        finally:
            self._db.close()

    @contextmanager
    def transaction(self, *, writes: bool) -> Iterator[None]:
        """All or nothing; a reader sees one state throughout."""
        self._db.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
        try:
            yield
            if writes:
                self._write_uses()
            self._db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # some failures have rolled it back already
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def savepoint(self, *, writes: bool) -> Iterator[None]:
        """All or nothing, within a transaction."""
        if not writes:
            yield
            return
        self._write_uses()  # those of the calls before it stay, whatever becomes of this one
        self._db.execute("SAVEPOINT one")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK TO one")
            self._db.execute("RELEASE one")
            raise
        self._db.execute("RELEASE one")

    def append(self, tenant: str, new: NewTurn, parent: str | None, now: int) -> bool:
        """Store a turn; whether it is new."""
        turn_id, response, input, output, items, size, link_cost, name_cost = new
        self._expire(now, EXPIRED_AT_ONCE)
        if (found := self._find(tenant, turn_id, now)) is not None:
            if (parent, response, input, output) != (found.parent, *self._texts(found)):
                raise TurnConflict("the response id is stored with other content")
            return False
        before = None
        if parent is not None and (before := self._find(tenant, parent, now)) is None:
            raise PreviousResponseNotFound("no stored response has this id")
        self._check_size(link_cost + name_cost)
        self._write_uses()  # its parent's above all: the new turn is to be the last in the order of use

        upto = NOTHING if before is None else self._continue(tenant, before, new)
        link = self._insert(
            Link(upto.link, input, output, upto.items + items, upto.bytes + size, upto.depth + 1, link_cost)
        )
        self._db.execute(
            "INSERT INTO turns (tenant, id, parent, link, cost, use, used_at, response)"
            " VALUES (?, ?, ?, ?, ?, (SELECT coalesce(max(use), 0) + 1 FROM turns), ?, ?)",
            (tenant, turn_id, parent, link, name_cost, now, response),
        )
        self._count(tenant, 1, link_cost + name_cost)
        self._evict(tenant)
        return True

    def history(self, tenant: str, turn_id: str, now: int) -> Items | None:
        """The items up to and with the output of a turn."""
        if (found := self._find(tenant, turn_id, now)) is None:
            return None
        bounds = self._bounds
        items = self._items(found.link)
        return items.trim(max_items=bounds.max_history_items, max_bytes=bounds.max_history_bytes)

    def turn(self, tenant: str, turn_id: str, now: int) -> Turn | None:
        """One turn."""
        if (found := self._find(tenant, turn_id, now)) is None:
            return None
        response, input, output = self._texts(found)
        return Turn(turn_id, found.parent, response, Items(input), Items(output))

    def delete(self, tenant: str, turn_id: str, now: int) -> bool:
        """Forget a turn; whether there was one."""
        found = self._find(tenant, turn_id, now)
        if found is not None:
            self._forget(found.turn)
        return found is not None

    def expire(self, now: int) -> int:
        """Forget the turns that were not used for too long; how many."""
        return self._expire(now, None)

    def uses_are_due(self, now: int) -> bool:
        """Whether it is time to write when turns were used, though nothing else is written."""
        if self._uses_since is None:
            return False
        longest = MAX_UNWRITTEN_MS if self._ttl is None else min(MAX_UNWRITTEN_MS, self._ttl // 10)
        return len(self._uses) >= MAX_UNWRITTEN_USES or now - self._uses_since >= longest

    def _find(self, tenant: str, turn_id: str, now: int) -> Found | None:
        """A turn that is not too old, used now."""
        query = "SELECT turn, parent, link, used_at FROM turns WHERE tenant = ? AND id = ?"
        row = self._db.execute(query, (tenant, turn_id)).fetchone()
        if row is None:
            return None
        turn, parent, link, used_at = row
        if self._is_over(max(used_at, self._uses.get(turn, 0)), now):
            return None
        # Last in the order of use.
        self._uses.pop(turn, None)
        self._uses[turn] = now
        self._uses_since = self._uses_since or now
        return Found(turn, parent, link)

    def _is_over(self, used_at: int, now: int) -> bool:
        return self._ttl is not None and used_at + self._ttl <= now

    def _write_uses(self) -> None:
        if not self._uses:
            return
        self._db.executemany(
            "UPDATE turns SET use = (SELECT max(use) + 1 FROM turns), used_at = max(used_at, ?)"
            " WHERE turn = ?",
            [(now, turn) for turn, now in self._uses.items()],
        )
        self._uses.clear()
        self._uses_since = None

    def _texts(self, found: Found) -> tuple[bytes, bytes, bytes]:
        """Response, input, output."""
        row = self._db.execute(
            "SELECT response, input, output FROM turns JOIN links USING (link) WHERE turn = ?", (found.turn,)
        ).fetchone()
        response, input, output = row
        return response, input, output

    def _items(self, link: int) -> Items:
        """Everything up to a link."""
        rows = self._db.execute(
            "WITH RECURSIVE chain (link, parent, input, output, depth) AS ("
            " SELECT link, parent, input, output, depth FROM links WHERE link = ?"
            " UNION ALL SELECT links.link, links.parent, links.input, links.output, links.depth"
            " FROM links JOIN chain ON links.link = chain.parent"
            ") SELECT input, output FROM chain ORDER BY depth",
            (link,),
        )
        return Items._join([text for row in rows for text in row])

    def _check_size(self, needed: int) -> None:
        for limit in ("max_tenant_bytes", "max_bytes"):
            maximum = getattr(self._bounds, limit)
            if maximum is not None and needed > maximum:
                message = f"{limit} is {maximum}, the turn needs {needed}"
                raise LimitExceeded(message, limit=limit, maximum=maximum, value=needed)

    def _continue(self, tenant: str, before: Found, new: NewTurn) -> Tip:
        """The link that a turn is to build on.

        A history that would outgrow the bounds begins anew with the newer part of it.
        """
        _, _, input, output, items, size, _, _ = new
        query = "SELECT link, items, bytes, depth FROM links WHERE link = ?"
        tip = Tip(*self._db.execute(query, (before.link,)).fetchone())
        bounds = self._bounds
        longest = max(tip.items + items, tip.depth + 1)
        if not _over(longest, bounds.max_history_items, tip.bytes + size, bounds.max_history_bytes):
            self._db.execute("UPDATE links SET holds = holds + 1 WHERE link = ?", (before.link,))
            return tip
        left = self._items(before.link)._before(Items(input), Items(output), bounds)
        self._count(tenant, 0, left.size)
        link = self._insert(Link(None, left.data, b"[]", len(left), left.size, 1, left.size))
        return Tip(link, len(left), left.size, 1)

    def _insert(self, link: Link) -> int | None:
        made = self._db.execute(
            "INSERT INTO links (parent, input, output, items, bytes, depth, cost, holds)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 1)",
            link,
        )
        return made.lastrowid

    def _count(self, tenant: str, turns: int, size: int) -> None:
        """Add to a tenant's totals and to those of all."""
        self._db.executemany(
            "INSERT INTO totals (tenant, turns, bytes) VALUES (?1, ?2, ?3)"
            " ON CONFLICT (tenant) DO UPDATE SET turns = turns + ?2, bytes = bytes + ?3",
            [(tenant, turns, size), (ALL, turns, size)],
        )
        if turns < 0:
            self._db.execute("DELETE FROM totals WHERE tenant = ? AND turns = 0", (tenant,))

    def _evict(self, tenant: str) -> None:
        """Forget the turns used longest ago until the bounds hold, but never the one that was just stored."""
        self._write_uses()
        bounds = self._bounds
        totals = "SELECT turns, bytes FROM totals WHERE tenant = ?"
        while True:
            turns, size = self._db.execute(totals, (tenant,)).fetchone()
            if turns < 2 or not _over(turns, bounds.max_tenant_turns, size, bounds.max_tenant_bytes):
                break
            oldest = "SELECT turn FROM turns WHERE tenant = ? ORDER BY use LIMIT 1"
            self._forget(self._db.execute(oldest, (tenant,)).fetchone()[0])
        while True:
            turns, size = self._db.execute(totals, (ALL,)).fetchone()
            if turns < 2 or not _over(turns, bounds.max_turns, size, bounds.max_bytes):
                break
            self._forget(self._db.execute("SELECT turn FROM turns ORDER BY use LIMIT 1").fetchone()[0])

    def _expire(self, now: int, at_most: int | None) -> int:
        """Forget turns that were not used for too long, those used longest ago first."""
        count = 0
        while self._ttl is not None and count != at_most:
            self._write_uses()
            row = self._db.execute("SELECT turn, used_at FROM turns ORDER BY use LIMIT 1").fetchone()
            if row is None or not self._is_over(row[1], now):
                break
            self._forget(row[0])
            count += 1
        return count

    def _forget(self, turn: int) -> None:
        """Take a turn's name away, and its items if nothing builds on them."""
        self._uses.pop(turn, None)
        query = "DELETE FROM turns WHERE turn = ? RETURNING tenant, link, cost"
        tenant, link, freed = self._db.execute(query, (turn,)).fetchone()
        while link is not None:
            query = "UPDATE links SET holds = holds - 1 WHERE link = ? RETURNING holds, parent, cost"
            holds, parent, cost = self._db.execute(query, (link,)).fetchone()
            if holds:
                break
            self._db.execute("DELETE FROM links WHERE link = ?", (link,))
            freed += cost
            link = parent
        self._count(tenant, -1, -freed)


def _over(number: int, most: int | None, size: int, most_bytes: int | None) -> bool:
    return (most is not None and number > most) or (most_bytes is not None and size > most_bytes)
