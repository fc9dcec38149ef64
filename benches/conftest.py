"""The machine made quiet, as far as it lets itself, and the fixtures of the benchmarks."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest

from benches import streams
from benches.measure import Measure
from benches.peers import Contender, shared
from benches.rows import Row


@pytest.fixture(scope="session", autouse=True)
def quiet() -> Iterator[None]:
    """One core, and a garbage collector that does not go through pytest's own objects in each full run."""
    cores: set[int] = set()
    with suppress(AttributeError, OSError):
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {max(cores)})
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
    if cores:
        os.sched_setaffinity(0, cores)


@pytest.fixture
def measure(benchmark: Any, request: pytest.FixtureRequest) -> Measure:
    option = request.config.getoption
    return Measure(benchmark, float(option("benchmark_max_time")), int(option("benchmark_min_rounds")))


@pytest.fixture
def race(measure: Measure) -> Callable[..., None]:
    """Lets a contender do a row's work, beside penstock if it is a peer."""

    def run(
        row: Row, source: streams.Source, dialect: streams.Dialect, ours: Contender, who: Contender
    ) -> None:
        if not who.installed:
            pytest.skip(f"{who.distribution} is not installed")
        loaded: Sequence[streams.Stream] = streams.load(source, dialect)
        if not loaded:
            pytest.skip(f"no recordings in {streams.RECORDINGS}")
        if who.picky:
            loaded = shared(who, ours, loaded)
            assert loaded, "they have no stream in common"
        per = streams.events(loaded)
        reference = ours.prepare(loaded)
        theirs = None if who is ours else reference
        result = measure(row, source, who.name, who.version, who.prepare(loaded), reference=theirs, per=per)
        assert result == reference(), "they did not do the same work"

    return run
