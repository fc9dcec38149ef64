"""What the annotations of the openai SDK's models say."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Sequence
from typing import Any, Literal, TypeGuard

from openai import BaseModel
from openai._utils import PropertyInfo

__all__ = ["is_model", "unwrapped", "variants_by_type"]


def unwrapped(annotation: object, metadata: Sequence[object]) -> tuple[Any, Sequence[object]]:
    """An annotation without its `Annotated[…]`, and the metadata that stood there or came with the field."""
    if typing.get_origin(annotation) is typing.Annotated:
        inner, *notes = typing.get_args(annotation)
        return inner, notes
    return annotation, metadata


def is_model(annotation: object) -> TypeGuard[type[BaseModel]]:
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)


def variants_by_type(
    annotation: object, metadata: Sequence[object]
) -> dict[str, type[BaseModel] | None] | None:
    """The models of a union that the SDK tells apart by their literal `type`, or None for any other union.

    A type that two of the models have maps to None.
    """
    if not any(isinstance(note, PropertyInfo) and note.discriminator == "type" for note in metadata):
        return None
    variants: dict[str, type[BaseModel] | None] = {}
    for argument in typing.get_args(annotation):
        model, _ = unwrapped(argument, ())
        if model is types.NoneType:
            continue
        kind = model.model_fields.get("type") if is_model(model) else None
        if kind is None or typing.get_origin(kind.annotation) is not Literal:
            return None
        for literal in typing.get_args(kind.annotation):
            variants[literal] = None if literal in variants else model
    return variants
