"""Which responses of one connection run, which wait, and for what. No I/O, no clock.

A lane is a `stream_id`, or the connection itself where a request names none. The responses of a lane follow
one another; lanes run side by side, as many as are allowed at once, and lanes that wait for room get it in
the order in which they came.

    admit ──► running ──► finished        a lane's first, while there is room
      └─────► waiting ──► running         behind its lane's others, or for room
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

from penstock.websocket.wire import RefusedError

__all__ = ["Job", "LaneLimits", "Lanes", "lane_name"]

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,256}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneLimits:
    """Bounds on the responses of one connection.

    Attributes:
        max_active: responses at once; the API's 16.
        max_lanes: different names of lanes in the connection's life; the API's 32.
        max_waiting: requests that wait in one named lane.
        max_waiting_unnamed: the same of requests without a lane, which by the API are refused while one runs.
        max_waiting_bytes: of all requests that wait.

    Raises:
        ValueError: a bound below what lets anything run.
    """

    max_active: int = 16
    max_lanes: int = 32
    max_waiting: int = 16
    max_waiting_unnamed: int = 0
    max_waiting_bytes: int = 64 * 1024 * 1024

    def __post_init__(self) -> None:
        if self.max_active < 1 or min(self.max_lanes, self.max_waiting, self.max_waiting_unnamed) < 0:
            raise ValueError("max_active is at least 1, and no bound is negative")


@dataclass(slots=True, eq=False)
class Job:
    """One response that was asked for.

    Attributes:
        params: the request's members.
        lane: its lane; None for the connection's own.
        size: of the request, in bytes.
        response_id: known once the response has begun.
    """

    params: dict[str, Any] = field(repr=False)
    lane: str | None
    size: int
    response_id: str | None = None


class _Lane:
    __slots__ = ("running", "waiting")

    def __init__(self) -> None:
        self.running: Job | None = None
        self.waiting: deque[Job] = deque()


class Lanes:
    """The lanes of one connection."""

    def __init__(self, limits: LaneLimits) -> None:
        self._limits = limits
        self._lanes: dict[str | None, _Lane] = {None: _Lane()}
        self._ready: deque[_Lane] = deque()  # have a job that only waits for room
        self._waiting_bytes = 0
        self.active = 0
        """How many responses run."""

    def admit(self, job: Job) -> list[Job]:
        """Take a job in; which are to start now.

        Raises:
            RefusedError: there are too many lanes, or too many jobs in its lane.
        """
        limits = self._limits
        lane = self._lanes.get(job.lane)
        if lane is None:
            if len(self._lanes) > limits.max_lanes:
                raise RefusedError(
                    f"A connection has at most {limits.max_lanes} streams.",
                    code="websocket_stream_limit_reached",
                    param="stream_id",
                )
            lane = self._lanes[job.lane] = _Lane()
        if lane.running is None and not lane.waiting and self.active < limits.max_active:
            lane.running = job
            self.active += 1
            return [job]
        self._let_wait(job, lane)
        return []

    def _let_wait(self, job: Job, lane: _Lane) -> None:
        limits = self._limits
        if lane.running is not None or lane.waiting:
            most = limits.max_waiting_unnamed if job.lane is None else limits.max_waiting
            if len(lane.waiting) >= most:
                raise RefusedError(
                    "Another response is in flight on this stream.", code="response_already_in_flight"
                )
        if self._waiting_bytes + job.size > limits.max_waiting_bytes:
            raise RefusedError(
                "Too much is waiting on this connection.", status=429, code="rate_limit_exceeded"
            )
        if lane.running is None and not lane.waiting:
            self._ready.append(lane)
        lane.waiting.append(job)
        self._waiting_bytes += job.size

    def finish(self, job: Job) -> list[Job]:
        """Note that a running job is over; which are to start now."""
        lane = self._lanes[job.lane]
        lane.running = None
        self.active -= 1
        if lane.waiting:
            self._ready.append(lane)
        started = []
        while self._ready and self.active < self._limits.max_active:
            ready = self._ready.popleft()
            ready.running = ready.waiting.popleft()
            self._waiting_bytes -= ready.running.size
            self.active += 1
            started.append(ready.running)
        return started

    def withdraw(self, lane_name: str | None) -> Job | None:
        """Take out the first job that waits in a lane of which none runs."""
        lane = self._lanes.get(lane_name)
        if lane is None or lane.running is not None or not lane.waiting:
            return None
        job = lane.waiting.popleft()
        self._waiting_bytes -= job.size
        if not lane.waiting:
            self._ready.remove(lane)
        return job

    def running(self, lane_name: str | None) -> Job | None:
        """The job that runs in a lane."""
        lane = self._lanes.get(lane_name)
        return None if lane is None else lane.running

    def find(self, response_id: str) -> Job | None:
        """The running job of a response."""
        for lane in self._lanes.values():
            if lane.running is not None and lane.running.response_id == response_id:
                return lane.running
        return None

    @property
    def waiting(self) -> list[Job]:
        """The jobs that have not begun."""
        return [job for lane in self._lanes.values() for job in lane.waiting]

    @property
    def idle(self) -> bool:
        """Whether nothing runs, and so nothing waits."""
        return self.active == 0


def lane_name(stream_id: Any) -> str | None:
    """A request's `stream_id` as the name of a lane.

    Raises:
        RefusedError: it is none: 1 to 256 of `A-Z a-z 0-9 _ . -`.
    """
    if stream_id is None:
        return None
    if not isinstance(stream_id, str) or _NAME.fullmatch(stream_id) is None:
        raise RefusedError(
            "'stream_id' must be 1 to 256 characters of A-Z, a-z, 0-9, '_', '.' and '-'.",
            code="invalid_stream_id",
            param="stream_id",
        )
    return stream_id
