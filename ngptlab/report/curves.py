"""The figures of a report: each with its curves, its views, its caption and its numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ngptlab.draw.panels import Axes
from ngptlab.report import plots, views, wording
from ngptlab.report.schema import Gap, Summary
from ngptlab.report.views import View
from ngptlab.stats.costs import Measure
from ngptlab.stats.tables import Row

NAMES = {"loss", "loss-end", "gap", "length", "training-loss", "learning-rate", "gradient-norm"}
"""Names of all possible figures."""


COSTS: tuple[Measure, ...] = ("step", "tokens", "flops", "seconds")
ELSEWHERE = {"lr", "grad_norm", "grad_norm_by_seed"}
"""Quantities of a point of training that have figures and tables of their own."""
EARLY = "On the linear axis, the first tenth of the run may leave the frame."
OF_TRAINING = {"training-loss", "learning-rate", "gradient-norm"}
"""Figures that say how the runs went, and not which method is better."""


@dataclass(frozen=True, kw_only=True)
class Curves:
    """One figure. `draw` fills axes for one of its views; a figure with a single view offers no choice."""

    name: str
    """Name of its files, and part of the page's ids."""
    title: str
    label: str
    """Description for readers who can't see the figure. It holds no user's text."""
    caption: str
    bands: str
    """Sentences that explain bands and thin lines, in the caption and in the legend of the figure's files."""
    draw: Callable[[View, Axes], list[plots.Curve]]
    rows: list[Row]
    """All numbers that its views show."""
    views: list[View] = field(default_factory=lambda: [View()])


def curves(summary: Summary) -> list[Curves]:
    """The figures for which there are numbers."""
    methods = summary["methods"].values()
    found = [_losses(summary), _end(summary)]
    if summary["gaps"]:
        found.append(_gaps(summary))
    if any(method["length"] for method in methods):
        found.append(_lengths(summary))
    if any(method["train"] for method in methods):
        found.append(_training(summary))
    found += [
        make(summary)
        for what, make in ((plots.RATE, _rates), (plots.NORM, _norms))
        if any(plots.recorded(method, what) for method in methods)
    ]
    return found


def _losses(summary: Summary) -> Curves:
    early = [] if plots.few(summary) else [EARLY]
    return Curves(
        name="loss",
        title="Validation loss",
        label="Validation loss",
        caption=" ".join(["Lower is better.", *early, *_cooldown_note(summary), *_seconds_note(summary)]),
        bands=_bands(summary),
        draw=lambda view, axes: plots.losses(axes, summary, view),
        rows=list(_points(summary, "val")),
        views=views.views(summary),
    )


def _end(summary: Summary) -> Curves:
    """The end of the loss curves, on linear axes only, because a logarithmic axis is nearly linear there."""
    text = "These are the last parts of the same curves on a finer axis. The order at the right edge is the result."
    start = plots.end_step(summary)
    return Curves(
        name="loss-end",
        title="Validation loss, the end",
        label="Validation loss at the end",
        caption=" ".join([text, *_cooldown_note(summary), *_seconds_note(summary)]),
        bands=_bands(summary),
        draw=lambda view, axes: plots.losses(axes, summary, view, from_step=start),
        rows=[row for row in _points(summary, "val") if row["step"] >= start],
        views=views.views(summary, log=False),
    )


def _gaps(summary: Summary) -> Curves:
    base = summary["baseline"]
    text = (
        f"Below zero a method is better than {base} at equal tokens, steps, seconds or FLOPs, whichever is chosen. "
        f"Circles are changes of sign. Where validations do not coincide, {base}'s loss is read between them, and never "
        "beyond its end."
    )
    return Curves(
        name="gap",
        title=f"Gap to {base}",
        label="Gap to the baseline",
        caption=" ".join([text, *_cooldown_note(summary), *_seconds_note(summary)]),
        bands=_gap_bands(summary),
        draw=lambda view, axes: plots.gaps(axes, summary, view),
        rows=list(_gap_rows(summary)),
        views=views.views(summary),
    )


def _lengths(summary: Summary) -> Curves:
    text = (
        "Lengths to the left of the dotted line were seen in training. A model whose curve stays flat to the right "
        "extrapolates, and one whose curve rises does not."
    )
    rows = [
        {"method": name, **_plain(point)}
        for name, method in summary["methods"].items()
        for point in method["length"]
    ]
    return Curves(
        name="length",
        title="Loss beyond the training length",
        label="Loss by position beyond the training length",
        caption=text,
        bands=wording.bands(
            {
                name: len(method["length"][0]["by_seed"])
                for name, method in summary["methods"].items()
                if method["length"]
            }
        ),
        draw=lambda view, axes: plots.lengths(axes, summary),
        rows=rows,
    )


