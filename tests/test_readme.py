"""The README's Python runs as it stands, and its tables and commands are those of the package.

Only what a reader would replace is replaced: the provider's address and its model by the replay upstream's.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from websocket_kit import asgi_server, ask, dial

import penstock
from penstock import errors
from penstock.cli import COMMANDS
from penstock.replay import ReplayServer
from penstock.store import MemoryStore

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[tuple[int, str]]:
    """The code blocks of a language, each with the number of its first line."""
    found = re.finditer(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [(README.count("\n", 0, match.start(1)) + 1, match.group(1)) for match in found]


def section(title: str) -> str:
    """What stands below a heading of the second level."""
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_every_python_block_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    names: dict[str, Any] = {}
    assert len(blocks("python")) >= 6
    with ReplayServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        for line, block in blocks("python"):
            code = block.replace("https://api.openai.com", server.url).replace("gpt-5.2", "replay-text")
            # Empty lines before it make a traceback name the README's own line.
            exec(compile("\n" * (line - 1) + code, README_NAME, "exec"), names)  # noqa: S102
        # An upgrade is a request, but no answer.
        assert server.stats.completed == server.stats.requests - server.stats.websockets == 6
    text = names["final"]["output"][0]["content"][0]["text"]
    assert capsys.readouterr().out.count(text) == 4


async def test_the_websocket_application_serves() -> None:
    block = next(code for _, code in blocks("python") if "ManagedConnection" in code)
    async with ReplayServer() as server:
        names: dict[str, Any] = {
            "MemoryStore": MemoryStore,
            "key": "none",
            "url": f"{server.base_url}/responses",
        }
        exec(block, names)  # noqa: S102
        async with asgi_server("uvicorn", names["sockets"], lifespan="on") as url, dial(url) as client:
            frames = await ask(client, model="replay-echo", input="well")
    assert frames[-1]["response"]["output"][0]["content"][0]["text"] == "well"


README_NAME = str(ROOT / "README.md")


def test_the_first_example_is_five_lines() -> None:
    _, code = blocks("python")[0]
    lines = [line for line in code.splitlines() if line.strip()]
    using = [line for line in lines if "penstock" in line or "stream." in line or "event" in line]
    assert len(using) <= 5
    assert len(lines) <= 9


def test_the_errors_are_all_there_with_what_they_carry() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|(.*)\|$", section("Errors"), re.MULTILINE)
    assert sorted(name for name, _, _ in rows) == sorted(errors.__all__)
    for name, when, carries in rows:
        cls = getattr(errors, name)
        for base in (ValueError, TimeoutError, RuntimeError):
            assert issubclass(cls, base) == (f"`{base.__name__}`" in when), name
        documented = inspect.getdoc(cls) or ""
        for field in re.findall(r"`(\w+)`", carries):
            assert hasattr(cls, field) or re.search(rf"\b{field}\b", documented), f"{name}.{field}"


def test_the_decoder_s_options_are_as_they_are() -> None:
    options = inspect.signature(penstock.Decoder).parameters
    rows = re.findall(r"^\| `(\w+)=\S+` \| `(.+?)` \|", README, re.MULTILINE)
    assert {name for name, _ in rows} == set(options) - {"limits"}
    for name, default in rows:
        assert repr(options[name].default) == default.replace('"', "'"), name


def test_the_commands_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    shell = "".join(block for _, block in blocks("sh"))
    prose = README + (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    targets = re.findall(r"^make ([\w-]+)|`make ([\w-]+)`", shell + prose, re.MULTILINE)
    targets = [target or quoted for target, quoted in targets]
    assert {"demo", "test"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"
    assert set(re.findall(r"\bpenstock (\w+)", shell)) <= set(COMMANDS)


@pytest.mark.parametrize("name", ["README", "CONTRIBUTING", "SECURITY"])
def test_links_and_files_named_in_the_documents_exist(name: str) -> None:
    text = (ROOT / f"{name}.md").read_text("utf-8")
    named = re.findall(r"\]\(([^)#:]+)\)|`((?:rust|python|tests)/[\w./-]+\.\w+)`|`(test_\w+\.py)`", text)
    for link, path, test in named:
        place = ROOT / (link or path) if not test else ROOT / "tests" / test
        assert place.exists(), f"{name}.md names {place.name}"
