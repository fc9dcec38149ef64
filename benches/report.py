"""Run the benchmarks, print the table, keep a record.

    python -m benches.report                             measure and print
    python -m benches.report --record benches/record     and write YYYY-MM-DD.json, .md and .png there
    python -m benches.report --seconds 0.2 --rounds 3    a quick look
    python -m benches.report -- -k decode                only some (what follows -- goes to pytest)

A record says on which machine, from which commit and beside which versions it was taken. Its figures are
seconds in the JSON file and have their units in the table. What the README says is copied from a record.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benches.plot import draw
from benches.rows import ROWS, WHEEL, Row
from benches.streams import SOURCES

ROOT = Path(__file__).parents[1]
SCALES = {"ns": 1e9, "ms": 1e3, "MB": 1e-6, "×": 1.0}
JsonObject = dict[str, Any]


def main() -> int:
    options = parser().parse_args()
    load = os.getloadavg()[0]
    status, measured = run(options)
    if measured is None:
        return status
    record = assemble(measured, load, options.wheel)
    table = render(record)
    print(table)
    if options.record is not None:
        options.record.mkdir(parents=True, exist_ok=True)
        path = options.record / record["date"]
        path.with_suffix(".json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        path.with_suffix(".md").write_text(table)
        draw(record, path.with_suffix(".png"))
        print(f"written: {path}.json, .md, .png")
    return status


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    made.add_argument("--record", type=Path, metavar="DIR", help="write the dated record there")
    made.add_argument("--seconds", type=float, default=2.0, help="for the rounds of one figure (%(default)s)")
    made.add_argument("--rounds", type=int, default=9, help="the least of them (%(default)s)")
    made.add_argument("--wheel", type=Path, help="the wheel to weigh (the newest in target/wheels)")
    made.add_argument("pytest", nargs="*", help="further arguments for pytest, after --")
    return made


def run(options: argparse.Namespace) -> tuple[int, JsonObject | None]:
    """pytest's exit status, and what pytest-benchmark has saved; None if that is nothing."""
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "benchmark.json"
        command = [
            *(sys.executable, "-m", "pytest", str(ROOT / "benches"), "--continue-on-collection-errors"),
            *("-q", "--benchmark-quiet", f"--benchmark-json={saved}"),
            *(f"--benchmark-max-time={options.seconds}", f"--benchmark-min-rounds={options.rounds}"),
            *options.pytest,
        ]
        done = subprocess.run(command, cwd=ROOT, check=False)
        measured = json.loads(saved.read_text()) if saved.exists() and saved.stat().st_size else None
    return done.returncode, measured


def assemble(measured: JsonObject, load: float, wheel: Path | None) -> JsonObject:
    """The record: one entry for each row and input, with its peers; `load` is that of the machine before."""
    taken = [one["extra_info"] for one in measured["benchmarks"] if "row" in one["extra_info"]]
    machine = measured["machine_info"]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "command": shlex.join(["python", "-m", "benches.report", *sys.argv[1:]]),
        "commit": measured["commit_info"].get("id"),
        "uncommitted changes": measured["commit_info"].get("dirty"),
        "machine": {
            "cpu": machine["cpu"].get("brand_raw", machine["processor"]),
            "cores": os.cpu_count(),
            "system": f"{machine['system']} {machine['release']}",
            "python": f"{machine['python_implementation']} {machine['python_version']}",
            "load before": round(load, 2),
        },
        "versions": {one["contender"]: one["version"] for one in taken},
        "rows": [*entries(taken), *weighed(wheel)],
    }


def entries(taken: Iterable[JsonObject]) -> Iterator[JsonObject]:
    taken = list(taken)
    for row in ROWS.values():
        for source in (*SOURCES, ""):
            mine = [one for one in taken if (one["row"], one["source"]) == (row.key, source)]
            own = next((one for one in mine if one["contender"] == "penstock"), None)
            if own is None:
                continue
            peers = [one for one in mine if one is not own]
            yield entry(row, source, own[row.figure]) | {
                "best": own["best"] if row.figure == "time" else None,
                "events": own["per"],
                "rounds": own["rounds"],
                "peers": [beside(row, one) for one in sorted(peers, key=lambda one: one["ratio"])],
            }


