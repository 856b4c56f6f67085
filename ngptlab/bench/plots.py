"""The figure of `bench scaling`: time above memory, a log-log panel for each axis."""

from __future__ import annotations

from pathlib import Path

from ngptlab.bench.fit import Axis, upper_half
from ngptlab.config.method_name import stem
from ngptlab.draw.panels import Axes, Figure, grid
from ngptlab.draw.style import Style, write_one

STYLE: Style = {"font.size": 9.0, "axes.spines.top": False, "axes.spines.right": False}
COLOURS = (
    "#006BA4", "#FF800E", "#ABABAB", "#595959", "#5F9ED1", "#C85200", "#898989", "#A2C8EC", "#FFBC79", "#CFCFCF"
)  # fmt: skip
"""Matplotlib's `tableau-colorblind10`."""
MARKERS = "os^Dv<>"


def draw(found: dict[str, Axis], path: Path) -> None:
    """Write the figure."""
    write_one(path, lambda: _figure(found), style=STYLE, dpi=120)


def _figure(found: dict[str, Axis]) -> Figure:
    figure, panels = grid(2, len(found), (3.2 * len(found), 5.6), sharex="col")
    for column, (name, axis) in enumerate(found.items()):
        _time(panels[0][column], axis)
        _memory(panels[1][column], axis)
        panels[0][column].set_title(name)
        panels[1][column].set_xlabel(name)
    panels[0][0].set_ylabel("step (ms)")
    panels[1][0].set_ylabel("peak memory (MB)")
    return figure


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
    colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
    panel.plot(x, y, color=colour, marker=marker, markersize=4, label=label)


def _frame(panel: Axes) -> None:
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    panel.grid(True, linewidth=0.4, alpha=0.6)
    panel.legend(title="exponent", fontsize=8, title_fontsize=8)
