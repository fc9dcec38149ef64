"""What the Dockerfile assumes of the project: without building an image, its commands are held to it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from gateways import running

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def words(instruction: str) -> list[str]:
    """The arguments of an instruction in its list form."""
    (found,) = re.findall(rf"^{instruction} .*?(\[.*\])$", TEXT, re.MULTILINE)
    listed: list[str] = json.loads(found)
    return listed


def test_what_it_installs_exists() -> None:
    (extras,) = re.findall(r"\.whl\)\[([\w,]+)\]", TEXT)
    assert set(extras.split(",")) <= set(PROJECT["project"]["optional-dependencies"])
    assert f"'{PROJECT['build-system']['requires'][0]}'" in TEXT, "the builder that pyproject.toml asks for"
    images = re.findall(r"^FROM python:3\.(\d+)-slim", TEXT, re.MULTILINE)
    assert len(images) == 2
    assert len(set(images)) == 1, "what is built for one Python runs on it"
    assert int(images[0]) >= int(PROJECT["project"]["requires-python"].rpartition(".")[2])
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {".git", ".venv", "target"} <= set(ignored)


def test_the_gateway_takes_its_command_line(tmp_path: Path) -> None:
    program, *arguments = words("ENTRYPOINT")
    (option, place) = words("CMD")
    assert (Path(program).name, option) == ("penstock", "--config")
    assert f"gateway.yaml:{place}:ro" in TEXT, "the example mounts what is read"
    path = tmp_path / "gateway.yaml"
    upstream = {"name": "a", "url": "http://127.0.0.1:9/v1"}
    path.write_text(yaml.safe_dump({"upstreams": [upstream]}))
    command = [sys.executable, "-m", "penstock", *arguments, option, str(path), "--check"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 2
    assert "needs client keys" in ran.stderr, "the image listens to everybody"
    key = {"name": "team", "key": "sk-0123456789abcdefghij"}
    path.write_text(yaml.safe_dump({"upstreams": [upstream], "keys": [key]}))
    subprocess.run(command, capture_output=True, timeout=60, check=True)
    assert f"EXPOSE {arguments[arguments.index('--port') + 1]}" in TEXT


@pytest.mark.parametrize("healthy", [True, False])
def test_its_health_check(healthy: bool) -> None:
    _, *arguments = words("HEALTHCHECK")
    with running() as gateway:
        gateway.gateway.draining = not healthy
        program = arguments[-1].replace("127.0.0.1:4000", f"127.0.0.1:{gateway.port}")
        assert str(gateway.port) in program
        command = [sys.executable, *arguments[:-1], program]
        ran = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (ran.returncode == 0) == healthy
