"""Every kind of file gives the evidence that it holds; a damaged or foreign one is one line."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from made_runs import MakeRun
from ngptlab.claims import rules
from ngptlab.claims.evidence import Evidence
from ngptlab.cli import main
from ngptlab.disk import write_json
from ngptlab.errors import LabError
from ngptlab.evidence import gather
from ngptlab.ledger.book import Ledger
from ngptlab.measure.length.show import write_length
from ngptlab.measure.scales.show import write_scales
from ngptlab.measure.spectra.show import write_spectra
from ngptlab.report.page import write_report
from ngptlab.runs import Run
from ngptlab.studies.cooldown.numbers import Leg
from ngptlab.studies.cooldown.numbers import measure as measure_cooldown
from ngptlab.studies.ladder.numbers import Rung
from ngptlab.studies.ladder.numbers import measure as measure_ladder

RESULTS = Path(__file__).parents[2] / "results"
PAIR = {"method": "ngpt", "baseline": "gpt"}
Six = Callable[..., list[Path]]


@pytest.fixture
def six(make_run: MakeRun) -> Six:
    """Three seeds of two arms: ngpt is 0.05 above gpt where the cooldown begins, and 0.1 below at the end."""

    def make(steps: int = 100, **how: Any) -> list[Path]:
        return [
            make_run(method, losses, seed=seed, data={"seed": seed}, **how)
            for seed in range(3)
            for method, losses in (
                ("gpt", {0: 5.0, steps * 7 // 10: 3.0 + seed, steps: 2.0 + seed - steps / 1000}),
                (
                    "ngpt",
                    {0: 5.0, steps * 7 // 10: 3.05 + 1.01 * seed, steps: 1.9 + 1.01 * seed - steps / 1000},
                ),
            )
        ]

    return make


def evidence(*paths: Path) -> Evidence:
    return gather(paths)[0]


def test_runs_give_losses_gaps_and_hashes(six: Six, tmp_path: Path) -> None:
    found = evidence(*six())
    lower = rules.LowerLoss(**PAIR).judge(found)
    assert lower.verdict == "holds" and lower.seeds == 3 and len(lower.hashes) == 6
    assert lower.hashes[0] == Run(six()[0]).config.hash and lower.settings[0].params == 1234
    turned = rules.TurnsInCooldown(**PAIR, frac=0.3, shape="linear").judge(found)
    assert turned.verdict == "holds" and turned.measured.startswith("gap before +0.0600 nats")
    assert evidence(tmp_path / "runs").ends, "their folder says the same"
    assert rules.LowerLoss(**PAIR).judge(evidence(tmp_path / "runs")).measured == lower.measured


def test_of_equal_runs_those_with_the_claim_s_cooldown_are_judged(six: Six) -> None:
    """A trunk at constant rate has as many tokens as its branches, and is no finished training."""
    schedules = (
        {"shape": "constant"},
        {"cooldown_frac": 0.5},
        {"cooldown_frac": 0.3},
        {"cooldown_frac": 0.05},
    )
    runs = [six(schedule={"warmup_steps": 5, **schedule}, length=[2.0, 2.1, 2.2]) for schedule in schedules]
    found = evidence(*(path for group in runs for path in group))
    assert len(found.ends) == 8
    assert "(cooldown 0.3 linear); the same sign in 3 of 3" in rules.LowerLoss(**PAIR).judge(found).measured
    assert rules.RisesLess(**PAIR, contexts=4).judge(found).measured.endswith("(cooldown 0.3 linear)")


def test_runs_of_several_lengths_give_factors_by_seed(six: Six) -> None:
    found = evidence(*six(), *six(200), *six(300))
    (saving,) = [s for s in found.savings if s.method == "ngpt"]
    assert [len(f.by_seed) for f in saving.factors] == [3, 3, 3] and len(saving.hashes) == 18
    assert saving.factors[0].by_seed[0] == {"value": pytest.approx(2.0), "bound": "measured"}
    assert saving.factors[-1].by_seed[0] == {"value": pytest.approx(1.0), "bound": "at least"}


def test_arms_on_other_data_or_settings_are_no_pair(six: Six, make_run: MakeRun) -> None:
    other = make_run("ngpt", {0: 5.0, 100: 0.1}, env={"data_digest": "other"}, name="other")
    gpt = [path for path in six() if "-gpt-" in path.name]
    assert rules.LowerLoss(**PAIR).judge(evidence(*gpt, other)).reason.startswith("nothing recorded")


def test_a_rate_on_the_edge_forbids_a_verdict(six: Six) -> None:
    reason = rules.LowerLoss(**PAIR).judge(evidence(*six(optim={"lr": 2**-8}))).reason
    assert "Settings of ngpt, learning rate 0.003906: on the edge of what search" in reason


def test_of_a_grid_s_runs_none_is_the_arm(six: Six) -> None:
    """Three seeds at two rates, both inside the grid: which of them would be nGPT?"""
    grid = [2**-10, 2**-9, 2**-9 * 1.5, 2**-8]
    both = [six(length=[2.0, 2.1, 2.2], optim={"lr_grid": grid, "lr": lr}) for lr in grid[1:3]]
    found = evidence(*(path for runs in both for path in runs))
    for rule in (rules.LowerLoss(**PAIR), rules.RisesLess(**PAIR, contexts=4)):
        judged = rule.judge(found)
        assert (
            judged.verdict == "not yet tested"
            and "differ in more than their seeds: optim.lr" in judged.reason
        )


def test_an_unfinished_run_is_refused_where_named_and_left_out_of_a_folder(
    six: Six, make_run: MakeRun
) -> None:
    six()
    path = make_run("gpt", {0: 5.0, 100: 1.0}, seed=7, status="stopped")
    with pytest.raises(LabError, match="not finished"):
        evidence(path)
    assert all("7" not in ends.losses for ends in evidence(path.parent).ends)


def test_a_report_says_what_its_runs_say(six: Six, tmp_path: Path) -> None:
    runs = six()
    write_report(runs, tmp_path / "report", title="made")
    written, read = evidence(tmp_path / "report" / "report.json"), evidence(*runs)
    for rule in (rules.LowerLoss(**PAIR), rules.TurnsInCooldown(**PAIR, frac=0.3, shape="linear")):
        ours, theirs = rule.judge(written), rule.judge(read)
        assert (ours.verdict, ours.measured, ours.hashes) == (theirs.verdict, theirs.measured, theirs.hashes)
        assert ours.settings[0].text == theirs.settings[0].text


def test_a_report_of_unequal_arms_decides_nothing(make_run: MakeRun, tmp_path: Path) -> None:
    """Its warnings forbid it, in whatever words: a size that differs, and an arm at two rates."""
    for name, changed in (("size", {"model": {"d_model": 8}}), ("rates", {"optim": {"weight_decay": 0.2}})):
        runs = [
            make_run(method, {0: 5.0, 100: loss}, seed=seed, name=f"{name}{method}{seed}", **changes)
            for seed in range(3)
            for method, loss, changes in (
                ("gpt", 2.0, {}),
                ("ngpt", 1.9 - seed / 1000, changed if name == "size" or seed else {}),
            )
        ]
        write_report(runs, tmp_path / name, title="made")
        judged = rules.LowerLoss(**PAIR).judge(evidence(tmp_path / name / "report.json"))
        assert (
            judged.seeds == 3
            and judged.verdict == "not yet tested"
            and "differ in more than" in judged.reason
        )


GRIDS = {"gpt": [2**-10, 2**-9, 2**-8], "ngpt": [2**-10, 2**-9, 2**-8], "qk_norm": [2**-10, 2**-9]}


def test_a_third_arm_does_not_speak_about_two_others(make_run: MakeRun, tmp_path: Path) -> None:
    """It was not tuned, has another size and read other data: nothing of that is about gpt and ngpt."""
    runs = [
        make_run(
            method,
            {0: 5.0, 100: loss - seed / 1000 * (method == "ngpt")},
            seed=seed,
            optim={"lr": 2**-9, "lr_grid": GRIDS[method]},
            env={"data_digest": "other" if method == "qk_norm" else "same"},
        )
        for seed in range(3)
        for method, loss in (("gpt", 2.0), ("ngpt", 1.9), ("qk_norm", 1.95))
    ]
    write_report(runs, tmp_path / "report", title="made")
    found = evidence(tmp_path / "report" / "report.json")
    assert rules.LowerLoss(**PAIR).judge(found).verdict == "holds"
    third = rules.LowerLoss(method="qk_norm", baseline="gpt").judge(found)
    assert third.verdict == "not yet tested"
    for words in ("not tuned alike", "on the edge", "did not read the same data"):
        assert words in third.reason


def test_grids_that_differ_forbid_a_verdict(six: Six, tmp_path: Path) -> None:
    """From runs and from their report: each arm inside its own grid, and one grid longer than the other."""
    ours = [path for path in six(optim={"lr_grid": [2**-10, 2**-9, 2**-8, 2**-7]}) if "-ngpt-" in path.name]
    theirs = [path for path in six(optim={"lr_grid": [2**-10, 2**-9, 2**-8]}) if "-gpt-" in path.name]
    write_report([*theirs, *ours], tmp_path / "report", title="made")
    for found in (evidence(*theirs, *ours), evidence(tmp_path / "report" / "report.json")):
        judged = rules.LowerLoss(**PAIR).judge(found)
        assert judged.verdict == "not yet tested" and "were not tuned alike" in judged.reason


def test_a_file_without_kinds_of_doubts_decides_nothing(six: Six, tmp_path: Path) -> None:
    """What an earlier version wrote has sentences only; nobody guesses from their words."""
    write_report(six(), tmp_path / "report", title="made")
    path = tmp_path / "report" / "report.json"
    held = json.loads(path.read_text())
    del held["doubts"]
    path.write_text(json.dumps(held))
    judged = rules.LowerLoss(**PAIR).judge(evidence(path))
    assert judged.verdict == "not yet tested" and "write the file again" in judged.reason


def test_a_report_of_several_lengths_gives_the_same_factors(six: Six, tmp_path: Path) -> None:
    runs = [*six(), *six(200), *six(300)]
    write_report(runs, tmp_path / "report", title="made")
    (written,) = evidence(tmp_path / "report" / "report.json").savings
    (read,) = [s for s in evidence(*runs).savings if s.method == "ngpt"]
    assert written.factors == read.factors


def test_a_cooldown_study(six: Six, tmp_path: Path) -> None:
    legs = []
    for path in six():
        run = Run(path)
        legs.append(
            Leg(config=run.config, frac=0.3, shape="linear", start=70, path=path, status="done", reason="")
        )
    write_json(tmp_path / "cooldown.json", measure_cooldown(legs, name="made"))
    found = evidence(tmp_path / "cooldown.json")
    turned = rules.TurnsInCooldown(**PAIR, frac=0.3, shape="linear").judge(found)
    assert turned.verdict == "holds" and len(turned.hashes) == 6
    assert turned.settings[0].text == "1,234 parameters, 12,800 tokens, context 16, stdlib"
    assert rules.LowerLoss(**PAIR).judge(found).verdict == "holds"
    assert len(evidence(tmp_path).ends) == len(found.ends) == 2, (
        "of a study's folder, runs are not counted again"
    )


def test_a_ladder(six: Six, tmp_path: Path) -> None:
    runs = six()
    arms = {arm: tuple(p for p in runs if f"-{arm}-" in p.name) for arm in ("gpt", "ngpt")}
    rungs = [
        Rung(
            label=label,
            arm=arm,
            seams=seams,
            lr=1.0,
            lr_of="",
            reason="",
            runs=arms[arm],
        )
        for label, arm, seams in (("gpt", "gpt", ()), ("+ norm", "ngpt", ("norm",)))
    ]
    ladder = measure_ladder(rungs, recipe="made", base="gpt", target="ngpt", mode="cumulative")
    write_json(tmp_path / "ladder.json", ladder)
    (step,) = evidence(tmp_path / "ladder.json").steps
    assert (
        step.seams == ("norm",)
        and step.tuned
        and step.adds.mean == pytest.approx(-0.09)
        and len(step.hashes) == 6
    )
    rule = rules.StepNotNeeded(base="gpt", target="ngpt", seams=("norm",), margin=0.01)
    assert rule.judge(evidence(tmp_path / "ladder.json")).verdict == "holds"
    harmful = rules.StepNotNeeded(base="gpt", target="ngpt", seams=("norm",), margin=-0.2)
    assert harmful.judge(evidence(tmp_path / "ladder.json")).verdict == "does not hold"
    untuned = six(optim={"lr_grid": []})
    arms = {arm: tuple(p for p in untuned if f"-{arm}-" in p.name) for arm in ("gpt", "ngpt")}
    ladder = measure_ladder(
        [rungs[0], replace(rungs[1], runs=arms["ngpt"])],
        recipe="made",
        base="gpt",
        target="ngpt",
        mode="cumulative",
    )
    write_json(tmp_path / "ladder.json", ladder)
    judged = harmful.judge(evidence(tmp_path / "ladder.json"))
    assert judged.verdict == "not yet tested" and judged.reason == "Learning rate of ngpt: not tuned"


def of(method: str, seed: int) -> dict[str, Any]:
    scale = {"params": 9, "tokens": 8, "context": 16, "data": "text"}
    return {
        "step": 5,
        "of": {"method": method, "seed": seed, "data_seed": seed, "hash": f"{method}{seed}", **scale},
    }


def measured(record: Callable[[float], dict[str, Any]]) -> dict[str, Any]:
    """Two arms of three seeds; what is measured of the second is twice that of the first."""
    return {
        f"{method} s{seed}": {**of(method, seed), **record(scale * (1 + seed / 50))}
        for method, scale in (("ngpt", 1.0), ("gpt", 2.0))
        for seed in range(3)
    }


def test_tables_of_evaluations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bins(scale: float) -> dict[str, Any]:
        edges = ((0, 16), (16, 32), (32, 64))
        rows = [{"from": a, "to": b, "loss_nats": scale * b / 16, "stderr_nats": 0.1} for a, b in edges]
        how = {"window": None, "rope_base": None, "rope_scale": None}
        return {"documents": 3, "context": 16, "bins": rows, "up_to": rows, "octaves": rows, **how}

    def matrices(scale: float) -> dict[str, Any]:
        where = {"name": "W", "layer": 0, "place": "attn.W_q", "view": "stored"}
        where |= {"effective_rank": 1.0, "full_rank": 2}
        norms = {"norms_along": {"q50": 1.0}, "norms_across": {"q50": 1.0}}
        heads = [
            {**where, "head": head, "condition": scale * k} for head, k in ((None, 999.0), (0, 2.0), (1, 4.0))
        ]
        return {"matrices": [{**row, **norms} for row in heads], "embeddings": []}

    def scales(scale: float) -> dict[str, Any]:
        spread = dict.fromkeys(("std", "min", "q05", "q25", "q50", "q75", "q95", "max", "negative"), scale)
        return {
            "scales": [
                {
                    "name": f"{i}",
                    "layer": i,
                    "place": "attn_residual.alpha",
                    "kind": "rate",
                    "mean": scale / (i + 1),
                    **spread,
                }
                for i in (1, 0)
            ]
        }

    write_scales_table = partial(write_scales, courses={})
    for name, each, write in (
        ("length", bins, write_length),
        ("spectra", matrices, write_spectra),
        ("scales", scales, write_scales_table),
    ):
        monkeypatch.setattr(
            f"ngptlab.measure.{name}.show.draw", lambda *figure: None
        )  # not what this is about
        (tmp_path / name).mkdir()
        write(measured(each), out=tmp_path / name)
    for form in ("json", "csv"):
        paths = [tmp_path / name / f"{name}.{form}" for name in ("length", "spectra", "scales")]
        found = evidence(*paths)
        less = rules.RisesLess(**PAIR, contexts=4).judge(found)
        assert (
            less.verdict == "holds"
            and less.seeds == 3
            and set(less.hashes) == {f"{m}{s}" for m in ("ngpt", "gpt") for s in range(3)}
        )
        better = rules.BetterConditioned(**PAIR, places=("attn.W_q",)).judge(found)
        assert better.verdict == "holds" and "0.5×" in better.measured, "heads, not whole matrices"
        assert found.conditions[0].medians == {"attn.W_q": 3.0}
        assert found.scales[0].means == {"attn_residual.alpha": (1.0, 0.5)}, "by depth"
    assert gather([tmp_path / "spectra"])[1] == ["spectra/spectra-embeddings.json"]


def test_a_run_s_own_evaluations(six: Six) -> None:
    for path in six(length=[2.0, 2.1, 2.2]):
        scale = 1.0 if "-ngpt-" in path.name else 2.0
        matrix = {"place": "E_in", "view": "stored", "head": None, "condition": scale * 3, "layer": None}
        Run(path).keep_eval("spectra", {"eval": "spectra", "matrices": [matrix]})
        Run(path).keep_eval(
            "scales", {"eval": "scales", "scales": [{"place": "a", "layer": 0, "mean": scale}]}
        )
        metrics = {"acc": {"value": 9.0}, "acc_norm": {"value": 0.5 / scale + Run(path).config.seed / 100}}
        tasks = {"arc": {"metrics": metrics}, "lambada": {"metrics": {"acc": {"value": 0.1}}}}
        Run(path).keep_eval("tasks", {"eval": "tasks", "max_length": 16, "limit": None, "tasks": tasks})
    found = evidence(*six(length=[2.0, 2.1, 2.2]))
    better = rules.BetterAtTasks(**PAIR, tasks=("arc", "lambada")).judge(found)
    assert better.verdict == "holds" and len(better.hashes) == 6
    assert better.measured.startswith("ngpt minus gpt: +0.1250") and "over arc, lambada" in better.measured
    assert rules.BetterConditioned(**PAIR, places=("E_in",)).judge(found).reason == ""
    assert len(found.scales) == 6 and rules.RisesLess(**PAIR, contexts=4).judge(found).seeds == 3


def test_what_was_measured_half_way_is_not_of_the_trained_model(make_run: MakeRun) -> None:
    path = make_run("ngpt", {0: 5.0, 100: 2.0})
    for step, count in ((50, 0), (100, 1)):
        scale = {"place": "a", "layer": 0, "mean": 1.0}
        Run(path).keep_eval("scales", {"eval": "scales", "step": step, "scales": [scale]})
        assert len(evidence(path).scales) == count


def test_what_is_committed_can_be_read() -> None:
    found, mute, damaged = gather([RESULTS])
    assert not damaged
    assert (
        found.grids
        and found.step_times
        and found.positions
        and found.conditions
        and found.scales
        and found.ends
    )
    assert "results/prepare.json" in mute


# --- damage ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("demo-report.json", lambda text: text[:-40]),
        ("demo-report.json", lambda text: text.replace('"hash":', '"has":')),
        (
            "demo-report.json",
            lambda text: re.sub(
                r'"final_losses_by_seed": \{\s*"0": [\d.]+',
                '"final_losses_by_seed": {"0": NaN',
                text,
                count=1,
            ),
        ),
        ("mup-bytes-small.csv", lambda text: text.replace("done", "dome", 1)),
        ("mup-bytes-small.csv", lambda text: text.replace("2.3194410077113616", "nan")),
        ("mup-bytes-small.csv", lambda text: text.replace("0.0009765625", "-1", 1)),
        ("mup-bytes-small.csv", lambda text: text.replace("0.0009765625", "nan", 1)),
        ("demo-length.csv", lambda text: re.sub(r"(,0,4,)[\d.]+", r"\1inf", text, count=1)),
        ("demo-spectra.csv", lambda text: text.replace("11.377140511041137", "0.5")),
        ("demo-scales.csv", lambda text: re.sub(r"(,qk,)[\d.]+", r"\1high", text, count=1)),
        ("step-time.json", lambda text: text.replace('"median": 1.0505', '"median": -1')),
    ],
)
def test_damage_is_one_line(name: str, change: Callable[[str], str], tmp_path: Path) -> None:
    text = (RESULTS / name).read_text(encoding="utf-8")
    assert change(text) != text
    (tmp_path / name).write_text(change(text), encoding="utf-8")
    with pytest.raises(LabError) as caught:
        evidence(tmp_path / name)
    assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "held", [b"\xff\xfe", b"", b"[1, 2]", b"null", b'{"a": 1}', b"[" * 100_000, b'[{"run": "a"}]']
)
def test_a_foreign_file_is_refused(held: bytes, tmp_path: Path) -> None:
    (tmp_path / "foreign.json").write_bytes(held)
    with pytest.raises(LabError) as caught:
        evidence(tmp_path / "foreign.json")
    assert "foreign.json" in str(caught.value) and "\n" not in str(caught.value)


def test_paths_that_hold_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, said in ((tmp_path / "nowhere", "not there"), (tmp_path / "empty", "holds no finished run")):
        with pytest.raises(LabError, match=said):
            evidence(path)


@pytest.mark.parametrize("name", ["summary.json", "env.json", "metrics.jsonl"])
def test_a_run_that_cant_be_read_is_named_and_the_others_count(
    name: str, six: Six, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = six()[0]
    (path / name).unlink()
    os.mkfifo(path / name)
    assert main(["claims", str(path.parent), "--out", str(tmp_path / "out")]) == 0
    err = capsys.readouterr().err
    assert "Not counted" in err and f"{name}: can't be read (a FIFO, not a regular file)" in " ".join(
        err.split()
    )


def test_a_damaged_evaluation_of_a_run_is_one_line(six: Six) -> None:
    path = six()[0]
    Run(path).keep_eval("scales", {"eval": "scales", "scales": [{"place": 3}]})
    with pytest.raises(LabError, match=r"scales\.json: damaged"):
        evidence(path)
    Run(path).keep_eval("scales", {"eval": "scales", "scales": [{"place": "a", "layer": 0}]})
    with pytest.raises(LabError, match=r"scales\.json: damaged \('mean' is missing\); measure it again"):
        evidence(path)


def test_a_key_that_every_version_wrote_is_missed_by_its_name(six: Six, tmp_path: Path) -> None:
    write_report(six(), tmp_path, title="made")
    path = tmp_path / "report.json"
    held = json.loads(path.read_text())
    del held["runs"][0]["hash"]
    write_json(path, held)
    with pytest.raises(LabError, match=r"report\.json: damaged \('hash' is missing\); write it again"):
        evidence(path)


def test_lists_of_different_lengths_are_damage(six: Six, tmp_path: Path) -> None:
    write_report(six(), tmp_path, title="made")
    held = json.loads((tmp_path / "report.json").read_text())
    held["gaps"]["ngpt"]["steps"].append(101)
    write_json(tmp_path / "report.json", held)
    with pytest.raises(LabError, match="different lengths"):
        evidence(tmp_path / "report.json")


def test_of_a_ledger_the_runs_count_that_link_a_search(six: Six, make_run: MakeRun, tmp_path: Path) -> None:
    """The search lies beside the ledger's folder; a run without one chose settings, and is no arm."""
    results = tmp_path / "results"
    ledger = Ledger(results / "runs")
    ledger.add([Run(path) for path in six()])
    ledger.add([Run(make_run("gpt", {0: 5.0, 100: 0.5}, seed=9, optim={"lr_grid": []}, name="chose"))])
    judged = rules.LowerLoss(**PAIR).judge(evidence(results))
    assert judged.verdict == "not yet tested" and "is not beside the runs" in judged.reason
    (tmp_path / "searches").rename(results / "searches")
    found = evidence(results)
    assert rules.LowerLoss(**PAIR).judge(found).verdict == "holds"
    assert sorted(len(ends.losses) for ends in found.ends) == [3, 3]
