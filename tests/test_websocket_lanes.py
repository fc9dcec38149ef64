"""Lanes: which responses run, wait or are refused. A table, and a naive model beside random histories."""

from __future__ import annotations

from itertools import chain, pairwise
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from penstock.websocket.lanes import Job, LaneLimits, Lanes, lane_name
from penstock.websocket.wire import RefusedError


def job(lane: str | None = None, size: int = 1) -> Job:
    return Job({}, lane, size)


def code(lanes: Lanes, refused: Job) -> str | None:
    with pytest.raises(RefusedError) as caught:
        lanes.admit(refused)
    return caught.value.code


def test_the_connection_s_own_lane_has_one_at_a_time() -> None:
    lanes = Lanes(LaneLimits())
    first = job()
    assert lanes.admit(first) == [first]
    assert code(lanes, job()) == "response_already_in_flight"
    assert lanes.finish(first) == []
    assert lanes.idle
    second = job()
    assert lanes.admit(second) == [second]


def test_the_connection_s_own_lane_waits_if_asked_to() -> None:
    lanes = Lanes(LaneLimits(max_waiting_unnamed=1))
    first, second = job(), job()
    assert lanes.admit(first) == [first]
    assert lanes.admit(second) == []
    assert code(lanes, job()) == "response_already_in_flight"
    assert lanes.finish(first) == [second]


def test_a_named_lane_is_first_in_first_out() -> None:
    lanes = Lanes(LaneLimits(max_waiting=3))
    jobs = [job("a") for _ in range(4)]
    assert [lanes.admit(each) for each in jobs] == [[jobs[0]], [], [], []]
    assert code(lanes, job("a")) == "response_already_in_flight"
    for before, after in pairwise(jobs):
        assert lanes.finish(before) == [after]
    assert lanes.finish(jobs[-1]) == []


def test_sixteen_run_and_lanes_get_room_in_turn() -> None:
    lanes = Lanes(LaneLimits())
    jobs = [job(f"lane-{number}") for number in range(20)]
    assert [*chain.from_iterable(map(lanes.admit, jobs))] == jobs[:16]
    assert lanes.active == 16
    more = job("lane-3")  # behind its own lane's, then behind the lanes that wait
    assert lanes.admit(more) == []
    assert lanes.finish(jobs[3]) == [jobs[16]]
    assert lanes.finish(jobs[16]) == [jobs[17]]
    assert lanes.finish(jobs[0]) == [jobs[18]]
    assert lanes.finish(jobs[1]) == [jobs[19]]
    assert lanes.finish(jobs[2]) == [more]


def test_thirty_two_names() -> None:
    lanes = Lanes(LaneLimits())
    for number in range(32):
        for started in lanes.admit(named := job(f"lane-{number}")):
            assert lanes.finish(started) == []
        assert named
    assert code(lanes, job("one-more")) == "websocket_stream_limit_reached"
    assert len(lanes.admit(job("lane-31"))) == 1  # known names go on
    assert len(lanes.admit(job())) == 1  # and the connection's own lane has none


def test_bytes_that_wait_are_bounded() -> None:
    lanes = Lanes(LaneLimits(max_waiting_bytes=10, max_active=1))
    first = job("a", 100)  # what runs does not wait
    assert lanes.admit(first) == [first]
    waits = job("a", 6)
    assert lanes.admit(waits) == []
    assert code(lanes, job("b", 5)) == "rate_limit_exceeded"
    other = job("b", 4)
    assert lanes.admit(other) == []
    assert lanes.finish(first) == [other]
    assert lanes.admit(job("b", 4)) == []


def test_jobs_are_found_by_response_and_by_lane() -> None:
    lanes = Lanes(LaneLimits())
    first, second = job(), job("a")
    lanes.admit(first)
    lanes.admit(second)
    second.response_id = "resp_2"
    assert lanes.find("resp_2") is second
    assert lanes.find("resp_1") is None
    assert lanes.running(None) is first
    assert lanes.running("a") is second
    assert lanes.running("b") is None


