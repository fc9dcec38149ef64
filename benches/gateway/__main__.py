"""`python -m benches.gateway`: what gateways cost, measured side by side; `make bench-gateway` runs it.

The mock upstream and the clients share core 0, each gateway in turn has core 1. Rounds go through all
gateways one after the other, so that what else the machine does falls on all of them. A row whose load
generator was busier than 70 % of its core is no measurement, and is told as none.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, Final

from benches.gateway.contenders import CONTENDERS
from benches.gateway.measure import LOAD_CORE, cancellation, cpu, first_token, idle_memory, running

MAX_BUSY: Final = 0.7


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--only", action="append", default=[], help="names, or the beginnings of them; repeatable"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each paced run")
    parser.add_argument("--idle", type=int, default=600, help="silent streams for the memory's slope")
    parser.add_argument("--record", type=Path, help="a folder for the dated result")
    args = parser.parse_args()
    os.sched_setaffinity(0, {LOAD_CORE})

    rows: dict[str, dict[str, Any]] = {}
    rounds: dict[str, list[dict[str, Any]]] = defaultdict(list)
    chosen = [one for one in CONTENDERS if not args.only or one.name.startswith(tuple(args.only))]
    for contender in chosen:
        rows[contender.name] = {"package": contender.package, "version": contender.version()}
    for number in range(args.rounds):
        for contender in chosen:
            row = rows[contender.name]
            if row["version"] is None or "error" in row:
                continue
            try:
                with running(contender, deltas=round(args.seconds * 50)) as gateway:
                    start = first_token(gateway)
                    rounds[contender.name].append({"cpu": cpu(gateway, args.streams), "first_token": start})
                    if number == 0:
                        row["cancellation"] = cancellation(gateway)
                if number == 0:
                    with running(contender, deltas=2, interval=600) as gateway:
                        row["idle"] = idle_memory(gateway, args.idle)
            except (RuntimeError, OSError) as error:
                row["error"] = str(error)
            print(
                contender.name,
                json.dumps(rounds[contender.name][-1:] or row.get("error")),
                file=sys.stderr,
                flush=True,
            )
    for name, row in rows.items():
        row.update(_summary(rounds[name]))
    print(_table(rows))
    if args.record is not None:
        _record(args, rows, rounds)
    return 0


def _summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    good = [one for one in rounds if one["cpu"]["load_busy"] <= MAX_BUSY and one["cpu"]["complete"]]
    cpus = [one["cpu"]["microseconds_per_event"] for one in good]
    starts = [added for one in good if (added := one["first_token"]["added_ms_p50"]) is not None]
    return {
        "cpu_seconds_per_million_events": round(statistics.median(cpus), 1) if cpus else None,
        "cpu_range": [min(cpus), max(cpus)] if cpus else None,
        "added_first_token_ms_p50": round(statistics.median(starts), 2) if starts else None,
        "delay_ms_p50": round(statistics.median(one["cpu"]["delay_ms_p50"] for one in good), 3)
        if good
        else None,
        "rounds": len(rounds),
        "rounds_measured": len(good),
    }


def _table(rows: dict[str, dict[str, Any]]) -> str:
    lines = [
        "| gateway | CPU-s per million events | added first token p50 | event delay p50 "
        "| memory per idle stream | upstream closed after abort |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        version = row["version"] or "not installed"
        idle, cancel = row.get("idle", {}), row.get("cancellation", {})
        closed = cancel.get("milliseconds_p50")
        if cancel.get("never_within_1s"):
            closed = f"{closed}, {cancel['never_within_1s']} never"
        cells = [
            f"{name} {version}",
            _cell(row.get("cpu_seconds_per_million_events"), ""),
            _cell(row.get("added_first_token_ms_p50"), " ms"),
            _cell(row.get("delay_ms_p50"), " ms"),
            _cell(idle.get("kilobytes_per_stream"), " KB"),
            _cell(closed, " ms"),
        ]
        lines.append(f"| {' | '.join(cells)} |" + (f" {row['error']}" if "error" in row else ""))
    return "\n".join(lines)


def _cell(value: object, unit: str) -> str:
    return "–" if value is None else f"{value}{unit}"


def _record(args: argparse.Namespace, rows: dict[str, Any], rounds: dict[str, Any]) -> None:
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    command = " ".join(["python -m benches.gateway", *sys.argv[1:]])
    machine = {"python": platform.python_version(), "cpus": os.cpu_count(), "load": os.getloadavg()[0]}
    record = {"date": today, "command": command, "machine": machine, "rows": rows, "rounds": rounds}
    args.record.mkdir(parents=True, exist_ok=True)
    (args.record / f"{today}-gateway.json").write_text(json.dumps(record, indent=1) + "\n")
    (args.record / f"{today}-gateway.md").write_text(
        f"# Gateways, {today}\n\n`{command}`\n\n{_table(rows)}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
