"""A bug in the Rust code reaches Python as `InternalError`: no abort, no `PanicException`, nothing on stderr.

`_panic_next` makes the next call into the extension panic, inside the lock where the object has one.
"""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from penstock import (
    Decoder,
    Event,
    HarmonyParser,
    InternalError,
    Limits,
    PenstockError,
    ResponseEmitter,
    Transcoder,
    _penstock,
)
from penstock.ids import IdRewriter, LiteLLMCodec, SealedCodec
from penstock.prefix import PrefixChain

CHUNK = b'event: n\nid: 1\ndata: {"type":"x","delta":"y"}\n\n'

MADE: dict[str, Callable[[], Any]] = {
    "Decoder": Decoder,
    "Items": lambda: _penstock.Items(b"[{}]"),
    "Event": lambda: Event('{"type":"x","delta":"y"}', name="n", id="1"),
    "HarmonyParser": lambda: HarmonyParser(model="m"),
    "IdRewriter": lambda: IdRewriter(LiteLLMCodec(), "encode"),
    "Limits": Limits,
    "ResponseEmitter": lambda: ResponseEmitter(model="m"),
    "SealedCodec": lambda: SealedCodec({"k": bytes(16)}),
    "Transcoder": lambda: Transcoder("chat", "responses"),
}
"""How to make one object of each class of the extension that is not made without arguments."""

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("feed", "recognize"), (CHUNK,)),
    "feed_events": ("{}",),
    "feed_tokens": ([],),
    "get": ("type",),
    "partial_arguments": (0,),
    "lane": (None,),
    "open_item": ("message",),
    "add_item": ("{}",),
    "open_part": (0, "output_text"),
    **dict.fromkeys(
        (
            "text",
            "refusal",
            "reasoning_text",
            "reasoning_summary",
            "arguments",
            "custom_input",
            "code",
            "diff",
        ),
        (0, "x"),
    ),
    "annotation": (0, "{}"),
    "status": (0, "response.web_search_call.searching"),
    "close_part": (0,),
    "close_item": (0,),
    **dict.fromkeys(("usage", "members", "error", "fail"), ("{}",)),
    "incomplete": ("max_output_tokens",),
    **dict.fromkeys(("encode", "decode", "is_encoded", "decode_item", "decode_content"), ("resp_1",)),
    **dict.fromkeys(("encode_item", "encode_content", "seal", "open"), ("resp_1",)),
    **dict.fromkeys(("encode_container", "decode_container"), ("cntr_1",)),
    "message": ("{}",),
    "append": ("item",),
    "extend": (["item"],),
    "append_json": ("{}",),
    "extend_json": ("[{}]",),
    "prefix": (0,),
    "truncate": (0,),
    "_Conversations.append": ("t", b'{"id":"r"}', (), None, None, 0),
    **dict.fromkeys(("turn", "has", "delete"), ("t", "r", 0)),
    "history": ("t", "r", 0),
    "expire": (0,),
    "_restore": (b"{}", None, None, False, (False, 128, 4300)),
}
"""Arguments of the methods that need some."""

NAMED: dict[str, dict[str, Any]] = {
    "encode_item": {"model": "m"},
    "encode_content": {"model": "m"},
    "seal": {"tenant": "t"},
    "open": {"tenant": "t"},
}
"""Arguments that go by name."""

CHAINS: dict[str, Callable[[], tuple[Any, ...]]] = {
    "PrefixChain.longest_match": lambda: (PrefixChain(),),
    "PrefixIndex.longest_match": lambda: (PrefixChain(),),
    "PrefixIndex.put": lambda: (PrefixChain(), "value"),
    "PrefixIndex.get": lambda: (PrefixChain(),),
    "PrefixIndex.remove": lambda: (PrefixChain(),),
}
"""Those that are spoiled themselves when a panic happens while they are read."""

OPERATORS: dict[str, Callable[[Any], object]] = {
    "__init__": lambda made: type(made)(**CONSTRUCTOR.get(type(made).__name__, {})),
    "__getitem__": lambda made: made[0 if isinstance(made, PrefixChain | _penstock.Items) else "type"],
    "__contains__": lambda made: "type" in made,
    "__iter__": iter,
    "__len__": len,
    "__hash__": hash,
    "__eq__": lambda made: made == made,
    "__ne__": lambda made: made != made,
    "__repr__": repr,
    "__reduce__": pickle.dumps,
}

