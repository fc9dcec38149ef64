"""The limits stand in three places, which say the same: `limits.rs`, `Limits()` and the README's table."""

from __future__ import annotations

import re
from pathlib import Path

from penstock import Limits

ROOT = Path(__file__).parent.parent
UNITS = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20}


def in_rust() -> dict[str, int]:
    """The defaults as the core declares them."""
    text = (ROOT / "rust" / "penstock" / "src" / "limits.rs").read_text("utf-8")
    words = {"MIB": 1 << 20, "DEPTH_CEILING": 128}
    limits = {}
    for name, value in re.findall(r"^    (\w+) / \w+ = (.+);$", text, re.MULTILINE):
        limits[name] = 1
        for factor in value.split(" * "):
            limits[name] *= words[factor] if factor in words else int(factor)
    return limits


def in_python() -> dict[str, int]:
    """The defaults as Python shows them."""
    return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", repr(Limits()))}


def in_readme() -> dict[str, int]:
    """The rows of the README's table."""
    text = (ROOT / "README.md").read_text("utf-8")
    rows = re.findall(r"^\| `(max_\w+)` \| ([\d,]+) ?(\w*) \|", text, re.MULTILINE)
    return {name: int(count.replace(",", "")) * UNITS[unit] for name, count, unit in rows}


def test_the_three_agree() -> None:
    limits = in_rust()
    assert len(limits) == 10
    assert in_python() == limits
    assert in_readme() == limits


def test_each_is_an_attribute_and_an_option() -> None:
    for name, value in in_rust().items():
        assert getattr(Limits(), name) == value
        assert getattr(Limits(**{name: value - 1}), name) == value - 1
