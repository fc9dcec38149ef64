"""The gateway as a process, or as several that share an address: starting, signals, the end."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import uvicorn

from .config import Config, ConfigError
from .direct import DirectProtocol
from .gateway import Gateway
from .logs import set_up
from .siblings import Siblings

__all__ = ["bind", "run_worker", "supervise"]

log = logging.getLogger("penstock.gateway")

COLLECT_EVERY: Final = 10_000
"""Objects made and not freed before cycles are looked for: those of some hundred streams, which hardly make
any. Each look is a pause for all that run."""

RESTART_SECONDS: Final = 1.0
"""A worker that dies is replaced, but not faster than this."""


class _Server(uvicorn.Server):
    """Tells the gateway of the end as soon as it is asked for, so that no new stream begins."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway) -> None:
        super().__init__(config)
        self._gateway = gateway

    def handle_exit(self, sig: int, frame: object) -> None:
        """Stop accepting, let streams end; a second signal does not wait for them."""
        self._gateway.draining = True
        super().handle_exit(sig, frame)  # type: ignore[arg-type]


def bind(config: Config) -> socket.socket:
    """The listening socket. Raises `OSError`."""
    host, port = config.listen.host, config.listen.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host.strip("[]"), port))
    listener.set_inheritable(True)
    return listener


def run_worker(
    config: Config,
    listener: socket.socket,
    reload: Callable[[], Config],
    *,
    ready: Callable[[], None] = lambda: None,
    until_eof: bool = False,
    place: str | None = None,
) -> None:
    """Serve on a socket until SIGTERM or SIGINT; SIGHUP puts what `reload` returns in force.

    Args:
        place: one worker's among several, as `supervise` gives it out.
    """
    set_up(config.telemetry.log)
    siblings, listeners = _placed(place)
    listeners.append(listener)
    gateway = Gateway(config, siblings=siblings)
    server = _Server(
        uvicorn.Config(
            gateway,
            http=DirectProtocol,
            ws="websockets-sansio",
            ws_max_size=16 * 1024 * 1024,
            ws_per_message_deflate=False,
            lifespan="on",
            log_config=None,
            log_level=logging.ERROR,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nothing here depends on where a client says it comes from
            backlog=2_048,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=max(1, round(config.listen.drain)),
        ),
        gateway,
    )

    def again() -> None:
        try:
            gateway.reload(reload())
        except (ConfigError, OSError) as error:
            problems = error.problems if isinstance(error, ConfigError) else [str(error.strerror)]
            log.error("reload", extra={"facts": {"problems": problems}})  # noqa: TRY400 - not where, but what

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        with suppress(NotImplementedError, AttributeError):  # Windows has neither
            loop.add_signal_handler(signal.SIGHUP, again)
        if until_eof:
            stop = lambda: os.kill(os.getpid(), signal.SIGTERM)  # noqa: E731
            threading.Thread(target=_drain_input, args=(stop,), daemon=True).start()
        serving = loop.create_task(server.serve(sockets=listeners))
        while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn tells nobody
            await asyncio.sleep(0.005)
        if server.started:
            gc.collect()
            gc.freeze()  # what start-up has made stays: no collection need go through it again
            gc.set_threshold(COLLECT_EVERY)
            ready()
        await serving

    # Once uvicorn has let go of everything it sends itself the signal that ended it: nothing is left to end.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner, suppress(KeyboardInterrupt):
        runner.run(serve())


def _placed(place: str | None) -> tuple[Siblings, list[socket.socket]]:
    """The other workers, and the socket on which they reach this one."""
    if place is None:
        return Siblings(), []
    own, descriptor, ports = place.split(":")
    return Siblings([int(port) for port in ports.split(",")], int(own)), [
        socket.socket(fileno=int(descriptor))
    ]


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - not there on Windows
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _drain_input(then: Callable[[], object]) -> None:
    with suppress(OSError):
        while os.read(0, 4096):
            pass
    then()


def supervise(listener: socket.socket, workers: int, arguments: list[str]) -> None:
    """Run as many processes on one socket; signals go to all of them, one that dies is replaced.

    Args:
        arguments: the worker's command line behind `penstock`; it gets `--fd` and `--place` appended.
    """
    command = [sys.executable, "-m", "penstock", *arguments, "--fd", str(listener.fileno())]
    private = [socket.create_server(("127.0.0.1", 0), backlog=128) for _ in range(workers)]
    ports = ",".join(str(one.getsockname()[1]) for one in private)
    stopping = False

    def start(own: int) -> subprocess.Popen[bytes]:
        place, kept = f"{own}:{private[own].fileno()}:{ports}", [listener.fileno(), private[own].fileno()]
        return subprocess.Popen([*command, "--place", place], pass_fds=kept, stdin=subprocess.DEVNULL)  # noqa: S603

    def tell(number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = stopping or number != signal.SIGHUP
        for worker in running.values():
            with suppress(ProcessLookupError):
                worker.send_signal(number)

    running = {own: start(own) for own in range(workers)}
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, tell)
    while running:
        time.sleep(0.1)
        for own, worker in [(own, worker) for own, worker in running.items() if worker.poll() is not None]:
            del running[own]
            if not stopping:
                log.error("worker", extra={"facts": {"pid": worker.pid, "status": worker.returncode}})
                time.sleep(RESTART_SECONDS)
                running[own] = start(own)
