"""How a figure is taken on a machine that has other things to do.

Times are processor time of this process, so waiting for a core costs nothing. What is left of the neighbours
(shared caches, clock rates, hyper-threads) comes and goes over seconds; so a contender and its reference take
turns, round by round, and a ratio is the median of the ratios of neighbouring rounds. Before each timed pass
comes one that is not: it brings back what the other has pushed out of the caches.

pytest-benchmark runs the rounds and decides how many (`--benchmark-max-time`, `--benchmark-min-rounds`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter, process_time
from typing import Any

from benches.rows import Row

MOST_ROUNDS = 400

Clock = Callable[[], float]
Pass = Callable[[], Any]


@dataclass(frozen=True)
class Measure:
    """Measures into one pytest-benchmark fixture.

    Attributes:
        benchmark: the fixture.
        seconds: how long the rounds of one test may take together.
        least_rounds: how many there are at least.
        clock: the benchmark's timer, in seconds.
    """

    benchmark: Any
    seconds: float
    least_rounds: int
    clock: Clock = process_time

    def __call__(
        self,
        row: Row,
        source: str,
        contender: str,
        version: str,
        run: Pass,
        *,
        reference: Pass | None = None,
        per: int = 1,
        reference_per: int | None = None,
    ) -> Any:
        """Time passes of `run`, each beside one of `reference`, and note the figures for the report.

        Args:
            row: the work that is done.
            source: the input it is done on.
            contender: who does it, and in which `version`.
            run: one pass over the input.
            reference: what `run` takes turns with.
            per: how many events one pass handles; the figures are for one.
            reference_per: the same of the reference, where that is another number: what takes microseconds is
                timed a hundred times in a row, or the figure would be that of the clock.

        Returns:
            What the last pass returned.
        """
        self.benchmark.group = f"{row.work} [{source}]" if source else row.work
        if self.benchmark.disabled:
            return self.benchmark.pedantic(run)

        references: list[float] = []

        def prepare() -> None:
            if reference is not None:
                reference()
                begin = self.clock()
                reference()
                references.append(self.clock() - begin)
            run()

        begin = perf_counter()
        prepare()
        run()
        rounds = min(MOST_ROUNDS, int(self.seconds / (perf_counter() - begin)))
        references.clear()
        result = self.benchmark.pedantic(run, setup=prepare, rounds=max(rounds, self.least_rounds))

        times: list[float] = self.benchmark.stats.stats.data
        figures: dict[str, Any] = {"time": median(times) / per, "best": min(times) / per}
        if references:
            each = reference_per or per
            pairs = [(time / per, beside / each) for time, beside in zip(times, references, strict=True)]
            figures["reference"] = median(references) / each
            figures["ratio"] = median(time / beside for time, beside in pairs)
            figures["difference"] = median(time - beside for time, beside in pairs)
        self.benchmark.extra_info.update(
            row=row.key,
            source=source,
            contender=contender,
            version=version,
            per=per,
            rounds=len(times),
            **figures,
        )
        return result
