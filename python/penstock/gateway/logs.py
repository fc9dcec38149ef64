"""Log lines: facts under names, never a prompt, an answer, a key or a header.

Only `extra={"facts": {...}}` reaches a line beside a fixed message; of an exception its type and place do,
not its words, which may quote what came over the wire.
"""

from __future__ import annotations

import logging
import sys
import time
import traceback
from typing import Any, Literal

import orjson

__all__ = ["set_up"]


def set_up(kind: Literal["json", "text", "off"]) -> None:
    """Send the gateway's log to standard error, in this form."""
    logger = logging.getLogger("penstock.gateway")
    logger.handlers.clear()
    logger.propagate = False
    logger.setLevel(logging.INFO if kind != "off" else logging.CRITICAL + 1)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if kind == "json" else _Text())
    logger.addHandler(handler)


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    facts: dict[str, Any] = dict(getattr(record, "facts", {}))
    if record.exc_info and record.exc_info[0] is not None:
        facts["error"] = record.exc_info[0].__name__
        frames = traceback.extract_tb(record.exc_info[2])
        facts["at"] = [
            f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames[-6:]
        ]
    return facts


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = (
            time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        )
        line = {
            "time": moment,
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **_facts(record),
        }
        return orjson.dumps(line, default=repr).decode()


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        facts = " ".join(f"{key}={value}" for key, value in _facts(record).items() if value is not None)
        return (
            f"{time.strftime('%H:%M:%S')} {record.levelname.lower():7} {record.getMessage()} {facts}".rstrip()
        )
