"""Which pages may connect: the forms in which an Origin comes, and those in which attackers send it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.websocket.origins import Origins

ALLOWED = ["https://good.example", "http://localhost:3000"]

FORMS = [
    (["https://good.example"], True),
    (["https://GOOD.example"], True),  # hosts have no case
    (["https://good.example:443"], True),  # the scheme's own port
    (["http://localhost:3000"], True),
    ([], False),  # missing
    (["null"], False),  # sandboxed frames and files
    (["http://good.example"], False),  # another scheme
    (["https://good.example:8443"], False),  # another port
    (["https://good.example.evil.example"], False),  # suffix
    (["https://evil-good.example"], False),  # prefix
    (["https://sub.good.example"], False),
    (["https://good.example@evil.example"], False),  # user information
    (["https://good.example", "https://evil.example"], False),  # two headers
    (["https://good.example https://evil.example"], False),  # two in one
    (["https://good.example/"], False),  # an origin has no path
    (["https://good.example#"], False),
    (["https://good.example?"], False),
    (["good.example"], False),
    (["//good.example"], False),
    (["https://"], False),
    (["https://good.example:"], False),
    (["https://good.example:port"], False),
    (["https://good.example:99999"], False),
    (["https://[good.example"], False),
    (["https://g\u043e\u043ed.example"], False),  # Cyrillic
    (["*"], False),
    ([""], False),
]


@pytest.mark.parametrize(("headers", "allowed"), FORMS)
def test_forms(headers: list[str], allowed: bool) -> None:
    assert Origins(ALLOWED).allow(headers) is allowed


def test_twelve_forms_and_more() -> None:
    assert len(FORMS) >= 12


def test_none_in_the_list_is_a_client_without_origin() -> None:
    origins = Origins([None, "https://good.example"])
    assert origins.allow([])
    assert origins.allow(["https://good.example"])
    assert not origins.allow(["null"])
    assert not origins.allow(["https://evil.example"])


def test_none_for_a_list_checks_nothing() -> None:
    assert all(Origins(None).allow(headers) for headers, _ in FORMS)


def test_an_empty_list_lets_nobody_in() -> None:
    assert not any(Origins([]).allow(headers) for headers, _ in FORMS)


@pytest.mark.parametrize("entry", ["*", "null", "good.example", "https://good.example/", "", "https://a b"])
def test_an_entry_that_is_no_origin(entry: str) -> None:
    with pytest.raises(ValueError, match="no origin"):
        Origins([entry])


def test_one_text_is_no_list() -> None:
    with pytest.raises(TypeError):
        Origins("https://good.example")


@given(st.text(max_size=40))
def test_nothing_else_gets_in(text: str) -> None:
    plain = {"https://good.example", "https://good.example:443", "http://localhost:3000"}
    assert Origins(ALLOWED).allow([text]) is (text.lower() in plain)
