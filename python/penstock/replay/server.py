"""The replay upstream itself: routes, requests, statistics, and its life on a loop or in a thread."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from .faults import Faults
from .http import Answer, ClientGone, Connection, HttpError, Request
from .ledger import Asked, Seen, Stats
from .player import CHAT, RESPONSES, Dialect, Plan, Player, dump, refusal
from .recording import Recording
from .scripts import SCRIPTS
from .wire import Beat, Stop

__all__ = ["ReplayServer"]

log = logging.getLogger("penstock.replay")

JSON = dict[str, Any]

KEPT_REQUESTS: Final = 64
CREDENTIALS: Final = frozenset({"authorization", "api-key", "x-api-key", "cookie", "proxy-authorization"})


class ReplayServer:
    """An HTTP/1.1 upstream on a real socket: `async with ReplayServer() as server`, or `with` from sync code.

    `recordings` are files served to every request whose model is not one of the scripts: the file whose stem
    is the model's name, else the first. `faults` are words of `GRAMMAR` that hold for every request that does
    not override them. Port 0 lets the system choose.

    `with` runs the server in a thread of its own; `async with` on the running loop.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        recordings: Iterable[str | Path] = (),
        faults: str = "",
    ) -> None:
        self.stats = Stats()
        self.seen: deque[Seen] = deque(maxlen=KEPT_REQUESTS)
        """The latest requests, oldest first."""
        self.asked: deque[Asked] = deque(maxlen=KEPT_REQUESTS)
        """The latest requests over WebSockets, oldest first."""
        self._address = (host, port)
        loaded = tuple(Recording.load(Path(path)) for path in recordings)
        self._player = Player(Faults.parse(faults), loaded)
        self._open: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._thread: _Thread | None = None

    @property
    def url(self) -> str:
        """`http://host:port`, without a path. Raises `RuntimeError` while the server is not running."""
        if self._server is None:
            raise RuntimeError("the replay server is not running")
        host, port = self._address
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as its base URL."""
        return f"{self.url}/v1"

    async def start(self) -> None:
        """Listen. Raises `OSError` where the address is not to be had."""
        host, port = self._address
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self._serve), host, port, backlog=1024
        )
        self._address = (host, self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening and end every connection; idempotent."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        tasks = [connection.task for connection in self._open if connection.task is not None]
        for connection in list(self._open):
            connection.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def __enter__(self) -> Self:
        self._thread = _Thread(self)
        self._thread.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._thread.end()
            self._thread = None

    # One connection, its requests in turn.

    async def _serve(self, connection: Connection) -> None:
        self.stats.connections += 1
        self._open.add(connection)
        try:
            while await self._exchange(connection):
                pass
        finally:
            self._open.discard(connection)

    async def _exchange(self, connection: Connection) -> bool:
        """Answer one request; whether the connection may carry another."""
        try:
            request = await connection.request()
        except HttpError as error:
            await self._refuse(self._answer(connection, None), error)
            await connection.refuse_rest()
            return False
        if request is None:
            return False
        answer = self._answer(connection, request)
        try:
            await self._route(connection, request, answer)
        except HttpError as error:
            await self._refuse(answer, error)
        except (ClientGone, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("%s %s", request.method, request.path)
            if answer.started:
                return False
            await self._refuse(answer, HttpError(500, "The replay upstream made a mistake."))
        return answer.keep_alive

    def _answer(self, connection: Connection, request: Request | None) -> Answer:
        self.stats.requests += 1
        return Answer(connection, request, self.stats.requests)

    async def _refuse(self, answer: Answer, error: HttpError) -> None:
        self.stats.refused += 1
        headers = [("allow", error.allow)] if error.allow else []
        await self._whole(answer, error.body(), status=error.status, headers=headers)

    async def _whole(
        self, answer: Answer, body: bytes, *, status: int = 200, headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        await answer.start(status, _headers(answer, "application/json", *headers), length=len(body))
        await answer.send(body)
        await answer.finish()

    async def _route(self, connection: Connection, request: Request, answer: Answer) -> None:
        routes: dict[str, Dialect | Callable[[], JSON]] = {
            "/v1/responses": RESPONSES,
            "/v1/chat/completions": CHAT,
            "/v1/models": self._models,
            "/health": lambda: {"status": "ok"},
            "/stats": lambda: asdict(self.stats),
        }
        route = routes.get(request.path.rstrip("/"))
        if route is None:
            raise HttpError(
                404, f"Unknown request URL: {request.method} {request.path[:200]}.", code="unknown_url"
            )
        upgrade = request.method == "GET" and "websocket" in request.headers.get("upgrade", "").lower()
        if route is RESPONSES and upgrade:
            await self._talk(connection, request, answer)
            return
        allowed = ("POST",) if isinstance(route, Dialect) else ("GET", "HEAD")
        if request.method not in allowed:
            raise HttpError(405, f"Not allowed: {request.method}.", allow=", ".join(allowed))
        if isinstance(route, Dialect):
            self._note(request)
            await self._perform(connection, answer, self._player.plan(request, route, answer.number))
        else:
            await self._whole(answer, dump(route()))

    def _note(self, request: Request) -> None:
        headers = {name: value for name, value in request.headers.items() if name not in CREDENTIALS}
        self.seen.append(Seen(request.method, request.path, headers, request.body))

    async def _talk(self, connection: Connection, request: Request, answer: Answer) -> None:
        """Go over to the WebSocket mode. Raises `ClientGone` when that is over, `HttpError` to refuse it."""
        self._note(request)
        faults = self._player.wishes(request)
        if not faults.upgrade:
            raise HttpError(426, "WebSockets are not spoken here; use HTTP.", code="upgrade_refused")
        if faults.status is not None:
            raise refusal(faults.status)
        try:
            from .frames import WebSocket  # noqa: PLC0415 - the rest of the server needs no extra
            from .websocket import Talk  # noqa: PLC0415
        except ImportError:
            raise HttpError(
                501, "The WebSocket mode needs the extra: pip install 'penstock[websocket]'."
            ) from None
        answer.started, answer.keep_alive = True, False
        socket = WebSocket(connection)
        if not await socket.accept(request):
            return
        self.stats.websockets += 1
        talk = Talk(socket, request, self._player, standing=faults, stats=self.stats, asked=self.asked)
        await talk.run()

    def _models(self) -> JSON:
        names = [*SCRIPTS, *(recording.name for recording in self._player.recordings)]
        entry = {"object": "model", "created": 1_750_000_000, "owned_by": "penstock"}
        return {"object": "list", "data": [{"id": name, **entry} for name in names]}

    async def _perform(self, connection: Connection, answer: Answer, plan: Plan) -> None:
        """Write an answer as planned and count how it ended. Raises `ClientGone`."""
        stats, loop = self.stats, asyncio.get_running_loop()
        stats.refused += plan.status >= 400
        stats.streams += plan.length is None
        stats.active += 1
        try:
            if plan.delay:
                await connection.sleep_until(loop.time() + plan.delay)
            headers = _headers(answer, plan.content_type, *plan.headers)
            await answer.start(plan.status, headers, length=plan.length)
            due = loop.time()
            for step in plan.steps:
                if isinstance(step, bytes):
                    await answer.send(step)
                elif isinstance(step, Stop):
                    stats.faulted += 1
                    await self._stop_early(connection, answer, step, plan.length)
                    return
                else:
                    due = due + step.seconds if isinstance(step, Beat) else loop.time() + step.seconds
                    await connection.sleep_until(due)
            await answer.finish()
            stats.completed += 1
        except ClientGone:
            stats.aborted += 1
            raise
        finally:
            stats.active -= 1
            stats.body_bytes += answer.sent

    async def _stop_early(
        self, connection: Connection, answer: Answer, stop: Stop, length: int | None
    ) -> None:
        if stop is Stop.RESET:
            await connection.reset()
        if stop is Stop.FINISH and length is None:
            await answer.finish()
        else:
            answer.keep_alive = False


def _headers(answer: Answer, content_type: str, *more: tuple[str, str]) -> list[tuple[str, str]]:
    return [
        ("content-type", content_type),
        ("x-request-id", f"req_{answer.number:032x}"),
        ("openai-version", "2020-10-01"),
        ("openai-processing-ms", "1"),
        *more,
    ]


class _Thread:
    """Runs a server on a loop of its own, for code that has none."""

    def __init__(self, server: ReplayServer) -> None:
        self._server = server
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop
        self._over: asyncio.Event
        self._thread = threading.Thread(target=self._run, name="penstock-replay", daemon=True)

    def begin(self) -> None:
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._live())

    async def _live(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        try:
            await self._server.start()
        except BaseException as error:
            self._failure = error
            return
        finally:
            self._ready.set()
        await self._over.wait()
        await self._server.stop()
