"""What is measured of a running gateway: processor time, first token, memory, cancellation."""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from benches.gateway.contenders import Contender
from benches.gateway.load import Client, Load, Shape
from benches.gateway.traces import CHAT, RESPONSES

__all__ = ["Gateway", "cancellation", "cpu", "first_token", "idle_memory", "running"]

LOAD_CORE: Final = 0
GATEWAY_CORE: Final = 1
TICKS: Final = os.sysconf("SC_CLK_TCK")
BODY: Final = {"input": "Hello"}


@dataclass(slots=True)
class Gateway:
    """One contender, running."""

    contender: Contender
    process: subprocess.Popen[bytes]
    port: int
    load: Load

    def ask(self) -> Client:
        """Begin one stream through it."""
        return self.load.ask(self.port, self.contender.path, {**BODY, "model": self.contender.model})

    def processes(self) -> list[int]:
        """Its process and all that it has started."""
        found, children = [self.process.pid], {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_text().rsplit(")", 1)[1].split()
                children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
        for pid in found:
            found += children.get(pid, [])
        return found

    def cpu_seconds(self) -> float:
        """Processor time used so far, user and system."""
        total = 0
        for pid in self.processes():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
                total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def resident(self) -> int:
        """Resident memory in bytes."""
        total = 0
        for pid in self.processes():
            with contextlib.suppress(OSError):
                total += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return total * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def running(contender: Contender, *, deltas: int, interval: float = 0.02) -> Iterator[Gateway]:
    """A contender on its core, a mock on this one. Raises `RuntimeError` if nothing streams."""
    load = Load(
        {
            "/v1/responses": Shape(RESPONSES, deltas, interval),
            "/v1/chat/completions": Shape(CHAT, deltas, interval),
        }
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["taskset", "-c", str(GATEWAY_CORE), *contender.command(port, f"http://127.0.0.1:{load.port}")]
    if os.environ.get("PENSTOCK_BENCH_RT") == "1":  # on a machine that others use as well
        command = ["chrt", "-f", "10", *command]
    with tempfile.TemporaryFile() as said:  # a pipe that nobody empties would stop a gateway that logs
        process = subprocess.Popen(command, stdout=said, stderr=said, stdin=subprocess.DEVNULL)
        yield from _serving(Gateway(contender, process, port, load), said)


def _serving(gateway: Gateway, said: IO[bytes]) -> Iterator[Gateway]:
    """Hand a gateway out once it streams, and end it."""
    process = gateway.process
    try:
        _wait(gateway, said)
        yield gateway
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        gateway.load.close()


def _wait(gateway: Gateway, said: IO[bytes]) -> None:
    """Until a stream comes through whole."""
    shapes = dict(gateway.load.shapes)
    gateway.load.shapes = {path: Shape(shape.trace, 2, 0.001) for path, shape in shapes.items()}
    deadline = time.monotonic() + gateway.contender.start_seconds
    while time.monotonic() < deadline and gateway.process.poll() is None:
        try:
            client = gateway.ask()
        except OSError:
            gateway.load.run(0.2)
            continue
        gateway.load.run(5, lambda client=client: client.over or client.terminals > 0)
        if len(client.ages) == 2 and client.terminals == 1:
            gateway.load.shapes = shapes
            return
        gateway.load.run(0.5)
    said.seek(0)
    last = said.read()[-300:].decode(errors="replace")
    raise RuntimeError(f"{gateway.contender.name} does not stream: {last}")


def cpu(gateway: Gateway, streams: int) -> dict[str, Any]:
    """Processor time per event of paced streams, and how late the events were."""
    shape = gateway.load.shapes[gateway.contender.path]
    busy, began, before = time.process_time(), time.monotonic(), gateway.cpu_seconds()
    clients = []
    for _ in range(streams):
        clients.append(gateway.ask())
        gateway.load.run(shape.interval / 10)
    gateway.load.run(
        shape.deltas * shape.interval + 15, lambda: all(client.over or client.terminals for client in clients)
    )
    spent, wall = gateway.cpu_seconds() - before, time.monotonic() - began
    ages = sorted(age for client in clients for age in client.ages)
    for client in clients:
        if not client.over:
            gateway.load.hang_up(client)
    load = (time.process_time() - busy) / wall
    return {
        "microseconds_per_event": round(spent / len(ages) * 1e6, 2) if ages else None,
        "events": len(ages),
        "complete": len(ages) == streams * shape.deltas,
        "terminals": sum(client.terminals for client in clients),
        "delay_ms_p50": _ms(ages, 0.5),
        "delay_ms_p99": _ms(ages, 0.99),
        "reads_per_event": round(sum(client.reads for client in clients) / len(ages), 3) if ages else None,
        "load_busy": round(load, 3),
        "gateway_busy": round(spent / wall, 3),
    }


def first_token(gateway: Gateway, starts: int = 20, times: int = 5) -> dict[str, Any]:
    """Time to the first token of simultaneous starts, against the same starts without a gateway."""
    through, direct = [], []
    for _ in range(times):
        through += _starts(gateway, gateway.port, starts)
        direct += _starts(gateway, gateway.load.port, starts)
    return {
        "through_ms_p50": round(statistics.median(through), 3) if through else None,
        "direct_ms_p50": round(statistics.median(direct), 3),
        "added_ms_p50": round(statistics.median(through) - statistics.median(direct), 3) if through else None,
    }


def _starts(gateway: Gateway, port: int, starts: int) -> list[float]:
    clients = [
        gateway.load.ask(port, gateway.contender.path, {**BODY, "model": gateway.contender.model})
        for _ in range(starts)
    ]
    gateway.load.run(10, lambda: all(client.first is not None for client in clients))
    for client in clients:
        gateway.load.hang_up(client)
    gateway.load.run(0.3)
    return [client.first / 1e6 for client in clients if client.first is not None]


def idle_memory(gateway: Gateway, streams: int) -> dict[str, Any]:
    """Resident memory per open stream that is silent: the slope between a third of them and all."""
    sizes, clients = [], []
    for share in (1 / 3, 1):
        while len(clients) < streams * share:
            clients.append(gateway.ask())
            gateway.load.run(0.001)
        gateway.load.run(15, lambda: all(client.first is not None for client in clients))
        gateway.load.run(1.0)
        sizes.append((len(clients), gateway.resident()))
    open_streams = sum(client.first is not None for client in clients)
    for client in clients:
        gateway.load.hang_up(client)
    gateway.load.run(1.0)
    (few, small), (many, large) = sizes
    return {
        "kilobytes_per_stream": round((large - small) / (many - few) / 1024, 1)
        if open_streams == many
        else None,
        "streams": open_streams,
        "base_megabytes": round((small - (large - small) / (many - few) * few) / 1e6, 1),
    }


def cancellation(gateway: Gateway, times: int = 20) -> dict[str, Any]:
    """Time from a client's reset to the upstream's connection being closed."""
    spans: list[float] = []
    for _ in range(times):
        client = gateway.ask()
        gateway.load.run(5, lambda client=client: len(client.ages) >= 3)
        known = len(gateway.load.closed)
        left = gateway.load.hang_up(client)
        gateway.load.run(1, lambda known=known: len(gateway.load.closed) > known)
        if len(gateway.load.closed) > known:
            spans.append((gateway.load.closed[-1] - left) / 1e6)
    return {
        "milliseconds_p50": round(statistics.median(spans), 3) if spans else None,
        "milliseconds_max": round(max(spans), 3) if spans else None,
        "never_within_1s": times - len(spans),
    }


def _ms(ages: list[int], share: float) -> float | None:
    return round(ages[int(len(ages) * share)] / 1e6, 3) if ages else None
