"""Harmony text read the naive way: whole, with one regular expression. It knows well-formed text only."""

from __future__ import annotations

import re
from typing import Any

MESSAGE = re.compile(
    r"(?:<\|start\|>)?(?P<role>[^<]*)"
    r"(?:<\|channel\|>(?P<channel>[^<]*))?"
    r"(?:<\|constrain\|>(?P<constrain>[^<]*))?"
    r"<\|message\|>(?P<content>.*?)"
    r"(?:<\|end\|>|<\|call\|>|<\|return\|>|\Z)",
    re.DOTALL,
)


def messages(text: str) -> list[dict[str, Any]]:
    """The messages of a text, as openai-harmony writes them."""
    found: list[dict[str, Any]] = []
    for match in MESSAGE.finditer(text):
        role, *words = f"assistant {match['role']}".split() if not found else match["role"].split()
        channel, *more = (match["channel"] or "").split() or [None]
        recipients = [word[3:] for word in (*words, *more) if word.startswith("to=")]
        found.append(
            {
                "role": role if role == "assistant" else "tool",
                "channel": channel,
                "recipient": recipients[0] if recipients else None,
                "content": match["content"],
            }
        )
    return found
