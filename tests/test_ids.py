"""`penstock.ids`: LiteLLM's ids against their description, sealed ids against forgers."""

from __future__ import annotations

import base64
import copy
import pickle
import random
import string
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from penstock import InvalidResponseId, PenstockError
from penstock.ids import IdRewriter, LiteLLMCodec, SealedCodec, rewrite

COMPAT = LiteLLMCodec()
STRICT = LiteLLMCodec("strict")
CODECS = (COMPAT, STRICT)
SECRET = b"canary-5f2a-0123456789abcdef-0123"
SEALED = SealedCodec({"k1": SECRET})
UPSTREAM = "resp_0ad69c3c5fcb01f60068eba78cacd08193bf9a57724aa55ab8"

Origin = tuple[str | None, str | None, str]


def as_litellm_decodes(id: str) -> Origin:
    """The original's algorithm, as its description has it."""
    try:
        text = base64.b64decode(id.replace("resp_", "").encode()).decode()
    except ValueError:
        return None, None, id
    parts = text.split(";")
    if len(parts) < 3:
        return None, None, id
    return (
        parts[0].replace("litellm:custom_llm_provider:", ""),
        parts[1].replace("model_id:", ""),
        parts[2].replace("response_id:", ""),
    )


@pytest.mark.parametrize(
    ("provider", "model", "id", "encoded"),
    [
        (
            "openai",
            "model-1",
            "resp_abc123",
            "resp_bGl0ZWxsbTpjdXN0b21fbGxtX3Byb3ZpZGVyOm9wZW5haTttb2RlbF9pZDptb2RlbC0xO3Jlc3BvbnNlX2lkOnJlc3BfYWJjMTIz",
        ),
        (
            None,
            None,
            "resp_abc",
            "resp_bGl0ZWxsbTpjdXN0b21fbGxtX3Byb3ZpZGVyOk5vbmU7bW9kZWxfaWQ6Tm9uZTtyZXNwb25zZV9pZDpyZXNwX2FiYw==",
        ),
        (
            "",
            "",
            "chatcmpl-123",
            "resp_bGl0ZWxsbTpjdXN0b21fbGxtX3Byb3ZpZGVyOjttb2RlbF9pZDo7cmVzcG9uc2VfaWQ6Y2hhdGNtcGwtMTIz",
        ),
    ],
)
def test_the_known_ids(provider: str | None, model: str | None, id: str, encoded: str) -> None:
    for codec in CODECS:
        assert codec.encode(id, provider=provider, model=model) == encoded
        assert codec.encode(encoded, provider="other", model="other") == encoded
        assert codec.is_encoded(encoded)
        assert not codec.is_encoded(id)
    assert COMPAT.decode(encoded) == (str(provider), str(model), id)
    assert STRICT.decode(encoded) == (provider, model, id)


@pytest.mark.parametrize(
    ("id", "compat"),
    [
        ("resp_YTtiO2M=", ("a", "b", "c")),
        ("YTtiO2M=", ("a", "b", "c")),
        ("resp_resp_YTtiO2M=", ("a", "b", "c")),
        ("YTtiO2M==", ("a", "b", "c")),
        ("YTti=O2M=", ("a", "b", "c")),
        ("YT-ti_O2M=", ("a", "b", "c")),
        ("YTtiO2M=!!", ("a", "b", "c")),
        ("YTti\nO2M=", ("a", "b", "c")),
        ("éYTtiO2M=", ("a", "b", "c")),
        ("resp_YTtiO2M", None),
        ("YTtiO2N", None),
        (UPSTREAM, None),
        ("chatcmpl-123", None),
        ("resp_", None),
        ("", None),
        ("resp_warmup_00ff", None),
        ("resp_\ud800", None),
        ("resp_gDs7", None),
    ],
)
def test_what_litellm_takes_for_encoded(id: str, compat: Origin | None) -> None:
    assert COMPAT.decode(id) == (compat or (None, None, id))
    assert COMPAT.is_encoded(id) is (compat is not None)
    assert STRICT.decode(id) == (None, None, id)
    assert STRICT.is_encoded(id) is False


def test_a_semicolon_cuts_in_one_mode_and_not_in_the_other() -> None:
    assert COMPAT.decode(COMPAT.encode("resp_x", provider="azure", model="gpt;4")) == ("azure", "gpt", "4")
    encoded = COMPAT.encode("resp_a;b", provider="openai", model="m")
    assert COMPAT.decode(encoded) == ("openai", "m", "resp_a")
    assert STRICT.decode(encoded) == ("openai", "m", "resp_a;b")
    calls: list[Callable[[], str]] = [
        lambda: STRICT.encode("x", provider="a;b"),
        lambda: STRICT.encode("x", model="a;b"),
        lambda: STRICT.encode_item("x", model=";"),
        lambda: STRICT.encode_content("x", model=";"),
        lambda: STRICT.encode_container("x", model=";"),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="semicolon"):
            call()


