"""Which upstream serves a request: names and wildcards, health, load, warmth, and who keeps the past."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.gateway.config import UpstreamConfig
from penstock.gateway.http import ApiError
from penstock.gateway.routing import Router, Upstream


def config(name: str, *models: str, **more: Any) -> UpstreamConfig:
    return UpstreamConfig(name=name, url=f"http://{name}/v1", models=list(models or ("*",)), **more)


NAMES = [
    (["*"], "m", "m"),
    (["gpt-*"], "gpt-5", "gpt-5"),
    (["gpt-*"], "claude", None),
    (["alias=real"], "alias", "real"),
    (["alias=real"], "real", None),
    (["my-*=*"], "my-qwen", "qwen"),
    (["my-*=*"], "my-", ""),
    (["my-*=*"], "my", None),
    (["a*z=b*y"], "a-z", "b-y"),
    (["a*z=b*y"], "az", "by"),
    (["a*za=b"], "aza", "b"),
    (["one=1", "x*=2"], "three", None),
]


@pytest.mark.parametrize(("models", "asked", "name"), NAMES)
def test_names(models: list[str], asked: str, name: str | None) -> None:
    assert Upstream(config("a", *models)).model(asked) == name


def test_listed_names_have_no_wildcards() -> None:
    assert Upstream(config("a", "b=c", "d", "e-*", "f-*=*")).models == ["b", "d"]


@pytest.mark.parametrize(
    ("dialect", "asked", "api"),
    [("both", "chat", "chat"), ("responses", "responses", "responses"), ("responses", "chat", "responses"),
     ("chat", "responses", "chat")],
)  # fmt: skip
def test_the_api_to_ask_in(dialect: Any, asked: Any, api: str) -> None:
    assert Upstream(config("a", dialect=dialect)).api_for(asked) == api


def names(upstreams: list[Upstream]) -> list[str]:
    return [upstream.name for upstream in upstreams]


def test_the_order_is_well_then_warm_then_idle_then_in_turn() -> None:
    router = Router([config("a"), config("b"), config("c", "other")])
    firsts = {names(router.order("m"))[0] for _ in range(4)}
    assert firsts == {"a", "b"}, "in turn"
    a, b, _ = router.upstreams
    a.active = 3
    assert names(router.order("m")) == ["b", "a"]
    assert names(router.order("m", knows="a")) == ["a", "b"]
    a.active = 30
    assert names(router.order("m", knows="a")) == ["b", "a"], "what it saves is less than the wait"
    b.rest(60)
    assert names(router.order("m")) == ["a", "b"]
    assert not b.well
    assert names(router.order("m", bound="b")) == ["b"]
    assert router.named("c") is router.upstreams[2]
    assert router.named("d") is None


def test_who_cannot_serve_is_not_asked() -> None:
    router = Router([config("a", "m", max_streams=1), config("b", "n")])
    for model, bound in (("other", None), ("m", "b")):
        with pytest.raises(ApiError) as caught:
            router.order(model, bound=bound)
        assert (caught.value.status, caught.value.error["code"]) == (404, "model_not_found")
    router.upstreams[0].active = 1
    with pytest.raises(ApiError) as caught:
        router.order("m")
    assert (caught.value.status, caught.value.headers) == (503, [(b"retry-after", b"1")])


def test_a_reload_keeps_what_has_not_changed() -> None:
    router = Router([config("a"), config("b")])
    a, b = router.upstreams
    router.reload([config("b", "m"), config("a")])
    assert router.upstreams[1] is a
    assert router.upstreams[0] is not b


def test_which_streams_run_on_by_themselves() -> None:
    router = Router([config("a", "m", on_disconnect="detach", linger=7), config("b", "n")])
    assert [router.detaches(model) for model in ("m", "n", "o")] == [7, None, None]
