"""The gateway's file: every problem at once, each with its path, and no secret in any of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock.gateway import ConfigError, load, read
from penstock.gateway.config import is_loopback

UPSTREAM = {"name": "a", "url": "http://127.0.0.1:1/v1"}
STRONG = "sk-0123456789abcdefghij"
ANYWHERE = "0.0.0.0"  # noqa: S104
KEY = {"name": "team", "key": STRONG}

BAD: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing": ({}, ["upstreams: Field required"]),
    "no upstream": ({"upstreams": []}, ["upstreams: List should have at least 1 item"]),
    "unknown section": ({"upstreams": [UPSTREAM], "up": 1}, ["up: no such setting"]),
    "unknown setting": ({"upstreams": [{**UPSTREAM, "ulr": 1}]}, ["upstreams[0].ulr: no such setting"]),
    "not http": (
        {"upstreams": [{**UPSTREAM, "url": "ftp://x"}]},
        ["upstreams[0].url: expected http:// or https://"],
    ),
    "a password in the URL": (
        {"upstreams": [{**UPSTREAM, "url": "http://u:p@x/v1"}]},
        ["upstreams[0].url: expected http:// or https://"],
    ),
    "a dialect nobody speaks": (
        {"upstreams": [{**UPSTREAM, "dialect": "klingon"}]},
        ["upstreams[0].dialect: Input should be 'responses', 'chat' or 'both'"],
    ),
    "twice the same name": ({"upstreams": [UPSTREAM, UPSTREAM]}, ["upstreams[1].name: another"]),
    "a variable that is not set": (
        {"upstreams": [{**UPSTREAM, "key": "${NOPE}"}]},
        ["upstreams[0].key: the environment variable NOPE is not set"],
    ),
    "the same in LiteLLM's spelling": (
        {"upstreams": [{**UPSTREAM, "key": "os.environ/NOPE"}]},
        ["upstreams[0].key: the environment variable NOPE is not set"],
    ),
    "a key with its line end": (
        {"upstreams": [{**UPSTREAM, "key": "sk-1\n", "headers": {"x-a": "secret\r\nx-b: c"}}]},
        [
            "upstreams[0].key: is not printable ASCII on one line",
            "upstreams[0].headers.x-a: is not printable ASCII on one line",
        ],
    ),
    "no header": (
        {"upstreams": [{**UPSTREAM, "headers": {"x-a: b\r\nx-c": "secret"}}]},
        ["upstreams[0].headers"],
    ),
    "no keys off loopback": (
        {"upstreams": [UPSTREAM], "listen": {"host": ANYWHERE}},
        ["keys: a gateway that listens on 0.0.0.0 needs client keys"],
    ),
    "a known key off loopback": (
        {"upstreams": [UPSTREAM], "listen": {"host": "10.0.0.1"}, "keys": [{"name": "a", "key": "sk-1234"}]},
        ["keys[0].key: is too weak"],
    ),
    "a dull key off loopback": (
        {"upstreams": [UPSTREAM], "listen": {"host": "::"}, "keys": [{"name": "a", "key": "a" * 40}]},
        ["keys[0].key: is too weak"],
    ),
    "an empty key": (
        {"upstreams": [UPSTREAM], "keys": [{"name": "a", "key": ""}]},
        ["keys[0].key: is empty"],
    ),
    "one key twice": (
        {"upstreams": [UPSTREAM], "keys": [KEY, {**KEY, "name": "other"}]},
        ["keys[1].key: another key is the same"],
    ),
    "a short key for ids": (
        {"upstreams": [UPSTREAM], "ids": {"keys": {"a": "short"}}},
        ["ids.keys.a: is shorter than 32"],
    ),
    "workers that cannot know who keeps a response": (
        {
            "upstreams": [UPSTREAM, {**UPSTREAM, "name": "b"}],
            "listen": {"workers": 2},
            "store": {"kind": "sqlite"},
        },
        ["ids.keys: several workers need them"],
    ),
    "workers that share nothing": (
        {"upstreams": [UPSTREAM], "listen": {"workers": 2}},
        ["store.kind: several workers need a store that they share"],
    ),
    "times that are none": (
        {"upstreams": [UPSTREAM], "limits": {"idle": 0, "write": "soon"}},
        ["limits.idle: Input should be greater than 0", "limits.write: Input should be a valid number"],
    ),
    "a hook without a place": ({"upstreams": [UPSTREAM], "hooks": [{"use": "x"}]}, ["hooks[0].use: String"]),
    "many at once": (
        {
            "upstreams": [{"name": "a b", "url": "x", "key": "${NOPE}"}],
            "listen": {"host": ANYWHERE, "port": 99999},
            "keys": [{"name": "k", "key": "sk-1234"}],
        },
        ["upstreams[0].key:", "listen.port:", "upstreams[0].name:", "upstreams[0].url:", "keys[0].key:"],
    ),
}


@pytest.mark.parametrize("row", BAD.values(), ids=BAD.keys())
def test_every_problem_at_once_with_its_path(row: tuple[dict[str, Any], list[str]]) -> None:
    data, expected = row
    with pytest.raises(ConfigError) as caught:
        read(data, {})
    problems = caught.value.problems
    assert len(problems) == len(expected), problems
    for words in expected:
        assert any(problem.startswith(words) for problem in problems), (words, problems)


GOOD: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "the least": ({"upstreams": [UPSTREAM]}, {}),
    "off loopback with a key": ({"upstreams": [UPSTREAM], "listen": {"host": ANYWHERE}, "keys": [KEY]}, {}),
    "a key from the environment": (
        {"upstreams": [UPSTREAM], "listen": {"host": ANYWHERE}, "keys": [{"name": "a", "key": "${K}"}]},
        {"K": STRONG},
    ),
    "a weak key on loopback": ({"upstreams": [UPSTREAM], "keys": [{"name": "a", "key": "sk-1234"}]}, {}),
    "null for no time-out": ({"upstreams": [UPSTREAM], "limits": {"idle": None}}, {}),
    "workers on sqlite": (
        {"upstreams": [UPSTREAM], "listen": {"workers": 2}, "store": {"kind": "sqlite"}},
        {},
    ),
}


@pytest.mark.parametrize("row", GOOD.values(), ids=GOOD.keys())
def test_good_ones(row: tuple[dict[str, Any], dict[str, str]]) -> None:
    config = read(*row)
    assert config.upstreams[0].name == "a"


def test_variables_and_settings_from_outside() -> None:
    data = {
        "upstreams": [{**UPSTREAM, "url": "${URL:-http://h/v1}", "key": "os.environ/KEY"}],
        "listen": {"port": 1},
    }
    environment = {"KEY": "secret-key", "PENSTOCK_LISTEN__PORT": "4001", "PENSTOCK_LIMITS__IDLE": "null",
                   "PENSTOCK_UNRELATED": "x"}  # fmt: skip
    config = read(data, environment)
    (upstream,) = config.upstreams
    assert upstream.key is not None
    assert (upstream.url, upstream.key.get_secret_value()) == ("http://h/v1", "secret-key")
    assert (config.listen.port, config.limits.idle) == (4001, None)


def test_who_keeps_history() -> None:
    rows = [
        ("responses", None, True),
        ("chat", None, False),
        ("both", None, True),
        ("responses", "gateway", False),
    ]
    for dialect, history, keeps in rows:
        config = read({"upstreams": [{**UPSTREAM, "dialect": dialect, "history": history}]}, {})
        assert config.upstreams[0].keeps_history is keeps


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "gateway.yaml"
    path.write_text(yaml.safe_dump({"upstreams": [UPSTREAM]}))
    assert load(path, {}).listen.port == 4000
    for text, words in (
        ("a: [1", "it is not YAML"),
        ("- a", "must hold a mapping"),
        ("", "must hold a mapping"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=words):
            load(path, {})
    path.write_bytes(b"a: \xff")
    with pytest.raises(ConfigError, match="not YAML"):
        load(path, {})
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="PENSTOCK_LISTEN__PORT"):
        read({"upstreams": [UPSTREAM]}, {"PENSTOCK_LISTEN__PORT": "[1"})


def test_no_secret_is_shown() -> None:
    canary = "canary-5eed"
    upstream = {**UPSTREAM, "key": canary, "headers": {"x-secret": canary}}
    store = {"kind": "redis", "url": f"redis://:{canary}@h/0"}
    config = read({"upstreams": [upstream], "keys": [{"name": "a", "key": canary}], "store": store,
                   "ids": {"keys": {"a": canary * 4}}}, {})  # fmt: skip
    assert canary not in repr(config) + str(config) + config.model_dump_json()
    bad = {"upstreams": [{**upstream, "url": canary}], "keys": [{"name": canary + " ", "key": canary}],
           "listen": {"host": ANYWHERE}, "store": {"kind": canary, "url": [canary]},
           "ids": {"keys": {"a": canary}}}  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        read(bad, {})
    assert canary not in str(caught.value) + repr(caught.value)


def test_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost")))
    assert not any(map(is_loopback, (ANYWHERE, "::", "10.0.0.1", "example.com", "localhost.evil.com", "")))
