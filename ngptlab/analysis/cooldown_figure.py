"""The figure of a cooldown study: final loss over the share of the cooldown, and the gap before and after it."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ngptlab.analysis.cooldown import Row, Study
from ngptlab.analysis.figures import INK, SERIES, render
from ngptlab.analysis.stats import Difference

DASHES, MARKERS = ("-", "--", ":"), ("o", "s", "^")


def draw(study: Study, ending: str) -> bytes:
    """The figure as a PNG or an SVG file; a line of panels for each length."""
    lengths = sorted({row["steps"] for row in study["rows"]})

    def fill(figure: Figure) -> None:
        panels = figure.subplots(len(lengths), 2, squeeze=False)
        for (losses, gaps), steps in zip(panels, lengths, strict=True):
            rows = [row for row in study["rows"] if row["steps"] == steps]
            _losses(losses, study, rows)
            _gaps(gaps, study, rows)
            losses.set_title(f"{steps:,} steps ({rows[0]['tokens']:,} tokens)", fontsize=9)
        figure.suptitle(f"Cooldowns from one trunk ({study['name']})")

    return render(fill, size=(9.0, 0.9 + 3.4 * len(lengths)), ending=ending)


def _shapes(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["shape"] for row in rows if row["shape"]))


def _losses(axes: Axes, study: Study, rows: Sequence[Row]) -> None:
    """The trunk is the common first point of a method's lines."""
    several = False
    for number, arm in enumerate(study["arms"]):
        for place, shape in enumerate(_shapes(rows)):
            shown = [
                row
                for row in rows
                if row["arm"] == arm and row["shape"] in ("", shape) and row["final_loss_nats"] is not None
            ]
            errors = [row["final_loss_stderr"] or 0.0 for row in shown]
            several = several or any(errors)
            axes.errorbar(
                [row["frac"] for row in shown],
                [loss for row in shown if (loss := row["final_loss_nats"]) is not None],
                yerr=errors if any(errors) else None,
                fmt=DASHES[place % 3] + MARKERS[place % 3],
                color=SERIES[number % len(SERIES)],
                linewidth=1.2,
                markersize=4,
                capsize=2,
                label=f"{arm}, {shape}",
            )
    axes.set_xlabel("share of the run in the cooldown; 0: constant rate to the end")
    axes.set_ylabel(
        "final validation loss (nats)" + ("\nbars: one standard error over seeds" if several else "")
    )
    axes.legend(fontsize=8, framealpha=0.8, edgecolor="none")


def _gaps(axes: Axes, study: Study, rows: Sequence[Row]) -> None:
    """After a cooldown as a full mark, before it, at the branch point, as an empty one."""
    several = False
    for number, arm in enumerate(study["arms"]):
        for place, shape in enumerate(_shapes(rows)):
            shown = [row for row in rows if row["arm"] == arm and row["shape"] == shape and row["gaps"]]
            after = [(row["frac"], row["gaps"]["after"]) for row in shown if row["gaps"]]
            before = [(row["frac"], row["gaps"]["before"]) for row in shown if row["gaps"]]
            colour, marker = SERIES[number % len(SERIES)], MARKERS[place % 3]
            several = (
                _points(axes, after, colour, DASHES[place % 3] + marker, f"{arm}, after {shape}") or several
            )
            if place == 0:  # the trunk knows no shape
                known = [(frac, gap) for frac, gap in before if gap]
                _points(axes, known, colour, MARKERS[2], f"{arm}, before", empty=True)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_xlabel("share of the run in the cooldown")
    bars = "\nbars: one standard error over pairs of seeds" if several else ""
    axes.set_ylabel(f"loss minus that of {study['baseline']} (nats){bars}")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, framealpha=0.8, edgecolor="none")


def _points(
    axes: Axes,
    gaps: Sequence[tuple[float, Difference]],
    colour: str,
    form: str,
    label: str,
    *,
    empty: bool = False,
) -> bool:
    """Whether there are error bars."""
    errors = [gap["stderr"] for _, gap in gaps if gap["stderr"] is not None]
    if gaps:
        axes.errorbar(
            [frac for frac, _ in gaps],
            [gap["mean"] for _, gap in gaps],
            yerr=errors if len(errors) == len(gaps) else None,
            fmt=form,
            color=colour,
            mfc="none" if empty else colour,
            linewidth=1.2,
            markersize=4,
            capsize=2,
            label=label,
        )
    return bool(errors)
