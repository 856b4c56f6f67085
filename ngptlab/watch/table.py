"""What `ngptlab watch` shows: a line a run, running ones first, as many as the terminal is high."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from rich.cells import cell_len
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ngptlab.console import Console
from ngptlab.terminal import one_line
from ngptlab.train.progress import clock
from ngptlab.watch.state import State, View

ORDER: tuple[State, ...] = ("running", "stale", "waiting", "failed", "diverged", "stopped", "done")
STYLE: dict[State, str] = {
    "running": "green",
    "stale": "red",
    "failed": "red",
    "diverged": "yellow",
    "done": "dim",
}
BLOCKS = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 20
ROWS_AROUND = 5
"""Lines that the table leaves free: its heading, the two lines around it, the prompt."""
NAME_WIDTH, CURVED_NAME_WIDTH = 12, 24
"""Columns that a name gets at least, and that it must have beside a curve."""
GAP = 2
NARROW = 110
"""Columns below which arm and seed are left out: by default a run's folder is named after them."""


def render(views: Sequence[View], folder: Path, unreadable: int, console: Console) -> Group:
    """The table between a line that counts states and one that counts what did not fit."""
    views = sorted(views, key=lambda view: ORDER.index(view.state))
    room = max(3, console.height - ROWS_AROUND)
    shown, rest = views[:room], views[room:]
    lines = [Text(_heading(views, folder), no_wrap=True, overflow="ellipsis")]
    if rest:
        lines.append(Text(f"and {len(rest)} more: {_counts(rest)}", style="dim"))
    if unreadable:
        lines.append(Text(f"{unreadable} with a config.json that is no run's", style="dim"))
    return Group(lines[0], *([_table(shown, folder, console.width)] if shown else []), *lines[1:])


def sparkline(losses: Sequence[float], width: int = SPARK_WIDTH) -> str:
    """Means of equal shares of the losses as blocks, the lowest mean an eighth high and the highest a whole one."""
    if not losses:
        return ""
    count = min(width, len(losses))
    edges = [round(i * len(losses) / count) for i in range(count + 1)]
    means = [math.fsum(losses[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    top = len(BLOCKS) - 1
    return "".join(BLOCKS[round(top * (mean - low) / (high - low)) if high > low else 0] for mean in means)


def _heading(views: Sequence[View], folder: Path) -> str:
    if not views:
        return f"no runs in {one_line(str(folder))} yet"
    # The folder last: a long path is what may be cut.
    return f"{len(views)} run{'s' * (len(views) > 1)}, {_counts(views)}, in {one_line(str(folder))}"


def _counts(views: Sequence[View]) -> str:
    counts = Counter(view.state for view in views)
    return ", ".join(f"{counts[state]} {state}" for state in ORDER if counts[state])


def _table(views: Sequence[View], folder: Path, width: int) -> Table:
    """Numbers stay whole: where the terminal is narrow, arm and seed go, the curve, the head of long names, pace, validation."""
    headings = ["run", "arm", "seed", "state", "step", "loss", "recent", "val", "tok/s", "ETA"]
    rows = [_cells(view, folder) for view in views]
    left_out = {"arm", "seed"} if width < NARROW else set()
    if _room(headings, rows, left_out, width) < CURVED_NAME_WIDTH:
        left_out.add("recent")
    for heading in ("tok/s", "val"):
        if _room(headings, rows, left_out, width) < NAME_WIDTH:
            left_out.add(heading)
    name_width = max(NAME_WIDTH, _room(headings, rows, left_out, width))
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False)
    kept = [index for index, heading in enumerate(headings) if heading not in left_out]
    for index in kept:
        right = headings[index] in ("step", "loss", "val", "tok/s", "ETA")
        table.add_column(headings[index], no_wrap=True, justify="right" if right else "left")
    for view, row in zip(views, rows, strict=True):
        row[0] = _end_of(row[0], name_width)
        cells = {headings[index]: Text(row[index]) for index in kept}
        cells["state"].stylize(STYLE.get(view.state, ""))
        table.add_row(*cells.values())
    return table


def _room(headings: Sequence[str], rows: Sequence[Sequence[str]], left_out: set[str], width: int) -> int:
    """Columns of the terminal that are left for the name."""
    others = [index for index, heading in enumerate(headings) if index and heading not in left_out]
    return width - sum(GAP + max(cell_len(row[index]) for row in [headings, *rows]) for index in others)


def _end_of(name: str, width: int) -> str:
    """A name cut to its end, which tells runs apart."""
    if cell_len(name) <= width:
        return name
    while name and cell_len(name) >= width:
        name = name[1:]
    return "…" + name


def _cells(view: View, folder: Path) -> list[str]:
    name = view.path.name if view.path == folder else str(view.path.relative_to(folder)).removeprefix("runs/")
    cells = [
        name,
        view.arm,
        str(view.seed),
        view.state,
        f"{view.step}/{view.steps}" + (f" ({view.skipped} skipped)" if view.skipped else ""),
        f"{view.losses[-1]:.3f}" if view.losses else "",
        sparkline(view.losses),
        "" if view.val_nats is None else f"{view.val_nats:.3f}",
        "" if view.tokens_per_second is None else f"{view.tokens_per_second:,.0f}",
        "" if view.eta_seconds is None else clock(view.eta_seconds),
    ]
    return [one_line(cell) for cell in cells]
