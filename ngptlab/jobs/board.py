"""Progress of a sweep for a person: a live table on a terminal, plain lines elsewhere (logs, Slurm, CI)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.cells import cell_len
from rich.live import Live
from rich.table import Table

from ngptlab.console import Console
from ngptlab.jobs.cell import Cell
from ngptlab.jobs.progress import Progress, eta_seconds
from ngptlab.output import unfailing_stderr
from ngptlab.train.progress import clock

REFRESH_SECONDS = 0.5
PLAIN_SECONDS = 30.0
"""Seconds between two lines of progress where there is no terminal."""
FEW = 4
"""Most running cells that are told of a line each where there is no terminal."""
HEADINGS = ("cell", "state", "step", "loss", "ETA")
GAP = 2
ROWS_AROUND = 10
"""Lines of a terminal that the table leaves for its head, its title and the prompt."""


class Board:
    """States of all cells. `set` may be called often, because only changes are shown."""

    def __init__(self, cells: Sequence[Cell], console: Console | None = None) -> None:
        self.console = console or Console(file=unfailing_stderr())
        self._cells = {cell.config.hash: cell for cell in cells}
        self._state = {key: "waiting" for key in self._cells}
        self._progress = {
            key: Progress(step=0, steps=cell.config.train.steps) for key, cell in self._cells.items()
        }
        self._reason: dict[str, str] = {}
        self._live: Live | None = None
        self._shown = 0.0

    def __enter__(self) -> Self:
        if self.console.is_terminal and not self.console.no_color:
            self._live = Live(console=self.console, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.update(self._table(""), refresh=True)
            self._live.stop()

    def set(self, cell: Cell, state: str, progress: Progress, reason: str = "") -> None:
        """Record a cell's state and progress; its end is printed at once."""
        key = cell.config.hash
        changed = self._state[key] != state
        self._state[key], self._progress[key], self._reason[key] = state, progress, reason
        if changed and state != "running" and not self._live:
            loss = "" if progress.loss_nats is None else f", training loss {progress.loss_nats:.3f}"
            why = f" ({reason})" if reason else ""
            self.console.print(f"{cell.title}: {state}{loss}{why}", markup=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """Print a line of its own."""
        self.console.print(text, markup=False, soft_wrap=True)

    def refresh(self, workers: int) -> None:
        """Show the present state, unless the last one was shown just before."""
        now = time.monotonic()
        if now - self._shown < (REFRESH_SECONDS if self._live else PLAIN_SECONDS):
            return
        self._shown = now
        text = self._counts(workers)
        if self._live:
            self._live.update(self._table(text), refresh=True)
        else:
            for line in (text, *self._under_way()):
                self.console.print(line, markup=False, soft_wrap=True)

    def _under_way(self) -> list[str]:
        """A line for each running cell, where they are few."""
        running = [key for key, name in self._state.items() if name == "running"]
        if len(running) > FEW:
            return []
        found = {self._cells[key].title: self._progress[key] for key in running}
        return [
            f"  {title}: step {p.step}/{p.steps}, training loss {p.loss_nats:.3f}"
            for title, p in found.items()
            if p.loss_nats is not None
        ]

    def _counts(self, workers: int) -> str:
        counts = Counter(self._state.values())
        left = [
            (self._cells[key].config.model.d_model, progress)
            for key, progress in self._progress.items()
            if self._state[key] in ("waiting", "running")
        ]
        known = [
            (self._cells[key].config.model.d_model, Progress(1, 1, None, progress.step_seconds))
            for key, progress in self._progress.items()
            if self._state[key] in ("done", "diverged")
        ]
        eta = eta_seconds(left + known, workers)
        parts = [f"{count} {name}" for name, count in counts.most_common()]
        return f"{len(self._cells)} cells: {', '.join(parts)}  ETA {'?' if eta is None else clock(eta)}"

    def _table(self, title: str) -> Table:
        """Running cells first, then the last that ended, then waiting ones, as many as fit the terminal."""
        table = Table(title=title, title_justify="left", box=None, padding=(0, GAP, 0, 0))
        running = [key for key, name in self._state.items() if name == "running"]
        ended = [key for key, name in self._state.items() if name not in ("running", "waiting")]
        waiting = [key for key, name in self._state.items() if name == "waiting"]
        rows = []
        for key in (running + ended[::-1] + waiting)[: max(3, self.console.height - ROWS_AROUND)]:
            p = self._progress[key]
            loss = "" if p.loss_nats is None else f"{p.loss_nats:.3f}"
            eta = clock((p.steps - p.step) * p.step_seconds) if key in running and p.step_seconds else ""
            rows.append((self._cells[key].title, self._state[key], f"{p.step}/{p.steps}", loss, eta))
        widths = [max(cell_len(text) for text in column) for column in zip(HEADINGS, *rows, strict=True)]
        # Numbers stay whole, so a long name is what a narrow terminal cuts: a row is a line.
        widths[0] = min(widths[0], max(1, self.console.width - sum(widths[1:]) - GAP * len(HEADINGS)))
        for heading, width in zip(HEADINGS, widths, strict=True):
            table.add_column(heading, no_wrap=True, width=width)
        for row in rows:
            table.add_row(*row)
        return table
