"""One run's losses over its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ngptlab.draw.panels import Figure, grid
from ngptlab.draw.style import SERIES, STYLE, styled
from ngptlab.terminal import printable

INCHES = (6.4, 3.6)


def losses(name: str, metrics: Sequence[Mapping[str, Any]], val: Sequence[Mapping[str, Any]]) -> Figure:
    """Training loss of each step, and validation losses as marks with their standard error over documents.

    Args:
        name: of the run, the title.
        metrics, val: records of the run's `metrics.jsonl` and validations.
    """
    with styled(STYLE):
        figure, ((axes,),) = grid(1, 1, INCHES)
        if metrics:
            steps, values = zip(*((record["step"], record["loss_nats"]) for record in metrics), strict=True)
            axes.plot(steps, values, color=SERIES[0], linewidth=0.8, alpha=0.6, label="training, each step")
        if val:
            axes.errorbar(
                [record["step"] for record in val],
                [record["loss_nats"] for record in val],
                yerr=[record["stderr_nats"] for record in val],
                color=SERIES[1],
                marker="o",
                markersize=3,
                label="validation ± one standard error",
            )
        axes.set_title(printable(name))
        axes.set_xlabel("step")
        axes.set_ylabel("loss, nats a token")
        if metrics or val:
            axes.legend(frameon=False)
    return figure