def test_a_job_that_waits_for_room_can_be_withdrawn() -> None:
    lanes = Lanes(LaneLimits(max_active=1))
    first, second, third = job(), job("a"), job("a")
    assert [lanes.admit(each) for each in (first, second, third)] == [[first], [], []]
    assert lanes.withdraw(None) is None  # it runs
    assert lanes.withdraw("b") is None  # there is none
    assert lanes.withdraw("a") is second
    assert lanes.withdraw("a") is third
    assert lanes.withdraw("a") is None
    assert lanes.finish(first) == []


@pytest.mark.parametrize("name", ["a", "A-Z_0.9", "x" * 256, "-"])
def test_names(name: str) -> None:
    assert lane_name(name) == name


@pytest.mark.parametrize("name", ["", "x" * 257, "a b", "é", "a/b", "a\n", 1, True, [], {}])
def test_names_that_are_none(name: Any) -> None:
    with pytest.raises(RefusedError) as caught:
        lane_name(name)
    assert (caught.value.code, caught.value.param) == ("invalid_stream_id", "stream_id")


def test_no_name() -> None:
    assert lane_name(None) is None


@pytest.mark.parametrize("bad", [{"max_active": 0}, {"max_lanes": -1}, {"max_waiting": -1}])
def test_limits_that_make_no_sense(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="max_active"):
        LaneLimits(**bad)


class Histories(RuleBasedStateMachine):
    """Random histories beside a model that keeps one list of all jobs and searches it."""

    limits = LaneLimits(max_active=3, max_lanes=4, max_waiting=2, max_waiting_bytes=12)

    def __init__(self) -> None:
        super().__init__()
        self.lanes = Lanes(self.limits)
        self.names: set[str] = set()
        self.running: list[Job] = []
        self.waiting: list[Job] = []
        self.room: list[str | None] = []  # lanes in the order in which they began to wait for room

    def startable(self) -> list[Job]:
        started = []
        while self.room and len(self.running) < self.limits.max_active:
            name = self.room.pop(0)
            chosen = next(each for each in self.waiting if each.lane == name)
            self.waiting.remove(chosen)
            self.running.append(chosen)
            started.append(chosen)
        return started

    @rule(lane=st.sampled_from([None, "a", "b", "c", "d", "e"]), size=st.integers(1, 5))
    def admit(self, lane: str | None, size: int) -> None:
        new = job(lane, size)
        before = [each for each in self.waiting if each.lane == lane]
        busy = any(each.lane == lane for each in self.running)
        unknown = lane is not None and lane not in self.names
        if unknown and len(self.names) == self.limits.max_lanes:
            assert code(self.lanes, new) == "websocket_stream_limit_reached"
            return
        if lane is not None:
            self.names.add(lane)
        if not busy and not before and len(self.running) < self.limits.max_active:
            self.running.append(new)
            assert self.lanes.admit(new) == [new]
        elif (busy or before) and len(before) >= (0 if lane is None else self.limits.max_waiting):
            assert code(self.lanes, new) == "response_already_in_flight"
        elif sum(each.size for each in self.waiting) + size > self.limits.max_waiting_bytes:
            assert code(self.lanes, new) == "rate_limit_exceeded"
        else:
            if not busy and not before:
                self.room.append(lane)
            self.waiting.append(new)
            assert self.lanes.admit(new) == []

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        done = data.draw(st.sampled_from(self.running))
        self.running.remove(done)
        if any(each.lane == done.lane for each in self.waiting):
            self.room.append(done.lane)
        assert self.lanes.finish(done) == self.startable()

    @rule(lane=st.sampled_from([None, "a", "b", "c"]))
    def withdraw(self, lane: str | None) -> None:
        mine = [each for each in self.waiting if each.lane == lane]
        if not mine or any(each.lane == lane for each in self.running):
            assert self.lanes.withdraw(lane) is None
            return
        self.waiting.remove(mine[0])
        if len(mine) == 1:
            self.room.remove(lane)
        assert self.lanes.withdraw(lane) is mine[0]

    @invariant()
    def counts(self) -> None:
        assert self.lanes.active == len(self.running) <= self.limits.max_active
        assert self.lanes.idle == (not self.running)
        assert sorted(map(id, self.lanes.waiting)) == sorted(map(id, self.waiting))


Histories.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestHistories = Histories.TestCase
