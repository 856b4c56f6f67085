"""The figure of `bench scaling`: time above memory, a log-log panel for each axis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ngptlab.bench.fit import Axis, upper_half
from ngptlab.config.method_name import stem
from ngptlab.disk import replacing

STYLE: list[Any] = [
    "tableau-colorblind10",
    {"font.size": 9.0, "axes.spines.top": False, "axes.spines.right": False},
]
MARKERS = "os^Dv<>"


def draw(found: dict[str, Axis], path: Path) -> None:
    """Write the figure."""
    with matplotlib.style.context(STYLE):
        figure = Figure(figsize=(3.2 * len(found), 5.6), layout="constrained")
        panels = figure.subplots(2, len(found), squeeze=False, sharex="col")
        for column, (name, axis) in enumerate(found.items()):
            _time(panels[0][column], axis)
            _memory(panels[1][column], axis)
            panels[0][column].set_title(name)
            panels[1][column].set_xlabel(name)
        panels[0][0].set_ylabel("step (ms)")
        panels[1][0].set_ylabel("peak memory (MB)")
        with replacing(path) as file:
            figure.savefig(file, format="png", dpi=120)


def _time(panel: Axes, axis: Axis) -> None:
    for index, (method, at) in enumerate(axis.methods.items()):
        values = [1e3 * seconds for seconds in at.step_seconds_median]
        _series(panel, index, axis.sizes, values, f"{stem(method)}: {at.time.value:z.2f}")
    # The counted operations have no time; they are drawn to end where the first method does.
    fitted, flops = upper_half(axis.sizes), upper_half(axis.step_flops)
    last = 1e3 * next(iter(axis.methods.values())).step_seconds_median[-1]
    counted = [last * n / flops[-1] for n in flops]
    label = f"counted: {axis.expected_time.value:z.2f}"
    panel.plot(fitted, counted, color="black", linestyle="dashed", linewidth=1.0, label=label)
    _frame(panel)


def _memory(panel: Axes, axis: Axis) -> None:
    for index, (method, at) in enumerate(axis.methods.items()):
        values = [size / 1e6 for size in at.peak_bytes]
        _series(panel, index, axis.sizes, values, f"{stem(method)}: {at.memory.value:z.2f}")
    _frame(panel)


def _series(panel: Axes, index: int, x: tuple[int, ...], y: list[float], label: str) -> None:
    panel.plot(x, y, color=f"C{index}", marker=MARKERS[index % len(MARKERS)], markersize=4, label=label)


def _frame(panel: Axes) -> None:
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    panel.grid(True, linewidth=0.4, alpha=0.6)
    panel.legend(title="exponent", fontsize=8, title_fontsize=8)
