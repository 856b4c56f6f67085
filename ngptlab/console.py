"""Tables, bars and live lines: rich's console, for text of which nothing is known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TextIO

from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from ngptlab.terminal import printable


class Console(RichConsole):
    """What is printed on it is text: no markup, no names of emoji, and what would steer the terminal becomes escapes."""

    def __init__(
        self,
        *,
        stderr: bool = False,
        soft_wrap: bool = False,
        file: TextIO | None = None,
        width: int | None = None,
        quiet: bool = False,
    ) -> None:
        super().__init__(
            stderr=stderr,
            quiet=quiet,
            soft_wrap=soft_wrap,
            file=file,
            width=width,
            markup=False,
            emoji=False,
            highlight=False,
        )

    def on_broken_pipe(self) -> None:
        """Leave it to whoever runs the program; rich would end it with its own code."""
        raise BrokenPipeError

    def render_str(self, text: str, **options: Any) -> Text:
        """As rich does it, but from the printable text, because rich measures a text's width before it shows it."""
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As rich does it. Whatever is shown comes through here; rich's own control codes are kept apart from text."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)
