"""What a session sends: the rules of when only the new items go out, a row each, pipecat's beside them."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import DecodeError, LimitExceeded
from penstock.session.calls import calls_of
from penstock.session.chain import MAX_LINKS, Asked, Chains, Plan
from penstock.session.codec import dump
from penstock.session.matching import following, following_pipecat

JSON = dict[str, Any]

USER: JSON = {"role": "user", "content": "How is the weir?"}
MORE: JSON = {"role": "user", "content": "And the gate?"}
SETTINGS: JSON = {"model": "m", "tools": [{"type": "function", "name": "f"}], "instructions": "Be brief."}
CONNECTION = object()


def said(text: str, **fields: Any) -> JSON:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"id": "msg_1", "type": "message", "role": "assistant", "content": [part], **fields}


def call(**fields: Any) -> JSON:
    base = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "f", "arguments": '{"a":1}'}
    return base | fields


REFUSAL: JSON = {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
REASONING: JSON = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "sealed"}
SEARCH: JSON = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search"}}

SAME: list[tuple[str, JSON, JSON, bool, bool]] = [
    # what, the output, the given item, whether it is the same, whether pipecat takes it for the same
    ("verbatim message", said("hi"), said("hi"), True, False),
    ("text alone", said("hi"), {"role": "assistant", "content": "hi"}, True, True),
    ("typed", said("hi"), {"type": "message", "role": "assistant", "content": "hi"}, True, True),
    ("parts", said("hi"), {"role": "assistant", "content": [
        {"type": "input_text", "text": "hi"}]}, True, True),
    ("trailing space", said("hi"), {"role": "assistant", "content": "hi "}, False, False),
    ("other role", said("hi"), {"role": "user", "content": "hi"}, False, False),
    ("two parts as one text", said("") | {"content": [
        {"type": "output_text", "text": "a"}, {"type": "output_text", "text": "b"}]},
        {"role": "assistant", "content": "ab"}, True, True),
    ("refusal as empty text", REFUSAL, {"role": "assistant", "content": ""}, False, True),
    ("refusal", REFUSAL, {"role": "assistant", "content": [
        {"type": "refusal", "refusal": "No."}]}, True, True),
    ("refusal as text", REFUSAL, {"role": "assistant", "content": "No."}, False, False),
    ("an image behind it", said("hi"), {"role": "assistant", "content": [
        {"type": "input_text", "text": "hi"}, {"type": "input_image", "image_url": "x"}]}, False, True),
    ("content of another kind", said("hi"), {"role": "assistant", "content": 7}, False, False),
    ("a part without text", said("hi"), {"role": "assistant", "content": [{"type": "text"}]}, False, False),
    ("a call for a message", said("hi"), call(), False, False),
    ("no dict", said("hi"), "hi", False, False),  # type: ignore[list-item]
    ("call", call(), call(), True, True),
    ("call without id", call(), {"type": "function_call", "call_id": "call_1"}, True, True),
    ("call with spaces in the arguments", call(), call(arguments='{ "a": 1 }'), True, True),
    ("call with other arguments", call(), call(arguments='{"a":2}'), False, True),
    ("call with broken arguments", call(), call(arguments='{"a":'), False, True),
    ("call with true for one", call(), call(arguments='{"a":true}'), False, True),
    ("call with arguments too deep", call(arguments="[" * 200 + "]" * 200),
        call(arguments="[ " * 200 + "]" * 200), False, True),
    ("call with another name", call(), call(name="g"), False, True),
    ("another call", call(), call(call_id="call_2"), False, False),
    ("calls without call_id", call(call_id=None, id="a"), call(call_id=None, id="b"), False, True),
    ("reasoning", REASONING, {"type": "reasoning", "id": "rs_1", "summary": []}, True, True),
    ("reasoning by its seal", REASONING, REASONING | {"id": None}, True, False),
    ("other reasoning", REASONING,
        {"type": "reasoning", "id": "rs_2", "encrypted_content": "x"}, False, False),
    ("hosted tool", SEARCH, {"type": "web_search_call", "id": "ws_1"}, True, False),
    ("hosted tool without id", SEARCH, {"type": "web_search_call"}, False, False),
    ("another hosted tool", SEARCH, {"type": "file_search_call", "id": "ws_1"}, False, False),
    ("custom call", {"type": "custom_tool_call", "call_id": "c", "name": "n", "input": "x"},
        {"type": "custom_tool_call", "call_id": "c", "input": "x"}, True, False),
    ("custom call with other input", {"type": "custom_tool_call", "call_id": "c", "name": "n", "input": "x"},
        {"type": "custom_tool_call", "call_id": "c", "input": "y"}, False, False),
    ("unknown, by id", {"type": "later", "id": "l"}, {"type": "later", "id": "l", "more": 1}, True, False),
    ("unknown, without id", {"type": "later", "a": 1}, {"type": "later", "a": 2}, False, False),
    ("unknown, verbatim", {"type": "later", "a": 1}, {"type": "later", "a": 1}, True, False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("output", "item", "same", "pipecat"), [row[1:] for row in SAME], ids=[r[0] for r in SAME]
)
def test_an_item_is_what_was_said(output: JSON, item: JSON, same: bool, pipecat: bool) -> None:
    left_out = output["type"] == "reasoning" and not same  # which is then an item behind reasoning left out
    assert following([item], 0, [output]) == (1 if same else 0 if left_out else None)
    assert following_pipecat([item], 0, [output]) == (1 if pipecat else None)


@pytest.mark.parametrize(
    ("items", "output", "behind", "pipecat"),
    [
        ([MORE], [], 0, 0),
        ([], [said("hi")], None, None),
        ([said("hi"), MORE], [said("hi")], 1, None),
        ([{"role": "assistant", "content": "hi"}, call(), MORE], [said("hi"), call()], 2, 2),
        ([call(), {"role": "assistant", "content": "hi"}, MORE], [said("hi"), call()], None, None),
        ([{"role": "assistant", "content": "hi"}], [REASONING, said("hi")], 1, None),
        ([{"role": "assistant", "content": "hi"}], [said("hi"), REASONING], 1, None),
        ([REASONING, call()], [REASONING, call()], 2, 2),
        ([MORE], [REASONING], 0, None),
        ([MORE], ["no dict"], None, None),
    ],
)
def test_the_items_behind_the_output(
    items: list[Any], output: list[Any], behind: int | None, pipecat: int | None
) -> None:
    assert following(items, 0, output) == behind
    assert following_pipecat(items, 0, output) == pipecat
    assert following([USER, *items], 1, output) == (None if behind is None else behind + 1)


def plan_of(chains: Chains, items: list[Any], settings: JSON, lane: str | None, connection: object) -> Plan:
    return chains.plan(items, Asked.of(items, settings), lane, connection)


def chains(compat: Any = None, *, connection: object | None = CONNECTION, kept: bool = True) -> Chains:
    """A session's chains after one turn: `USER`, answered with "fine"."""
    made = Chains(compat)
    made.extend(
        None,
        "resp_1",
        Asked.of([USER], SETTINGS),
        output=[said("fine")],
        connection=connection,
        kept=kept,
    )
    return made


