"""A pytest fixture for the tests of engines and gateways: is what they write a legal Responses stream?

Installed with penstock; pytest finds it by itself.

    def test_my_gateway(assert_legal_stream):
        assert_legal_stream(client.post("/v1/responses", json=body).content)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from penstock.linting import Source

__all__ = ["AssertLegalStream", "assert_legal_stream"]

SHOWN = 20
"""Findings that a failure shows."""


class AssertLegalStream(Protocol):
    """Fails the test with the findings of `penstock.lint`, whose arguments it takes."""

    def __call__(self, source: Source, /, *, strict: bool = ..., ignore: Iterable[str] = ...) -> None:
        """Check one stream."""


@pytest.fixture(scope="session")
def assert_legal_stream() -> AssertLegalStream:
    """A function that fails the test unless a stream is legal."""
    # Imported late, so that runs which never ask pay nothing.
    from penstock.linting import lint  # noqa: PLC0415

    def check(source: Source, /, *, strict: bool = False, ignore: Iterable[str] = ()) -> None:
        __tracebackhide__ = True
        findings = lint(source, strict=strict, ignore=ignore)
        if findings:
            lines = [str(finding) for finding in findings[:SHOWN]]
            more = len(findings) - len(lines)
            lines += [f"… and {more} more"] if more else []
            pytest.fail("no legal Responses stream:\n" + "\n".join(lines), pytrace=False)

    return check
