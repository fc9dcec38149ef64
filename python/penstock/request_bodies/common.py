"""What both directions share: words that mean the same, and how what cannot be carried over is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    "service_tier", "prompt_cache_key", "prompt_cache_retention", "safety_identifier",
)  # fmt: skip
"""Members that both APIs spell alike."""

HARMLESS: Final[Mapping[str, tuple[object, ...]]] = {
    "n": (1,),
    "logprobs": (False,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "truncation": ("disabled",),
    "background": (False,),
    "modalities": (["text"],),
    "include": ([],),
    "stop": ([],),
    "logit_bias": ({},),
}
"""Values that ask for nothing but the other API's own default."""

ENCRYPTED: Final = "reasoning.encrypted_content"
LOGPROBS: Final = "message.output_text.logprobs"


CALL_EXTRAS: Final = frozenset({"extra_content", "provider_specific_fields", "thought_signature"})
"""What providers hang on a call and want back; the transcoders carry it too."""


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

    def lose_others(self, value: Mapping[str, Any], path: str, known: Iterable[str]) -> None:
        """Note the members that are none of `known` and say something."""
        for key in sorted(value.keys() - set(known)):
            if value[key] is not None:
                self.lose(f"{path}.{key}" if path else key)

    def rest(self, request: Mapping[str, Any], known: Iterable[str], body: Json, own: frozenset[str]) -> None:
        """Deal with what nobody has read of a request: its `own` API's members, and others."""
        for key in sorted(request.keys() - set(known)):
            value = request[key]
            if value is None or any(value == harmless for harmless in HARMLESS.get(key, ())):
                continue
            if self.extra == "keep" and key not in own:
                body[key] = value
            else:
                self.lose(key)


def set_given(target: Json, key: str, value: Any) -> None:
    """Set a member that says something."""
    if value is not None:
        target[key] = value