ANSWER: JSON = {"role": "assistant", "content": "fine"}

PLANS: list[tuple[str, list[Any], JSON, tuple[str, int, int]]] = [
    # what, the items, changed settings, (reason, items sent, items matched)
    ("continues", [USER, ANSWER, MORE], {}, ("continues", 1, 2)),
    ("two new", [USER, ANSWER, MORE, MORE], {}, ("continues", 2, 2)),
    ("same length", [USER], {}, ("shorter", 1, 0)),
    ("nothing", [], {}, ("shorter", 0, 0)),
    ("other beginning", [MORE, ANSWER, MORE], {}, ("prefix", 3, 0)),
    ("other output", [USER, {"role": "assistant", "content": "fine "}, MORE], {}, ("output", 3, 1)),
    ("no output", [USER, MORE], {}, ("output", 2, 1)),
    ("nothing new", [USER, ANSWER], {}, ("nothing_new", 2, 2)),
    ("other model", [USER, ANSWER, MORE], {"model": "n"}, ("model", 3, 2)),
    ("other tools", [USER, ANSWER, MORE], {"tools": []}, ("tools", 3, 2)),
    ("no instructions", [USER, ANSWER, MORE], {"instructions": None}, ("instructions", 3, 2)),
    ("other temperature", [USER, ANSWER, MORE], {"temperature": 1}, ("continues", 1, 2)),
]


@pytest.mark.parametrize(("items", "changed", "expected"), [r[1:] for r in PLANS], ids=[r[0] for r in PLANS])
def test_a_plan_says_what_is_sent_and_why(
    items: list[Any], changed: JSON, expected: tuple[str, int, int]
) -> None:
    plan = plan_of(chains(), items, SETTINGS | changed, None, CONNECTION)
    assert (plan.reason, len(plan.input), plan.matched) == expected
    assert plan.total == len(items)
    assert plan.incremental == (plan.reason == "continues")
    assert plan.input == items[len(items) - len(plan.input) :]
    assert plan.previous_response_id == ("resp_1" if plan.incremental else None)


@pytest.mark.parametrize(("items", "changed", "expected"), [r[1:] for r in PLANS], ids=[r[0] for r in PLANS])
def test_pipecat_looks_at_the_items_alone(
    items: list[Any], changed: JSON, expected: tuple[str, int, int]
) -> None:
    plan = plan_of(chains("pipecat"), items, SETTINGS | changed, None, CONNECTION)
    if expected[0] in ("nothing_new", "model", "tools", "instructions"):
        expected = ("continues", len(items) - 2, 2)
    assert (plan.reason, len(plan.input), plan.matched) == expected


