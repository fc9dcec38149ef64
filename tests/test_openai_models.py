"""The lazy models against the SDK's own objects, attribute by attribute and method by method."""

from __future__ import annotations

import copy
import functools
import json
import pickle
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Optional, Union

import openai
import pydantic
import pytest
from openai._models import construct_type
from openai.types.beta import AssistantStreamEvent
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent, ResponseTextDeltaEvent
from openai_streams import RECORDINGS, chat_stream, responses_stream

from penstock import Event
from penstock.integrations import _lazy_models
from penstock.integrations._lazy_models import EventModels

STREAMS: dict[str, tuple[Any, list[bytes]]] = {
    "responses": (ResponseStreamEvent, [json.dumps(event).encode() for event in responses_stream()]),
    "chat": (ChatCompletionChunk, [json.dumps(chunk).encode() for chunk in chat_stream()]),
}
for folder, item in (("responses", ResponseStreamEvent), ("chat", ChatCompletionChunk)):
    for path in sorted((RECORDINGS / folder).glob("*.jsonl")):
        STREAMS[path.name] = item, [line.strip() for line in path.read_bytes().splitlines() if line.strip()]

DELTA = {
    "type": "response.output_text.delta",
    "sequence_number": 7,
    "item_id": "msg_1",
    "output_index": 1,
    "content_index": 0,
    "delta": "Hi",
    "logprobs": [],
    "obfuscation": "zz",
}


def lazy(payload: dict[str, Any], cast_to: object = ResponseStreamEvent) -> Any:
    models = EventModels.of(cast_to)
    assert models is not None
    return models(Event(json.dumps(payload).encode()))


def pairs(cast_to: object, lines: list[bytes]) -> Iterator[tuple[Callable[[], Any], Any]]:
    """For each event, how to make a fresh lazy model of it, and the SDK's object."""
    models = EventModels.of(cast_to)
    assert models is not None
    for line in lines:
        try:
            data = json.loads(line)
        except ValueError:
            continue
        yield functools.partial(models, Event(line)), construct_type(value=data, type_=cast_to)


def differences(ours: object, theirs: object, path: str = "event") -> Iterator[str]:
    """Every attribute path at which an object differs from the SDK's: class, value, length or key."""
    if isinstance(theirs, pydantic.BaseModel):
        if not isinstance(ours, type(theirs)):
            yield f"{path}: {type(ours)} is no {type(theirs)}"
            return
        aliases = {info.alias for info in type(theirs).model_fields.values()}
        for name in (*type(theirs).model_fields, *((theirs.model_extra or {}).keys() - aliases)):
            yield from differences(getattr(ours, name), getattr(theirs, name), f"{path}.{name}")
    elif type(ours) is not type(theirs):
        yield f"{path}: {ours!r}, not {theirs!r}"
    elif isinstance(theirs, list) and isinstance(ours, list):
        if len(ours) != len(theirs):
            yield f"{path}: {len(ours)} items, not {len(theirs)}"
        for index, (our_item, their_item) in enumerate(zip(ours, theirs, strict=False)):
            yield from differences(our_item, their_item, f"{path}[{index}]")
    elif isinstance(theirs, dict) and isinstance(ours, dict):
        for key in ours.keys() | theirs.keys():
            yield from differences(ours.get(key), theirs.get(key), f"{path}[{key!r}]")
    elif ours != theirs:
        yield f"{path}: {ours!r}, not {theirs!r}"


@pytest.mark.parametrize("name", STREAMS)
def test_every_attribute_path_equals_the_sdks(name: str) -> None:
    found = [
        difference for make, theirs in pairs(*STREAMS[name]) for difference in differences(make(), theirs)
    ]
    assert found == []


WHOLE: dict[str, Callable[[Any], object]] = {
    "model_dump": lambda event: event.model_dump(warnings=False),
    "model_dump json": lambda event: event.model_dump(mode="json", warnings=False),
    "exclude_none": lambda event: event.model_dump(exclude_none=True, warnings=False),
    "exclude_unset": lambda event: event.model_dump(exclude_unset=True, warnings=False),
    "by_alias": lambda event: event.model_dump(by_alias=True, warnings=False),
    "include": lambda event: event.model_dump(include={"type", "choices"}, warnings=False),
    "model_dump_json": lambda event: event.model_dump_json(indent=1, warnings=False),
    "to_dict": lambda event: event.to_dict(warnings=False),
    "to_json": lambda event: event.to_json(warnings=False),
    "repr": repr,
    "str": str,
    "vars": vars,
    "iter": list,
    "dir": lambda event: [name for name in dir(event) if not name.startswith("_")],
    "model_extra": lambda event: event.model_extra,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "model_copy": lambda event: event.model_copy(update={"x": 1}, deep=True),
    "pickle": lambda event: pickle.loads(pickle.dumps(event)),
    "itself": lambda event: event,
}


