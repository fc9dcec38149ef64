"""The public names: the package offers what its modules offer, each once, and the stub says the same."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

import penstock

PACKAGE = Path(penstock.__file__).parent

OWN_MODULES = ("ids", "prefix", "store")
"""Modules whose names the package does not repeat."""


def sources() -> list[ModuleType]:
    """The modules that `penstock` re-exports from, at once or when asked."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    statements = [
        *tree.body,
        *(inner for node in tree.body if isinstance(node, ast.If) for inner in node.body),
    ]
    names = [node.module for node in statements if isinstance(node, ast.ImportFrom) and node.module]
    return [importlib.import_module(name) for name in names if name.startswith("penstock.")]


def public(module: ModuleType) -> list[str]:
    return [name for name in module.__all__ if not name.startswith("_") and name not in own_modules()]


def own_modules() -> set[str]:
    """What the extension has for modules that users import by their own names."""
    return {name for module in OWN_MODULES for name in importlib.import_module(f"penstock.{module}").__all__}


def test_the_package_offers_the_union_of_its_modules() -> None:
    offered = Counter(name for module in sources() for name in public(module))
    assert [name for name, count in offered.items() if count > 1] == []
    assert sorted(penstock.__all__) == sorted(offered)


def test_every_name_is_the_module_s_own() -> None:
    for module in sources():
        for name in public(module):
            assert getattr(penstock, name) is getattr(module, name)


def test_about_forty_names() -> None:
    assert len(penstock.__all__) == len(set(penstock.__all__)) <= 45


def test_nothing_else_is_in_sight() -> None:
    modules = {path.stem for path in PACKAGE.iterdir()}
    # pytest rewrites the assertions of a distribution that brings it a plugin, and leaves names with "@".
    visible = {name for name in dir(penstock) if not name.startswith(("_", "@"))}
    assert visible - modules == {*penstock.__all__, "TYPE_CHECKING"}


def test_what_comes_later_is_there_when_it_is_asked_for() -> None:
    code = """
import sys, penstock
assert "penstock.session" not in sys.modules and "ResponsesSession" in dir(penstock)
from penstock import ResponsesSession
assert penstock.ResponsesSession is ResponsesSession
assert ResponsesSession is sys.modules["penstock.session.session"].ResponsesSession
assert penstock.Broadcast.__module__ == "penstock.broadcast"
try:
    penstock.Nothing
except AttributeError as error:
    print(error)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told == "module 'penstock' has no attribute 'Nothing'\n"


def test_the_stub_names_what_the_extension_has() -> None:
    stub = ast.parse((PACKAGE / "_penstock.pyi").read_text("utf-8"))
    named = {node.name for node in stub.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    extension = importlib.import_module("penstock._penstock")
    assert {*named, "__version__"} == {*extension.__all__}


@pytest.mark.parametrize("name", sorted({*penstock.__all__} - {"Limits"}))
def test_every_public_class_is_documented_and_says_where_it_lives(name: str) -> None:
    thing = getattr(penstock, name)
    assert len(thing.__doc__ or "") > 20
    assert thing.__module__.partition(".")[0] == "penstock"
