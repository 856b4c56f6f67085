"""Figures of learned scales, several runs side by side: against depth, and their course over training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ngptlab.draw.panels import (
    SMALL,
    Axes,
    Figure,
    after_steps,
    curve,
    depth_axis,
    legend,
    shade,
    ticks,
    tiles,
)
from ngptlab.draw.style import SERIES, write
from ngptlab.measure.scales.numbers import LearnedScale

Measured = Mapping[str, Mapping[str, Any]]
"""Label of a run -> {step, scales: [LearnedScale, ...]}."""
Courses = Mapping[str, Sequence[Mapping[str, Any]]]
"""Label of a run -> the rows of its scales.jsonl, [{step, scales}, ...]."""

COLUMNS = 3


def draw(measured: Measured, courses: Courses, out: Path) -> None:
    """Write scales, and scales-course where a course was logged, as PNG and SVG; nothing where no run has scales."""
    if any(record["scales"] for record in measured.values()):
        write(out, "scales", lambda: _against_depth(measured), style=SMALL)
    logged = {label: course for label, course in courses.items() if course}
    if logged:
        write(out, "scales-course", lambda: _over_steps(logged), style=SMALL)


def places(scales: Sequence[LearnedScale]) -> list[str]:
    """Every place that has a scale, such as 'mlp.gate.s_u', those in blocks first."""
    ordered = sorted(scales, key=lambda scale: scale["layer"] is None)
    return list(dict.fromkeys(scale["place"] for scale in ordered))


def title(place: str) -> str:
    """A panel's title: 'alpha of attn_residual' for 'attn_residual.alpha'."""
    holder, _, name = place.rpartition(".")
    return f"{name} of {holder}" if holder else name


def _against_depth(measured: Measured) -> Figure:
    shown = places([scale for record in measured.values() for scale in record["scales"]])
    figure, cells = tiles(len(shown), COLUMNS, _caption(measured))
    for number, (axes, place) in enumerate(zip(cells, shown, strict=True)):
        here = {
            label: [scale for scale in record["scales"] if scale["place"] == place]
            for label, record in measured.items()
        }
        if any(scale["layer"] is not None for scales in here.values() for scale in scales):
            _layers(axes, here)
        else:
            _singles(axes, here)
        axes.set_title(title(place))
        if number % COLUMNS == 0:
            axes.set_ylabel("effective value")
    legend(figure)
    return figure


def _caption(measured: Measured) -> str:
    without = ", ".join(label for label, record in measured.items() if not record["scales"])
    return (
        "Effective values of learned scales, alpha as absolute value. Lines: mean over channels; bands: from the 25th to "
        "the 75th percentile. Outside of blocks: mean, bars from the 25th to the 75th, lines from the 5th to the 95th "
        f"percentile. {after_steps(measured)}" + (f" Without scales: {without}." if without else "")
    )


def _layers(axes: Axes, here: Mapping[str, Sequence[LearnedScale]]) -> None:
    for index, (label, scales) in enumerate(here.items()):
        if scales:
            band = [s["q25"] for s in scales], [s["q75"] for s in scales]
            curve(
                axes, index, [s["layer"] or 0 for s in scales], [s["mean"] for s in scales], band, label=label
            )
    if any(scale["kind"] == "rate" for scales in here.values() for scale in scales):
        # The limit is set after the curves, because a limit set before would not make room for them.
        axes.set_ylim(bottom=0)
    depth_axis(axes, label=True)


def _singles(axes: Axes, here: Mapping[str, Sequence[LearnedScale]]) -> None:
    found = [(index, scale) for index, scales in enumerate(here.values()) for scale in scales]
    for x, (index, scale) in enumerate(found):
        colour = SERIES[index % len(SERIES)]
        axes.plot(x, scale["mean"], "o", color=colour)
        axes.vlines(x, scale["q25"], scale["q75"], color=colour, linewidth=6.0, alpha=0.4)
        axes.vlines(x, scale["q05"], scale["q95"], color=colour, linewidth=1.0)
    axes.set_xlim(-0.6, len(found) - 0.4)
    axes.set_xticks([])
    axes.set_xlabel("runs, in the legend's colours")


def _over_steps(courses: Courses) -> Figure:
    last = [scale for course in courses.values() for scale in course[-1]["scales"]]
    shown, depth = places(last), max(scale["layer"] or 0 for scale in last)
    several = len(courses) > 1
    caption = (
        f"Mean of each learned scale over its channels while training, a line a block, from block 0 (dark) to block {depth} "
        "(light). Effective values, alpha as absolute value."
        + (" Panels of a row share their axis." if several else "")
    )
    cells = [(place, label) for place in shown for label in courses]
    columns = len(courses) if several else COLUMNS
    figure, drawn = tiles(len(cells), columns, caption, sharey="row" if several else "none")
    for number, (axes, (place, label)) in enumerate(zip(drawn, cells, strict=True)):
        _course(axes, courses[label], place, depth)
        axes.set_title(f"{label}: {title(place)}")
        axes.set_xlabel("step")
        ticks(axes, "x", 4, whole=True, words=lambda step: f"{step:,.0f}")
        if number % columns == 0:
            axes.set_ylabel("mean effective value")
    return figure


def _course(axes: Axes, course: Sequence[Mapping[str, Any]], place: str, depth: int) -> None:
    lines: dict[int | None, list[tuple[int, float]]] = {}
    for line in course:
        for scale in line["scales"]:
            if scale["place"] == place:
                lines.setdefault(scale["layer"], []).append((line["step"], scale["mean"]))
    for layer, points in lines.items():
        # The map's end is left out, because its yellow is too light on white.
        colour = shade(0.85 * (layer or 0) / max(depth, 1))
        axes.plot(*zip(*points, strict=True), color=colour)
