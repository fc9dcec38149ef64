"""Headers to be sent: what is none is refused here, before a library below finds it out and prints it.

A key that was read from a file has a line end behind it more often than not.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["checked", "is_value"]

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\t -~]*")


def checked(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers under names in lower case, each once.

    Raises:
        ValueError: one of them is no header; its value is not shown.
    """
    for name, value in headers.items():
        if not (_NAME.fullmatch(name) and is_value(value)):
            what = "the key" if name == "authorization" else f"the header {name!r}"
            raise ValueError(f"{what} must be printable ASCII on one line")
    return {name.lower(): value for name, value in headers.items()}


def is_value(text: str) -> bool:
    """Whether a header can have this value: printable ASCII, which is what keys are made of, and tabs."""
    return _VALUE.fullmatch(text) is not None
