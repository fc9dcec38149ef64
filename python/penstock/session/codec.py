"""The JSON of requests, written once a turn; events are read by the extension."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["dump"]


def dump(value: Any) -> str:
    """Compact JSON, in ASCII alone where a lone surrogate leaves no other way.

    Raises `TypeError` for what is no JSON, `ValueError` for NaN, infinities and cycles.
    """
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text
