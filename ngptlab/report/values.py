"""The values behind a page's charts, for the script that shows them beside the pointer.

Charts of one figure share most of their numbers: a loss has the same values over tokens, steps and seconds. So each list of
numbers stands on the page once, and a chart names its lists by their places.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from ngptlab.report.drawn import MARGINS, Chart

DIGITS = 6
"""Significant digits of a value on the page. The figure's .csv has all of them."""


class Pool:
    """Lists of numbers, each once."""

    def __init__(self) -> None:
        self._places: dict[tuple[float, ...], int] = {}

    def place(self, values: Sequence[float]) -> int:
        """Place of a list, which is added where it is new."""
        short = tuple(float(f"{value:.{DIGITS}g}") for value in values)
        return self._places.setdefault(short, len(self._places))

    def text(self) -> str:
        """All lists as JSON. Whole numbers have no point."""
        return _json([[_short(value) for value in values] for values in self._places])


def of(chart: Chart, pool: Pool) -> dict[str, str]:
    """A chart's values as attributes of its element: curves as [method, x, y, half-widths or null], and the axes' ranges."""
    curves = [
        [c.method, pool.place(c.x), pool.place(c.y), None if c.halves is None else pool.place(c.halves)]
        for c in chart.curves
        if c.x
    ]
    return {
        "curves": _json(curves),
        "x": _json([_short(float(f"{end:.9g}")) for end in chart.x]),
        "y": _json([_short(float(f"{end:.9g}")) for end in chart.y]),
        "form": chart.form,
    }


def frame() -> str:
    """The edges of every chart's axes as fractions of its width and height, from the left and from the top, as JSON."""
    left, right = MARGINS["left"], MARGINS["right"]
    return _json([left, right, round(1 - MARGINS["top"], 6), round(1 - MARGINS["bottom"], 6)])


def _short(value: float) -> float | int:
    return int(value) if value == int(value) and abs(value) < 1e15 else value


def _json(values: object) -> str:
    return json.dumps(values, separators=(",", ":"), allow_nan=False)
