"""Who asks: keys and where they stand in a request, models, rates and streams of each."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from penstock.gateway.config import Key
from penstock.gateway.http import ApiError
from penstock.gateway.tenants import LOCAL, Tenants, key_of

SECRET = "sk-0123456789abcdefghij"  # noqa: S105


def key(name: str = "a", secret: str = SECRET, **more: Any) -> Key:
    return Key(name=name, key=SecretStr(secret), **more)


PLACES: list[tuple[dict[bytes, bytes], list[str], str | None]] = [
    ({b"authorization": b"Bearer k"}, [], "k"),
    ({b"authorization": b"bearer  k "}, [], "k"),
    ({b"authorization": b"Basic k"}, [], None),
    ({b"authorization": b"Bearer "}, [], None),
    ({b"api-key": b" k "}, [], "k"),
    ({b"x-api-key": b"k"}, [], "k"),
    ({}, ["realtime", "openai-insecure-api-key.k"], "k"),
    ({}, [], None),
]


@pytest.mark.parametrize(("headers", "offered", "found"), PLACES)
def test_where_a_key_stands(headers: dict[bytes, bytes], offered: list[str], found: str | None) -> None:
    assert key_of(headers, offered) == found


def test_keys_name_tenants() -> None:
    known = Tenants([key()])
    tenant = known.named(SECRET)
    assert (tenant.name, known.required) == ("a", True)
    for wrong in (None, "", SECRET[:-1], f"{SECRET}x", "\udcff"):
        with pytest.raises(ApiError) as caught:
            known.named(wrong)
        assert (caught.value.status, caught.value.error["code"]) == (401, "invalid_api_key")
    known.reload([key(secret=SECRET[::-1])])
    assert known.named(SECRET[::-1]) is tenant, "the same tenant with another key"
    with pytest.raises(ApiError):
        known.named(SECRET)


def test_without_keys_all_are_one() -> None:
    open_to_all = Tenants()
    assert open_to_all.named(None) is open_to_all.named("anything")
    assert (open_to_all.named(None).name, open_to_all.required) == (LOCAL, False)


def test_models() -> None:
    tenant = Tenants([key(models=["gpt-*", "x"])]).named(SECRET)
    assert [tenant.may_use(model) for model in ("gpt-5", "x", "y")] == [True, True, False]
    tenant.check_model("x")
    with pytest.raises(ApiError) as caught:
        tenant.check_model("y")
    assert caught.value.status == 404


def test_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("penstock.gateway.tenants.time.monotonic", lambda: now)
    known = Tenants([key(requests_per_minute=2)])
    tenant = known.named(SECRET)
    tenant.spend()
    tenant.spend()
    with pytest.raises(ApiError) as caught:
        tenant.spend()
    assert (caught.value.status, caught.value.headers) == (429, [(b"retry-after", b"31")])
    now = 31.0
    tenant.spend()
    known.reload([key(requests_per_minute=2)])
    with pytest.raises(ApiError):
        tenant.spend()  # a reload gives nothing back
    known.reload([key()])
    for _ in range(10):
        tenant.spend()


def test_streams() -> None:
    known = Tenants([key(max_streams=1)])
    tenant = known.named(SECRET)
    tenant.begin()
    with pytest.raises(ApiError) as caught:
        tenant.begin()
    assert caught.value.status == 429
    tenant.end()
    tenant.begin()
