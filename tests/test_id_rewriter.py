"""`IdRewriter` and `rewrite`: ids within messages and streams change, and not a byte beside them."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import DecodeError, Decoder, Event, InvalidResponseId, LimitExceeded, Limits
from penstock.ids import IdRewriter, LiteLLMCodec, SealedCodec, rewrite

LITELLM = LiteLLMCodec()
SEALED = SealedCodec({"k1": bytes(range(32))})
SCOPE: dict[str, Any] = {"tenant": "acme", "provider": "openai", "model": "gpt-5.2"}
WHOLE: dict[str, Any] = {**SCOPE, "items": True, "content": True}
UPSTREAM = "resp_0ad69c3c5fcb01f60068eba78cacd08193bf9a57724aa55ab8"
OURS = SEALED.seal(UPSTREAM, **SCOPE)
THEIRS = LITELLM.encode(UPSTREAM, provider="openai", model="gpt-5.2")
VECTORS = Path(__file__).parent / "vectors" / "responses"


def sealed(id: str, kind: Any = "response") -> str:
    return SEALED.seal(id, **SCOPE, kind=kind)


MESSAGES: list[tuple[str, str]] = [
    (
        '{"type":"response.created","response":{"id":"A","x":1.50}}',
        '{"type":"response.created","response":{"id":"R","x":1.50}}',
    ),
    (
        '{"response" : { "a":{"id":"A"}, "id" : "A" } , "id":"A"}',
        '{"response" : { "a":{"id":"A"}, "id" : "R" } , "id":"A"}',
    ),
    (
        '{"response":{"id":"A","id":"A"},"response":{"id":"A"}}',
        '{"response":{"id":"R","id":"R"},"response":{"id":"R"}}',
    ),
    ('{"\\u0072esponse":{"\\u0069d":"\\u0041"}}', '{"\\u0072esponse":{"\\u0069d":"R"}}'),
    ('{"id":"A","object":"response","output":[]}', '{"id":"R","object":"response","output":[]}'),
    ('{"object" : "response", "id":"A"}', '{"object" : "response", "id":"R"}'),
    ('{"id":"A","object":"list","response":null}', '{"id":"A","object":"list","response":null}'),
    ('{"type":"response.output_text.delta","delta":"\\"response\\":{\\"id\\":\\"A\\"}"}', ""),
    ('{"type":"x","response":{"id":null}}', ""),
    ('{"type":"x","response":["id","A"]}', ""),
    ('{"type":"x","response":{"id":"A"}', ""),
    ('["response",{"id":"A"}]', ""),
    ('"response"', ""),
    ("", ""),
]
"""Messages with an upstream's id A, and what they become with R; nothing where they stay."""


@pytest.mark.parametrize(("message", "expected"), MESSAGES)
def test_nothing_but_the_id_changes(message: str, expected: str) -> None:
    expected = expected or message
    for codec, ours in (
        (SEALED, sealed("A")),
        (LITELLM, LITELLM.encode("A", provider="openai", model="gpt-5.2")),
    ):
        scope = SCOPE if codec is SEALED else {**SCOPE, "tenant": None}
        rewriter = IdRewriter(codec, "encode", **scope)
        changed = rewriter.message(message)
        assert changed == expected.replace("R", ours)
        assert (changed is message) is (message == expected)
        data = message.encode()
        assert rewriter.message(data) == changed.encode()
        assert rewriter.message(bytearray(data)) == changed.encode()
        assert rewriter.message(rewriter.message(message)) == changed
        if expected != message:
            back = IdRewriter(codec, "decode", **scope)
            assert back.message(changed) == message.replace('"\\u0041"', '"A"')
            assert back.origin == ("openai", "gpt-5.2", "A")


MENTIONS = (
    '{"type":"x","previous_response_id":"A","response_id":"A","steer":{"id":"s","previous_response_id":"A"},'
    '"response":{"previous_response_id":"A","metadata":{"previous_response_id":"A"}}}'
)