def test_what_was_not_said_is_not_continued() -> None:
    full = Plan([USER], None, "first", 1, 0)
    assert plan_of(Chains(), [USER], SETTINGS, None, CONNECTION) == full


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (chains(connection=object()), "connection"),
        (chains(connection=None), "continues"),
        (chains(connection=None, kept=False), "not_kept"),
    ],
)
def test_what_keeps_a_response_decides_whether_it_can_be_continued(made: Chains, reason: str) -> None:
    assert plan_of(made, [USER, ANSWER, MORE], SETTINGS, None, CONNECTION).reason == reason


def test_a_response_that_is_lost_says_how() -> None:
    left, forgotten = chains(), chains()
    left.leave(object())
    forgotten.forget("resp_2")
    assert plan_of(left, [USER, ANSWER, MORE], SETTINGS, None, CONNECTION).incremental
    assert plan_of(forgotten, [USER, ANSWER, MORE], SETTINGS, None, CONNECTION).incremental
    left.leave(CONNECTION)
    forgotten.forget("resp_1")
    assert plan_of(left, [USER, ANSWER, MORE], SETTINGS, None, CONNECTION).reason == "connection"
    assert plan_of(forgotten, [USER, ANSWER, MORE], SETTINGS, None, CONNECTION).reason == "not_found"
    stored = chains(connection=None)
    stored.leave(CONNECTION)
    assert plan_of(stored, [USER, ANSWER, MORE], SETTINGS, None, CONNECTION).incremental


def test_a_lane_continues_what_it_shares_most_with() -> None:
    made = chains()
    deeper = [USER, ANSWER, MORE]
    made.extend("a", "resp_2", Asked.of(deeper, SETTINGS), output=[said("open")], connection=None)
    behind = [*deeper, {"role": "assistant", "content": "open"}, USER]
    assert plan_of(made, behind, SETTINGS, "b", CONNECTION).previous_response_id == "resp_2"
    assert plan_of(made, [USER, ANSWER, USER], SETTINGS, "b", CONNECTION).previous_response_id == "resp_1"
    made.extend("b", "resp_3", Asked.of([USER], SETTINGS), output=[said("fine")], connection=None)
    assert plan_of(made, [USER, ANSWER, USER], SETTINGS, "b", CONNECTION).previous_response_id == "resp_3"
    assert plan_of(made, [USER, ANSWER, USER], SETTINGS, None, CONNECTION).previous_response_id == "resp_1"


def test_lanes_without_end_leave_nothing_behind() -> None:
    made = Chains()
    for number in range(MAX_LINKS + 9):
        asked = Asked.of([user := {"role": "user", "content": str(number)}], SETTINGS)
        made.extend(f"lane {number}", f"resp_{number}", asked, output=[], connection=None)
        made.extend("always", f"always_{number}", asked, output=[], connection=None)
        assert plan_of(made, [user, MORE], SETTINGS, None, None).incremental
    assert len(made._links) == MAX_LINKS
    assert not plan_of(made, [{"role": "user", "content": "0"}, MORE], SETTINGS, None, None).incremental


def test_an_edit_of_what_was_sent_is_noticed() -> None:
    """Also one in place: the chain keeps digests, not the caller's objects."""
    made, item = Chains(), {"role": "user", "content": "before"}
    made.extend(None, "resp_1", Asked.of([item], SETTINGS), output=[], connection=None)
    assert plan_of(made, [item, MORE], SETTINGS, None, None).incremental
    item["content"] = "after"
    assert plan_of(made, [item, MORE], SETTINGS, None, None).reason == "prefix"


def test_an_edit_after_a_request_was_sent_is_not_what_was_sent() -> None:
    item, tools = {"role": "user", "content": "before"}, [{"name": "f"}]
    asked = Asked.of([item], {"tools": tools})
    item["content"], tools[0]["name"] = "after", "g"
    made = Chains()
    made.extend(None, "resp_1", asked.then([ANSWER]), output=[], connection=None)
    edited = [item, ANSWER, MORE]
    assert plan_of(made, edited, {"tools": tools}, None, None).reason == "prefix"
    item["content"] = "before"
    assert plan_of(made, edited, {"tools": tools}, None, None).reason == "tools"
    tools[0]["name"] = "f"
    assert plan_of(made, edited, {"tools": tools}, None, None).incremental


def test_a_plan_does_not_show_what_it_sends() -> None:
    plan = Plan([{"content": "secret"}], None, "first", 1, 0)
    assert "secret" not in f"{plan!r}{plan}"