def entry(row: Row, source: str, figure: float) -> JsonObject:
    target = None if row.target is None else row.target / SCALES[row.unit]
    return {
        "key": row.key,
        "work": row.work,
        "source": source,
        "unit": row.unit,
        "figure": figure,
        "target": target,
        "met": None if target is None else figure <= target,
    }


def beside(row: Row, one: JsonObject) -> JsonObject:
    wanted = row.ratios.get(one["contender"])
    return {
        "peer": one["contender"],
        "version": one["version"],
        "time": one["time"],
        "best": one["best"],
        "penstock": one["reference"],
        "ratio": one["ratio"],
        "wanted": wanted,
        "met": None if wanted is None else one["ratio"] >= wanted,
        "events": one["per"],
        "rounds": one["rounds"],
    }


def weighed(wheel: Path | None) -> Iterator[JsonObject]:
    built = sorted((ROOT / "target" / "wheels").glob("penstock-*.whl"), key=lambda path: path.stat().st_mtime)
    wheel = wheel or (built[-1] if built else None)
    if wheel is not None:
        yield entry(WHEEL, "", wheel.stat().st_size) | {"best": None, "peers": []}


HEAD = ("work", "version", "median", "best", "target", "ratio", "wanted", "met")


def render(record: JsonObject) -> str:
    """The record as Markdown, in columns that read as well on a terminal."""
    machine = record["machine"]
    changed = " with uncommitted changes" if record["uncommitted changes"] else ""
    parts = [
        f"# Benchmarks of {record['date']}",
        f"{machine['cpu']}, {machine['cores']} cores, load {machine['load before']} before; "
        f"{machine['system']}; {machine['python']}; commit {(record['commit'] or 'unknown')[:12]}{changed}. "
        f"Taken by `{record['command']}`.",
        "Processor time per event, of one core. The ratio is how many times as long as penstock the peer "
        "took, each round beside one of penstock; *wanted* is the least it shall be.",
    ]
    titles = {
        "recordings": "## What providers have sent",
        "generated": "## The generated streams",
        "": "## Growth, import, size",
    }
    for source, title in titles.items():
        rows = [one for one in record["rows"] if one["source"] == source]
        if rows:
            parts += [title, columns([HEAD, *lines(rows, record["versions"]["penstock"])])]
    return "\n\n".join(parts) + "\n"


def lines(rows: Iterable[JsonObject], version: str) -> Iterator[tuple[str, ...]]:
    for row in rows:
        unit = row["unit"]
        yield (
            row["work"],
            version,
            amount(row["figure"], unit),
            amount(row["best"], unit),
            amount(row["target"], unit),
            "",
            "",
            verdict(row["met"], row["figure"] / row["target"] if row["target"] else 0),
        )
        for peer in row["peers"]:
            yield (
                f"– {peer['peer']}"
                + ("" if peer["events"] == row["events"] else f" ({peer['events']:,} events)"),
                peer["version"],
                amount(peer["time"], unit),
                amount(peer["best"], unit),
                "",
                amount(peer["ratio"], "×"),
                "" if peer["wanted"] is None else f"≥ {amount(peer['wanted'], '×')}",
                verdict(peer["met"], (peer["wanted"] or 0) / peer["ratio"]),
            )


def amount(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    value *= SCALES[unit]
    digits = 0 if unit == "ns" or value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}"


def verdict(met: bool | None, over: float) -> str:
    """Whether a target is met; if not, how many times too much it is."""
    return "" if met is None else "yes" if met else f"no, {over:.2f} ×"


def columns(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    rule = tuple(
        "-" * width if column < 2 else "-" * (width - 1) + ":" for column, width in enumerate(widths)
    )
    return "\n".join(
        "| "
        + " | ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in (rows[0], rule, *rows[1:])
    )


if __name__ == "__main__":
    sys.exit(main())
