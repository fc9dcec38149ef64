"""Which web pages may open a WebSocket here.

Browsers let any page connect anywhere and send the site's cookies along (CWE-1385); the Origin header, which
a page cannot forge, is all there is to tell them apart. Origins are compared whole: scheme, host and port,
never a prefix or suffix (`https://good.example.evil.example`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import urlsplit

__all__ = ["Origins"]

_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}

Origin = tuple[str, str, int | None]


class Origins:
    """An allow-list of origins.

    Args:
        allowed: origins as browsers write them, such as ``"https://app.example"``; None among them lets in
            clients that send no Origin, which no browser is. None instead of a list checks nothing: for
            clients that authenticate by something a browser does not add by itself.

    Raises:
        TypeError: one text instead of a list.
        ValueError: an entry that is no origin; ``"null"`` and ``"*"`` are none.
    """

    def __init__(self, allowed: Iterable[str | None] | None) -> None:
        if isinstance(allowed, str):
            raise TypeError("allowed_origins is a list of origins, or None to check nothing")
        self._open = allowed is None
        self._missing = False
        self._allowed: set[Origin] = set()
        for entry in allowed or ():
            if entry is None:
                self._missing = True
                continue
            origin = _parse(entry)
            if origin is None:
                raise ValueError(f"no origin: {entry!r}; one looks like 'https://app.example'")
            self._allowed.add(origin)

    def allow(self, headers: Sequence[str]) -> bool:
        """Whether a request with these Origin headers may connect; more than one is nobody's."""
        if self._open:
            return True
        if not headers:
            return self._missing
        return len(headers) == 1 and _parse(headers[0]) in self._allowed


def _parse(text: str) -> Origin | None:
    """Scheme, host and port, in the form in which equal origins are equal; None for all that is no origin."""
    if not text.isascii() or any(letter <= " " for letter in text) or "://" not in text:
        return None
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname
    bare = f"{parts.scheme}://{parts.netloc}".lower() == text.lower()  # no path, query, fragment
    if not host or not bare or "@" in parts.netloc or parts.netloc.endswith(":"):
        return None
    return parts.scheme, host, port if port is not None else _PORTS.get(parts.scheme)
