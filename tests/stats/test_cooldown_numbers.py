"""What a cooldown study says of runs whose numbers the test chose."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ngptlab.runs import Run
from ngptlab.studies.cooldown.files import as_csv, print_study, write_study
from ngptlab.studies.cooldown.numbers import Leg, Study, measure

MakeRun = Callable[..., Path]
Written = Callable[..., dict[str, bytes]]


def leg(path: Path, frac: float, shape: str, start: int, **ended: Any) -> Leg:
    fields = {"path": path, "status": "done", "reason": ""} | ended
    return Leg(config=Run(path).config, frac=frac, shape=shape, start=start, **fields)


def trunk(make_run: MakeRun, method: str, seed: int, losses: dict[int, float]) -> Leg:
    path = make_run(method, losses, seed=seed, data={"seed": seed}, schedule={"shape": "constant"})
    return leg(path, 0.0, "", max(losses))


def branch(make_run: MakeRun, method: str, seed: int, end: float, shape: str = "linear", **how: Any) -> Leg:
    """The last 30 of 100 steps; its own records don't have the branch point, the trunk's have."""
    schedule = {"cooldown_frac": 0.3, "cooldown_shape": shape}
    path = make_run(method, {0: 6.0, 100: end}, seed=seed, data={"seed": seed}, schedule=schedule)
    return leg(path, 0.3, shape, 70, **how)


@pytest.fixture
def legs(make_run: MakeRun) -> list[Leg]:
    """Seeds are 1 nat apart in both arms. b is 0.10, 0.12, 0.14 behind before the cooldown and 0.2, 0.2, 0.23 ahead after."""
    found = []
    for seed, (before, after) in enumerate(((0.10, -0.2), (0.12, -0.2), (0.14, -0.23))):
        found += [
            trunk(make_run, "a", seed, {0: 6.0, 70: 3.0 + seed, 100: 2.9 + seed}),
            branch(make_run, "a", seed, 2.5 + seed),
            trunk(make_run, "b", seed, {0: 6.0, 70: 3.0 + seed + before, 100: 2.9 + seed}),
            branch(make_run, "b", seed, 2.5 + seed + after),
        ]
    return found


def test_gaps_before_and_after_are_paired_by_seed(legs: list[Leg]) -> None:
    study = measure(legs, name="made")
    assert [(r["arm"], r["frac"], r["start_step"]) for r in study["rows"]] == [
        ("a", 0.0, 100),
        ("a", 0.3, 70),
        ("b", 0.0, 100),
        ("b", 0.3, 70),
    ]
    a, b = study["rows"][1], study["rows"][3]
    assert (a["seeds"], a["losses"]) == ([0, 1, 2], [2.5, 3.5, 4.5]) and a["gaps"] is None
    assert a["final_loss_nats"] == 3.5 and a["final_loss_stderr"] == pytest.approx(1 / 3**0.5)
    assert a["validation_stderr"] == 0.01, "of the measurement, kept apart from that over seeds"
    assert a["before_nats"] == pytest.approx(4.0), "from the trunk, for the branch did not measure it"
    assert b["gaps"] and b["gaps"]["before"] and b["gaps"]["change"]
    assert b["gaps"]["before"]["mean"] == pytest.approx(0.12)
    assert b["gaps"]["before"]["stderr"] == pytest.approx(0.02 / 3**0.5)
    assert b["gaps"]["after"]["mean"] == pytest.approx(-0.21)
    assert b["gaps"]["change"]["mean"] == pytest.approx(-0.33)
    assert b["gaps"]["change"]["stderr"] == pytest.approx(0.0013**0.5 / 3**0.5)
    none = study["rows"][2]["gaps"]
    assert none and none["before"] is None and none["after"]["mean"] == pytest.approx(0.0), (
        "the trunks at their end"
    )
    assert study["speedups"] == [] and study["warnings"] == []


def test_a_seed_without_result_takes_its_row_along(legs: list[Leg]) -> None:
    """A mean over the others would flatter. The baseline's row without a result leaves no gap either."""
    broken = [leg for leg in legs if not (leg.config.method == "a" and leg.frac and leg.config.seed == 1)]
    lost = next(leg for leg in legs if leg.config.method == "a" and leg.frac and leg.config.seed == 1)
    fields = vars(lost) | {"path": None, "status": "diverged", "reason": "step 80: loss nan"}
    study = measure([*broken, Leg(**fields)], name="made")
    a, b = study["rows"][1], study["rows"][3]
    assert a["final_loss_nats"] is None and a["reason"] == "seed 1 diverged: step 80: loss nan"
    assert len(a["runs"]) == 2 and b["final_loss_nats"] is not None and b["gaps"] is None
    assert study["warnings"][0].startswith("No result for a, 100 steps, cooldown 0.3 linear: seed 1 diverged")
    console = Console(width=140, record=True, file=io.StringIO())
    print_study(study, console)
    assert "none" in console.export_text()


def test_a_length_that_the_trunk_did_not_measure_is_told(make_run: MakeRun) -> None:
    """It finished in a study that did not ask for this length."""
    path = make_run("a", {0: 6.0, 60: 2.6}, schedule={"cooldown_frac": 0.5})
    legs = [trunk(make_run, "a", 0, {0: 6.0, 100: 2.9}), leg(path, 0.5, "linear", 30)]
    study = measure(legs, name="made")
    short = study["rows"][0]
    assert (short["steps"], short["frac"], short["final_loss_nats"]) == (60, 0.0, None)
    assert short["reason"] == "seed 0 was not measured after 60 steps"
    assert study["warnings"][0].startswith("No result for a, 60 steps, no cooldown: seed 0 was not measured")


def test_one_seed_and_an_untuned_rate_are_told(make_run: MakeRun) -> None:
    one = [trunk(make_run, "a", 0, {0: 6.0, 100: 2.9}), branch(make_run, "a", 0, 2.5)]
    study = measure(one, name="made")
    assert study["warnings"] == ["One seed: nothing says how far another would move a loss or a gap."]
    assert study["rows"][1]["final_loss_stderr"] is None and study["rows"][1]["before_nats"] is None
    path = make_run("c", {0: 6.0, 100: 2.5}, optim={"lr": 2**-8})
    assert "on the edge of what search" in measure([leg(path, 0.3, "linear", 70)], name="made")["warnings"][0]


def test_files_and_table(legs: list[Leg], written: Written) -> None:
    study: Study = measure(legs, name="made")
    files = written(write_study, study, "cooldown")
    assert files["cooldown.csv"].decode() == as_csv(study)
    rows = list(csv.DictReader(io.StringIO(as_csv(study))))
    assert rows[3]["losses"] == "2.3 3.3 4.27" and float(rows[3]["gap_after_nats"]) == pytest.approx(-0.21)
    assert rows[3]["gap_after_p_signs"] == "0.25" and rows[1]["gap_after_nats"] == ""
    console = Console(width=140, record=True, file=io.StringIO())
    print_study(study, console)
    text = console.export_text()
    assert "3.5000 ± 2.4841" in text and "+0.1200 ± 0.0497" in text and "-0.2100 ± 0.0430" in text
    assert "the cooldown moves the gap to a by -0.3300 nats, 95% interval" in text
