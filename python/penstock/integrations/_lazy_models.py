"""Models of the openai SDK that build themselves when they are read.

The SDK builds a tree of pydantic objects for every event, of which most programs read `type` and `delta`.
Here an event is an instance of a *lazy subclass* of the SDK's own model. It holds the penstock `Event` (or,
deeper in the tree, the decoded JSON object) and nothing else:

- the fields that `Event` answers from the bytes are read from there, without building a dict;
- any other field is built when it is first read, and remembered as an ordinary instance attribute;
- whatever needs the whole (`model_dump`, `==`, `repr`, `copy`, pickle, assignment, `vars`, pydantic's own
  serializer) first completes the object in place: every field is filled in and its class becomes the SDK's
  model itself. From then on it is the object the SDK would have made, and the code that runs is the SDK's.

So `isinstance` holds at any depth and nothing of pydantic's behaviour is imitated. What is decided here is
only which class, and which coercion, a field's annotation asks for: the plain annotations are compiled, once
a class, into readers, and for any other the value goes through the SDK's `construct_type`. Where the server
contradicts the annotation (a string for a number), the value stays as it came.

An incomplete object keeps its source in the slot `__pydantic_private__`, which the SDK's models leave None. A
slot of its own would give the two classes different layouts, and Python would refuse the change of class.
"""

from __future__ import annotations

import functools
import types
import typing
from abc import ABCMeta
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeGuard

import pydantic
from openai import BaseModel
from openai._models import construct_type
from pydantic_core import PydanticUndefined

from penstock.integrations._annotations import is_model, unwrapped, variants_by_type

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from penstock import Event

__all__ = ["EventModels"]

_Reader = Callable[[Any], Any]
"""Turns a decoded JSON value into what the SDK's model holds."""

_new: Final = object.__new__
_slots: Final = vars(pydantic.BaseModel)
_values_of = _slots["__dict__"].__get__
_set_values = _slots["__dict__"].__set__
_set_extra = _slots["__pydantic_extra__"].__set__
_set_fields_set = _slots["__pydantic_fields_set__"].__set__
_source_of = _slots["__pydantic_private__"].__get__
_set_source = _slots["__pydantic_private__"].__set__
_set_class = vars(object)["__class__"].__set__

_ANSWERED_BY_EVENT: Final = frozenset({"type", "delta", "sequence_number", "output_index", "item_id"})


UNTYPED: Final = "message"
"""The `type` of an event that names none, which is so in the streams of a single model."""

_OF_THE_WHOLE: Final = (
    "__copy__",
    "__deepcopy__",
    "__delattr__",
    "__getstate__",
    "__iter__",
    "__pretty__",
    "__replace__",
    "__repr__",
    "__rich_repr__",
    "__setattr__",
    "__str__",
    "model_copy",
    "model_dump",
    "model_dump_json",
)
"""Methods that would see, or copy, the lazy class before they come to ask for `__dict__`."""


class EventModels:
    """Which model an event of one kind of stream becomes: `EventModels.of(cast_to)(event)`.

    `by_type` names the variants of a union by the event's `type`; an unknown type becomes the union's first
    variant, as in the SDK, and so does every event of a stream of a single model.
    """

    def __init__(self, by_type: dict[str, type[BaseModel]], first: type[BaseModel]) -> None:
        self._by_type = by_type
        self._first = _lazy_class(first, event=True)
        self._lazy = {} if by_type else {UNTYPED: self._first}

    @staticmethod
    @functools.cache
    def of(cast_to: Any) -> EventModels | None:
        """The models of a stream whose items the SDK casts to `cast_to`; None where the SDK has to do it."""
        annotation, metadata = unwrapped(cast_to, ())
        if is_model(annotation):
            return EventModels({}, annotation)
        variants = variants_by_type(annotation, metadata)
        if variants is None or None in variants.values():
            return None
        by_type = {kind: model for kind, model in variants.items() if model is not None}
        return EventModels(by_type, typing.get_args(annotation)[0])

    def __contains__(self, kind: str) -> bool:
        """Whether events of this `type` have a model of their own."""
        return kind in self._by_type

    def __call__(self, event: Event) -> object:
        """The lazy model of an event, whose data must be a JSON object."""
        instance = _new(self._class_for(event.type))
        _set_source(instance, event)
        return instance

    def known(self, event: Event) -> object | None:
        """The same, if this is clearly an ordinary event of a type that came before.

        None if it may be something else: an error, or no JSON object at all.
        """
        lazy = self._lazy.get(event.type)
        if lazy is None or not self._is_ordinary(event):
            return None
        instance = _new(lazy)
        _set_source(instance, event)
        return instance

    def _is_ordinary(self, event: Event) -> bool:
        if not self._by_type:  # whoever reads a chunk reads its choices, so they may be decoded here
            return event.get("choices") is not None and not event.get("error")
        # From the bytes alone: what adds text is no error, and what has a number is an object.
        return event.delta is not None or (event.sequence_number is not None and b'"error"' not in event.data)

    def _class_for(self, kind: str) -> type[BaseModel]:
        model = self._by_type.get(kind)
        if model is None:
            return self._first  # not remembered: the peer could name new types for ever
        return self._lazy.setdefault(kind, _lazy_class(model, event=True))


