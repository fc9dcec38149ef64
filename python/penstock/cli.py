"""The `penstock` command: runs a subcommand and turns whatever goes wrong into one line and a status.

A subcommand is a module of `penstock.commands` with `configure(parser)` and `run(args) -> int`; it raises
`Failure` for what its user should read. To add one, add its module and a row to `COMMANDS`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from importlib import import_module, metadata
from typing import Final, NoReturn

from .commands import STATUS_BROKEN_PIPE, STATUS_INTERRUPTED, STATUS_USAGE, Failure
from .errors import PenstockError

__all__ = ["COMMANDS", "main"]

COMMANDS: Final = {
    "demo": "stream from an upstream on this machine and show what comes of it",
    "decode": "print a stream's events, its final object or its text",
    "lint": "find where a Responses stream breaks the rules of its life",
    "serve": "serve the OpenAI API in front of your providers: the gateway",
    "replay": "serve scripted and recorded streams, with faults on request",
}
"""Each subcommand with its line in the help; only the one that is asked for is imported."""

STATUSES: Final = """\
exit status:
  0    all went well
  1    the stream is bad: not an event stream, broken, cut short, or ended in an error
  2    wrong usage, or a file, address or pipe that cannot be used
  130  interrupted from the keyboard
  141  whoever read the output stopped reading
"""


class _Parser(argparse.ArgumentParser):
    """Reports a mistake in one line, as all other failures are."""

    def error(self, message: str) -> NoReturn:
        self.exit(STATUS_USAGE, f"penstock: {message}; try '{self.prog} --help'\n")


class _Version(argparse.Action):
    """Prints the version, which is only looked up for it."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        print("penstock", metadata.version("penstock"))
        parser.exit()


def _parser(asked: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of the whole command line, complete for the subcommand that `asked` names."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = _Parser(
        prog="penstock",
        description="LLM event streams on the command line.",
        epilog=STATUSES,
        formatter_class=raw,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        sub = subparsers.add_parser(
            name, help=summary, description=f"{summary.capitalize()}.", epilog=STATUSES, formatter_class=raw
        )
        if name in asked:
            module = import_module(f"penstock.commands.{name}")
            module.configure(sub)
            sub.set_defaults(run=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, by default the process's own; bad input never raises. Returns the exit status."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        args = _parser(given).parse_args(given)
        status: int = args.run(args)
        sys.stdout.flush()
    except Failure as failure:
        return _say(failure.status, str(failure))
    except BrokenPipeError:
        _abandon_output()
        return STATUS_BROKEN_PIPE
    except KeyboardInterrupt:
        return _say(STATUS_INTERRUPTED, "interrupted")
    except OSError as error:
        _abandon_output()
        place = f"{error.filename}: " if error.filename else ""
        return _say(STATUS_USAGE, f"{place}{error.strerror or error}")
    except PenstockError as error:
        return _say(1, str(error))
    return status


def _say(status: int, message: str) -> int:
    """One line on standard error, whatever the message repeats of a file's name or an upstream's words."""
    line = " ".join(message.split())
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)
    print("penstock:", shown, file=sys.stderr)
    return status


def _abandon_output() -> None:
    """Let go of output that cannot be written, which the interpreter would try, and complain, at its exit."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
