"""Function calls of a response that is complete, with their arguments read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from penstock._penstock import Event
from penstock.errors import DecodeError, LimitExceeded
from penstock.session.codec import dump

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FunctionCall", "calls_of"]


class FunctionCall:
    """A function the model wants called.

    Attributes:
        name: of the function.
        call_id: what the output must carry.
        raw: the arguments as the model wrote them; JSON, where a server sends them as an object.
        index: the place of the call among the output items.
        error: why `arguments` cannot be had; None if they can.
    """

    __slots__ = ("_arguments", "call_id", "error", "index", "name", "raw")

    def __init__(self, name: str, call_id: str, raw: str, index: int) -> None:
        self.name = name
        self.call_id = call_id
        self.raw = raw
        self.index = index
        self.error: DecodeError | LimitExceeded | None = None
        self._arguments: dict[str, Any] = {}
        if raw.strip():  # a function without parameters may be called without a word
            try:
                value = Event(raw).json()
            except (DecodeError, LimitExceeded) as error:
                self.error = error
                return
            if isinstance(value, dict):
                self._arguments = value
            else:
                self.error = DecodeError("the arguments are no JSON object", reason="not_an_object")

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments by name.

        Raises:
            DecodeError: the model wrote no JSON object; `raw` is what it wrote.
            LimitExceeded: it nests too deep, or a number in it is too long.
        """
        if self.error is not None:
            raise self.error
        return self._arguments

    def output(self, output: str | list[dict[str, Any]]) -> dict[str, Any]:
        """The input item that answers the call."""
        return {"type": "function_call_output", "call_id": self.call_id, "output": output}

    def __repr__(self) -> str:
        state = "" if self.error is None else ", bad arguments"
        return f"<FunctionCall {self.name!r} {self.call_id!r}{state}>"


_TYPE: Final = "function_call"


def calls_of(output: Iterable[Any]) -> list[FunctionCall]:
    """The function calls among output items, in their order; ids may be missing or repeated."""
    return [
        FunctionCall(_text(item, "name"), _text(item, "call_id"), _arguments(item), index)
        for index, item in enumerate(output)
        if isinstance(item, dict) and item.get("type") == _TYPE
    ]


def _arguments(item: dict[str, Any]) -> str:
    value = item.get("arguments")
    return dump(value) if isinstance(value, dict | list) else _text(item, "arguments")


def _text(item: dict[str, Any], field: str) -> str:
    value = item.get(field)
    return value if isinstance(value, str) else ""
