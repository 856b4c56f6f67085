"""The figure of a sweep: loss against learning rate. Curves are widths, columns sets of rules, rows methods."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ngptlab.draw.panels import Axes, Figure, first, grid, legend, ticks, wrapped
from ngptlab.draw.style import PAGE_INCHES, SERIES, STYLE, bars
from ngptlab.stats import estimates as stats
from ngptlab.stats.curve import Curve
from ngptlab.stats.transfer import Finding

MATH = STYLE | {"text.parse_math": True}
"""Style for learning rates written as powers of two."""
LINES = ("solid", "dashed", "dotted", "dashdot")
"""Dashes that repeat what colour says, for print in grey."""

HEADROOM = 0.75
"""Fraction of a row's points, from the lowest loss up, that fit into the panel. Diverging ones would flatten the rest."""

CAPTION_INCHES = 0.45


def drawable(findings: Sequence[Finding]) -> bool:
    """Whether a finding has a loss to draw."""
    return bool(_finite_losses(findings))


def draw_narrow(findings: Sequence[Finding]) -> Figure:
    """The same panels for a page, in two columns, without those that stay empty. The page has the caption."""
    widths = sorted({curve.width for f in findings for curve in f.curves})
    rows = math.ceil(len(findings) / 2)
    figure, places = grid(rows, 2, (PAGE_INCHES, 0.8 + 2.3 * rows))
    for place, (axes, finding) in enumerate(zip(first(len(findings), places), findings, strict=True)):
        axes.set_title(wrapped(f"{finding.method}, {finding.rules}", 28), fontsize=8)
        for curve in finding.curves:
            _curve(axes, curve, widths.index(curve.width))
        _axes(axes, bottom=place >= len(findings) - 2, left=place % 2 == 0)
        ticks(axes, "x", 4, whole=True)
        _frame(axes, [other for other in findings if other.method == finding.method])
    legend(figure, 4)
    return figure


def draw(findings: Sequence[Finding], *, title: str) -> Figure:
    """Draw the figure of findings that are `drawable`, to be written in the style MATH."""
    methods = list(dict.fromkeys(f.method for f in findings))
    params = list(dict.fromkeys(f.rules for f in findings))
    widths = sorted({curve.width for f in findings for curve in f.curves})
    height = 1.1 + 2.7 * len(methods)
    inches = (1.0 + 3.2 * max(2, len(params)), height)
    shared = {"sharex": True, "sharey": "row"}
    figure, places = grid(len(methods), len(params), inches, foot=CAPTION_INCHES, **shared)
    for row, method in enumerate(methods):
        of_row = [f for f in findings if f.method == method]
        for column, param in enumerate(params):
            axes = places[row][column]
            found = [f for f in of_row if f.rules == param]
            axes.set_title(f"{method}, {param}" + ("" if found else ": not applicable"))
            for curve in found[0].curves if found else ():
                _curve(axes, curve, widths.index(curve.width))
            _axes(axes, row == len(methods) - 1, column == 0)
        _frame(places[row][0], of_row)
    legend(figure, len(widths))
    figure.text(0.01, 0.2 * CAPTION_INCHES / height, _caption(findings, title), fontsize=7.5, va="bottom")
    return figure


def _curve(axes: Axes, curve: Curve, index: int) -> None:
    colour, line = SERIES[index % len(SERIES)], LINES[index % len(LINES)]
    x, y = np.log2(curve.lrs), np.array(curve.means)
    y = np.where(np.isfinite(y), y, np.nan)
    axes.plot(x, y, color=colour, linestyle=line, marker=".", label=f"width {curve.width}")
    if (seeds := len(curve.losses)) > 1:
        half = stats.t95(seeds - 1) * np.array(curve.errors)
        axes.fill_between(x, y - half, y + half, color=colour, alpha=0.2, linewidth=0)
        for single in curve.losses:
            finite = np.where(np.isfinite(single), single, np.nan)
            axes.plot(x, finite, color=colour, linewidth=0.5, alpha=0.6, zorder=1.5)
    # Learning rates that diverged are crosses at the top of the panel, above all others and not hidden.
    gone = x[np.isnan(y)]
    if len(gone):
        height = np.full(len(gone), 0.97 - 0.04 * index)
        axes.plot(gone, height, "x", color=colour, transform=axes.get_xaxis_transform())
    if curve.optimum is None:
        return
    best, at = curve.optimum, curve.means[curve.optimum.best]
    if best.on_edge:
        axes.plot(best.log2_lr, at, marker="s", ms=8, mfc="none", mec=colour, mew=1.5, linestyle="none")
        return
    reach = [[best.log2_lr - best.low], [best.high - best.log2_lr]]
    axes.errorbar(best.log2_lr, at, xerr=reach, fmt="v", ms=7, color=colour, mec="black", capsize=3, zorder=4)


def _finite_losses(findings: Sequence[Finding]) -> list[float]:
    return [y for f in findings for curve in f.curves for y in curve.means if math.isfinite(y)]


def _frame(axes: Axes, findings: Sequence[Finding]) -> None:
    """Set the y axis up to the third quartile of a row's losses, and at least up to every curve's optimum."""
    losses = _finite_losses(findings)
    if not losses:
        return
    best = [c.means[c.optimum.best] for f in findings for c in f.curves if c.optimum is not None]
    low, high = min(losses), max(float(np.quantile(losses, HEADROOM)), *best)
    room = 0.1 * (high - low) or 0.05
    axes.set_ylim(low - room, high + 2 * room)


def _axes(axes: Axes, bottom: bool, left: bool) -> None:
    ticks(axes, "x", 6, whole=True, words=lambda power: f"$2^{{{power:.0f}}}$")
    if bottom:
        axes.set_xlabel("learning rate")
    if left:
        axes.set_ylabel("validation loss (nats)")


def _caption(findings: Sequence[Finding], title: str) -> str:
    curves = [curve for f in findings for curve in f.curves]
    kinds = sorted({c.optimum.interval for c in curves if c.optimum is not None and not c.optimum.on_edge})
    said = bars((len(curve.losses) for curve in curves), "bands", marks="thin lines")
    lines = [
        f"{title}: {said}.",
        f"Triangle: optimum, 95% interval from {' or '.join(kinds) or 'nothing'}. Square: at the grid's edge. Cross: diverged.",
    ]
    return "\n".join(lines)
