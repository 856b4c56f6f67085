"""The figure of a board: each method's difference to the baseline with its interval, sorted. The same numbers, the same bytes."""

from __future__ import annotations

import statistics

from ngptlab.draw.panels import Axes, Figure, grid, ticks, wrapped
from ngptlab.draw.style import INK, PAGE_INCHES, SERIES, bars
from ngptlab.studies.board.numbers import Board, Row

COLOURS = {"better": SERIES[0], "worse": SERIES[1], "undecided": SERIES[6]}
MARKS = {"better": "o", "worse": "s", "undecided": "D"}
"""Markers repeat what the colour says."""
FAR = 6.0
"""A difference this many times the median lies beyond the axis, because a method that fails would hide all others."""


def draw(board: Board, *, narrow: bool = False) -> Figure:
    """The figure, the lowest loss at the top; `narrow`: for a page."""
    rows = [row for row in board["rows"] if row["against"] is not None]
    inches = (PAGE_INCHES if narrow else 7.0, 1.7 + 0.3 * max(1, len(rows)))
    figure, ((axes,),) = grid(1, 1, inches)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.grid(visible=False, axis="y")
    axes.set_yticks(range(len(rows)), [wrapped(row["method"], 22) for row in rows])
    axes.set_ylim(max(1, len(rows)) - 0.5, -0.5)
    if not rows:
        axes.annotate("no method has been compared yet", (0.5, 0.5), xycoords="axes fraction", ha="center")
    edge = _limits(axes, rows)
    for place, row in enumerate(rows):
        _interval(axes, place, row, edge)
    against = [a["pairs"] for row in rows if (a := row["against"])]
    axes.set_xlabel(
        f"final loss minus that of {board['baseline']} (nats); below zero is better\n"
        f"{bars(against, 'lines', of='pairs of seeds', marks='')}\n"
        "circle: better, square: worse, diamond: undecided (Holm)\n"
        f"triangle at the right: tuned to the edge of its grid,{chr(10) if narrow else ' '}with the loss still falling",
        fontsize=8 if narrow else None,
    )
    ticks(axes, "x", 6)
    figure.suptitle(f"Board of {board['recipe']}")
    return figure


def _limits(axes: Axes, rows: list[Row]) -> float:
    """Set the ends of the axis; returns the greatest difference that it shows."""
    reach = {row["method"]: abs(a["mean"]) + (a["ci95"] or 0.0) for row in rows if (a := row["against"])}
    usual = statistics.median(reach.values()) if reach else 0.0
    edge = max((each for each in reach.values() if each <= FAR * usual), default=0.0) or 0.01
    axes.set_xlim(-1.1 * edge, 1.1 * edge)
    return edge


def _interval(axes: Axes, place: int, row: Row, edge: float) -> None:
    against, verdict = row["against"], row["verdict"] or "undecided"
    assert against is not None
    colour = COLOURS[verdict]
    if abs(against["mean"]) > edge:
        side = 1 if against["mean"] > 0 else -1
        said = f"{against['mean']:+z.3g} " + (">" if side > 0 else "<")
        axes.annotate(
            said, (side * edge, place), ha="right" if side > 0 else "left", va="center", color=colour
        )
    else:
        axes.errorbar(
            against["mean"], place, xerr=against["ci95"], fmt=MARKS[verdict], color=colour, ms=4, capsize=3
        )
    if row["tuning"] and row["tuning"]["edges"]:
        axes.plot([1.06 * edge], [place], marker="<", color=INK, markersize=5, linestyle="none")
