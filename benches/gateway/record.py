"""What a run of the gateways' benchmark found: medians, a table with the targets, a record, a picture."""

from __future__ import annotations

import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benches.plot import OURS, THEIRS

__all__ = ["assemble", "render", "summary", "write"]

MAX_BUSY: Final = 0.7
"""A load generator that was busier has measured itself."""

MIN_READS: Final = 0.9
"""Reads an event: with fewer something has held the gateway up, and what was paced has passed in bulk."""

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Figure:
    """One column: where its value stands in a row, and what penstock's is to be at most."""

    key: str
    title: str
    unit: str
    target: float | None = None
    bridged: float | None = None
    """The target where the gateway translates, if that is another."""

    def target_of(self, name: str) -> float | None:
        """What a contender's figure is held to."""
        if not name.startswith("penstock"):
            return None
        return self.bridged if self.bridged is not None and "bridged" in name else self.target


FIGURES: Final = (
    Figure("cpu_seconds_per_million_events", "CPU-s per million events", "", 45, 50),
    Figure("added_first_token_ms_p50", "first token, added p50", " ms", 5),
    Figure("kilobytes_per_stream", "memory per idle stream", " KB", 25),
    Figure("abort_ms_p50", "upstream closed after abort", " ms", 2),
    Figure("delay_ms_p50", "event delay p50", " ms"),
)


def summary(rounds: list[JsonObject]) -> JsonObject:
    """The medians of those rounds that are measurements."""
    good = [one for one in rounds if _is_measured(one["cpu"])]
    cpus = [one["cpu"]["microseconds_per_event"] for one in good]
    starts = [one["first_token"]["added_ms_p50"] for one in good]
    return {
        "cpu_seconds_per_million_events": _median(cpus, 1),
        "cpu_range": [min(cpus), max(cpus)] if cpus else None,
        "added_first_token_ms_p50": _median(starts, 2),
        "delay_ms_p50": _median((one["cpu"]["delay_ms_p50"] for one in good), 3),
        "rounds": len(rounds),
        "rounds_measured": len(good),
    }


def _is_measured(cpu: JsonObject) -> bool:
    return cpu["complete"] and cpu["load_busy"] <= MAX_BUSY and cpu["reads_per_event"] >= MIN_READS


def _median(values: Iterable[float | None], digits: int) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.median(known), digits) if known else None


def assemble(rows: dict[str, JsonObject], rounds: dict[str, list[JsonObject]], load: float) -> JsonObject:
    """The record; `load` is that of the machine before."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "command": shlex.join(["python", "-m", "benches.gateway", *sys.argv[1:]]),
        "real-time priority": os.environ.get("PENSTOCK_BENCH_RT") == "1",
        "commit": _commit(),
        "machine": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.release()}",
            "python": f"{platform.python_implementation()} {platform.python_version()}",
            "load before": round(load, 2),
        },
        "rows": rows,
        "rounds": rounds,
    }


def _commit() -> str | None:
    command = ["git", "rev-parse", "HEAD"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    return ran.stdout.strip() or None


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )


def render(record: JsonObject) -> str:
    """The record as a page of Markdown."""
    machine, commit = record["machine"], (record["commit"] or "unknown")[:12]
    cores = f"{machine['cpu']}, {machine['cores']} cores, load {machine['load before']} before"
    priority = ", the processes at real-time priority" if record["real-time priority"] else ""
    lines = [
        f"# Gateways, {record['date']}",
        "",
        f"{cores}; {machine['system']}; {machine['python']}; commit {commit}.",
        f"Taken by `{record['command']}`{priority}.",
        "",
        "100 streams with an event each 20 ms; 20 simultaneous starts; the gateway alone on one core, the",
        "mock upstream and the clients on the other. Medians of the rounds, in brackets their range.",
        "",
        f"| gateway | {' | '.join(figure.title for figure in FIGURES)} |",
        "|---|" + "---:|" * len(FIGURES),
    ]
    for name, row in record["rows"].items():
        cells = [
            f"{name} {row['version'] or 'not installed'}",
            *(_cell(figure, name, row) for figure in FIGURES),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"{name}: {row['error']}" for name, row in record["rows"].items() if "error" in row)]
    return "\n".join(lines).rstrip() + "\n"


def _value(figure: Figure, row: JsonObject) -> float | None:
    if figure.key == "kilobytes_per_stream":
        return row.get("idle", {}).get(figure.key)
    if figure.key == "abort_ms_p50":
        return row.get("cancellation", {}).get("milliseconds_p50")
    return row.get(figure.key)


def _cell(figure: Figure, name: str, row: JsonObject) -> str:
    value, target = _value(figure, row), figure.target_of(name)
    never = row.get("cancellation", {}).get("never_within_1s") if figure.key == "abort_ms_p50" else 0
    if value is None:
        return "never" if never else "–"
    text = f"{value:g}{figure.unit}"
    if figure.key == "cpu_seconds_per_million_events" and row.get("cpu_range"):
        text += " ({:g}–{:g})".format(*row["cpu_range"])
    if never:
        text += f", {never} never"
    if target is not None:
        text += f", target {target:g}" if value <= target else f", **missed {target:g}**"
    return text


def write(record: JsonObject, folder: Path) -> Path:
    """Store the record as JSON, Markdown and PNG; returns their path without the ending."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{record['date']}-gateway"
    path.with_suffix(".json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    path.with_suffix(".md").write_text(render(record))
    _draw(record, path.with_suffix(".png"))
    return path


def _draw(record: JsonObject, path: Path) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - only a record needs it

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    rows = record["rows"]
    figure, axes = plt.subplots(len(FIGURES), figsize=(9, 2.0 * len(FIGURES)), layout="constrained")
    for axis, column in zip(axes, FIGURES, strict=True):
        shown = [(name, value) for name, row in rows.items() if (value := _value(column, row)) is not None]
        names, values = [name for name, _ in shown], [value for _, value in shown]
        colours = [OURS if name.startswith("penstock") else THEIRS for name in names]
        bars = axis.barh(names, values, color=colours, height=0.7)
        axis.bar_label(bars, [f" {value:g}{column.unit}" for value in values], fontsize=8)
        if column.target is not None:
            axis.axvline(column.target, color="#c0392b", linewidth=0.8, linestyle=":")
        axis.invert_yaxis()
        axis.set_xscale("log")
        axis.set_xlim(min(values, default=1) / 3, max(values, default=1) * 2)
        dotted = ", dotted: penstock's target" if column.target else ""
        axis.set_title(column.title + dotted, fontsize=10, loc="left")
        axis.tick_params(labelsize=8, which="both")
        axis.spines[["top", "right"]].set_visible(False)
    machine = record["machine"]
    figure.suptitle(f"{record['date']} · {machine['cpu']} · {machine['python']}", fontsize=9)
    figure.savefig(path, dpi=144)
    plt.close(figure)
