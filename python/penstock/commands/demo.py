"""`penstock demo`: streams from an upstream on this machine, shown to a person."""

from __future__ import annotations

import argparse
from importlib.util import find_spec

from penstock.demo import open_stage, play

from . import STATUS_USAGE, Failure

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = (
        "Start the gateway with an upstream of its own as a process and stream through it: Responses and\n"
        "Chat Completions through httpx, one bridged to the other, the openai SDK over HTTP and over a\n"
        "WebSocket, and an upstream that breaks off. Nothing leaves this machine."
    )
    parser.add_argument("--plain", action="store_true", help="plain lines, as when output is no terminal")
    parser.add_argument(
        "--rate", type=_rate, default=1.0, metavar="X", help="how many times as fast as usual (%(default)g)"
    )


def _rate(text: str) -> float:
    rate = float(text)
    if not 0.1 <= rate <= 1000:
        raise ValueError
    return rate


def run(args: argparse.Namespace) -> int:
    """Play the demo."""
    missing = [name for name in ("httptools", "pydantic", "uvicorn", "yaml") if find_spec(name) is None]
    if missing:
        raise Failure(f"{missing[0]} is missing: pip install 'penstock[gateway]'", STATUS_USAGE)
    play(open_stage(plain=args.plain), args.rate)
    return 0
