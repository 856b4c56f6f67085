"""Speed-ups of run directories whose numbers the test chose."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ngptlab.errors import ConfigError
from ngptlab.report.page import write_report
from ngptlab.stats.records import load_runs
from ngptlab.studies.speedup.files import as_csv, print_speedups
from ngptlab.studies.speedup.numbers import SpeedUp, by_length, within_runs

MakeRun = Callable[..., Path]
BASE, OURS = {100: 3.0, 200: 2.5, 400: 2.0}, {100: 2.5, 200: 2.0, 400: 1.9}
"""The method after n steps is as good as the baseline after 2n; after 400 it is better than the baseline ever was."""


def arm(make_run: MakeRun, method: str, ends: dict[int, float], seeds: int = 1, **how: Any) -> list[Path]:
    """A run for each length and seed; seeds lie 0.5 nats apart, which both arms share."""
    return [
        make_run(method, {0: 6.0, steps // 2: 5.0 + seed, steps: loss + seed / 2}, seed=seed, **how)
        for seed in range(seeds)
        for steps, loss in ends.items()
    ]


def found(make_run: MakeRun, **how: Any) -> SpeedUp:
    seconds = how.pop("ours_seconds", 0.3)
    theirs = load_runs(arm(make_run, "a", BASE, seconds=[0.2] * 50, **how))
    speedup = by_length(load_runs(arm(make_run, "b", OURS, seconds=[seconds] * 50, **how)), theirs)
    assert speedup
    return speedup


def test_tokens_steps_flops_and_seconds(make_run: MakeRun) -> None:
    speedup = found(make_run)
    assert (speedup["method"], speedup["baseline"], speedup["kind"]) == ("b", "a", "by length")
    assert (speedup["seeds"], speedup["lengths"]) == (["0"], [100, 200, 400])
    first, second, last = speedup["points"]
    assert [p["steps"] for p in (first, second, last)] == [100, 200, 400]
    assert first["factor"] == {"value": pytest.approx(2.0), "bound": "measured"} == first["flops_factor"]
    assert second["factor"]["value"] == pytest.approx(2.0)
    assert first["baseline_steps"]["value"] == pytest.approx(200)
    assert first["baseline_tokens"]["value"] == pytest.approx(200 * 8 * 16)
    assert first["baseline_seconds"] and first["baseline_seconds"]["value"] == pytest.approx(200 * 0.2)
    assert first["seconds_factor"] and first["seconds_factor"]["value"] == pytest.approx(2.0 * 0.2 / 0.3)
    assert last["factor"] == {"value": 1.0, "bound": "at least"}
    assert first["interval"] is None and any(w.startswith("One seed") for w in speedup["warnings"])
    assert speedup["summary"] == (
        "For the loss of b after 200 steps (2.0000 nats) a needs 2.00 times the tokens (one seed, so no interval). "
        "a does not reach the loss of b after 400 steps (1.9000 nats): it was given 1.00 times the tokens. "
        "From full schedules (by length)."
    )


def test_three_seeds_have_an_interval(make_run: MakeRun) -> None:
    speedup = found(make_run, seeds=3)
    (point, *_) = speedup["points"]
    assert point["interval"] and [end["value"] for end in point["interval"]] == [pytest.approx(2.0)] * 2
    assert "95% interval over 3 paired seeds: 2.00× to 2.00×" in speedup["summary"]


def test_only_seeds_and_lengths_that_all_have_count(make_run: MakeRun) -> None:
    theirs = load_runs(arm(make_run, "a", BASE, seeds=2))
    ours = load_runs([*arm(make_run, "b", OURS), make_run("b", {0: 6.0, 100: 9.0}, seed=7)])
    speedup = by_length(ours, theirs)
    assert speedup and len(speedup["seeds"]) == 1 and len(speedup["points"]) == 3
    partly = by_length(ours, [run for run in theirs if run.config.seed or run.config.train.steps != 200])
    assert partly and partly["lengths"] == [100, 400]
    assert by_length(ours, [run for run in theirs if run.config.train.steps == 400]) is None, (
        "one length is no curve"
    )
    assert by_length(ours, [run for run in theirs if run.config.seed]) is None, "no seed in common"


def test_it_says_what_the_runs_are(make_run: MakeRun) -> None:
    def runs() -> str:
        records = {m: load_runs(paths[m]) for m in paths}
        return (by_length(records["b"], records["a"]) or {"runs": ""})["runs"]

    paths = {"a": arm(make_run, "a", BASE), "b": arm(make_run, "b", OURS)}
    assert runs() == "full schedules"
    every = [path for arm_paths in paths.values() for path in arm_paths]
    for number, path in enumerate(every):
        (path / "fork.json").write_text(json.dumps({"run": f"trunk-{path in paths['a']}", "step": 3}))
        if number == 0:
            assert runs() == "full schedules and cooldown branches"
    assert runs() == "cooldown branches of one trunk for each method and seed"
    (every[0] / "fork.json").write_text(json.dumps({"run": "another", "step": 3}))
    assert runs() == "cooldown branches of several trunks for each method and seed"


def test_unequal_settings_are_told(make_run: MakeRun) -> None:
    theirs = load_runs(arm(make_run, "a", BASE))
    equal = by_length(load_runs(arm(make_run, "b", OURS)), theirs)
    assert equal and not any("differ" in warning for warning in equal["warnings"])
    other = load_runs(arm(make_run, "c", OURS, eval={"val_tokens": 7}))
    speedup = by_length(other, theirs)
    assert speedup and any("eval.val_tokens" in warning for warning in speedup["warnings"])
    mixed = [
        *load_runs(arm(make_run, "d", {100: 2.5})),
        *load_runs(arm(make_run, "d", {200: 2.0}, optim={"lr": 0.5})),
    ]
    speedup = by_length(mixed, theirs)
    assert speedup and any(
        "Runs of d differ" in warning and "optim.lr" in warning for warning in speedup["warnings"]
    )


def test_within_runs_is_named_as_the_weaker(make_run: MakeRun) -> None:
    """The untrained model is no point of the curve; lines 2.0 apart in steps at equal loss."""
    base = {0: 9.0, 20: 4.0, 40: 3.0, 80: 2.0}
    ours = {0: 1.0, 10: 4.0, 20: 3.0, 40: 2.0, 80: 1.9}
    speedup = within_runs(load_runs([make_run("b", ours)]), load_runs([make_run("a", base)]))
    assert speedup and speedup["kind"] == "within runs" and speedup["lengths"] == [20, 40, 80]
    assert [p["steps"] for p in speedup["points"]] == [10, 20, 40, 80]
    assert [p["factor"]["value"] for p in speedup["points"][:3]] == [pytest.approx(2.0)] * 3
    assert speedup["points"][3]["factor"]["bound"] == "at least"
    assert (
        "it learned nothing" in speedup["warnings"][0]
        and "not the end of a shorter run" in speedup["warnings"][1]
    )
    assert "From points of one run (within runs)" in speedup["summary"]
    # 4 sequences a step up to step 40 of 80 and 12 after it: fewer tokens for the same steps, on either side.
    stages = {"train": {"batch_stages": (0.5, 1.5)}}
    both = [load_runs([make_run(*run, **stages)]) for run in (("b", ours), ("a", base))]
    growing = within_runs(*both)
    assert growing and [p["tokens"] / 64 for p in growing["points"]] == [10, 20, 40, 160]
    assert [p["steps"] for p in growing["points"]] == [10, 20, 40, 80]
    assert [p["baseline_tokens"]["value"] / 64 for p in growing["points"]] == pytest.approx(
        [20, 40, 160, 160]
    )
    assert [p["baseline_steps"]["value"] for p in growing["points"]] == pytest.approx([20, 40, 80, 80])


def test_report_takes_runs_of_several_lengths(make_run: MakeRun, tmp_path: Path) -> None:
    """The longest are compared, whatever the order; all make the speed-up; files stand beside the page."""
    paths = [*arm(make_run, "a", BASE), *arm(make_run, "b", OURS)]
    page = write_report(paths, tmp_path / "out", title="t")
    summary = json.loads(page.with_suffix(".json").read_text())
    assert summary["schedule"]["steps"] == 400 and summary["baseline"] == "a"
    assert summary["gaps"]["b"]["final_gap_nats"] == pytest.approx(-0.1)
    assert summary["gaps"]["b"]["final_difference"]["pairs"] == 1
    assert [(s["kind"], len(s["points"])) for s in summary["speedups"]] == [
        ("by length", 3),
        ("within runs", 2),
    ]
    assert any("Shorter runs (4, of 100, 200 steps)" in warning for warning in summary["warnings"])
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "figures" / "speedup.csv").read_text())))
    assert [(r["kind"], r["steps"], r["bound"]) for r in rows[:3]] == [
        ("by length", "100", "measured"),
        ("by length", "200", "measured"),
        ("by length", "400", "at least"),
    ]
    assert (tmp_path / "out" / "figures" / "speedup.png").read_bytes().startswith(b"\x89PNG")
    twin = make_run("a", {0: 6.0, 100: 3.0}, name="twin", optim={"lr": 0.5})
    with pytest.raises(ConfigError, match="two runs of a with the same seeds"):
        write_report([*paths, twin], tmp_path / "out", title="t")


def test_table(make_run: MakeRun) -> None:
    console = Console(width=140, record=True, file=io.StringIO())
    print_speedups([found(make_run, seeds=3)], console)
    text = console.export_text()
    assert "2.00×" in text and "at least 1.00×" in text and "1.33×" in text and "95% interval" in text
    assert as_csv([]) == ""
