"""The README's picture, and the numbers in it, from the recorded runs: results/demo-result.svg and results/demo-result.csv.

`make picture` writes both anew, and trains nothing. `tests/test_picture.py` holds the numbers against the runs.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ngptlab import disk
from ngptlab.draw.style import SERIES, STYLE, write
from ngptlab.jobs.in_turn import plan
from ngptlab.ledger.book import Ledger
from ngptlab.recipes import recipe
from ngptlab.stats.estimates import half95, mean
from ngptlab.stats.tables import Row, as_csv

ROOT = Path(__file__).parents[2]
METHODS = {"gpt": "GPT", "ngpt": "nGPT"}
SEEDS = 5
RUNS, RESULTS, NAME = ROOT / "results" / "runs", ROOT / "results", "demo-result"
FIRST_STEP = 100
"""Before it the losses are so high that the end could not be seen."""


def records() -> dict[str, list[Mapping[str, Any]]]:
    """The recorded runs of each method at the demo's tuned settings, in the order of their seeds.

    Raises:
        KeyError: a run is not recorded, because the recipe has changed since.
    """
    known = {entry.hash: entry.record for entry in Ledger(RUNS).entries()}
    configs = plan(recipe("demo"), methods=list(METHODS), seeds=SEEDS, overrides={})
    return {
        method: [known[config.hash] for config in configs if config.method == method] for method in METHODS
    }


def numbers(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Row]:
    """A row a point: panel, method, x, mean over seeds, half-width of its 95% interval by Student's t, each seed's loss."""
    rows: list[Row] = []
    for method, of_seeds in runs.items():
        for panel, points in (("step", _validations), ("position", _positions)):
            for x, losses in _joined(map(points, of_seeds)).items():
                row = {"panel": panel, "method": method, "x": x, "loss_nats": mean(losses)}
                rows.append({**row, "ci95_nats": half95(losses), "by_seed": " ".join(map(str, losses))})
    return rows


def _joined(series: Iterable[Mapping[float, float]]) -> dict[float, list[float]]:
    """Each x that all seeds have, with their values."""
    each = list(series)
    return {x: [one[x] for one in each] for x in each[0] if all(x in one for one in each)}


def _validations(record: Mapping[str, Any]) -> dict[float, float]:
    found = {line["step"]: line["loss_nats"] for line in record["evals"] if line["eval"] == "val"}
    return {step: loss for step, loss in found.items() if step >= FIRST_STEP}


def _positions(record: Mapping[str, Any]) -> dict[float, float]:
    """Mean loss of each bin of positions in long documents, at the bin's middle."""
    (length,) = (line for line in record["evals"] if line["eval"] == "length")
    return {(part["from"] + part["to"]) / 2: part["loss_nats"] for part in length["bins"]}


def draw(rows: Sequence[Row], *, context: int, cooldown: float) -> Figure:
    """Both panels. `cooldown`: the step at which it begins."""
    figure = Figure(figsize=(9.2, 3.7), layout="constrained")
    left, right = figure.subplots(1, 2)
    _panel(left, [row for row in rows if row["panel"] == "step"], single=True)
    left.set(title="In training, GPT is ahead", xlabel="step", ylabel="validation loss, nats a byte")
    _line(left, cooldown, "cooldown")
    _panel(right, [row for row in rows if row["panel"] == "position"], single=False)
    right.set(title="Beyond the training context, nGPT is ahead", xlabel="position in the text, bytes")
    right.set_ylabel("loss, nats a byte")
    _line(right, context, "training\ncontext")
    figure.supxlabel(
        f"Means over {SEEDS} seeds that chose no setting, with 95% intervals (Student's t). Thin: single seeds.",
        fontsize=8,
    )
    return figure


def _panel(axes: Axes, rows: Sequence[Row], *, single: bool) -> None:
    for number, (method, name) in enumerate(METHODS.items()):
        own = [row for row in rows if row["method"] == method]
        x, y, half = (np.array([row[key] for row in own], float) for key in ("x", "loss_nats", "ci95_nats"))
        colour = SERIES[number]
        axes.fill_between(x, y - half, y + half, color=colour, alpha=0.2, linewidth=0)
        axes.plot(x, y, color=colour, linestyle="--" if number else "-")
        if single:
            axes.plot(x, [[*map(float, str(row["by_seed"]).split())] for row in own], color=colour, lw=0.4)
        # The two ends of the left panel are close: the lower label goes down, the higher one up.
        shift = 3 if all(y[-1] >= float(str(row["loss_nats"])) for row in rows if row["x"] == x[-1]) else -3
        label = f"{name} {y[-1]:.2f}"
        axes.annotate(
            label, (x[-1], y[-1]), (5, shift), textcoords="offset points", color=colour, va="center"
        )


def _line(axes: Axes, x: float, text: str) -> None:
    axes.axvline(x, color="#808080", linestyle=":", linewidth=1)
    axes.annotate(
        text,
        (x, 1),
        (4, -3),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        va="top",
        fontsize=8,
    )


def main() -> None:
    """Write the picture and its numbers."""
    config = recipe("demo").config
    rows = numbers(records())
    cooldown = config.train.steps * (1 - config.schedule.cooldown_frac)
    build = partial(draw, rows, context=config.train.context, cooldown=cooldown)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), NAME, build, style=STYLE | {"axes.titlesize": 10.0})
        disk.write_bytes(RESULTS / f"{NAME}.svg", (Path(folder) / f"{NAME}.svg").read_bytes())
        if len(sys.argv) > 1:  # for a look
            disk.write_bytes(Path(sys.argv[1]), (Path(folder) / f"{NAME}.png").read_bytes())
    disk.write_text(RESULTS / f"{NAME}.csv", as_csv(rows))


if __name__ == "__main__":
    main()