def naive(stored: tuple[int, str, list[Any]], items: list[Any]) -> int | None:
    """pipecat's decision in its own terms: the index behind what matches, None for everything."""
    length, digest, output = stored
    hashed = sha256(json.dumps(items[:length], sort_keys=True).encode()).hexdigest()
    if len(items) <= length or hashed != digest:
        return None
    at = length
    for one in output:
        if at == len(items):
            return None
        given = items[at]
        if one["type"] == "function_call":
            same = given.get("type") == "function_call" and given.get("call_id") == one.get("call_id")
        else:
            text = "".join(part["text"] for part in one["content"])
            same = given.get("role") == "assistant" and given.get("content") == text
        if not same:
            return None
        at += 1
    return at


words = st.sampled_from(["", "a", "b"])
items = st.lists(
    st.one_of(
        st.builds(
            lambda role, text: {"role": role, "content": text}, st.sampled_from(["user", "assistant"]), words
        ),
        st.builds(lambda name: {"type": "function_call", "call_id": name}, words),
    ),
    max_size=5,
)
outputs = st.lists(
    st.one_of(st.builds(said, words), st.builds(lambda name: call(call_id=name), words)), max_size=2
)


@given(items, outputs, items)
def test_pipecat_s_rules_are_pipecat_s(before: list[Any], output: list[Any], now: list[Any]) -> None:
    made = Chains("pipecat")
    made.extend(None, "resp_1", Asked.of(before, SETTINGS), output=output, connection=None)
    digest = sha256(json.dumps(before, sort_keys=True).encode()).hexdigest()
    for tried in (now, [*before, *now]):
        plan = plan_of(made, tried, {}, None, None)
        assert (plan.matched if plan.incremental else None) == naive((len(before), digest, output), tried)


@given(items, outputs, items)
def test_what_is_continued_means_the_same_as_everything(
    before: list[Any], output: list[Any], now: list[Any]
) -> None:
    """Whatever matched has, item by item, the words or the name of what the server keeps."""
    made = Chains()
    made.extend(None, "resp_1", Asked.of(before, SETTINGS), output=output, connection=None)
    plan = plan_of(made, [*before, *now], SETTINGS, None, None)
    if plan.incremental:
        assert plan.matched == len(before) + len(output)
        assert [*before, *now][plan.matched :] == plan.input
        for one, given_item in zip(output, now, strict=False):
            key = "call_id" if one["type"] == "function_call" else "content"
            text = "".join(part["text"] for part in one["content"]) if key == "content" else one[key]
            assert given_item[key] == text


CALLS: list[tuple[JSON, Any]] = [
    (call(), {"a": 1}),
    (call(arguments=""), {}),
    (call(arguments="  "), {}),
    (call(arguments='{"a":'), "DecodeError"),
    (call(arguments="[1]"), "DecodeError"),
    (call(arguments="null"), "DecodeError"),
    (call(arguments='{"a":' * 200 + "1" + "}" * 200), "LimitExceeded"),
    (call(arguments='{"a":' + "9" * 5_000 + "}"), "LimitExceeded"),
    (call(arguments=None), {}),
]


@pytest.mark.parametrize(("item", "expected"), CALLS)
def test_arguments_are_read_or_refused(item: JSON, expected: Any) -> None:
    (made,) = calls_of([said("hi"), item])
    assert (made.name, made.call_id, made.index, made.raw) == ("f", "call_1", 1, item["arguments"] or "")
    if isinstance(expected, str):
        assert type(made.error).__name__ == expected
        with pytest.raises((DecodeError, LimitExceeded)) as caught:
            _ = made.arguments
        assert caught.value is made.error
        assert made.raw not in str(made.error)
    else:
        assert made.error is None
        assert made.arguments == expected
    assert made.output("done") == {"type": "function_call_output", "call_id": "call_1", "output": "done"}
    assert ("bad" in repr(made)) == (made.error is not None)


def test_arguments_may_come_as_an_object() -> None:
    made, bad = calls_of([call(arguments={"a": "\ud800é"}), call(arguments=[1])])
    assert (made.arguments, made.raw) == ({"a": "\ufffdé"}, r'{"a":"\ud800\u00e9"}')
    assert (type(bad.error), bad.raw) == (DecodeError, "[1]")


def test_calls_without_ids_stay_apart() -> None:
    made = calls_of([call(id=None, call_id=None), call(id=None, call_id=None, arguments="{}")])
    assert [(one.index, one.call_id, one.raw) for one in made] == [(0, "", '{"a":1}'), (1, "", "{}")]


@pytest.mark.parametrize(
    ("value", "text"),
    [({"a": [1, "ü🌊"]}, '{"a":[1,"ü🌊"]}'), ("\ud83d", '"\\ud83d"'), (None, "null")],
)
def test_requests_are_compact_json(value: Any, text: str) -> None:
    assert dump(value) == text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}])
def test_what_is_no_json_is_not_sent(value: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        dump(value)
