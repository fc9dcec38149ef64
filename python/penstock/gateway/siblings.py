"""The other workers of a gateway of several: what one of them alone knows, all can tell.

Each worker listens on an address of its own on loopback as well, which the process above them has bound, so
that it is the same for whoever takes a dead one's place. What is asked there are the gateway's own routes,
with the client's key and a header that says: answer for yourself.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from .client import Endpoint
from .watch import Leaving

if TYPE_CHECKING:
    from .client import Answer, Headers
    from .http import Request, Send

__all__ = ["Siblings", "is_alone", "pass_through", "summed"]

ALONE: Final = b"x-penstock-worker"
"""The header. A client that sends it learns less, not more."""

SECONDS: Final = 2.0
"""How long a sibling may take: one that has just died is not waited for."""

MAX_BYTES: Final = 16 * 1024 * 1024

_PASSED: Final = (b"authorization", b"api-key", b"x-api-key", b"last-event-id", b"accept")


def is_alone(request: Request) -> bool:
    """Whether a request is for this worker only."""
    return ALONE in request.headers


class Siblings:
    """The others, by the ports of all workers.

    Args:
        ports: on loopback, one a worker.
        own: the place of this worker's own.
    """

    def __init__(self, ports: Sequence[int] = (), own: int = 0) -> None:
        self.own = own
        self.workers = max(1, len(ports))
        others = [port for place, port in enumerate(ports) if place != own]
        self._endpoints = [Endpoint(f"http://127.0.0.1:{port}", connect_timeout=SECONDS) for port in others]

    async def find(self, request: Request) -> Answer | None:
        """The answer of the one that knows what a request is about; None if none does."""
        for answer in await asyncio.gather(*(self._ask(one, request) for one in self._endpoints)):
            if answer is not None:
                return answer
        return None

    async def all(self, request: Request) -> list[bytes]:
        """What each of them answers; those that do not are left out."""
        bodies = await asyncio.gather(*(self._body(one, request) for one in self._endpoints))
        return [body for body in bodies if body is not None]

    def close(self) -> None:
        """Let go of all connections."""
        for endpoint in self._endpoints:
            endpoint.close()

    async def _ask(self, endpoint: Endpoint, request: Request) -> Answer | None:
        headers: Headers = [(name, request.headers[name]) for name in _PASSED if name in request.headers]
        query = f"?{urlencode(request.query)}" if request.query else ""
        try:
            answer = await endpoint.request(
                request.method, request.path + query, [*headers, (ALONE, b"1")], timeout=SECONDS
            )
        except (OSError, TimeoutError):
            return None
        if answer.status == 404:
            answer.close()
            return None
        return answer

    async def _body(self, endpoint: Endpoint, request: Request) -> bytes | None:
        answer = await self._ask(endpoint, request)
        if answer is None:
            return None
        try:
            return await answer.whole(MAX_BYTES, SECONDS)
        except (OSError, ValueError, TimeoutError):
            return None
        finally:
            answer.close()


async def pass_through(request: Request, answer: Answer, send: Send, headers: Headers) -> None:
    """Give a client what a sibling answers, as it comes."""
    kind = answer.header(b"content-type") or b"application/json"
    try:
        with Leaving(request.receive):
            start = {"type": "http.response.start", "status": answer.status}
            await send({**start, "headers": [(b"content-type", kind), *headers]})
            while data := await answer.read():
                await request.send({"type": "http.response.body", "body": data, "more_body": True})
            await request.send({"type": "http.response.body", "body": b""})
    finally:
        answer.close()


def summed(expositions: Sequence[bytes]) -> bytes:
    """Figures in Prometheus' text format, each the sum of what the workers say.

    The order and the words are the first one's; samples that only others have stand with their family.
    """
    totals: Counter[str] = Counter()
    families: dict[str, dict[str, None]] = {}
    for exposition in expositions:
        family: dict[str, None] = {}
        for line in exposition.decode().splitlines():
            if line.startswith("# HELP "):
                family = families.setdefault(line, {})
            elif line.startswith("#"):
                family.setdefault(line)
            else:
                sample, _, value = line.rpartition(" ")
                family.setdefault(sample)
                totals[sample] += float(value)  # type: ignore[assignment]
    lines = []
    for text, members in families.items():
        lines.append(text)
        lines += [line if line.startswith("#") else f"{line} {totals[line]:.15g}" for line in members]
    return "".join(f"{line}\n" for line in lines).encode()