class _Field:
    """One field of a lazy class.

    An instance's source, an `Event` or a dict, has the field's JSON value by `get(key)`. The source is gone
    when another thread has just completed the object; the AttributeError that follows leads to
    `_Lazy.__getattr__`, which then reads the completed object.
    """

    __slots__ = ("_info", "key", "name", "read")

    def __init__(self, name: str, info: FieldInfo) -> None:
        self.name = name
        self.key = info.alias or name
        self.read = _reader(info.annotation, info.metadata)
        """None where the JSON value is the field's value; else the value can be, or hold, lazy models."""
        self._info = info

    def default(self) -> Any:
        """The value of a field that the server leaves out or null: None where the SDK's model has none."""
        default = self._info.get_default()
        return None if default is PydanticUndefined else default

    def attribute(self, *, event: bool) -> object:
        """What stands in the lazy class under the field's name."""
        if self.read is not None or self.default() is not None:
            return _Built(self)
        if event and self.name in _ANSWERED_BY_EVENT:
            return _answered_by_event(self.name, self.key)
        return property(_getter(self.key))


class _Built:
    """Makes a field's value when it is first read; then the instance's own attribute hides it."""

    __slots__ = ("_default", "_key", "_name", "_read")

    def __init__(self, field: _Field) -> None:
        self._name = field.name
        self._key = field.key
        self._read = field.read
        self._default = field.default

    def __get__(self, model: Any, owner: type) -> Any:
        if model is None:  # read on the class, where pydantic has no such attribute either
            raise AttributeError(self._name)
        value = model.__pydantic_private__.get(self._key)
        if value is None:
            value = self._default()
        elif self._read is not None:
            value = self._read(value)
        # Two threads that read a field for the first time must get one object.
        return _values_of(model).setdefault(self._name, value)


def _getter(key: str) -> Callable[[Any], Any]:
    return lambda model: model.__pydantic_private__.get(key)


def _answered_by_event(name: str, key: str) -> property:
    """The field's value from the event's bytes, or from its JSON where `Event` has no answer."""
    answer = attrgetter(f"__pydantic_private__.{name}")

    def read(model: Any) -> Any:
        value = answer(model)
        return model.__pydantic_private__.get(key) if value is None else value

    return property(read)


def _completed_first(name: str) -> Callable[..., Any]:
    """The SDK's method of that name, on the completed object."""

    def method(self: _Lazy, *args: Any, **kwargs: Any) -> Any:
        return getattr(_complete(self), name)(*args, **kwargs)

    method.__name__ = name
    return method