NAMES = st.none() | st.text(st.characters(exclude_characters=";", exclude_categories=["Cs"]), max_size=20)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(
    st.text()
    | st.text(string.ascii_letters + string.digits + "+/=-_;").map("resp_".__add__)
    | TEXT.map(lambda text: base64.b64encode(text.encode()).decode())
    | st.tuples(TEXT, TEXT, TEXT).map(
        lambda parts: "resp_" + base64.b64encode(";".join(parts).encode()).decode()
    )
)
@settings(max_examples=600, deadline=None)
@example("resp_====")
def test_any_id_is_decoded_as_litellm_decodes_it(id: str) -> None:
    try:
        id.encode()
    except UnicodeEncodeError:
        assert COMPAT.decode(id) == (None, None, id)
        return
    assert COMPAT.decode(id) == as_litellm_decodes(id)


@given(TEXT, NAMES, NAMES)
@settings(max_examples=300, deadline=None)
def test_what_is_encoded_comes_back(id: str, provider: str | None, model: str | None) -> None:
    text = f"litellm:custom_llm_provider:{provider};model_id:{model};response_id:{id}"
    expected = "resp_" + base64.b64encode(text.encode()).decode()
    if not STRICT.is_encoded(id):
        assert STRICT.encode(id, provider=provider, model=model) == expected
    known = [None if name == "None" else name for name in (provider, model)]
    assert STRICT.decode(expected) == (*known, id)
    assert STRICT.decode(expected.rstrip("=").replace("+", "-").replace("/", "_")) == (*known, id)
    sealed = SEALED.seal(id, tenant="t", provider=provider, model=model)
    assert SEALED.open(sealed, tenant="t") == (provider, model, id)


def test_the_other_ids_of_litellm() -> None:
    for codec in CODECS:
        content = codec.encode_content("gAAAA==", model="dep-1")
        assert content == "litellm_enc:bW9kZWxfaWQ6ZGVwLTE=;gAAAA=="
        assert codec.encode_content(content, model="dep-2") == content
        assert codec.decode_content(content.replace("=;", ";")) == ("dep-1", "gAAAA==")
        item = codec.encode_item("rs_1", model="dep-1")
        assert item == "encitem_bGl0ZWxsbTptb2RlbF9pZDpkZXAtMTtpdGVtX2lkOnJzXzE="
        assert codec.encode_item(item, model="dep-2") == item
        assert codec.decode_item(item.rstrip("=")) == ("dep-1", "rs_1")
        container = codec.encode_container("cntr_1", provider="openai")
        assert container == (
            "cntr_bGl0ZWxsbTpjdXN0b21fbGxtX3Byb3ZpZGVyOm9wZW5haTttb2RlbF9pZDo7Y29udGFpbmVyX2lkOmNudHJfMQ=="
        )
        assert codec.encode_container(container) == container
        assert codec.decode_container(container) == ("openai", None, "cntr_1")
        assert codec.decode_container(codec.encode_container("a;b", model="m")) == (None, "m", "a;b")
        for id in ("rs_1", "encitem_", "encitem_YQ", "\ud800"):
            assert codec.decode_item(id) == (None, id)
        for text in ("gAAAA", "litellm_enc:", "litellm_enc:!;x"[:12]):
            assert codec.decode_content(text) == (None, text)
        for id in ("cntr_1", "cntr_YTtiO2M=", "x"):
            assert codec.decode_container(id) == (None, None, id)
    assert repr(STRICT) == "LiteLLMCodec('strict')".replace("'", '"')
    assert (COMPAT.mode, STRICT.mode) == ("compat", "strict")
    with pytest.raises(ValueError, match="mode"):
        LiteLLMCodec("other")  # type: ignore[arg-type]


def test_a_sealed_id_is_short_and_the_same_each_time() -> None:
    sealed = SEALED.seal(UPSTREAM, tenant="acme", provider="openai", model="gpt-5.2")
    assert sealed == SEALED.seal(UPSTREAM, tenant=b"acme", provider="openai", model="gpt-5.2")
    assert len(sealed) == 87
    assert sealed.startswith("resp_")
    assert SEALED.open(sealed, tenant="acme") == ("openai", "gpt-5.2", UPSTREAM)
    assert SEALED.seal(sealed, tenant="acme") == sealed
    item = SEALED.seal("msg_00ff", tenant="acme", kind="item")
    assert item.startswith("msg_")
    assert SEALED.open(item, tenant="acme", kind="item") == (None, None, "msg_00ff")
    content = SEALED.seal("gAAA==.x", tenant="acme", model="m", kind="content")
    assert content.endswith(".gAAA==.x")
    assert SEALED.open(content, tenant="acme", kind="content") == (None, "m", "gAAA==.x")


def refused(id: str, tenant: str = "acme", codec: SealedCodec = SEALED, kind: Any = "response") -> bool:
    try:
        codec.open(id, tenant=tenant, kind=kind)
    except InvalidResponseId:
        return True
    return False


