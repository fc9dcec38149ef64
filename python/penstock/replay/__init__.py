"""The embedded upstream: an HTTP server that plays scripted and recorded streams, with faults on request.

It is what the tests, the demo and the benchmarks talk to: a real server on a real socket, deterministic, in
the standard library alone but for WebSockets. `penstock replay` runs it as a process, `ReplayServer` in one:

    async with ReplayServer() as server:      # or `with`, which gives it a thread
        client = AsyncOpenAI(base_url=server.base_url, api_key="none")

`GET /v1/responses` with an upgrade is the WebSocket mode, which needs the extra `websocket`.

The model's name chooses the script (`replay-text`, `replay-tools`, ...; see `SCRIPTS`), and faults are asked
for behind it or in a header: `replay-text+cut@5`, `x-penstock-fault: reset@3, crlf` (see `GRAMMAR`).
"""

from .faults import GRAMMAR, FaultError, Faults
from .ledger import Asked, Seen, Stats
from .recording import RecordingError
from .scripts import SCRIPTS
from .server import ReplayServer

__all__ = [
    "GRAMMAR",
    "SCRIPTS",
    "Asked",
    "FaultError",
    "Faults",
    "RecordingError",
    "ReplayServer",
    "Seen",
    "Stats",
]
