"""The figure of speed-ups: the factor over the method's tokens, one line for each speed-up."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from ngptlab.analysis.figures import INK, SERIES, render
from ngptlab.analysis.speedup_runs import SpeedUp

MARKERS = {"measured": "o", "at least": "^", "at most": "v"}


def draw(speedups: Sequence[SpeedUp], ending: str) -> bytes:
    """The figure as a PNG or an SVG file."""

    def fill(figure: Figure) -> None:
        axes = figure.add_subplot()
        for index, speedup in enumerate(speedups):
            _line(axes, speedup, SERIES[index % len(SERIES)])
        axes.axhline(1.0, color=INK, linewidth=0.8)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.3g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("tokens of the method")
        axes.set_ylabel("tokens of the baseline for the same loss,\nin tokens of the method")
        axes.legend(frameon=False, fontsize=8)
        axes.set_title(
            "circles: measured; triangles: the factor lies beyond\nbars: bootstrap over seeds", fontsize=8
        )

    return render(fill, size=(6.4, 4.2), ending=ending)


def _line(axes: Axes, speedup: SpeedUp, colour: str) -> None:
    points = speedup["points"]
    tokens, values = [p["tokens"] for p in points], [p["factor"]["value"] for p in points]
    dash = "-" if speedup["kind"] == "by length" else ":"
    label = f"{speedup['method']} over {speedup['baseline']}, {speedup['kind']}, {speedup['schedule']}"
    axes.plot(tokens, values, dash, color=colour, linewidth=1.2, label=label)
    for point, x, y in zip(points, tokens, values, strict=True):
        axes.plot(x, y, MARKERS[point["factor"]["bound"]], color=colour, markersize=5)
        if point["interval"]:
            low, high = (end["value"] for end in point["interval"])
            axes.plot([x, x], [min(low, y), max(high, y)], color=colour, linewidth=1.0, alpha=0.7)
