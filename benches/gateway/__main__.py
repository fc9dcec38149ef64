"""`python -m benches.gateway`: what gateways cost, measured side by side; `make bench-gateway` runs it.

The mock upstream and the clients share core 0, each gateway in turn has core 1. Rounds go through all
gateways one after the other, so that what else the machine does falls on all of them. A row whose load
generator was busier than 70 % of its core is no measurement, and is told as none.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from benches.gateway.contenders import CONTENDERS
from benches.gateway.measure import LOAD_CORE, cancellation, cpu, first_token, idle_memory, running
from benches.gateway.record import assemble, render, summary, write


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
    load = os.getloadavg()[0]
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
        row.update(summary(rounds[name]))
    record = assemble(rows, rounds, load)
    print(render(record))
    if args.record is not None:
        print(f"written: {write(record, args.record)}.json, .md, .png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
