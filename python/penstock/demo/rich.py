"""The demo in colours and boxes: panels, tables, and text that appears as it streams."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from .stage import Place, Show, Words, calls_of, facts_of, figures_of, text_of, words_of

if TYPE_CHECKING:
    from penstock import Event, IncompleteStream
    from penstock.stats import StreamStats

__all__ = ["RichStage"]

JSON = dict[str, Any]

STYLES: Final = {"text": "", "thought": "italic bright_black", "call": "cyan"}


class RichStage:
    """Panels, tables and text that appears as it streams."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        # Lines longer than this are hard to read, however wide the terminal.
        self._console.width = min(self._console.width, 100)

    def opening(self, url: str) -> None:
        """Say what is about to be seen."""
        text = Text.assemble(
            ("penstock", "bold cyan"), "  LLM event streams, from bytes to events to the final object\n",
            ("gateway  ", "dim"), url, ("   a penstock serve --demo process; its page: /ui", "dim"),
        )  # fmt: skip
        self._console.print(Panel(text, border_style="cyan", padding=(0, 1)))

    def scene(self, title: str, subtitle: str) -> None:
        """Announce the next stream."""
        self._console.print()
        self._console.rule(f"[bold]{title}[/]  [dim]{subtitle}[/]", align="left", style="cyan")
        self._console.print()

    @contextmanager
    def streaming(self) -> Iterator[Show]:
        """Show words as they come."""
        text = Text()
        places: list[Place] = []

        def show(event: Event) -> None:
            words = words_of(event)
            if words is not None:
                _append(text, places, words)

        with Live(
            Padding(text, (0, 2)), console=self._console, refresh_per_second=30, vertical_overflow="visible"
        ):
            yield show
        self._console.print()

    def final(self, final: JSON) -> None:
        """Show a final object, and the function calls in it."""
        title = "final Response" if "output" in final else "final ChatCompletion"
        self._panel(facts_of(final), title, "green")
        calls = calls_of(final)
        if calls:
            self._panel(calls, "function calls", "cyan")

    def incomplete(self, error: IncompleteStream) -> None:
        """Show a truncated stream."""
        partial = error.partial or {}
        facts = [
            ("raised", str(error)),
            ("partial.status", str(partial.get("status"))),
            ("partial text", f"… {text_of(partial)[-52:]}▌"),
        ]
        self._panel(facts, "IncompleteStream, with what came", "yellow")

    def figures(self, stats: StreamStats) -> None:
        """Show what a stream measured."""
        self._panel(figures_of(stats), "figures", "bright_black")

    def closing(self, seconds: float, streams: int) -> None:
        """Say where to go from here."""
        self._console.print()
        self._console.rule(style="cyan")
        self._console.print(
            f"{streams} streams in {seconds:.1f} s.  "
            "Next: [bold]penstock serve --demo[/], [bold]penstock serve --help[/]"
        )

    def _panel(self, pairs: list[tuple[str, str]], title: str, colour: str) -> None:
        table = Table.grid(padding=(0, 2))
        for name, value in pairs:
            table.add_row(Text(name, style="dim"), Text(value))
        self._console.print(Panel(table, title=title, title_align="left", border_style=colour))


def _append(text: Text, places: list[Place], words: Words) -> None:
    """Add words in the style of their kind, each place in a paragraph of its own."""
    if not places or places[-1] != words.place:
        text.append("\n\n" if places else "")
        places.append(words.place)
    text.append(words.words.replace("*", ""), STYLES[words.kind])
