"""Holds modules of the faces to full branch coverage, each by its own tests alone; `make coverage` runs it.

Coverage by all tests together shows little: a line that another module's tests happen to pass over counts as
tested. Here a module is measured while only the tests in its row run.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent

TESTS: Final = {
    module: [f"test_{module}.py"]
    for module in ("errors", "sources", "stats", "stream", "stream_core", "timeouts", "pump")
}
"""Modules of `penstock` and the files that must cover every branch of each."""


def main() -> int:
    """Measure every module; what is missing is printed, and the exit status tells whether anything is."""
    full = [measure(module, files) for module, files in TESTS.items()]
    print(f"coverage: {full.count(True)} of {len(full)} modules with every branch covered")
    return 0 if all(full) else 1


def measure(module: str, files: list[str]) -> bool:
    """Run the tests of one module and report what of it they leave out."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "COVERAGE_FILE": str(Path(folder) / "data")}

        def coverage(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "coverage", *arguments]
            return subprocess.run(
                command, cwd=HERE.parent, env=environment, capture_output=True, text=True, check=False
            )

        tests = [str(HERE / file) for file in files]
        include = f"--include=*/penstock/{module}.py"
        ran = coverage("run", "--branch", include, "-m", "pytest", "-q", "--no-header", *tests)
        report = coverage("report", "--show-missing", "--fail-under=100", "--precision=2", include)
    if ran.returncode or report.returncode:
        print(f"coverage: {module} by {' '.join(files)}", ran.stdout[-4_000:], ran.stderr, sep="\n")
        print(report.stdout, report.stderr, sep="\n", flush=True)
        return False
    print(f"coverage: {module} by {' '.join(files)}: 100 %", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