def test_mentions_are_rewritten_where_that_is_right() -> None:
    everywhere = MENTIONS.replace('"A"', '"R"', 4).replace('"R","metadata"', '"R","metadata"')
    expected = everywhere.replace("R", sealed("A"))
    assert rewrite(MENTIONS, SEALED, **SCOPE) == expected
    assert rewrite(expected, SEALED, "decode", tenant="acme") == MENTIONS
    assert rewrite(MENTIONS, SEALED, mentions=False, **SCOPE) == MENTIONS
    assert rewrite(MENTIONS, LITELLM) == MENTIONS
    ours = rewrite(MENTIONS, LITELLM, mentions=True, provider="p", model="m")
    assert ours == everywhere.replace("R", LITELLM.encode("A", provider="p", model="m"))
    assert rewrite(ours, LITELLM, "decode") == MENTIONS


ITEMS = (
    '{"type":"x","item_id":"msg_1","item":{"id":"rs_1","encrypted_content":"gAAA=","summary":[{"id":"no"}]},'
    '"response":{"id":"resp_1","output":[{"id":"msg_1","content":[]},{"encrypted_content":"g/A"}]},'
    '"input":[{"type":"item_reference","id":"rs_1"},{"approval_request_id":"mcpr_1"},"text"]}'
)


def test_items_are_rewritten_by_option() -> None:
    only_responses = ITEMS.replace("resp_1", sealed("resp_1"))
    assert rewrite(ITEMS, SEALED, **SCOPE) == only_responses
    everything = only_responses
    for id in ("msg_1", "rs_1", "mcpr_1"):
        everything = everything.replace(f'"{id}"', f'"{sealed(id, "item")}"')
    assert rewrite(ITEMS, SEALED, **SCOPE, items=True) == everything
    for content in ("gAAA=", "g/A"):
        everything = everything.replace(f'"{content}"', f'"{sealed(content, "content")}"')
    assert rewrite(ITEMS, SEALED, **WHOLE) == everything
    assert rewrite(everything, SEALED, **WHOLE) == everything
    assert rewrite(everything, SEALED, "decode", tenant="acme", items=True, content=True) == ITEMS

    scope: dict[str, Any] = {"provider": "p", "model": "dep-1"}
    ours = rewrite(ITEMS, LITELLM, items=True, content=True, **scope)
    assert f'"item_id":"{LITELLM.encode_item("msg_1", model="dep-1")}"' in ours
    assert f'"encrypted_content":"{LITELLM.encode_content("g/A", model="dep-1")}"' in ours
    assert rewrite(ours, LITELLM, "decode", items=True, content=True) == ITEMS
    without_model = rewrite(ITEMS, LITELLM, items=True, content=True, provider="p")
    assert without_model == ITEMS.replace("resp_1", LITELLM.encode("resp_1", provider="p"))


@pytest.mark.parametrize(
    "message",
    [
        '{"previous_response_id":"A"}',
        '{"type":"response.create","response":{"previous_response_id":"A"}}',
        '{"type":"response.cancel","response_id":"A"}',
        '{"type":"response.steer","previous_response_id":"A","input":[]}',
        '{"previous_response_id":"x","\\u0070revious_response_id":"A"}',
        '{"previous_response_id":"\\ud800"}',
        '{"response":{"id":"A"}}',
        '{"id":"A","object":"response"}',
    ],
)
@pytest.mark.parametrize("id", [UPSTREAM, THEIRS, "", SEALED.seal(UPSTREAM, tenant="other"), OURS[:-1]])
def test_an_id_that_is_not_ours_does_not_pass(message: str, id: str) -> None:
    with pytest.raises(InvalidResponseId):
        rewrite(message.replace("A", id), SEALED, "decode", tenant="acme")
    stream = f"data: {message.replace('A', id)}\n\n".encode()
    rewriter = IdRewriter(SEALED, "decode", tenant="acme")
    for _ in range(2):
        with pytest.raises(InvalidResponseId):
            rewriter.feed(stream)
    with pytest.raises(InvalidResponseId):
        rewriter.finish()


FINE = f'event: x\ndata: {{"response":{{"id":"{OURS}"}}}}\n\n: ping\n'
OPENED = FINE.replace(OURS, UPSTREAM).encode()


