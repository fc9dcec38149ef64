"""`penstock serve`: the gateway."""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from . import STATUS_USAGE, Failure

if TYPE_CHECKING:
    from penstock.gateway import Config

__all__ = ["configure", "run"]

EXAMPLE: Final = """\
a configuration:
  listen: {host: 127.0.0.1, port: 4000}
  upstreams:
    - name: openai
      url: https://api.openai.com/v1
      key: ${OPENAI_API_KEY}
      models: ["gpt-*"]
    - name: local
      url: http://127.0.0.1:8000/v1
      dialect: chat
      models: ["qwen3"]
  keys:
    - {name: team-a, key: "${TEAM_A_KEY}", requests_per_minute: 600}
  store: {kind: sqlite, path: penstock.sqlite}

signals: TERM and INT drain the streams that run, HUP reads the configuration again

"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = (
        "Serve the OpenAI API in front of one or many upstreams: Responses and Chat Completions over HTTP,\n"
        "each from upstreams that speak the other. The first line on standard output is the gateway's URL;\n"
        "/ui behind it is its live page."
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", metavar="FILE", help="the configuration, as YAML")
    source.add_argument(
        "--upstream", metavar="URL", help="one provider's base URL; its key is OPENAI_API_KEY"
    )
    source.add_argument("--demo", action="store_true", help="an upstream of its own; nothing else is needed")
    parser.add_argument("--dialect", choices=("responses", "chat", "both"), default="responses",
                        help="what --upstream speaks (%(default)s)")  # fmt: skip
    parser.add_argument("--host", help="the address to listen on, in place of the configuration's")
    parser.add_argument("--port", type=int, help="the port; 0 lets the system choose")
    parser.add_argument("--workers", type=int, metavar="N", help="how many processes")
    parser.add_argument(
        "--log", choices=("json", "text", "off"), help="the form of the log on standard error"
    )
    parser.add_argument("--check", action="store_true", help="check the configuration and do nothing else")
    parser.add_argument("--until-eof", action="store_true", help="stop when standard input ends")
    parser.add_argument("--fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--place", help=argparse.SUPPRESS)
    parser.epilog = EXAMPLE + (parser.epilog or "")


def run(args: argparse.Namespace) -> int:
    """Serve until a signal."""
    try:
        from penstock.gateway import ConfigError  # noqa: PLC0415 - the extra may be missing
        from penstock.gateway.serve import bind, run_worker, supervise  # noqa: PLC0415
    except ImportError as error:
        raise Failure(f"{error.name} is missing: pip install 'penstock[gateway]'", STATUS_USAGE) from None
    with contextlib.ExitStack() as stack:
        try:
            read = _source(args, stack)
            config = read()
        except ConfigError as error:
            for problem in error.problems:
                print(f"penstock: {problem}", file=sys.stderr)
            raise Failure(f"{len(error.problems)} problem(s) in the configuration", STATUS_USAGE) from None
        if args.check:
            print(f"{len(config.upstreams)} upstream(s), {len(config.keys)} key(s): good")
            return 0
        listener = bind(config) if args.fd is None else socket.socket(fileno=args.fd)
        stack.callback(listener.close)
        if args.fd is not None:
            run_worker(config, listener, read, place=args.place)
        elif config.listen.workers > 1:
            listener.listen(2_048)
            _announce(config, listener)
            supervise(listener, config.listen.workers, _again(args))
        else:
            run_worker(
                config, listener, read, ready=lambda: _announce(config, listener), until_eof=args.until_eof
            )
    return 0


def _source(args: argparse.Namespace, stack: contextlib.ExitStack) -> Callable[[], Config]:
    """What reads the configuration, each time anew."""
    from penstock.gateway.config import load  # noqa: PLC0415
    from penstock.gateway.embedded import demo, one_upstream  # noqa: PLC0415

    listen: dict[str, Any] = {"host": args.host, "port": args.port, "workers": args.workers}
    listen = {name: value for name, value in listen.items() if value is not None}
    url = ""
    if args.demo:
        from penstock.replay import ReplayServer  # noqa: PLC0415

        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-"))
        url = stack.enter_context(ReplayServer()).base_url

    def read() -> Config:
        if args.demo:
            config = demo(url, str(Path(folder) / "demo.sqlite"), listen)
        elif args.upstream:
            config = one_upstream(args.upstream, args.dialect, os.environ.get("OPENAI_API_KEY"), listen)
        else:
            config = load(args.config, {**os.environ, **_outside(listen)})
        if args.log:
            telemetry = config.telemetry.model_copy(update={"log": args.log})
            config = config.model_copy(update={"telemetry": telemetry})
        return config

    return read


def _outside(listen: dict[str, Any]) -> dict[str, str]:
    return {f"PENSTOCK_LISTEN__{name.upper()}": str(value) for name, value in listen.items()}


def _again(args: argparse.Namespace) -> list[str]:
    """The command line of a worker."""
    words = ["serve", "--config", args.config] if args.config else ["serve", "--upstream", args.upstream]
    for name in ("host", "port", "workers", "log", "dialect"):
        if (value := getattr(args, name)) is not None:
            words += [f"--{name}", str(value)]
    return words


def _announce(config: Config, listener: socket.socket) -> None:
    host, port = config.listen.host, listener.getsockname()[1]
    sys.stdout.write(f"http://[{host}]:{port}\n" if ":" in host else f"http://{host}:{port}\n")
    sys.stdout.flush()
