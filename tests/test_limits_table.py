"""The limits stand in three places, which say the same: `limits.rs`, `Limits()` and the README's table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from penstock import Limits
from penstock.store import Bounds

ROOT = Path(__file__).parent.parent
UNITS = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "days": 24 * 3600 * 1000}


def in_rust(struct: str) -> dict[str, int]:
    """The defaults as the core declares them."""
    text = (ROOT / "rust" / "penstock" / "src" / "limits.rs").read_text("utf-8")
    text = text.split(f"    {struct};\n")[1].split("\n}\n")[0]
    words = {"MIB": 1 << 20, "DEPTH_CEILING": 128}
    limits = {}
    for name, value in re.findall(r"^    (\w+) / \w+ = (.+);$", text, re.MULTILINE):
        limits[name] = 1
        for factor in value.split(" * "):
            limits[name] *= words[factor] if factor in words else int(factor)
    return limits


def in_python(made: Limits | Bounds) -> dict[str, int]:
    """The defaults as Python shows them; times are milliseconds."""
    found = re.findall(r"(\w+)=([\d.]+)", repr(made))
    return {name: int(float(value) * (1000 if name == "ttl" else 1)) for name, value in found}


def in_readme() -> dict[str, int]:
    """The rows of the README's tables."""
    text = (ROOT / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| `(max_\w+|ttl)` \| ([\d,]+) ?(\w*) \|", text, re.MULTILINE)
    return {name: int(count.replace(",", "")) * UNITS[unit] for name, count, unit in rows}


def test_the_three_agree() -> None:
    limits, bounds = in_rust("Limits"), in_rust("Bounds")
    assert (len(limits), len(bounds)) == (10, 7)
    assert in_python(Limits()) == limits
    assert in_python(Bounds()) == bounds
    assert in_readme() == limits | bounds


@pytest.mark.parametrize("kind", [Limits, Bounds])
def test_each_is_an_attribute_and_an_option(kind: type[Limits | Bounds]) -> None:
    for name, value in in_rust(kind.__name__).items():
        default = value / 1000 if name == "ttl" else value
        assert getattr(kind(), name) == default
        options: dict[str, Any] = {name: default - 1}
        assert getattr(kind(**options), name) == default - 1