@pytest.mark.parametrize(
    ("refused", "error"),
    [
        ('data: {"response":{"id":"A"}}\n\n', InvalidResponseId),
        (
            f'event: y\ndata: {{"response":{{"id":"{OURS}","previous_response_id":"A"}}}}\n\n',
            InvalidResponseId,
        ),
        ("data: {\ndata: x}\n\n", DecodeError),
        (f"data: {' ' * 500}", LimitExceeded),
    ],
)
def test_what_came_before_a_refusal_is_not_lost(refused: str, error: type[Any]) -> None:
    stream = (FINE * 2 + refused).encode()
    # The name of an event passes when it comes; its data does not.
    expected = OPENED * 2 + (b"event: y\n" if refused.startswith("event") else b"")
    for size in (len(stream), 1, 7, 50):
        rewriter = IdRewriter(SEALED, "decode", tenant="acme", limits=Limits(max_event_bytes=400))
        passed: list[bytes] = []
        with pytest.raises(error) as caught:
            passed.extend(rewriter.feed(stream[at : at + size]) for at in range(0, len(stream), size))
        assert b"".join(passed + caught.value.events) == expected
        with pytest.raises(error) as again:
            rewriter.feed(b"data: {}\n\n")
        assert again.value.events == []


@pytest.mark.parametrize("text", ['{"a":' * 200 + "}" * 200, "[1]", "{", "\ufeff{}", "\xff"])
def test_what_cannot_be_read_does_not_pass_towards_the_upstream(text: str) -> None:
    with pytest.raises((DecodeError, LimitExceeded)):
        rewrite(text, SEALED, "decode", tenant="acme")
    assert rewrite(text, SEALED, **SCOPE) == rewrite(text, LITELLM, "decode") == text


def test_what_is_nearly_json_is_rewritten_on_its_way_to_the_client() -> None:
    """Python's servers write NaN, and Python's clients read it."""
    text = '{"response":{"x":NaN,"id":"A"}}'
    assert rewrite(text, SEALED, **SCOPE) == text.replace("A", sealed("A"))
    with pytest.raises(DecodeError):
        rewrite(text.replace("A", sealed("A")), SEALED, "decode", tenant="acme")


KEYS = ["id", "response", "item", "output", "input", "steer", "object", "encrypted_content", "x"]
KEYS += ["previous_response_id", "response_id", "item_id", "approval_request_id"]
SPACE = st.sampled_from(["", "", "", " ", "\n", " " * 70])


@st.composite
def texts(draw: st.DrawFn, depth: int = 0) -> str:
    """JSON with white space and escapes wherever they may be; its strings are alike at times."""
    kind = draw(st.integers(0, 9)) if depth < 6 else 0
    if kind < 4 and depth > 0:
        plain = st.sampled_from(["null", "-1.5e3", '"response"', '""', r'"\\"', r'"\"id\":{["', '"é"'])
        return draw(plain | st.integers(0, 9).map(lambda number: f'"u{number}"'))
    inner = texts(depth + 1)
    if kind < 6 and depth > 0:
        values = [draw(SPACE) + draw(inner) + draw(SPACE) for _ in range(draw(st.integers(0, 3)))]
        return f"[{','.join(values)}]"
    members = []
    for _ in range(draw(st.integers(0, 4))):
        key = draw(st.sampled_from(KEYS))
        if draw(st.integers(0, 9)) == 0:
            key = "".join(f"\\u{ord(letter):04x}" for letter in key)
        members.append(f'{draw(SPACE)}"{key}"{draw(SPACE)}:{draw(SPACE)}{draw(inner)}{draw(SPACE)}')
    return "{" + ",".join(members) + draw(SPACE) + "}"


class Pairs(list[tuple[str, Any]]):
    """An object, as its members."""


