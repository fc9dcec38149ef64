"""What both directions share: words that mean the same, and how what cannot be carried over is told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal, NamedTuple

from penstock.errors import PenstockError

__all__ = ["Converted", "UnsupportedFieldError"]

Json = dict[str, Any]
Policy = Literal["error", "report"]
Extra = Literal["unsupported", "keep"]


class UnsupportedFieldError(PenstockError, ValueError):
    """A request has something that the other API has no form for.

    Attributes:
        path: where it stands, such as ``input[2].content[0]``.
    """

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} cannot be carried over")
        self.path = path


class Converted(NamedTuple):
    """A request body, and the paths of what was left out of it."""

    body: Json
    unsupported: list[str]


SAME: Final = (
    "model", "stream", "temperature", "top_p", "store", "metadata", "user", "parallel_tool_calls",
    "service_tier", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "safety_identifier",
    "moderation",
)  # fmt: skip
"""Members that both APIs spell alike."""

HARMLESS: Final[Mapping[str, tuple[object, ...]]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "truncation": ("disabled",),
    "background": (False,),
    "modalities": (["text"],),
    "include": ([],),
    "stop": ([],),
    "logit_bias": ({},),
    "annotations": ([],),
    "async": (False,),
    "defer_loading": (False,),
}
"""Values that ask for nothing but the other API's own default."""

ENCRYPTED: Final = "reasoning.encrypted_content"
LOGPROBS: Final = "message.output_text.logprobs"

CACHE_BREAKPOINT: Final = "prompt_cache_breakpoint"
"""What both APIs can hang on any part of the prompt."""

CALL_EXTRAS: Final = frozenset({"extra_content", "provider_specific_fields", "thought_signature"})
"""What providers hang on a call and want back; the transcoders carry it too."""

FUNCTION: Final = ("name", "description", "parameters", "strict")
CUSTOM: Final = ("name", "description", "format")
SCHEMA: Final = ("name", "description", "schema", "strict")
"""What both APIs say of a function, a custom tool and a JSON schema."""


class Report:
    """Raises at what cannot be carried over, or notes it."""

    def __init__(self, policy: Policy, extra: Extra) -> None:
        if policy not in ("error", "report"):
            raise ValueError(f'unsupported is "error" or "report", not {policy!r}')
        if extra not in ("unsupported", "keep"):
            raise ValueError(f'extra is "unsupported" or "keep", not {extra!r}')
        self.policy = policy
        self.extra = extra
        self.paths: list[str] = []

    def lose(self, path: str) -> None:
        """Raise or note that what stands at `path` is lost."""
        if self.policy == "error":
            raise UnsupportedFieldError(path)
        self.paths.append(path)

    def rest(
        self,
        value: Mapping[str, Any],
        path: str,
        known: Iterable[str],
        target: Json | None = None,
        own: Iterable[str] = (),
    ) -> None:
        """Deal with the members of `value` that nobody has read.

        Those are lost that say something, unless there is a `target` to which they go as they are, which
        `extra` may ask for what is not the source API's `own`.
        """
        for key in sorted(value.keys() - set(known)):
            given = value[key]
            if given is None or any(given == harmless for harmless in HARMLESS.get(key, ())):
                continue
            if target is not None and self.extra == "keep" and key not in own:
                target[key] = given
            else:
                self.lose(f"{path}.{key}" if path else key)


def set_given(target: Json, key: str, value: Any) -> None:
    """Set a member that says something."""
    if value is not None:
        target[key] = value


def pick(value: Mapping[str, Any], keys: Iterable[str]) -> Json:
    """Those of the members that say something."""
    return {key: value[key] for key in keys if value.get(key) is not None}


def need(value: Mapping[str, Any], key: str, path: str) -> Any:
    """A member that its API requires."""
    if key not in value:
        raise ValueError(f"{path}.{key} is missing")
    return value[key]


def text(value: Mapping[str, Any], key: str, path: str) -> str:
    """A member that its API requires to be a string."""
    found = need(value, key, path)
    if not isinstance(found, str):
        raise _wrong(f"{path}.{key}", "string")
    return found


def mapping(value: Any, path: str) -> Mapping[str, Any]:
    """What stands at `path`, an object; None is one that is empty."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _wrong(path, "object")
    return value


def listed(value: Any, path: str) -> Iterable[Any]:
    """What stands at `path`, a list; None is one that is empty."""
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise _wrong(path, "list")
    return value


def each(value: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The path and value of each element of a list of objects."""
    for place, element in enumerate(listed(value, path)):
        if not isinstance(element, Mapping):
            raise _wrong(f"{path}[{place}]", "object")
        yield f"{path}[{place}]", element


def _wrong(path: str, kind: str) -> ValueError:
    return ValueError(f"{path} is no {kind}")
