"""Configurations without a file: the demo's, and that of one provider named on the command line."""

from __future__ import annotations

from typing import Any

from .config import Config, read

__all__ = ["demo", "one_upstream"]


def demo(upstream_url: str, database: str, listen: dict[str, Any]) -> Config:
    """The replay upstream twice: as it is, and behind Chat Completions alone, to see the bridge at work."""
    from penstock.replay.scripts import SCRIPTS  # noqa: PLC0415 - the demo alone needs them

    scripts = list(SCRIPTS)
    return read(
        {
            "listen": listen,
            "upstreams": [
                {"name": "replay", "url": upstream_url, "dialect": "both", "history": "gateway",
                 "models": [*scripts, "replay-*"], "forward_headers": ["x-penstock-fault"]},
                {"name": "replay-chat", "url": upstream_url, "dialect": "chat",
                 "models": [*(f"{name.replace('replay', 'bridged', 1)}={name}" for name in scripts),
                            "bridged-*=replay-*"],
                 "forward_headers": ["x-penstock-fault"]},
            ],
            "store": {"kind": "sqlite", "path": database},
        },
        {},
    )  # fmt: skip


def one_upstream(url: str, dialect: str, key: str | None, listen: dict[str, Any]) -> Config:
    """One provider in front of which the gateway stands."""
    upstream = {"name": "upstream", "url": url, "dialect": dialect, "key": key}
    return read({"listen": listen, "upstreams": [upstream]})