def _training(summary: Summary) -> Curves:
    text = "Each point is a mean over a block of steps, so the noise of single batches is not shown."
    return Curves(
        name="training-loss",
        title="Training loss",
        label="Training loss",
        caption=" ".join([text, *_cooldown_note(summary), *_seconds_note(summary)]),
        bands=wording.bands(_counts(summary), band=False),
        draw=lambda view, axes: plots.training(axes, summary, view),
        rows=list(_points(summary, "train")),
        views=views.views(summary),
    )


def _rates(summary: Summary) -> Curves:
    return Curves(
        name="learning-rate",
        title="Learning rate",
        label="Learning rate",
        caption=" ".join(
            ["The learning rate of each step, as the run recorded it.", *_cooldown_note(summary)]
        ),
        bands="",
        draw=lambda view, axes: plots.training(axes, summary, view, plots.RATE),
        rows=list(_recorded(summary, plots.RATE)),
        views=views.views(summary, log=False),
    )


def _norms(summary: Summary) -> Curves:
    text = f"The norm of the whole gradient before it is clipped. Each point is a mean over a block of steps. {EARLY}"
    return Curves(
        name="gradient-norm",
        title="Gradient norm",
        label="Gradient norm",
        caption=" ".join([text, *_cooldown_note(summary)]),
        bands=wording.bands(_counts(summary), band=False),
        draw=lambda view, axes: plots.training(axes, summary, view, plots.NORM),
        rows=list(_recorded(summary, plots.NORM)),
        views=views.views(summary, log=False),
    )


def _recorded(summary: Summary, what: plots.Recorded) -> Iterator[Row]:
    """Rows of one quantity of training."""
    for name, method in summary["methods"].items():
        for point in plots.recorded(method, what):
            row: Row = {"method": name, **{key: point[key] for key in COSTS}, what.mean: point[what.mean]}
            yield row | _plain({"by_seed": point[what.by_seed]} if what.by_seed else {})


def _points(summary: Summary, key: str) -> Iterator[Row]:
    for name, method in summary["methods"].items():
        for point in method["val"] if key == "val" else method["train"]:
            yield {"method": name, **_plain({k: v for k, v in point.items() if k not in ELSEWHERE})}


def _plain(point: Mapping[str, Any]) -> Row:
    """A point as cells, with the seeds' values in one cell, separated by blanks."""
    return {key: " ".join(map(str, v)) if key == "by_seed" else v for key, v in point.items()}


def _gap_rows(summary: Summary) -> Iterator[Row]:
    """Rows in long form, one for each method, cost and point."""
    for name, gap in summary["gaps"].items():
        for measure in views.NAMES:
            xs, over, _ = plots.gap_curve(gap, measure)
            halves: Sequence[float | None] = over.halves or [None] * len(xs)
            for i, (x, error, half) in enumerate(
                zip(xs, _errors(gap, measure, len(xs)), halves, strict=True)
            ):
                row: Row = {"method": name, "equal": measure, "at": x, "gap_nats": over.means[i]}
                yield row | _plain(
                    {"stderr": error, "ci95": half, "by_seed": [one[i] for one in over.singles]}
                )


def _errors(gap: Gap, measure: Measure, count: int) -> Sequence[float | None]:
    """Standard errors of the last `count` points of a gap's curve."""
    curve = gap["at_equal"].get(measure)
    errors = gap["stderr"] if measure == "step" else curve and curve["stderr"]
    return errors[len(errors) - count :] if errors else [None] * count


def _cooldown_note(summary: Summary) -> list[str]:
    start = summary["schedule"]["cooldown_start_step"]
    return [] if start is None else [f"The dotted line is the start of the cooldown, step {start:,}."]


def _bands(summary: Summary) -> str:
    return wording.bands(_counts(summary))


def _gap_bands(summary: Summary) -> str:
    """Sentences that explain the bands of the gaps. Unpaired gaps have a band, but no line for each seed."""
    gaps = summary["gaps"]
    paired = all(gap["paired_seeds"] for gap in gaps.values())
    return wording.bands(
        {name: gap["count"] for name, gap in gaps.items()},
        of="paired seeds" if paired else "seeds",
        thin=any(len(gap["paired_seeds"]) > 1 for gap in gaps.values()),
    )


def _counts(summary: Summary) -> dict[str, int]:
    return {name: len(method["seeds"]) for name, method in summary["methods"].items()}


def _seconds_note(summary: Summary) -> list[str]:
    return [text for text in [views.no_seconds(summary)] if text]
