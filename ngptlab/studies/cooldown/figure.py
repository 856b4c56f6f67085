"""The figure of a cooldown study: final loss over the cooldown fraction, and the gap before and after it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ngptlab.draw.panels import Axes, Figure, grid, ticks, wrapped
from ngptlab.draw.style import INK, PAGE_INCHES, SERIES, bars
from ngptlab.stats import estimates as stats
from ngptlab.stats.estimates import Difference
from ngptlab.studies.cooldown.numbers import Row, Study

DASHES, MARKERS = ("-", "--", ":"), ("o", "s", "^")


def draw(study: Study, *, narrow: bool = False) -> Figure:
    """Draw the figure, a row of panels for each length; `narrow`: for a page."""
    lengths = sorted({row["steps"] for row in study["rows"]})
    width, height = (PAGE_INCHES, 2.7) if narrow else (9.0, 3.4)
    figure, panels = grid(len(lengths), 2, (width, 0.9 + height * len(lengths)))
    for (losses, gaps), steps in zip(panels, lengths, strict=True):
        rows = [row for row in study["rows"] if row["steps"] == steps]
        _losses(losses, study, rows)
        _gaps(gaps, study, rows)
        losses.set_title(f"{steps:,} steps ({rows[0]['tokens']:,} tokens)", fontsize=9)
    said = bars((len(row["seeds"]) for row in study["rows"]), marks="short lines")
    figure.suptitle(f"Cooldowns from one trunk ({study['name']})\n{said}", fontsize=9)
    if narrow:
        for axes in figure.axes:
            axes.set_xlabel(wrapped(axes.get_xlabel(), 30), fontsize=8)
            ticks(axes, "x", 4)
            if found := axes.get_legend():
                found.set_loc("best")
                for text in found.get_texts():
                    text.set_fontsize(7)
    return figure


def _shapes(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["shape"] for row in rows if row["shape"]))


def _losses(axes: Axes, study: Study, rows: Sequence[Row]) -> None:
    """Draw final losses. The trunk is the common first point of a method's lines."""
    for number, arm in enumerate(study["arms"]):
        for place, shape in enumerate(_shapes(rows)):
            shown = [
                row
                for row in rows
                if row["arm"] == arm and row["shape"] in ("", shape) and row["final_loss_nats"] is not None
            ]
            colour, form = SERIES[number % len(SERIES)], DASHES[place % 3] + MARKERS[place % 3]
            points = [
                Point(
                    row["frac"],
                    row["final_loss_nats"] or 0.0,
                    stats.ci95(row["final_loss_stderr"], len(row["losses"])),
                    row["losses"],
                )
                for row in shown
            ]
            _points(axes, points, colour, form, f"{arm}, {shape}")
    axes.set_xlabel("cooldown fraction; 0: constant learning rate to the end")
    axes.set_ylabel("final validation loss (nats)", fontsize=8)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, framealpha=0.8, edgecolor="none")


def _gaps(axes: Axes, study: Study, rows: Sequence[Row]) -> None:
    """Draw gaps: a full mark after a cooldown, an empty one before it, at the branch point."""
    for number, arm in enumerate(study["arms"]):
        for place, shape in enumerate(_shapes(rows)):
            shown = [row for row in rows if row["arm"] == arm and row["shape"] == shape and row["gaps"]]
            bases = [_baseline_row(row, study) for row in shown]
            after = [
                _gap(row, row["gaps"]["after"], row["losses"], base["losses"] if base else ())
                for row, base in zip(shown, bases, strict=True)
                if row["gaps"]
            ]
            before = [
                _gap(row, gap, row.get("before_losses", ()), base.get("before_losses", ()) if base else ())
                for row, base in zip(shown, bases, strict=True)
                if row["gaps"] and (gap := row["gaps"]["before"])
            ]
            colour, marker = SERIES[number % len(SERIES)], MARKERS[place % 3]
            _points(axes, after, colour, DASHES[place % 3] + marker, f"{arm}, after {shape}")
            if place == 0:  # the trunk has no shape
                _points(axes, before, colour, MARKERS[2], f"{arm}, before", empty=True)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xlabel("cooldown fraction")
    axes.set_ylabel(f"loss minus that of {study['baseline']} (nats)", fontsize=8)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, framealpha=0.8, edgecolor="none")


class Point(NamedTuple):
    """A mean over seeds at one cooldown fraction."""

    frac: float
    mean: float
    half: float | None
    """Half-width of the 95% interval; None for one seed."""
    singles: Sequence[float]
    """Values of single seeds, where they are known."""


def _baseline_row(row: Row, study: Study) -> Row | None:
    """The baseline's row with the same seeds at the same cooldown fraction."""
    key = ("steps", "frac", "shape", "seeds")
    found = (r for r in study["rows"] if r["arm"] == study["baseline"])
    return next((r for r in found if all(r[k] == row[k] for k in key)), None)  # type: ignore[literal-required]


def _gap(row: Row, gap: Difference, ours: Sequence[float], theirs: Sequence[float]) -> Point:
    return Point(row["frac"], gap["mean"], gap["ci95"], [a - b for a, b in zip(ours, theirs, strict=False)])


def _points(
    axes: Axes, points: Sequence[Point], colour: str, form: str, label: str, *, empty: bool = False
) -> None:
    """Draw means with bars, and behind them a small mark for each seed. One seed has the means alone."""
    if not points:
        return
    halves = [math.nan if point.half is None else point.half for point in points]
    for point in points if any(point.half is not None for point in points) else ():
        places = [point.frac] * len(point.singles)
        axes.plot(places, point.singles, "_", color=colour, markersize=5, alpha=0.6, zorder=1.5)
    axes.errorbar(
        [point.frac for point in points],
        [point.mean for point in points],
        yerr=None if all(map(math.isnan, halves)) else halves,
        fmt=form,
        color=colour,
        mfc="none" if empty else colour,
        linewidth=1.2,
        markersize=4,
        capsize=2,
        label=label,
    )
