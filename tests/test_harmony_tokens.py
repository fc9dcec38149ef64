"""`HarmonyParser.feed_tokens`: token ids of any vocabulary, any number of them a call."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import ClassVar

import openai_harmony
import pytest
from harmony_support import (
    CALL,
    FINAL,
    MESSAGES,
    TEXTS,
    USAGE,
    brief,
    checked,
    final_items,
    output,
    parser,
    same,
    written,
)

from penstock import Event
from penstock import harmony as harmony_module
from penstock.harmony import harmony_to_items


class ByteVocabulary:
    """A vocabulary like gpt-oss's, with a token for each byte, some for several, and its special tokens."""

    words: ClassVar = ("<|", "end", "|>", " the", "größer", "final", "analysis")
    special: ClassVar = {
        199_998: "<|startoftext|>",
        200_002: "<|return|>",
        200_003: "<|constrain|>",
        200_005: "<|channel|>",
        200_006: "<|start|>",
        200_007: "<|end|>",
        200_008: "<|message|>",
        200_012: "<|call|>",
        200_014: "<|reserved_200014|>",
    }

    def decode(self, tokens: Sequence[int], errors: str = "replace") -> str:
        return b"".join(self.bytes_of(token) for token in tokens).decode("utf-8", errors)

    def bytes_of(self, token: int) -> bytes:
        if token < 256:
            return bytes([token])
        word = self.special[token] if token in self.special else self.words[token - 256]
        return word.encode()

    def is_special_token(self, token: int) -> bool:
        return token in self.special

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, special tokens as such."""
        tokens = []
        rest = text.encode()
        known = {self.bytes_of(token): token for token in (*range(256, 256 + len(self.words)), *self.special)}
        while rest:
            token = next(
                (known[word] for word in sorted(known, key=len)[::-1] if rest.startswith(word)), rest[0]
            )
            tokens.append(token)
            rest = rest[len(self.bytes_of(token)) :]
        return tokens


VOCABULARY = ByteVocabulary()


@pytest.mark.parametrize("at_once", [1, 2, 7, 1000])
@pytest.mark.parametrize("text", TEXTS)
def test_tokens_say_what_their_text_says(text: str, at_once: int) -> None:
    made = parser(format="events", vocabulary=VOCABULARY)
    events: list[Event] = []
    tokens = VOCABULARY.encode(text)
    for start in range(0, len(tokens), at_once):
        events += made.feed_tokens(tokens[start : start + at_once])
    events += made.finish("stop", usage=USAGE)
    assert same(checked(made, events), written([text]))


def test_text_that_spells_a_special_token_is_text() -> None:
    made = parser(format="events", vocabulary=VOCABULARY)
    tokens = [*VOCABULARY.encode("<|channel|>final<|message|>"), 256, 257, 258, *b"<|return|>", 200_002]
    events = checked(made, [*made.feed_tokens(tokens), *made.finish()])
    assert brief(output(events)[0]) == ("message", "final_answer", "<|end|><|return|>")


def test_special_tokens_that_mean_nothing_are_counted() -> None:
    made = parser(format="events", vocabulary=VOCABULARY)
    tokens = [*VOCABULARY.encode("<|channel|>final<|message|>Hi"), 200_014, *b"!"]
    events = checked(made, [*made.feed_tokens(tokens), *made.finish("stop")])
    assert brief(output(events)[0]) == ("message", "final_answer", "Hi!")
    assert made.diagnostics == {"stray_token": 1}


def test_a_character_over_tokens_comes_whole() -> None:
    made = parser(format="events", vocabulary=VOCABULARY)
    events = made.feed_tokens(VOCABULARY.encode("<|channel|>final<|message|>"))
    for byte in "é€😀".encode():
        events += made.feed_tokens([byte])
    deltas = [event.delta for event in events if event.delta]
    assert deltas == ["é", "€", "😀"]
    events += made.feed_tokens([0xE2, 0x82])  # a character that never ends
    assert brief(output(checked(made, [*events, *made.finish("length")]))[0])[-1] == "é€😀\ufffd"


def test_tokens_may_come_from_any_iterable() -> None:
    for tokens in ((200_002,), iter([200_002]), {200_002: None}):
        made = parser(vocabulary=VOCABULARY)
        made.feed_tokens(tokens)
        assert b"response.completed" in made.finish()
    for wrong in ("<|end|>", 1, [-1], [2**32], ["a"], None):
        with pytest.raises((TypeError, OverflowError, ValueError)):
            parser(vocabulary=VOCABULARY).feed_tokens(wrong)  # type: ignore[arg-type]


def test_a_token_that_the_vocabulary_does_not_know_changes_nothing() -> None:
    made = parser(vocabulary=VOCABULARY)
    with pytest.raises(IndexError):
        made.feed_tokens([*VOCABULARY.encode(CALL), 100_000])
    made.feed_tokens(VOCABULARY.encode(FINAL))
    made.finish("stop")
    assert [item["type"] for item in final_items(made)] == ["message"]


def test_the_vocabulary_of_gpt_oss_is_loaded_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []

    def load(name: str) -> ByteVocabulary:
        loaded.append(name)
        return VOCABULARY

    monkeypatch.setattr(openai_harmony, "load_harmony_encoding", load)
    harmony_module.gpt_oss_vocabulary.cache_clear()
    try:
        made = [parser(), parser()]
        assert loaded == []
        for each in made:
            each.feed_tokens(VOCABULARY.encode(FINAL))
        assert loaded == ["HarmonyGptOss"]
        assert b"response.completed" in made[0].finish()
    finally:
        harmony_module.gpt_oss_vocabulary.cache_clear()


@pytest.mark.skipif("TIKTOKEN_ENCODINGS_BASE" not in os.environ, reason="gpt-oss's vocabulary is not here")
@pytest.mark.parametrize("name", MESSAGES)
def test_messages_are_those_of_openai_harmony(name: str) -> None:
    encoding = openai_harmony.load_harmony_encoding("HarmonyGptOss")
    tokens = encoding.encode("<|start|>assistant" + MESSAGES[name][0], allowed_special="all")
    theirs = encoding.parse_messages_from_completion_tokens(tokens, None)
    made = parser()
    made.feed_tokens(tokens)
    made.finish("stop")
    ids = itertools.count()
    assert final_items(made) == harmony_to_items(theirs, ids=lambda prefix: f"{prefix}{next(ids)}")
