"""The figure of the length evaluation: loss at a position, and perplexity of the text up to it, as figure 13 of the paper."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ngptlab.draw.panels import SMALL, Axes, Figure, after_steps, curve, legend, logarithmic, tiles
from ngptlab.draw.style import SERIES, write
from ngptlab.stats.estimates import ci95, perplexity

Measured = Mapping[str, Mapping[str, Any]]
"""Label of a run -> the content of `RUN/evals/length.json`."""


def draw(measured: Measured, out: Path) -> None:
    """Write length.png and length.svg into `out`."""
    write(out, "length", lambda: _figure(measured), style=SMALL)


def _figure(measured: Measured) -> Figure:
    figure, (at, up_to) = tiles(2, 2, _caption(measured), sharex=True)
    for run, (label, record) in enumerate(measured.items()):
        bins = record["bins"]
        # A bin is drawn at the middle of its octave. The first bin begins at 0 and has no octave.
        middles = [math.sqrt(max(each["from"], each["to"] / 4) * each["to"]) for each in bins]
        halves, halves_up_to = (
            [ci95(each["stderr_nats"], record["documents"]) or 0.0 for each in values]
            if record["documents"] > 1
            else None
            for values in (bins, record["up_to"])
        )
        _curve(at, run, middles, bins, halves, label=label, transform=lambda nats: nats)
        ends = [each["to"] for each in bins]
        _curve(up_to, run, ends, record["up_to"], halves_up_to, label=label, transform=_perplexity)
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
    halves: list[float] | None,
    *,
    label: str,
    transform: Callable[[float], float],
) -> None:
    losses = [value["loss_nats"] for value in values]
    low, high = (
        [transform(loss + sign * half) for loss, half in zip(losses, halves or losses, strict=True)]
        for sign in (-1, 1)
    )
    curve(axes, run, x, list(map(transform, losses)), (low, high) if halves else None, label=label)


def _perplexity(nats: float) -> float:
    found = perplexity(nats)
    return math.inf if found is None else found


def _caption(measured: Measured) -> str:
    records = measured.values()
    several = sorted({record["documents"] for record in records if record["documents"] > 1})
    documents = " or ".join(map(str, several))
    bands = (
        f"bands: 95% over documents, Student's t, n = {documents}" if several else "one document: no bands"
    )
    how = describe(next(iter(records)))  # one command reads all runs alike
    return f"A line is one run, of one seed; {bands}. Dotted: training context. {after_steps(measured)}" + (
        f" Read with {how}." if how else ""
    )


def describe(record: Mapping[str, Any]) -> str:
    """How reading differed from training, in words; empty where it did not."""
    parts = []
    if record["window"] is not None:
        parts.append(f"window of {record['window']:,} tokens")
    if record["rope_base"] is not None:
        parts.append(f"RoPE base {record['rope_base']:g}")
    if record["rope_scale"] is not None:
        parts.append(f"positions divided by {record['rope_scale']:g}")
    return ", ".join(parts)