@pytest.mark.parametrize("kind", ["response", "item", "content"])
def test_every_flip_and_every_cut_is_refused(kind: Any) -> None:
    sealed = SEALED.seal(UPSTREAM, tenant="acme", provider="openai", model="gpt-5.2", kind=kind)
    tried = 0
    for place, letter in enumerate(sealed):
        for bit in range(8):
            flipped = sealed[:place] + chr(ord(letter) ^ 1 << bit) + sealed[place + 1 :]
            assert refused(flipped, kind=kind)
            tried += 1
        assert refused(sealed[:place], kind=kind)
        assert refused(sealed[place + 1 :], kind=kind)
    assert tried == 8 * len(sealed)
    for tail in ("A", "=", "==", "\n", " ", "\ud800"):
        assert refused(sealed + tail, kind=kind)
        assert refused(tail + sealed, kind=kind)
    others = {"response", "item", "content"} - {kind}
    assert all(refused(sealed, kind=other) for other in others)
    assert not refused(sealed, kind=kind)


def test_no_made_up_id_opens() -> None:
    rng = random.Random(5)  # noqa: S311 - it makes attempts, not secrets
    sealed = SEALED.seal(UPSTREAM, tenant="acme")
    letters = string.ascii_letters + string.digits + "-_"
    for _ in range(20_000):
        head = sealed[: rng.randrange(len(sealed))]
        made = head + "".join(rng.choices(letters, k=rng.randrange(90)))
        assert made == sealed or refused(made)


def test_other_tenants_and_moved_separators_are_refused() -> None:
    sealed = SEALED.seal("resp_1", tenant="acme", provider="ab", model="c")
    assert all(refused(sealed, tenant) for tenant in ("", "acm", "acme ", "ACME", "acmeab"))
    fields = [
        ("t", "ab", "c", "x"),
        ("t", "a", "bc", "x"),
        ("t", "abc", None, "x"),
        ("t", None, "abc", "x"),
        ("t", "abc", "", "x"),
        ("t", "ab", None, "cx"),
        ("ta", "b", "c", "x"),
        ("", "tab", "c", "x"),
        ("t", "a;b", "c", "x"),
    ]
    ids = {SEALED.seal(id, tenant=tenant, provider=p, model=m): tenant for tenant, p, m, id in fields}
    assert len(ids) == len(fields)
    for sealed, tenant in ids.items():
        assert all(refused(sealed, other) is (other != tenant) for other in ("t", "ta", ""))


def test_keys_rotate() -> None:
    old = SEALED.seal(UPSTREAM, tenant="acme")
    both = SealedCodec({"k2": "another secret, also long enough", "k1": SECRET})
    new = both.seal(UPSTREAM, tenant="acme")
    assert both.open(old, tenant="acme") == both.open(new, tenant="acme") == (None, None, UPSTREAM)
    assert both.seal(old, tenant="acme") == old
    assert refused(new)
    assert refused(old, codec=SealedCodec({"k2": "another secret, also long enough"}))
    assert refused(old, codec=SealedCodec({"k1": "another secret, also long enough"}))


@pytest.mark.parametrize("keys", [{}, {"k": b"short"}, {"": SECRET}, {"k" * 17: SECRET}, {"k": SECRET[:15]}])
def test_without_a_key_there_is_no_codec(keys: dict[str, bytes]) -> None:
    with pytest.raises(ValueError, match="key") as caught:
        SealedCodec(keys)
    assert "canary" not in str(caught.value)


def test_keys_are_never_shown() -> None:
    shown = [repr(SEALED), str(SEALED), repr(IdRewriter(SEALED, "decode", tenant="canary-tenant"))]
    for call in (
        lambda: SEALED.open("canary-id", tenant="canary-tenant"),
        lambda: rewrite('{"previous_response_id":"canary-id"}', SEALED, "decode", tenant="canary-tenant"),
        lambda: pickle.dumps(SEALED),
        lambda: copy.deepcopy(SEALED),
        lambda: SEALED.seal("canary" * 200, tenant="canary-tenant"),
        lambda: SEALED.seal("x", tenant="t", model="canary" * 50),
        lambda: SEALED.seal("x", tenant="t", kind="other"),  # type: ignore[arg-type]
        lambda: SealedCodec({"k": SECRET, "": SECRET}),
    ):
        with pytest.raises((PenstockError, TypeError, ValueError)) as caught:
            call()
        shown += [str(caught.value), repr(caught.value)]
    assert [text for text in shown if "canary" in text] == []


def test_what_an_invalid_id_is_answered_with() -> None:
    with pytest.raises(InvalidResponseId) as caught:
        SEALED.open(UPSTREAM, tenant="acme")
    assert str(caught.value) == "the id was not issued here, or not to this tenant"
    assert (caught.value.status, caught.value.param) == (403, "previous_response_id")
