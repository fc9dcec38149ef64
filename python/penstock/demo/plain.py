"""The demo as plain lines, for pipes, files and terminals without rich."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .stage import Place, Show, calls_of, facts_of, figures_of, text_of, words_of

if TYPE_CHECKING:
    from penstock import Event, IncompleteStream
    from penstock.stats import StreamStats

__all__ = ["PlainStage"]

JSON = dict[str, Any]


class PlainStage:
    """Lines without colours or boxes, for pipes, files and terminals without rich."""

    def opening(self, url: str) -> None:
        """Say what is about to be seen."""
        print(f"penstock demo: streams from {url}, a `penstock serve --demo` process on this machine")

    def scene(self, title: str, subtitle: str) -> None:
        """Announce the next stream."""
        print(f"\n== {title} ({subtitle})\n", flush=True)

    @contextmanager
    def streaming(self) -> Iterator[Show]:
        """Show words as they come."""
        place: Place | None = None

        def show(event: Event) -> None:
            nonlocal place
            words = words_of(event)
            if words is None:
                return
            if words.place != place:
                print("" if place is None else "\n")
                place = words.place
            print(words.words, end="", flush=True)

        yield show
        print("\n")

    def final(self, final: JSON) -> None:
        """Show a final object, and the function calls in it."""
        _print_pairs(facts_of(final))
        _print_pairs([(f"call {name}", arguments) for name, arguments in calls_of(final)])

    def incomplete(self, error: IncompleteStream) -> None:
        """Show a truncated stream."""
        partial = error.partial or {}
        _print_pairs([("IncompleteStream", str(error))])
        _print_pairs([("partial.status", str(partial.get("status")))])
        _print_pairs([("partial text", f"... {text_of(partial)[-52:]}")])

    def figures(self, stats: StreamStats) -> None:
        """Show what a stream measured."""
        _print_pairs(figures_of(stats))

    def closing(self, seconds: float, streams: int) -> None:
        """Say where to go from here."""
        print(f"\n{streams} streams in {seconds:.1f} s. Next: penstock serve --demo, penstock serve --help")


def _print_pairs(pairs: list[tuple[str, str]]) -> None:
    for name, value in pairs:
        print(f"  {name:<26} {value}")
