"""A real Redis server on a free port of loopback, with a folder of its own."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PROGRAM: Final = shutil.which("redis-server")
DEADLINE: Final = 30.0
NAMES: Final = ("turns", "links", "holds", "uses", "state")
"""Of a tenant's keys."""


BUS_OFFSET: Final = 10_000
"""How far above its port a cluster's node listens to the other nodes, unless it is told otherwise."""


def free_port() -> int:
    """A port that is free, and so is the one that a cluster's node would take beside it."""
    while True:
        with socket.socket() as listener, socket.socket() as bus:
            listener.bind(("127.0.0.1", 0))
            port = int(listener.getsockname()[1])
            try:
                bus.bind(("127.0.0.1", port + BUS_OFFSET))
            except (OSError, OverflowError):  # taken; beyond the last port
                continue
            return port


class RedisServer:
    """A server that can be killed and started again on what it has written."""

    def __init__(
        self, folder: Path, *, appendfsync: str = "always", appendonly: bool = True, cluster: bool = False
    ) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self._folder = folder
        self._options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(folder),
            "save": "",
            "appendonly": "yes" if appendonly else "no",
            "appendfsync": appendfsync,
            "daemonize": "no",
            "cluster-enabled": "yes" if cluster else "no",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert PROGRAM is not None
        options = [word for name, value in self._options.items() for word in (f"--{name}", value)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([PROGRAM, *options], stdout=log, stderr=log)
        deadline = time.monotonic() + DEADLINE
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.01)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as client:
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def stop(self) -> None:
        """Stand still, as a server does whose disk does not answer."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL: nothing is written any more, nobody is told."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def running(**options: str | bool) -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder), **options)  # type: ignore[arg-type]
        try:
            server.start()
            yield server
        finally:
            server.kill()
