"""The import arrows: the core does no I/O, the binding knows it alone, faces parse nothing, tools serve none.

An arrow is drawn by a word in the source, so the tests read the source.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "rust" / "penstock"
BINDING = ROOT / "rust" / "penstock-python"
FACES = ROOT / "python" / "penstock"

UNSAFE = "simd"
"""The one module of the core with `unsafe` in it."""

TOOLS = ("cli", "commands", "demo", "gateway", "replay", "__main__")
"""What is run rather than imported; the library must not need it."""

JSON_READERS = {
    "commands": "prints events",
    "demo": "prints the final object",
    "harmony": "arguments of the browser, once a call of a prompt",
    "gateway": "requests, whole answers and log lines; once each, never an event",
    "replay": "is the upstream: it makes events and reads requests",
    "commands.lint": "prints findings",
    "integrations.openai": "a request's body and an error's, once a stream",
    "request_bodies": "thinking blocks within a request, once a request",
    "session.codec": "requests, once a turn",
    "stream_core": "an error's body, once a stream",
    "websocket.wire": "error frames and requests, once a response",
}
"""Modules that may name a JSON library, and for what; events are read by the extension."""

THIRD_PARTY = {
    "httpx": ("demo", "session.over_http"),
    "redis": ("store.redis", "gateway.background", "broadcasts"),
    "rich": ("demo",),
    "starlette": ("asgi",),
    "websockets": ("replay.frames", "websocket.over_websockets", "session.over_websocket"),
    "openai": ("integrations", "demo.sdk"),
    "openai_harmony": ("harmony",),
    "opentelemetry": ("gateway.otel",),
    "pydantic": ("integrations", "gateway.config"),
    "pydantic_core": ("integrations",),
    "pytest": ("pytest_plugin",),
    "httptools": ("gateway.client",),
    "orjson": ("gateway",),
    "uvicorn": ("gateway.serve", "gateway.direct"),
    "uvloop": ("gateway.serve",),
    "yaml": ("gateway.config",),
}
"""Who may import what. Streams are read without importing the client they come from."""

STANDARD = sys.stdlib_module_names


class Import(NamedTuple):
    """One import as it stands in a module."""

    importer: str
    name: str


def rust(folder: Path) -> Iterator[tuple[Path, str]]:
    """Each source file of a crate, without comments."""
    for path in sorted((folder / "src").rglob("*.rs")):
        yield path, re.sub(r"//[^\n]*", "", path.read_text("utf-8"))


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Each module of the package by its name below `penstock`."""
    for path in sorted(FACES.rglob("*.py")):
        name = ".".join(path.relative_to(FACES).with_suffix("").parts).removesuffix(".__init__")
        yield name, ast.parse(path.read_text("utf-8"))


def imports(name: str, tree: ast.Module) -> Iterator[Import]:
    """What a module imports when it runs, wherever that stands; what only type checkers read is left out."""
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    package = f"penstock.{name}".split(".")
    if not (FACES / name.replace(".", "/")).is_dir():
        package.pop()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (Import(name, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            yield Import(name, module)
            yield from (Import(name, f"{module}.{alias.name}") for alias in node.names)


def within(name: str, places: tuple[str, ...] | dict[str, str]) -> bool:
    """Whether a module is one of `places` or lies in one."""
    return any(name == place or name.startswith(place + ".") for place in places)


ARROWS = [arrow for name, tree in modules() for arrow in imports(name, tree)]


def dependencies(crate: Path) -> set[str]:
    manifest = tomllib.loads((crate / "Cargo.toml").read_text("utf-8"))
    return set(manifest["dependencies"])


def test_the_core_depends_on_next_to_nothing() -> None:
    assert dependencies(CORE) <= {"hmac", "memchr", "sha2", "unicode-segmentation"}
    assert dependencies(BINDING) == {"penstock", "pyo3"}


@pytest.mark.parametrize(
    "word",
    ["pyo3", r"std::net", r"std::thread", r"std::time", r"std::fs", r"std::env", r"std::process", r"\brand"],
)
def test_the_core_does_no_io_and_reads_no_clock(word: str) -> None:
    assert [path.name for path, text in rust(CORE) if re.search(word, text)] == []


def test_the_core_is_safe_outside_one_module() -> None:
    found = {path.relative_to(CORE / "src") for path, text in rust(CORE) if re.search(r"\bunsafe\b", text)}
    assert {path.with_suffix("").parts[0] for path in found} == {UNSAFE}


def test_the_binding_reads_no_sockets_either() -> None:
    words = r"std::net|std::thread|std::time|std::fs|std::env|std::process"
    assert [path.name for path, text in rust(BINDING) if re.search(words, text)] == []


def test_every_module_is_looked_at() -> None:
    assert len(ARROWS) > 50
    assert {"penstock._penstock", "penstock.errors"} <= {arrow.name for arrow in ARROWS}


def test_only_named_modules_read_json() -> None:
    readers = {
        arrow.importer for arrow in ARROWS if arrow.name.split(".")[0] in ("json", "orjson", "msgspec")
    }
    assert [name for name in readers if not within(name, JSON_READERS)] == []


def test_no_face_tells_lines_or_fields_apart() -> None:
    """Splitting a body by `str` rules loses text at U+2028, and a second decoder would be a second truth."""
    words = re.compile(r"iter_lines|splitlines|^data:|^event:")
    found = [
        name
        for name, tree in modules()
        if not within(name, (*TOOLS, "integrations"))
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and words.search(node.attr))
        or (
            isinstance(node, ast.Constant)
            and isinstance(node.value, bytes)
            and words.search(repr(node.value)[2:])
        )
    ]
    assert found == []


def test_frameworks_are_imported_by_what_serves_them_alone() -> None:
    for importer, name in ARROWS:
        top = name.split(".")[0]
        if top not in STANDARD and top != "penstock":
            assert within(importer, THIRD_PARTY.get(top, ())), f"{importer} imports {name}"


def test_the_library_needs_none_of_its_tools() -> None:
    for importer, name in ARROWS:
        if not within(importer, TOOLS):
            assert not within(name.removeprefix("penstock."), TOOLS), f"{importer} imports {name}"


def test_nobody_imports_an_integration() -> None:
    for importer, name in ARROWS:
        if name.startswith("penstock.integrations"):
            assert within(importer, ("integrations",)), f"{importer} imports {name}"


def test_errors_stand_at_the_bottom() -> None:
    assert [name for importer, name in ARROWS if importer == "errors" and name.startswith("penstock")] == []


def test_the_package_re_exports_and_nothing_else() -> None:
    tree = ast.parse((FACES / "__init__.py").read_text("utf-8"))
    kinds = {type(node) for node in tree.body}
    assert kinds <= {ast.Expr, ast.ImportFrom, ast.Assign, ast.If}
    assert all(isinstance(node.value, ast.Constant) for node in tree.body if isinstance(node, ast.Expr))
    # What is imported when it is first asked for takes a function; nothing else may.
    late = {
        inner.name if isinstance(inner, ast.FunctionDef) else type(inner).__name__
        for node in tree.body
        if isinstance(node, ast.If)
        for inner in node.body
    }
    assert late == {"ImportFrom", "__getattr__", "__dir__"}
