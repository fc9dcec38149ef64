"""The gateways that are measured: how each is started, which routes it serves, and which release it is.

Each peer may have an environment of its own, as their dependencies exclude each other:
`PENSTOCK_BENCH_LITELLM` and `PENSTOCK_BENCH_SMG` name the Python of it. A peer that is not installed is
reported as such, never left out in silence.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benches.gateway.load import KEY

__all__ = ["CONTENDERS", "Contender"]

HERE: Final = Path(__file__).parent
FOLDER: Final = Path(tempfile.mkdtemp(prefix="penstock-bench-"))


@dataclass(frozen=True, slots=True)
class Contender:
    """One gateway, run as a process."""

    name: str
    package: str
    """What it is, for its version."""
    python: str
    path: str = "/v1/responses"
    model: str = "gpt-4o-mini"
    start_seconds: float = 20.0

    def version(self) -> str | None:
        """The release that is installed; None if it is not."""
        code = f"from importlib.metadata import version; print(version({self.package!r}))"
        try:
            ran = subprocess.run([self.python, "-c", code], capture_output=True, text=True, check=False)
        except OSError:
            return None
        return ran.stdout.strip() or None

    def command(self, port: int, upstream: str) -> list[str]:
        """What starts it on a port, in front of the mock."""
        script = {"httpx + Starlette": "raw_httpx.py", "FastAPI + openai SDK": "fastapi_openai.py"}.get(
            self.name
        )
        if script is not None:
            return [self.python, str(HERE / "peers" / script), str(port), upstream]
        if self.package == "penstock":
            path = _write("penstock.yaml", _penstock(upstream, port))
            return [self.python, "-m", "penstock", "serve", "--config", path]
        if self.package == "litellm":
            path = _write("litellm.yaml", _litellm(upstream))
            command = [str(Path(self.python).with_name("litellm")), "--config", path, "--port", str(port)]
            return [*command, "--host", "127.0.0.1", "--telemetry", "False"]
        with socket.create_server(("127.0.0.1", 0)) as free:
            figures = free.getsockname()[1]
        command = [self.python, "-m", "smg", "launch", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--worker-urls", upstream, "--backend", "openai", "--history-backend", "none"]
        return [*command, "--log-level", "error", "--prometheus-port", str(figures)]


def _write(name: str, value: Any) -> str:
    path = FOLDER / name
    path.write_text(json.dumps(value))  # JSON is YAML
    return str(path)


def _penstock(upstream: str, port: int) -> dict[str, Any]:
    shared = {"url": f"{upstream}/v1", "key": "sk-upstream"}
    return {
        "listen": {"port": port},
        "upstreams": [
            {"name": "responses", **shared, "models": ["gpt-4o-mini"]},
            {"name": "chat", **shared, "dialect": "chat", "models": ["bridged=gpt-4o-mini"]},
        ],
        "keys": [{"name": "bench", "key": KEY}],
        "telemetry": {"log": "json"},
    }


def _litellm(upstream: str) -> dict[str, Any]:
    def entry(name: str, model: str) -> dict[str, Any]:
        parameters = {"model": model, "api_base": f"{upstream}/v1", "api_key": "sk-upstream"}
        return {"model_name": name, "litellm_params": parameters}

    models = [entry("gpt-4o-mini", "openai/gpt-4o-mini"), entry("bridged", "deepseek/gpt-4o-mini")]
    return {"model_list": models, "general_settings": {"master_key": KEY}}


_LITELLM: Final = os.environ.get("PENSTOCK_BENCH_LITELLM", sys.executable)
_SMG: Final = os.environ.get("PENSTOCK_BENCH_SMG", sys.executable)

CONTENDERS: Final = (
    Contender("penstock", "penstock", sys.executable),
    Contender("penstock, bridged", "penstock", sys.executable, model="bridged"),
    Contender("httpx + Starlette", "httpx", sys.executable),
    Contender("FastAPI + openai SDK", "openai", sys.executable),
    Contender("smg", "smg", _SMG, start_seconds=60),
    Contender("LiteLLM", "litellm", _LITELLM, start_seconds=90),
    Contender("LiteLLM, bridged", "litellm", _LITELLM, model="bridged", start_seconds=90),
)
