"""The log of a cell's process: why it ended, and the warnings in it. Notes are marked, so that none is taken for an error."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

from ngptlab import disk
from ngptlab.terminal import one_line
from ngptlab.train.progress import WARNING

if TYPE_CHECKING:  # workers import this module, and no board
    from ngptlab.jobs.board import Board
    from ngptlab.jobs.cell import Cell
    from ngptlab.jobs.outcome import Outcome

NOTE = "note: "
"""How a line begins that is no error."""


def last_words(log: Path, code: int | None) -> str:
    """The last line that is no note, without our own prefix; where there is none, how the process ended.

    Args:
        code: the process's exit code, below 0 for a signal; None where nothing is known of its end. Then there may be no
            words at all.
    """
    lines = [line for line in _lines(log) if not line.startswith(NOTE)]
    if lines:
        return lines[-1].removeprefix("ngptlab: ")
    if code is None:
        return ""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def warnings(log: Path, name: str = "") -> str:
    """The last of a log's warnings and how many there are; empty where there is none. Of a long log its end is read.

    Args:
        name: of the run. Notes of a stack begin with the names of its runs, and those of others are no warnings of this one.
    """
    notes = [line.removeprefix(NOTE) for line in _lines(log) if line.startswith(NOTE)]
    own = [note.removeprefix(f"{name}: ") if name else note for note in notes]
    found = [note for note in own if note.startswith(WARNING)]
    if not found:
        return ""
    return (
        found[-1]
        if len(found) == 1
        else f"{len(found)} warnings in {log}, the last: {found[-1].removeprefix(WARNING)}"
    )


def tell_warnings(cell: Cell, log: Path, ended: Outcome, board: Board) -> None:
    """Have a study's board tell the warnings of a cell that ended, because nobody reads its log; a log that isn't there has none.

    A single one that is told with the cell, as what makes it doubtful, is not told twice.
    """
    try:
        told = warnings(log, cell.config.run_name)
    except OSError:
        return
    if told and told != WARNING + one_line(ended.reason):
        board.note(f"{cell.title}: {told}")


def _lines(log: Path) -> list[str]:
    return [line.strip() for line in disk.read_end(log).splitlines() if line.strip()]
