"""Conversations in a file."""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from penstock._penstock import Bounds, Items, _read_turn
from penstock.errors import PreviousResponseNotFound, StoreUnavailable
from penstock.store.base import StoreBase, Turn, check_id, check_parent, check_tenant, cut, is_id
from penstock.store.tables import Tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.store.base import InputItems, Json

__all__ = ["SQLiteStore"]

_T = TypeVar("_T")

MAX_BATCH: Final = 64
"""Calls that share one transaction at most: a commit waits for the disk, which serves them all at once."""


class SQLiteStore(StoreBase):
    """A `ConversationStore` in an SQLite file, for one machine; processes may share the file.

    An append returns when the turn is on the disk: write-ahead log, `synchronous=FULL`. A process that is
    killed at any moment loses no turn that was acknowledged and leaves none half written. One thread makes
    the database's calls, and commits those together that wait together. When a turn was last read is noted in
    memory and written with the next append, so reads do not wait for the disk.

    Args:
        path: the file; made, for its owner alone, if it is not there.
        bounds: what it may keep.
        clock: seconds since 1970, the same for all who share the file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        bounds: Bounds | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = os.fspath(path)
        self._bounds = bounds or Bounds()
        self._clock = clock
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._process = 0
        self._closed = False

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
        return await self._call(lambda tables, now: tables.append(tenant, turn, parent, now), writes=True)

    async def load_history(
        self, tenant: str, response_id: str, *, max_items: int | None = None, max_bytes: int | None = None
    ) -> Items:
        """See `ConversationStore`."""
        check_tenant(tenant)
        check_id(response_id)
        items = await self._call(lambda tables, now: tables.history(tenant, response_id, now))
        if items is None:
            raise PreviousResponseNotFound("no stored response has this id")
        return cut(items, max_items, max_bytes)

    async def load_turn(self, tenant: str, response_id: str) -> Turn | None:
        """See `ConversationStore`."""
        check_tenant(tenant)
        if not is_id(response_id):
            return None
        return await self._call(lambda tables, now: tables.turn(tenant, response_id, now))

    async def delete(self, tenant: str, response_id: str) -> bool:
        """See `ConversationStore`."""
        check_tenant(tenant)
        if not is_id(response_id):
            return False
        return await self._call(lambda tables, now: tables.delete(tenant, response_id, now), writes=True)

    async def expire(self) -> int:
        """See `ConversationStore`."""
        return await self._call(lambda tables, now: tables.expire(now), writes=True)

    async def close(self) -> None:
        """Finish what was begun and close the file."""
        with self._lock:
            closed, self._closed = self._closed, True
        if closed or self._thread is None or self._process != os.getpid():
            return
        self._jobs.put(None)
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    async def _call(self, work: Callable[[Tables, int], _T], *, writes: bool = False) -> _T:
        """Have the thread do `work`. Cancelling it does not undo what the thread has begun."""
        loop = asyncio.get_running_loop()
        job = _Job(work, writes, loop, loop.create_future())
        with self._lock:
            if self._closed:
                raise StoreUnavailable("the store is closed", backend="sqlite", reason="closed")
            if self._thread is None or self._process != os.getpid():
                # A fork takes neither the thread along nor, luckily, its connection.
                self._process = os.getpid()
                self._jobs = queue.SimpleQueue()
                self._thread = threading.Thread(target=self._serve, name="penstock-sqlite", daemon=True)
                self._thread.start()
            self._jobs.put(job)
        result: _T = await job.future
        return result

    def _serve(self) -> None:
        """The thread: opens the file with the first call, and works until the store is closed."""
        tables: Tables | None = None
        try:
            while (job := self._jobs.get()) is not None:
                batch = [job]
                while len(batch) < MAX_BATCH and not self._jobs.empty():
                    another = self._jobs.get()
                    if another is None:
                        self._jobs.put(None)
                        break
                    batch.append(another)
                try:
                    tables = tables or Tables(self._path, self._bounds)
                    outcomes = self._run(tables, batch)
                except Exception as error:  # nobody may wait for ever, whatever it is
                    outcomes = [_Outcome(error=_unavailable(error))] * len(batch)
                for done, outcome in zip(batch, outcomes, strict=True):
                    done.finish(outcome)
        finally:
            if tables is not None:
                tables.close()

    def _run(self, tables: Tables, batch: list[_Job]) -> list[_Outcome]:
        """Do the calls of a batch in one transaction; what one of them raises undoes that one alone."""
        now = int(self._clock() * 1000)
        writes = any(job.writes for job in batch) or tables.uses_are_due(now)
        outcomes = []
        with tables.transaction(writes=writes):
            for job in batch:
                try:
                    with tables.savepoint(writes=job.writes):
                        outcomes.append(_Outcome(job.work(tables, now)))
                except sqlite3.Error:
                    raise
                except Exception as error:  # the caller's: it is raised where the call was made
                    outcomes.append(_Outcome(error=error))
        return outcomes

    def __repr__(self) -> str:
        return f"<SQLiteStore {'closed' if self._closed else 'open'}>"


class _Outcome(NamedTuple):
    """What a call came to."""

    value: Any = None
    error: Exception | None = None


class _Job(NamedTuple):
    """A call on its way to the thread."""

    work: Callable[[Tables, int], Any]
    writes: bool
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]

    def finish(self, outcome: _Outcome) -> None:
        """Tell the caller, if somebody is still there."""
        with suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self._settle, outcome)

    def _settle(self, outcome: _Outcome) -> None:
        if self.future.cancelled():
            return
        if outcome.error is not None:
            self.future.set_exception(outcome.error)
        else:
            self.future.set_result(outcome.value)


def _unavailable(error: Exception) -> StoreUnavailable:
    reason = getattr(error, "sqlite_errorname", type(error).__name__)
    unavailable = StoreUnavailable(f"SQLite failed: {reason}", backend="sqlite", reason=reason)
    unavailable.__cause__ = error
    return unavailable
