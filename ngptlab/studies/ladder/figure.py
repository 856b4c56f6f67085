"""The figure of a ladder: each rung's final loss beside its step's change. The same numbers give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence

from ngptlab.draw.panels import Axes, Figure, grid, ticks, wrapped
from ngptlab.draw.style import INK, PAGE_INCHES, SERIES, bars
from ngptlab.studies.ladder.numbers import Ladder, half

BETTER, WORSE = SERIES[:2]
"""Colours of bars below and above zero; the bar's side says the same."""


def draw(ladder: Ladder, *, narrow: bool = False) -> Figure:
    """Draw the figure, rungs from top to bottom; `narrow`: for a page."""
    rungs = ladder["rungs"]
    inches = (PAGE_INCHES if narrow else 8.0, 1.6 + 0.36 * len(rungs))
    figure, ((losses, adds),) = grid(1, 2, inches, sharey=True)
    labels = [rung["label"].replace(" and ", "\nand ") for rung in rungs]
    losses.set_yticks(range(len(rungs)), [wrapped(each, 18) if narrow else each for each in labels])
    losses.set_ylim(len(rungs) - 0.5, -0.5)
    for axes in (losses, adds):
        axes.grid(visible=False, axis="y")
    _losses(losses, ladder)
    _adds(adds, ladder)
    if narrow:
        for axes in (losses, adds):
            axes.set_xlabel(wrapped(axes.get_xlabel(), 26), fontsize=8)
            ticks(axes, "x", 3)
    figure.suptitle(f"{ladder['base']} to {ladder['target']}, {ladder['mode']} ({ladder['recipe']})")
    return figure


def _losses(axes: Axes, ladder: Ladder) -> None:
    for row, rung in enumerate(ladder["rungs"]):
        if rung["final_loss_nats"] is None:
            axes.annotate(
                "no result", (0.5, row), xycoords=("axes fraction", "data"), ha="center", va="center"
            )
            continue
        error = half(rung)
        if error is not None:
            _singles(axes, row, rung.get("losses", []))
        axes.errorbar(rung["final_loss_nats"], row, xerr=error, fmt="o", color=INK, ms=4, capsize=3)
    said = bars((len(rung["seeds"]) for rung in ladder["rungs"]), "lines").replace("; ", "\n")
    axes.set_xlabel(f"final validation loss (nats)\n{said}")
    ticks(axes, "x", 5)


def _singles(axes: Axes, row: int, values: Sequence[float]) -> None:
    """Draw a small mark for each seed, across the line of the rung."""
    axes.plot(values, [row] * len(values), "|", color=INK, markersize=7, alpha=0.6, zorder=2.5)


def _adds(axes: Axes, ladder: Ladder) -> None:
    for row, rung in enumerate(ladder["rungs"]):
        if (adds := rung["adds"]) is None:
            continue
        colour = BETTER if adds["nats"] < 0 else WORSE
        axes.barh(row, adds["nats"], color=colour, height=0.55, alpha=0.85)
        if adds["stderr"] is not None:
            _singles(axes, row, adds.get("by_pair", []))
            axes.errorbar(adds["nats"], row, xerr=adds["ci95"], fmt="none", color=INK, capsize=3)
    axes.axvline(0, color=INK, linewidth=0.8)
    against = "the rung before it" if ladder["mode"] == "cumulative" else "the first"
    counts = [adds["pairs"] for rung in ladder["rungs"] if (adds := rung["adds"])]
    error = bars(counts, "lines", of="pairs of seeds", marks="")
    axes.set_xlabel(f"loss minus that of {against} (nats)\nbelow zero is better\n{error}")
    ticks(axes, "x", 5)