CONSTRUCTOR: dict[str, dict[str, Any]] = {
    "Event": {"data": b"{}"},
    "HarmonyParser": {"model": "m"},
    "IdRewriter": {"codec": LiteLLMCodec(), "direction": "encode"},
    "ResponseEmitter": {"model": "m"},
    "SealedCodec": {"keys": {"k": bytes(16)}},
    "Transcoder": {"source": "chat", "target": "responses"},
}

STORED = {
    "PrefixChain": {"__hash__"},
    "Event": {"type", "delta", "id", "data", "flushed", "__bool__"},
    "HarmonyParser": {"id"},
    "ResponseEmitter": {"id"},
    "_Linter": {"rules"},
    "Bounds": {
        "__init__",
        "__eq__",
        "__ne__",
        "ttl",
        *(name for name in vars(_penstock.Bounds) if name[:4] == "max_"),
    },
    "Limits": {
        "__init__",
        "__hash__",
        "__eq__",
        "__ne__",
        *(name for name in vars(Limits) if name[:4] == "max_"),
    },
}
"""What only hands out a value that is there; no code of penstock's runs that could fail."""

LOCKED = sorted(name for name in _penstock.__all__ if hasattr(getattr(_penstock, name), "feed"))
"""The classes that serve one caller at a time. A spoiled object can still be shown."""

SHOWN = (*LOCKED, "PrefixChain", "PrefixIndex")
"""The classes whose objects can be shown whatever happened to them."""


def classes() -> list[type]:
    return [thing for name in _penstock.__all__ if inspect.isclass(thing := getattr(_penstock, name))]


def entries() -> list[tuple[str, str]]:
    """Each way into each class: its public names, and the operators it defines itself."""
    found: list[tuple[str, str]] = []
    for cls in classes():
        plain = STORED.get(cls.__name__, set())
        names = [name for name in vars(cls) if not name.startswith("_") or name == "_restore"]
        operators = [name for name in OPERATORS if name == "__init__" or vars(cls).get(name)]
        found += [(cls.__name__, name) for name in [*names, *operators] if name not in plain]
    return [(cls, name) for cls, name in found if name != "__repr__" or cls not in SHOWN]


def make(name: str) -> Any:
    return MADE.get(name, getattr(_penstock, name))()


def enter(made: Any, name: str) -> object:
    """Go into an object by one of its entries."""
    if name in OPERATORS:
        return OPERATORS[name](made)
    if callable(getattr(type(made), name)):
        full_name = f"{type(made).__name__}.{name}"
        arguments = ARGUMENTS.get(full_name, ARGUMENTS.get(name, ()))
        positional = CHAINS[full_name]() if full_name in CHAINS else arguments
        return getattr(made, name)(*positional, **NAMED.get(name, {}))
    return getattr(made, name)


def try_to_enter(made: Any, name: str) -> None:
    """As without a panic; an error of the entry's own, such as `IncompleteStream`, is fine."""
    try:
        enter(made, name)
    except InternalError:
        raise
    except PenstockError:
        pass


@pytest.mark.parametrize(("cls", "name"), entries())
def test_a_panic_is_an_internal_error_wherever_it_happens(
    cls: str, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    made = make(cls)
    try_to_enter(made, name)
    made = make(cls)
    _penstock._panic_next()
    with pytest.raises(InternalError, match=r"a bug in penstock at errors\.rs:\d+;"):
        enter(made, name)
    try_to_enter(make(cls), name)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("cls", LOCKED)
def test_what_was_locked_is_spent_and_nothing_else(cls: str) -> None:
    spent, other = make(cls), make(cls)
    spent.feed(CHUNK)
    _penstock._panic_next()
    with pytest.raises(InternalError):
        spent.feed(CHUNK)
    for _ in range(2):
        with pytest.raises(InternalError):
            spent.feed(CHUNK)
        with pytest.raises(InternalError):
            spent.finish()
    assert repr(spent) == f"<{cls} in use or spoiled>"
    other.feed(CHUNK)
    assert len(Decoder().feed(CHUNK)) == 1


def test_an_event_has_no_lock_and_is_well_again() -> None:
    event = make("Event")
    _penstock._panic_next()
    with pytest.raises(InternalError):
        event.json()
    assert event.json() == {"type": "x", "delta": "y"}


def test_a_panic_is_rehearsed_once() -> None:
    _penstock._panic_next()
    with pytest.raises(InternalError):
        Decoder()
    assert Decoder().feed(CHUNK)[0].delta == "y"


def test_the_entries_are_all_there() -> None:
    found = set(entries())
    assert {("Decoder", "feed"), ("Decoder", "retry"), ("Event", "json"), ("Event", "__getitem__")} <= found
    assert len(found) > 35
