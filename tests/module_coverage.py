"""Holds the faces to full branch coverage, each module by its own tests alone; `make coverage` runs it.

Coverage by all tests together shows little: a line that another module's tests happen to pass over counts as
tested. Here a module is measured while only `test_<module>.py` runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent

MODULES: Final = (
    *("errors", "sources", "stats", "timeouts", "pump", "stream_core", "stream", "harmony"),
    "session/*",
    *(f"store/{name}" for name in ("base", "memory", "connection", "sqlite", "tables", "redis", "adapters")),
    *(f"websocket/{name}" for name in ("attending", "closing", "flights", "lanes", "limits", "origins")),
    *(
        f"websocket/{name}"
        for name in ("over_asgi", "over_websockets", "reply", "requests", "sealing", "taps", "wire")
    ),
    *(f"gateway/{name}" for name in ("config", "routing", "tenants", "lasting")),
    *("hooks", "broadcast", "subscription", "asgi/upstream", "asgi/policies", "asgi/failures", "asgi/editor"),
    *("gateway/flow", "gateway/direct", "request_bodies/*"),
)
"""Modules of `penstock` of which every branch must be covered."""

TESTS: Final = {
    "subscription": "test_broadcast.py",
    "asgi/upstream": "test_asgi_response.py",
    "asgi/policies": "test_asgi_response.py",
    "asgi/failures": "test_asgi_response.py",
    "asgi/editor": "test_hooks.py",
    "gateway/direct": "test_gateway_flow.py",
    "request_bodies/*": "test_request_bodies.py",
    "session/*": "test_session_chain.py test_session_machine.py test_session_link.py test_session.py",
    "store/base": "test_store.py -k memory",
    "store/memory": "test_store.py -k memory",
    "store/sqlite": "test_store.py test_store_sqlite.py -k sqlite",
    "store/tables": "test_store.py test_store_sqlite.py -k sqlite",
    "store/redis": "test_store.py test_store_redis.py -k redis",
}
"""pytest's arguments where a module's tests are not one file of its name."""


def main() -> int:
    """Measure every module; what is missing is printed, and the exit status tells whether anything is."""
    full = [measure(module) for module in MODULES]
    print(f"coverage: {full.count(True)} of {len(full)} modules with every branch covered")
    return 0 if all(full) else 1


def measure(module: str) -> bool:
    """Run the tests of one module and print what of it they leave out."""
    tests = TESTS.get(module, f"test_{module.replace('/', '_')}.py")
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "COVERAGE_FILE": str(Path(folder) / "data")}

        def coverage(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "coverage", *arguments]
            return subprocess.run(
                command, cwd=HERE.parent, env=environment, capture_output=True, text=True, check=False
            )

        words = [str(HERE / word) if word.endswith(".py") else word for word in tests.split()]
        ran = coverage("run", "--branch", "-m", "pytest", "-q", "--no-header", *words)
        only = f"--include=*/penstock/{module}.py"
        report = coverage("report", "--show-missing", "--fail-under=100", "--precision=2", only)
    full = ran.returncode == report.returncode == 0
    print(f"coverage: {module} by {tests}: {'100 %' if full else 'FAILED'}", flush=True)
    if not full:
        print(ran.stdout[-4_000:], ran.stderr[-1_000:], report.stdout, report.stderr, sep="\n", flush=True)
    return full


if __name__ == "__main__":
    sys.exit(main())
