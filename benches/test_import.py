"""What `import penstock` adds to the start of a Python process."""

from __future__ import annotations

import resource
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version

import pytest

from benches import rows
from benches.measure import Measure, Pass


def children_time() -> float:
    """Processor seconds of the child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def python(program: str) -> Pass:
    return lambda: subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.benchmark(timer=children_time)
def test_import(measure: Measure) -> None:
    measure = replace(measure, clock=children_time)
    measure(
        rows.IMPORT,
        "",
        "penstock",
        version("penstock"),
        python("import penstock"),
        reference=python("pass"),
    )