@pytest.mark.parametrize("how", WHOLE)
@pytest.mark.parametrize("name", ["responses", "chat"])
def test_whole_object_operations_equal_the_sdks(name: str, how: str) -> None:
    for make, theirs in pairs(*STREAMS[name]):
        assert WHOLE[how](make()) == WHOLE[how](theirs)
        touched = make()
        assert list(differences(touched, theirs)) == []  # the same again, with every field read before
        assert WHOLE[how](touched) == WHOLE[how](theirs)


@pytest.mark.parametrize("name", [name for name in STREAMS if name.endswith(".jsonl")])
def test_recordings_dump_as_the_sdks(name: str) -> None:
    for make, theirs in pairs(*STREAMS[name]):
        assert make().to_json(warnings=False) == theirs.to_json(warnings=False)
        assert theirs == make()


def test_hot_fields_need_no_dict() -> None:
    class Bare:
        """Has what an Event answers from the bytes and no JSON."""

        type = "response.output_text.delta"
        delta = "Hi"
        sequence_number = 7
        output_index = 1
        item_id = "msg_1"

    models = EventModels.of(ResponseStreamEvent)
    assert models is not None
    bare: Any = Bare()
    event: Any = models(bare)
    got = event.type, event.delta, event.sequence_number, event.output_index, event.item_id
    assert got == ("response.output_text.delta", "Hi", 7, 1, "msg_1")
    with pytest.raises(AttributeError):
        _ = event.content_index  # asks for the JSON


def test_a_field_of_another_type_than_expected_stays_as_it_came() -> None:
    event = lazy({**DELTA, "delta": {"partial": True}, "sequence_number": "7"})
    assert (event.delta, event.sequence_number) == ({"partial": True}, "7")
    assert lazy({"type": "odd", "number": "1.5"}, Odd).number == "1.5"


def test_fields_are_built_once() -> None:
    event = lazy(responses_stream()[-1])
    assert event.response is event.response
    assert event.response.output[1].content[0] is event.response.output[1].content[0]
    before = event.response.output[1]
    event.model_dump(warnings=False)
    assert event.response.output[1] is before


def test_a_completed_object_is_the_sdks() -> None:
    event = lazy(DELTA)
    assert isinstance(event, ResponseTextDeltaEvent)
    assert event.__class__ is ResponseTextDeltaEvent
    assert type(event) is not ResponseTextDeltaEvent
    repr(event)
    assert type(event) is ResponseTextDeltaEvent
    assert event.model_fields_set == DELTA.keys() - {"obfuscation"}


def test_assignment_and_deletion() -> None:
    event = lazy(DELTA)
    event.delta = "changed"
    assert event.model_dump()["delta"] == "changed"
    event = lazy(responses_stream()[-1])
    event.response.output.append("more")
    event.response.status = "edited"
    assert event.to_dict(warnings=False)["response"]["status"] == "edited"
    del event.response
    assert not hasattr(event, "response")


def test_unknown_and_missing_attributes() -> None:
    event = lazy({**DELTA, "obfuscation": None})
    assert event.obfuscation is None
    assert lazy({"type": "response.output_text.delta"}).item_id is None
    with pytest.raises(AttributeError, match="'ResponseTextDeltaEvent' object has no attribute 'choices'"):
        _ = event.choices
    with pytest.raises(AttributeError):
        _ = type(lazy(responses_stream()[-1])).response
    assert not hasattr(event, "__array__")
    with pytest.raises(TypeError, match="unhashable"):
        hash(event)


def test_equality_with_anything() -> None:
    assert lazy(DELTA) == lazy(DELTA)
    assert lazy(DELTA) != lazy({**DELTA, "delta": "Ho"})
    assert lazy(DELTA) != 3
    assert lazy(DELTA) in [3, lazy(DELTA)]


def test_inside_other_models() -> None:
    class Envelope(pydantic.BaseModel):
        event: ResponseTextDeltaEvent
        any_event: Any

    envelope = Envelope(event=lazy(DELTA), any_event=lazy(DELTA))
    dumped = json.loads(envelope.model_dump_json())
    assert dumped == {"event": lazy(DELTA).to_dict(), "any_event": lazy(DELTA).to_dict()}
    assert pydantic.TypeAdapter(list[ResponseTextDeltaEvent]).dump_python([lazy(DELTA)]) == [DELTA]


def test_pattern_matching() -> None:
    match lazy(DELTA):
        case ResponseTextDeltaEvent(delta=text):
            assert text == "Hi"
        case other:
            pytest.fail(f"{other!r} did not match")


