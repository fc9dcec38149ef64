"""Close codes between two connections: what was received is not always what may be sent on.

RFC 6455 §7.4 reserves codes that only describe how a connection ended and never travel in a Close frame:
1005 (none was given), 1006 (no Close frame came), 1015 (TLS failed); 1004 means nothing. A forwarder that
echoes them raises in its WebSocket library, and the other side is left with silence.
"""

from __future__ import annotations

from typing import Final, Literal

__all__ = ["ABNORMAL", "NO_STATUS", "close_code", "close_reason"]

NO_STATUS: Final = 1005
"""How a Close frame without a code is reported."""

ABNORMAL: Final = 1006
"""How a connection that ended without a Close frame is reported."""

REASON_BYTES: Final = 123
"""What a control frame has room for behind the code."""

_REGISTERED: Final = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})
_CLIENT_ONLY: Final = 1010  # "the server did not agree to an extension": no server may say it


def close_code(code: int, *, towards: Literal["client", "upstream"]) -> int:
    """The code to close one side with when the other ended with `code`.

    Codes that may be sent stay as they are. No status is a normal end: 1000. An upstream lost in any other
    way is 1011 for the client, of which clients know that a new connection may help (the openai SDK
    reconnects on 1011, not on 1014); a client lost is 1001, going away, for the upstream.
    """
    if code == NO_STATUS:
        return 1000
    if 3000 <= code <= 4999 or (code in _REGISTERED and (towards == "upstream" or code != _CLIENT_ONLY)):
        return code
    return 1011 if towards == "client" else 1001


def close_reason(reason: str) -> str:
    """The reason, cut to what a Close frame holds, between two characters."""
    return reason.encode("utf-8", "replace")[:REASON_BYTES].decode("utf-8", "ignore")
