"""Views of a curve over training: by tokens, steps, seconds or operations, on a linear or a logarithmic axis."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ngptlab.draw.panels import Axes, logarithmic, ticks
from ngptlab.report.schema import Summary
from ngptlab.stats.costs import Measure
from ngptlab.stats.words import SUPERSCRIPT, count

NAMES: dict[Measure, str] = {"tokens": "tokens", "step": "steps", "seconds": "seconds", "flops": "FLOPs"}
"""Names of the axes in the order offered; the first is shown until another is chosen."""


@dataclass(frozen=True)
class View:
    """One way to draw a curve."""

    measure: Measure = "tokens"
    log: bool = False

    @property
    def scale(self) -> str:
        """The kind of axis in a word."""
        return "log" if self.log else "linear"

    def __str__(self) -> str:
        return f"{NAMES[self.measure]}{', logarithmic' if self.log else ''}"


def measures(summary: Summary) -> list[Measure]:
    """Measures that every method of this report has."""
    timed = not any(method["untimed"] for method in summary["methods"].values())
    return [measure for measure in NAMES if measure != "seconds" or timed]


def views(summary: Summary, *, log: bool = True) -> list[View]:
    """All views of a curve; the first is the default. Without `log`, only linear ones."""
    return [
        View(measure, scale)
        for measure in measures(summary)
        for scale in ((False, True) if log else (False,))
    ]


def no_seconds(summary: Summary) -> str:
    """A sentence that says why there is no axis in seconds; empty where there is one."""
    untimed = [name for method in summary["methods"].values() for name in method["untimed"]]
    if not untimed:
        return ""
    shown = ", ".join(untimed[:2]) + (f" and {len(untimed) - 2} more" if len(untimed) > 2 else "")
    return f"No axis in seconds: not every step's time is recorded in {shown}."


def frame(axes: Axes, view: View, low: float, high: float) -> None:
    """Set the x axis from `low` to `high`, with its ticks and its name."""
    axes.set_xlabel(NAMES[view.measure])
    if high <= low:  # one point
        low, high = 0.5 * low, 1.5 * low or 1.0
    if view.log:
        low = low or high / 1000
        axes.set_xlim(low, high * (high / low) ** 0.01)
        logarithmic(axes, "x")
    else:
        axes.set_xlim(low, high + 0.01 * (high - low))
        ticks(axes, "x", 5, whole=view.measure != "seconds")
    ticks(axes, "x", words=_label(axes, view, high))


def _label(axes: Axes, view: View, high: float) -> Callable[[float], str]:
    """Text of a tick. For operations, the power of ten is in the axis's name instead."""
    if view.measure in ("step", "tokens"):
        return lambda x: f"{x:,.0f}" if view.measure == "step" else count(x)
    if view.measure == "seconds":
        return lambda x: f"{x:,.4g}" if x < 1000 else f"{x:,.0f}"
    power = 3 * math.floor(math.log10(high) / 3) if high > 0 else 0
    if power:
        axes.set_xlabel(f"{NAMES['flops']} (10{str(power).translate(SUPERSCRIPT)})")
    return lambda x: f"{x / 10**power:.3g}"
