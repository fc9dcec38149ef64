"""`penstock replay`: the embedded upstream as a process."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable

from penstock.replay import GRAMMAR, SCRIPTS, FaultError, RecordingError, ReplayServer

from . import STATUS_USAGE, Failure

__all__ = ["configure", "run"]


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError
    return port


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = (
        "Serve POST /v1/responses and /v1/chat/completions as OpenAI does, from scripts or recordings, and\n"
        "break in the way a request asks for. GET /v1/responses takes WebSockets. The first line on\n"
        "standard output is the server's URL. Ctrl-C stops it."
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (%(default)s)")
    parser.add_argument(
        "--port", type=_port, default=0, help="the port; 0 lets the system choose (%(default)s)"
    )
    parser.add_argument(
        "--file",
        dest="files",
        metavar="RECORDING",
        action="append",
        default=[],
        help="serve a file of JSON lines or of server-sent events to models that are no script; repeatable: "
        "the file whose stem is the model's name, else the first",
    )
    parser.add_argument("--rate", metavar="N", help="events a second (unpaced)")
    parser.add_argument("--fault", metavar="WORDS", default="", help="faults that every request suffers")
    parser.add_argument("--until-eof", action="store_true", help="stop when standard input ends")
    words = "\n".join(f"  {word.form:<20} {word.meaning}" for word in GRAMMAR.values())
    parser.epilog = (
        f"scripts (the request's model):\n  {'  '.join(SCRIPTS)}\n\n"
        "faults, joined by commas, in the header x-penstock-fault, the query ?fault=, the metadata,\n"
        "or behind the model's name after a plus sign (replay-text+cut@5):\n"
        f"{words}\n\n{parser.epilog}"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until a signal, or the end of standard input where that was asked for."""
    words = f"{args.fault},rate={args.rate}" if args.rate is not None else args.fault
    try:
        server = ReplayServer(host=args.host, port=args.port, recordings=args.files, faults=words)
    except (FaultError, RecordingError) as error:
        raise Failure(str(error), STATUS_USAGE) from None
    asyncio.run(_serve(server, until_eof=args.until_eof))
    return 0


async def _serve(server: ReplayServer, *, until_eof: bool) -> None:
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C interrupts asyncio.run instead
            loop.add_signal_handler(number, over.set)
    async with server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        if until_eof:
            stop = lambda: loop.call_soon_threadsafe(over.set)  # noqa: E731
            threading.Thread(target=_drain_input, args=(stop,), daemon=True).start()
        await over.wait()


def _drain_input(then: Callable[[], object]) -> None:
    # Not through sys.stdin: its lock, held here, would upset the interpreter's exit.
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    then()