class _Lazy:
    """What a lazy class lays over the SDK's model."""

    __slots__ = ()

    _model: ClassVar[type[BaseModel]]
    _fields: ClassVar[tuple[_Field, ...]]
    _keys: ClassVar[frozenset[str]]

    if not TYPE_CHECKING:  # the types of these two are object's business

        @property
        def __class__(self) -> type[BaseModel]:
            return type(self)._model

        @property
        def __dict__(self) -> dict[str, Any]:
            return _values_of(_complete(self))

    def __getattr__(self, name: str) -> Any:
        if not _is_lazy(self):  # another thread has completed the object in between
            return getattr(self, name)
        if name in {"__pydantic_extra__", "__pydantic_fields_set__"}:
            return getattr(_complete(self), name)
        # What the server sent beyond the declared fields. Dunder names are Python's probes for protocols.
        if not name.startswith("__") and name not in self._keys:
            extra = _object_of(self)
            if name in extra:
                return extra[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    def __eq__(self, other: object) -> bool:
        return bool(_complete(self) == other)

    __hash__ = None  # type: ignore[assignment]  # as pydantic's models

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _complete(self).__reduce_ex__(protocol)

    for _name in _OF_THE_WHOLE:
        vars()[_name] = _completed_first(_name)
    del _name


def _is_lazy(value: object) -> TypeGuard[_Lazy]:
    return issubclass(type(value), _Lazy)


def _object_of(model: _Lazy) -> dict[str, Any]:
    source = _source_of(model)
    decoded: dict[str, Any] = source if type(source) is dict else source.json()
    return decoded


def _complete(model: Any) -> Any:
    """Fill in every field, at every depth, and make the object an instance of the SDK's model."""
    lazy = type(model)
    source = _source_of(model)
    if not issubclass(lazy, _Lazy) or source is None:
        return model
    decoded = source if type(source) is dict else source.json()
    values = {}
    for field in lazy._fields:
        values[field.name] = value = getattr(model, field.name)
        if field.read is not None:
            _complete_within(value)
    _set_values(model, values)
    _set_extra(model, {key: value for key, value in decoded.items() if key not in lazy._keys})
    _set_fields_set(model, {field.name for field in lazy._fields if field.key in decoded})
    _set_class(model, lazy._model)
    _set_source(model, None)
    return model


def _complete_within(value: object) -> None:
    if _is_lazy(value):
        _complete(value)
    elif type(value) is list:
        for item in value:
            _complete_within(item)
    elif type(value) is dict:
        for item in value.values():
            _complete_within(item)


@functools.cache
def _lazy_class(model: type[BaseModel], *, event: bool) -> type[BaseModel]:
    """The lazy subclass of `model`; with `event`, for objects whose source is an `Event` and not a dict."""
    fields = tuple(_Field(name, info) for name, info in model.model_fields.items())
    namespace: dict[str, Any] = {
        "__slots__": (),
        "__module__": model.__module__,
        "__qualname__": model.__qualname__,
        "__doc__": model.__doc__,
        "_model": model,
        "_fields": fields,
        "_keys": frozenset(field.key for field in fields),
        **{field.name: field.attribute(event=event) for field in fields},
    }
    # pydantic's metaclass would build a schema and a serializer; those inherited from the model are right.
    made: type[BaseModel] = ABCMeta.__new__(type(model), model.__name__, (_Lazy, model), namespace)
    return made


def _reader(annotation: object, metadata: Sequence[object] = ()) -> _Reader | None:
    """How to read a JSON value for a field of this annotation; None if it stays as it is."""
    annotation, metadata = unwrapped(annotation, metadata)
    origin = typing.get_origin(annotation) or annotation
    if origin in {str, int, bool, object, Any, Literal, types.NoneType}:
        return None
    if origin is float:
        return _float
    if origin is list or origin is dict:
        return _container_reader(annotation, origin)
    if is_model(annotation):
        return _model_reader(annotation)
    if origin in {typing.Union, types.UnionType}:
        return _union_reader(annotation, metadata)
    return functools.partial(_by_sdk, annotation, metadata)


def _float(value: object) -> object:
    # The SDK turns integers into floats where the float is exact.
    return float(value) if type(value) is int and float(value) == value else value


def _container_reader(annotation: object, container: type) -> _Reader | None:
    arguments = typing.get_args(annotation)
    read = _reader(arguments[-1]) if arguments else None
    if read is None:
        return None
    if container is list:
        return lambda value: list(map(read, value)) if type(value) is list else value
    return lambda value: {key: read(item) for key, item in value.items()} if type(value) is dict else value


def _model_reader(model: type[BaseModel]) -> _Reader:
    lazy: type[BaseModel] | None = None  # made on first use, for models refer to each other

    def read(value: Any) -> Any:
        nonlocal lazy
        if type(value) is not dict:
            return _by_sdk(model, (), value)
        if lazy is None:
            lazy = _lazy_class(model, event=False)
        instance = _new(lazy)
        _set_source(instance, value)
        return instance

    return read


def _union_reader(annotation: object, metadata: Sequence[object]) -> _Reader | None:
    arguments = [argument for argument in typing.get_args(annotation) if argument is not types.NoneType]
    readers = [_reader(argument) for argument in arguments]
    if not any(readers):
        return None
    if len(arguments) == 1 and not _asks_sdk(readers[0]):
        return readers[0]  # the SDK decides on the union as a whole only where it has to decide at all
    variants = variants_by_type(annotation, metadata)
    if variants is not None:
        return _variant_reader(annotation, metadata, variants)
    # A string stays, unless only something else has a place that the SDK can read in it, like 5 in "5".
    coerces = any(one in {int, float, bool} for one in arguments) or any(map(_asks_sdk, readers))
    text_stays = str in arguments or not coerces

    def read(value: Any) -> Any:
        return value if text_stays and type(value) is str else _by_sdk(annotation, metadata, value)

    return read


def _variant_reader(
    annotation: object, metadata: Sequence[object], variants: dict[str, type[BaseModel] | None]
) -> _Reader:
    readers = {kind: _model_reader(model) for kind, model in variants.items() if model is not None}
    first = _model_reader(typing.get_args(annotation)[0])

    def read(value: Any) -> Any:
        kind = value.get("type") if type(value) is dict else None
        reader = readers.get(kind) if type(kind) is str else None
        if reader is not None:
            return reader(value)
        if type(kind) is str and kind not in variants:
            return first(value)  # of a type newer than the SDK, which takes the first variant for it too
        return _by_sdk(annotation, metadata, value)

    return read


def _asks_sdk(reader: _Reader | None) -> bool:
    return isinstance(reader, functools.partial)


def _by_sdk(annotation: object, metadata: Sequence[object], value: object) -> object:
    return construct_type(value=value, type_=annotation, metadata=list(metadata))
