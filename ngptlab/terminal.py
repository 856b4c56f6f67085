"""What a person or a script gets to read. Nothing else in the package writes to stdout or stderr; tables are console.py's.

A name, a reason or a config may come from a stranger, and a terminal obeys what stands in it: colors, links, titles, what
is typed next. And a stream may have an encoding that lacks our own signs. So text goes out as escapes where it could steer
the terminal, and in signs that the stream has.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import re
import sys
import unicodedata
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from ngptlab.output import open_missing

STEERING = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories: control characters, C1's among them; formats, which reverse or hide text; halves of surrogate pairs,
which stand for bytes that are no UTF-8; ends of lines and paragraphs."""
NEEDED = "\u061c\u200c\u200d\u200e\u200f"
"""Formats without which Arabic, Persian, Hebrew, Hindi and many an emoji can't be written; they reverse nothing."""

SPELLED = "ngptlab.spelled"
"""Error handler of streams: stand-ins for our own signs, escapes for others."""
STAND_INS = {"±": "+-", "×": "x", "…": "...", "█": "#"} | {
    block: str(height) for height, block in enumerate("▁▂▃▄▅▆▇", start=1)
}


def printable(text: str, keep: str = "\t\n") -> str:
    """The text, with escapes for what would steer a terminal, except the characters in `keep`."""
    if text.isprintable():
        return text
    return "".join(char if char in keep or _is_harmless(char) else _escape(char) for char in text)


def one_line(text: str) -> str:
    """`printable`, ends of lines escaped, too: a text of others can't pass for a line of ours."""
    return printable(text, keep="")


FORMULA = re.compile(r"[=@\t\r]|[+-].*[(|!'\"]", re.DOTALL)
"""Texts that a spreadsheet computes, or runs, where they stand in a cell. Signed numbers, and words after a sign, do no harm."""
QUOTE = "'"


def cell(text: str) -> str:
    """`printable`, for a cell of a CSV file: a quote before what a spreadsheet would take for a formula."""
    text = printable(text)
    return f"{QUOTE}{text}" if FORMULA.match(text.removeprefix(QUOTE)) else text


def text_of_cell(text: str) -> str:
    """What `cell` was given, if that was printable."""
    quoted = text.startswith(QUOTE) and FORMULA.match(text[1:].removeprefix(QUOTE))
    return text[1:] if quoted else text


_silent = False


@contextlib.contextmanager
def muted(on: bool = True) -> Iterator[None]:
    """Have nothing said or remarked meanwhile, because another process says the same."""
    global _silent
    before, _silent = _silent, on
    try:
        yield
    finally:
        _silent = before


def say(text: str, end: str = "\n", *, flush: bool = False) -> None:
    """Write to stdout: what was asked for."""
    if not _silent:
        print(printable(text), end=end, flush=flush)


def remark(text: str, end: str = "\n", *, flush: bool = False) -> None:
    """Write to stderr: what happens on the way."""
    if not _silent:
        aloud(text, end, flush=flush)


def aloud(text: str, end: str = "\n", *, flush: bool = False) -> None:
    """`remark`, also in a process that is muted: what ends it."""
    print(printable(text), end=end, flush=flush, file=sys.stderr)


def pass_on(text: str) -> None:
    """Write what a model wrote to stdout at once: as it is, because a file or a pipe may want it; to a terminal as other text."""
    print(printable(text) if sys.stdout.isatty() else text, end="", flush=True)


def rewrite(line: str) -> None:
    """Put a line in place of the terminal's current one, on stderr."""
    print(f"\r{one_line(line)}\x1b[K", end="", flush=True, file=sys.stderr)


def say_path(path: Path) -> None:
    """A path on a line of stdout: byte for byte as the system has it, because scripts use it; on a terminal as other text."""
    if _silent:
        return
    raw = getattr(sys.stdout, "buffer", None)
    if raw is None or sys.stdout.isatty():
        say(one_line(str(path)))
        return
    sys.stdout.flush()
    raw.write(os.fsencode(path) + b"\n")
    raw.flush()


class Line:
    """Says on stderr how far something is; `due` says when. A context manager, which ends the line."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._every_seconds = 0.5 if self._live else 10.0
        self._shown = -float("inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live and self._shown > -float("inf"):
            remark("")

    def due(self, now: float) -> bool:
        """Whether it is time for another line, at first and then every so often. `now` is of `time.monotonic`."""
        if now - self._shown < self._every_seconds:
            return False
        self._shown = now
        return True

    def show(self, line: str) -> None:
        """Replace the line on a terminal; elsewhere add one."""
        if self._live:
            rewrite(line)
        else:
            remark(line, flush=True)

    def note(self, line: str) -> None:
        """Say something that stays, above the line."""
        if self._live and self._shown > -float("inf"):
            rewrite("")
        remark(line, flush=True)


@contextlib.contextmanager
def any_text() -> Iterator[None]:
    """Have stdout and stderr take any text meanwhile, whatever their encoding; where they are closed, it goes nowhere.

    Warnings of libraries, which may quote a stranger, become printable, too.
    """
    open_missing()
    before: list[tuple[io.TextIOWrapper, str | None]] = []
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            before.append((stream, stream.errors))
            _set_errors(stream, SPELLED)
    written = warnings.formatwarning
    warnings.formatwarning = lambda *parts, **more: printable(written(*parts, **more))
    try:
        yield
    finally:
        warnings.formatwarning = written
        for stream, errors in before:
            _set_errors(stream, errors)


def _set_errors(stream: io.TextIOWrapper, errors: str | None) -> None:
    # It writes what is left first, and whoever reads may be gone.
    with contextlib.suppress(OSError, ValueError):
        stream.reconfigure(errors=errors)


def _is_harmless(char: str) -> bool:
    return char in NEEDED or unicodedata.category(char) not in STEERING


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(STAND_INS.get(char) or _escape(char) for char in lacking), error.end


codecs.register_error(SPELLED, _spell)