def test_an_unknown_type_becomes_the_first_variant_and_is_not_remembered() -> None:
    models = EventModels.of(ResponseStreamEvent)
    assert models is not None
    event: Any = models(Event(b'{"type":"response.new","sequence_number":1,"x":{"y":2}}'))
    theirs: Any = construct_type(value={"type": "response.new"}, type_=ResponseStreamEvent)
    assert event.__class__ is type(theirs)
    assert (event.type, event.x) == ("response.new", {"y": 2})
    assert models.known(Event(b'{"type":"response.new","sequence_number":1}')) is None


def test_streams_the_sdk_has_to_build() -> None:
    assert EventModels.of(AssistantStreamEvent) is None
    assert EventModels.of(object) is None
    assert EventModels.of(str) is None


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"{", "not JSON"),
        (b"[1]", "no object"),
        (b'{"type":"response.output_text.delta"', "cut"),
        (b'{"type":"response.output_text.delta"}', "no sequence number"),
        (b'{"type":"response.output_text.delta","sequence_number":1,"error":{}}', "an error"),
    ],
)
def test_known_leaves_the_doubtful_to_a_closer_look(payload: bytes, reason: str) -> None:
    lazy(DELTA)
    models = EventModels.of(ResponseStreamEvent)
    assert models is not None
    assert models.known(Event(json.dumps(DELTA).encode())) is not None
    assert models.known(Event(payload, name="response.output_text.delta")) is None, reason


class Leaf(openai.BaseModel):
    type: str
    size: float


class Odd(openai.BaseModel):
    """Annotations that the SDK's streams use rarely or not yet. The SDK's 2.x cannot read `X | Y`."""

    type: str
    number: Optional[float] = None  # noqa: UP045
    count: Union[int, float, None] = None  # noqa: UP007
    leaf: Optional[Leaf] = None  # noqa: UP045
    leaves: Optional[dict[str, Leaf]] = None  # noqa: UP045
    nested: Optional[list[list[Leaf]]] = None  # noqa: UP045
    bare: Union[list, dict, None] = None  # type: ignore[type-arg]  # noqa: UP007
    either: Union[str, Leaf, None] = None  # noqa: UP007
    many: Union[Leaf, list[Leaf], None] = None  # noqa: UP007
    when: Optional[datetime] = None  # noqa: UP045
    size: Union[float, bool, None] = None  # noqa: UP007
    flag: bool = True
    names: list[str] = pydantic.Field(default_factory=lambda: ["x"])


LEAF = {"type": "leaf", "size": 1}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"number": 1},
        {"count": 1},
        {"leaf": LEAF},
        {"leaf": [LEAF, 3]},
        {"leaf": "text"},
        {"leaves": {"a": LEAF, "b": 3}},
        {"leaves": [LEAF]},
        {"nested": [[LEAF], 3]},
        {"nested": {"a": 1}},
        {"bare": [1, {"a": LEAF}]},
        {"bare": {"a": LEAF}},
        {"either": "text"},
        {"either": LEAF},
        {"many": LEAF},
        {"many": [LEAF]},
        {"when": "2026-01-01T00:00:00Z"},
        {"when": 5},
        {"size": "5"},
        {"size": 5},
        {"flag": False, "names": []},
        {"flag": None, "names": None},
    ],
    ids=json.dumps,
)
def test_rare_annotations(fields: dict[str, Any]) -> None:
    payload = {"type": "odd", **fields}
    theirs: Any = construct_type(value=copy.deepcopy(payload), type_=Odd)
    assert list(differences(lazy(payload, Odd), theirs)) == []
    assert lazy(payload, Odd).model_dump(warnings=False) == theirs.model_dump(warnings=False)


@pytest.mark.parametrize("output", [[None], [{"id": "x"}], [{"type": 5}], [[]], ["text"], {}, None])
def test_items_that_are_none(output: object) -> None:
    payload = {"type": "response.created", "sequence_number": 0, "response": {"id": "r", "output": output}}
    theirs = construct_type(value=copy.deepcopy(payload), type_=ResponseStreamEvent)
    assert list(differences(lazy(payload), theirs)) == []


def test_reads_that_come_too_late_find_the_completed_object() -> None:
    event = lazy(DELTA)
    repr(event)
    assert _lazy_models._Lazy.__getattr__(event, "delta") == "Hi"
    assert _lazy_models._complete(event) is event


def test_threads_complete_one_object() -> None:
    for _ in range(50):
        event = lazy(responses_stream()[-1])
        start = threading.Barrier(4)
        seen: list[object] = []

        def read(event: Any = event, start: threading.Barrier = start, seen: list[object] = seen) -> None:
            start.wait()
            seen.extend((event.response, event.type, event.to_json(warnings=False), event.response.output[0]))

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(seen) == 16
        assert all(one is event.response for one in seen[::4])
        assert all(one is event.response.output[0] for one in seen[3::4])
