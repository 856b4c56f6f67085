"""Figures of studies: bars are Student's 95% over the seeds, single seeds stand behind them, and one seed has neither."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ngptlab.measure.length import figure as length_figure
from ngptlab.studies.cooldown import figure as cooldown_figure
from ngptlab.studies.coord import figure as coord_figure
from ngptlab.studies.coord.numbers import Point
from ngptlab.studies.ladder import figure as ladder_figure
from ngptlab.studies.speedup import figure as speedup_figure

ROOT = Path(__file__).parents[2]
T2 = 4.302653
"""Student's t for three seeds."""


def bars(axes: Axes, place: int) -> list[float]:
    """Half-lengths of all error bars along x (0) or y (1)."""
    return [
        float(abs(end[place] - start[place]) / 2)
        for container in axes.containers
        for collection in getattr(container, "lines", ((), (), ()))[2]
        for start, end in collection.get_segments()
        if not math.isnan(end[place])
    ]


def marks(axes: Axes, sign: str) -> int:
    """Marks of single seeds, which are pale; caps of error bars look alike."""
    return sum(len(line.get_xdata()) for line in axes.lines if line.get_marker() == sign and line.get_alpha())  # type: ignore[arg-type]


def ladder(losses: list[float], adds: list[float]) -> dict[str, Any]:
    several = len(losses) > 1
    step = {
        "against": "a",
        "nats": -0.1,
        "stderr": 0.02 if several else None,
        "pairs": len(adds),
        "by_pair": adds,
    }
    step["ci95"] = T2 * 0.02 if several else None
    rung = {
        "label": "a",
        "seeds": list(range(len(losses))),
        "losses": losses,
        "final_loss_nats": 2.0,
        "final_loss_stderr": 0.01,
        "stderr_over": "seeds" if several else "validation",
        "adds": None,
    }
    rungs = [rung, {**rung, "label": "b", "adds": step}]
    return {"base": "a", "target": "b", "mode": "cumulative", "recipe": "r", "rungs": rungs}


def test_a_ladder_of_three_seeds_and_of_one() -> None:
    losses, adds = ladder_figure.draw(ladder([1.9, 2.0, 2.1], [-0.1, -0.2, 0.0])).axes
    assert bars(losses, 0) == pytest.approx([T2 * 0.01] * 2) and bars(adds, 0) == pytest.approx([T2 * 0.02])
    assert (marks(losses, "|"), marks(adds, "|")) == (6, 3)
    assert (
        "95%, Student's t, n = 3 seeds" in losses.get_xlabel() and "n = 3 pairs of seeds" in adds.get_xlabel()
    )
    losses, adds = ladder_figure.draw(ladder([2.0], [-0.1])).axes
    assert not bars(losses, 0) and not bars(adds, 0) and not marks(losses, "|")
    assert "one seed: no lines" in losses.get_xlabel() and "one seed: no lines" in adds.get_xlabel()


def test_committed_studies_from_before_single_seeds_were_kept_are_drawn() -> None:
    old = json.loads((ROOT / "results" / "demo-ladder.json").read_text())
    assert "losses" not in old["rungs"][0] and bars(ladder_figure.draw(old).axes[0], 0)
    study = json.loads((ROOT / "results" / "demo-cooldown.json").read_text())
    figure = cooldown_figure.draw(study)
    assert "bars: 95%, Student's t, n = 3 seeds; short lines: single seeds" in figure.get_suptitle()
    first = next(row for row in study["rows"] if row["gaps"] and row["shape"])
    halves = bars(figure.axes[1], 1)
    assert any(half == pytest.approx(first["gaps"]["after"]["ci95"]) for half in halves)
    assert marks(figure.axes[0], "_") and marks(figure.axes[1], "_")


def test_speed_ups_have_a_mark_a_seed() -> None:
    def factor(value: float) -> dict[str, Any]:
        return {"value": value, "bound": "measured"}

    def of(seeds: int) -> Axes:
        each = [factor(1.4 + 0.1 * seed) for seed in range(seeds)]
        interval = [factor(1.2), factor(1.8)] if seeds > 1 else None
        point = {"tokens": 10, "factor": factor(1.5), "interval": interval, "by_seed": each}
        speedup = {"method": "b", "baseline": "a", "kind": "by length", "schedule": "s"}
        record = [speedup | {"seeds": list(map(str, range(seeds))), "points": [point]}]
        return speedup_figure.draw(record).axes[0]

    assert marks(of(3), "_") == 3 and "95%, Student's t, n = 3 seeds" in of(3).get_title()
    assert marks(of(1), "_") == 0 and "one seed: no bars" in of(1).get_title()


def test_a_coordinate_check_shows_each_seed() -> None:
    def of(seeds: int) -> Figure:
        points = [
            Point(w, s, t, "q", 1.0 + s, 1.0 + s) for w in (32, 64) for s in range(seeds) for t in (0, 1)
        ]
        return coord_figure.draw(points, title="t")

    assert marks(of(2).axes[0], "_") == 2 * 2 * 2 and "mean of 2 seeds" in of(2).get_supxlabel()
    assert marks(of(1).axes[0], "_") == 0 and "one seed" in of(1).get_supxlabel()


def test_the_length_figure_has_95_percent_over_documents_of_one_run() -> None:
    bins = [
        {"from": 0, "to": 8, "loss_nats": 3.0, "stderr_nats": 0.1},
        {"from": 8, "to": 16, "loss_nats": 2.0, "stderr_nats": 0.1},
    ]
    how = {"window": None, "rope_base": None, "rope_scale": None}
    record = {"step": 8, "documents": 3, "context": 8, "bins": bins, "up_to": bins, **how}
    figure = length_figure._figure({"run": record})
    heights = [float(y) for _, y in figure.axes[0].collections[0].get_paths()[0].vertices]  # type: ignore[union-attr]
    assert max(heights) == pytest.approx(3.0 + T2 * 0.1)
    said = " ".join(text.get_text().replace("\n", " ") for text in figure.texts)
    assert "one run, of one seed; bands: 95% over documents, Student's t, n = 3" in said
    alone = length_figure._figure({"run": record | {"documents": 1}})
    assert not alone.axes[0].collections and "one document: no bands" in alone.texts[0].get_text().replace(
        "\n", " "
    )
