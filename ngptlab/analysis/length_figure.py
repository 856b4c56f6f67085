"""The figure of the length evaluation: loss at a position, and perplexity of the text up to it, as figure 13 of the paper."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ngptlab.analysis.drawing import after_steps, curve, legend, logarithmic, tiles, write
from ngptlab.analysis.figures import SERIES
from ngptlab.analysis.stats import perplexity

Measured = Mapping[str, Mapping[str, Any]]
"""Label of a run -> what `RUN/evals/length.json` holds."""


def draw(measured: Measured, out: Path) -> None:
    """Write length.png and length.svg into `out`."""
    write(out, "length", lambda: _figure(measured))


def _figure(measured: Measured) -> Figure:
    figure, (at, up_to) = tiles(2, 2, _caption(measured), sharex=True)
    for run, (label, record) in enumerate(measured.items()):
        bins = record["bins"]
        # A bin's place is the middle of its octave; the first one begins at 0, which has none.
        middles = [math.sqrt(max(each["from"], each["to"] / 4) * each["to"]) for each in bins]
        _curve(at, run, middles, bins, label=label, transform=lambda nats: nats)
        _curve(up_to, run, [each["to"] for each in bins], record["up_to"], label=label, transform=_perplexity)
    for axes in (at, up_to):
        for run, record in enumerate(measured.values()):
            axes.axvline(record["context"], color=SERIES[run % len(SERIES)], linestyle="dotted", linewidth=1)
        axes.set_xlabel("position (tokens)")
        logarithmic(axes, "x")
    logarithmic(up_to, "y")
    at.set_title("at a position")
    at.set_ylabel("loss (nats)")
    up_to.set_title("of the text up to a position")
    up_to.set_ylabel("perplexity")
    legend(figure)
    return figure


def _curve(
    axes: Axes,
    run: int,
    x: list[float],
    values: list[Mapping[str, Any]],
    *,
    label: str,
    transform: Callable[[float], float],
) -> None:
    low, middle, high = (
        [transform(value["loss_nats"] + sign * value["stderr_nats"]) for value in values]
        for sign in (-1, 0, 1)
    )
    curve(axes, run, x, middle, (low, high), label=label)


def _perplexity(nats: float) -> float:
    found = perplexity(nats)
    return math.inf if found is None else found


def _caption(measured: Measured) -> str:
    records = measured.values()
    documents = " or ".join(map(str, sorted({record["documents"] for record in records})))
    how = describe(next(iter(records)))  # one command reads all runs alike
    return (
        f"Bands: one standard error over {documents} documents. Dotted: training context. {after_steps(measured)}"
        + (f" Read with {how}." if how else "")
    )


def describe(record: Mapping[str, Any]) -> str:
    """In which way reading differed from training; empty where it did not."""
    parts = []
    if record["window"] is not None:
        parts.append(f"window of {record['window']:,} tokens")
    if record["rope_base"] is not None:
        parts.append(f"RoPE base {record['rope_base']:g}")
    if record["rope_scale"] is not None:
        parts.append(f"positions divided by {record['rope_scale']:g}")
    return ", ".join(parts)
