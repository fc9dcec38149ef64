"""`penstock lint`: where a Responses stream breaks the rules, a line for each finding."""

from __future__ import annotations

import argparse
import json

from penstock._penstock import _Linter
from penstock.errors import DecodeError, LimitExceeded
from penstock.linting import Finding, lint

from . import STATUS_BAD_STREAM, STATUS_USAGE, Failure
from .decode import _chunks, _name

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.description = (
        "Print where a stream of the Responses API breaks the rules of its life: the rule's code, the\n"
        "event's number, counted from 0, its type and what is wrong. Nothing is printed for a legal stream;\n"
        "the exit status is 1 if anything was found."
    )
    parser.add_argument(
        "file", metavar="FILE", help="the stream or JSON lines of its events, or - for standard input"
    )
    parser.add_argument(
        "--strict", action="store_true", help="also apply the rules that real providers break all the time"
    )
    parser.add_argument("--json", action="store_true", help="print findings as JSON lines")
    parser.add_argument(
        "--ignore", action="append", default=[], metavar="CODE", help="a rule not to apply, by code or name"
    )
    parser.epilog = f"{_rules()}\n\n{parser.epilog or ''}"


def run(args: argparse.Namespace) -> int:
    """Lint one input. Returns 1 if anything was found."""
    name = _name(args.file)
    try:
        findings = lint(_chunks(args.file), strict=args.strict, ignore=args.ignore)
    except (DecodeError, LimitExceeded) as error:
        raise Failure(f"{name}: {error}") from None
    except ValueError as error:
        raise Failure(f"--ignore: {error}", STATUS_USAGE) from None
    for finding in findings:
        print(_json(finding) if args.json else finding)
    return STATUS_BAD_STREAM if findings else 0


def _json(finding: Finding) -> str:
    return json.dumps(finding._asdict(), separators=(",", ":"))


def _rules() -> str:
    rows = (
        f"  {code}  {name:<20}{'strict  ' if strict else '        '}{sentence}"
        for code, name, strict, sentence in _Linter.rules()
    )
    return "rules:\n" + "\n".join(rows)