def ids(message: Pairs) -> list[tuple[str, str]]:
    """Kind and text of every id there is, in no order."""
    found: list[tuple[str, str]] = []

    def take(where: Any, kinds: dict[str, str]) -> None:
        found.extend((kinds[key], id) for key, id in where if key in kinds and isinstance(id, str))

    def of_items(holder: Pairs) -> None:
        for key, items in holder:
            if key in ("output", "input") and isinstance(items, list) and not isinstance(items, Pairs):
                for item in items:
                    if isinstance(item, Pairs):
                        take(item, IN_ITEM)

    take(message, {"previous_response_id": "response", "response_id": "response", "item_id": "item"})
    if ("object", "response") in message:
        take(message, {"id": "response"})
    of_items(message)
    for key, value in message:
        if not isinstance(value, Pairs):
            continue
        if key == "response":
            take(value, {"id": "response", "previous_response_id": "response"})
            of_items(value)
        elif key == "item":
            take(value, IN_ITEM)
        elif key == "steer":
            take(value, {"previous_response_id": "response"})
    return found


IN_ITEM = {"id": "item", "approval_request_id": "item", "encrypted_content": "content"}


@given(texts())
@settings(max_examples=500, deadline=None)
def test_ids_are_found_as_in_what_the_text_says(text: str) -> None:
    before = ids(json.loads(text, object_pairs_hook=Pairs))
    after = rewrite(text, SEALED, **WHOLE)
    expected = sorted((kind, sealed(id, kind)) for kind, id in before)
    assert sorted(ids(json.loads(after, object_pairs_hook=Pairs))) == expected
    string = re.compile(r'("(?:[^"\\]|\\.)*")')
    changed = [one != other for one, other in zip(string.split(text), string.split(after), strict=True)]
    assert sum(changed) == len(expected)
    assert rewrite(after, SEALED, "decode", tenant="acme", items=True, content=True) == text


def test_events_keep_their_name_and_id() -> None:
    payload = f'{{"type":"response.created","response":{{"id":"{UPSTREAM}"}}}}'
    stream = f"id: 7\nevent: response.created\ndata: {payload}\n\n"
    events = [*Decoder().feed(stream.encode()), Event('{"type":"x"}')]
    first, second = rewrite(events, SEALED, **SCOPE)
    assert (first.name, first.id) == ("response.created", "7")
    assert first["response"]["id"] == OURS
    assert second is events[1]


STREAM = (
    '\ufeffdata: {"response":{"id":"A"}}\r\n\r\n'
    ': keep-alive {"response":{"id":"A"}}\n\n'
    'event: response.created\rid: {"response":{"id":"A"}}\rdata:{"response":{"id":"A"}}\r\r'
    'data: {"response":\ndata:{\ndata\ndata:  "id" : "A"\nretry: 5\ndata: }}\n\n'
    'data: {"delta":"\u2028é\U0001f600"}\n\n'
    'datax: {"response":{"id":"A"}}\n\n'
    'data: {"response":{"id":"A"}\n\n'
    "data\n\ndata: [DONE]\n\n"
    'data: {"response":{"id":"A"}}\n: end'
)
"""With every line end, a byte order mark, payloads over several lines and a last event without its end."""

REWRITTEN = re.sub(r'^(\ufeff?data: ?[^\n]*?"id" ?: ?)"A"(?=}}|$)', r'\1"R"', STREAM, flags=re.M).replace(
    'data:{"response":{"id":"A"}}\r\r', 'data:{"response":{"id":"R"}}\r\r'
)


def test_the_naive_rewriting_is_right() -> None:
    assert REWRITTEN.count('"R"') == 4
    assert REWRITTEN.count('"A"') == 4


def fed(stream: bytes, cuts: list[int], codec: Any = SEALED, **scope: Any) -> bytes:
    rewriter = IdRewriter(codec, "encode", **(scope or SCOPE))
    cuts = [0, *sorted(cuts), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(cuts)]
    return b"".join([*map(rewriter.feed, pieces), rewriter.finish()])


def test_a_stream_is_rewritten_in_any_split() -> None:
    stream, expected = STREAM.encode(), REWRITTEN.replace('"R"', f'"{sealed("A")}"').encode()
    assert rewrite(stream, SEALED, **SCOPE) == expected
    assert fed(stream, list(range(len(stream)))) == expected
    for cut in range(len(stream)):
        assert fed(stream, [cut]) == expected


@given(st.lists(st.integers(0, len(STREAM.encode())), max_size=8))
@settings(max_examples=150, deadline=None)
def test_a_stream_is_rewritten_in_any_splits(cuts: list[int]) -> None:
    expected = REWRITTEN.replace('"R"', f'"{sealed("A")}"').encode()
    assert fed(STREAM.encode(), cuts) == expected


def payloads() -> list[tuple[str, list[str]]]:
    """The streams of the vectors, as the texts of their events."""
    found: list[tuple[str, list[str]]] = []
    for path in sorted(VECTORS.glob("*.jsonl")):
        for row in map(json.loads, path.read_text("utf-8").splitlines()):
            datas = [
                event.get("data", event) if isinstance(event, dict) else event for event in row["events"]
            ]
            texts = [data if isinstance(data, str) else json.dumps(data) for data in datas]
            found.append(
                (f"{path.stem} {row.get('name', len(found))}", [text for text in texts if "\n" not in text])
            )
    return found


def rewritten(text: str) -> str:
    """The id of an event's response replaced, by the text around it."""
    try:
        event = json.loads(text)
        id = event["response"]["id"]
    except (ValueError, KeyError, TypeError):
        return text
    return text.replace(json.dumps(id), json.dumps(sealed(id))) if isinstance(id, str) else text


@pytest.mark.parametrize(("name", "events"), payloads())
def test_the_vectors(name: str, events: list[str]) -> None:
    plain = [text for text in events if text.count('"id"') == 1 and text.count('"response"') == 1]
    assert [rewrite(text, SEALED, **SCOPE) for text in plain] == [rewritten(text) for text in plain], name
    stream = "".join(f"data: {text}\n\n" for text in events).encode("utf-8", "surrogatepass")
    whole = rewrite(stream, SEALED, **SCOPE)
    assert fed(stream, list(range(0, len(stream), 7))) == whole
    assert rewrite(whole, SEALED, **SCOPE) == whole
    back = IdRewriter(LITELLM, "decode")
    encoded = rewrite(stream, LITELLM, provider="p", model="m")
    if not any(
        LITELLM.is_encoded(id) for id in re.findall(r'"(resp_[^"]*)"', stream.decode("utf-8", "replace"))
    ):
        assert back.feed(encoded) + back.finish() == stream


def test_what_passes_untouched_is_the_same_object() -> None:
    rewriter = IdRewriter(SEALED, "encode", **SCOPE)
    chunk = b'event: x\ndata: {"type":"response.output_text.delta","delta":"x"}\n\n'
    assert rewriter.feed(chunk) is chunk
    message = chunk[15:-2]
    assert rewriter.message(message) is message


def test_comments_pass_at_once_and_events_when_they_are_whole() -> None:
    rewriter = IdRewriter(SEALED, "encode", **SCOPE)
    assert rewriter.feed(b": ping\n") == b": ping\n"
    assert rewriter.feed(b"event: x\ndata: {") == b"event: x\n"
    assert rewriter.feed(b"}\n") == b""
    assert rewriter.feed(b"\n") == b"data: {}\n\n"
    assert rewriter.feed(b"data: {") == b""
    assert rewriter.finish() == b"data: {"
    assert rewriter.finish() == b""


def test_an_event_is_held_up_to_its_limit() -> None:
    rewriter = IdRewriter(SEALED, "encode", **SCOPE, limits=Limits(max_event_bytes=64))
    for _ in range(10):
        rewriter.feed(b"data: {" + b" " * 50 + b"}\n\n")
    with pytest.raises(LimitExceeded) as caught:
        rewriter.feed(b"data: " + b" " * 64)
    assert (caught.value.limit, caught.value.maximum) == ("max_event_bytes", 64)
    with pytest.raises(LimitExceeded):
        rewriter.feed(b"\n\n")


def test_strings_may_hold_half_characters() -> None:
    message = '{"response":{"id":"A","x":"\ud800"}}'
    assert rewrite(message, SEALED, **SCOPE) == message.replace("A", sealed("A"))


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((SEALED, "encode"), {}),
        ((object(), "encode"), {}),
        ((SEALED, "other"), {"tenant": "t"}),
        ((SEALED, "encode"), {"tenant": 5}),
    ],
)
def test_what_a_rewriter_needs(arguments: Any, options: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        IdRewriter(*arguments, **options)
