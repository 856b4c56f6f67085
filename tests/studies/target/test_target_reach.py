"""Seeds are added as they are needed and no others; the verdicts on stdout, in files and on the page are those of the runs.

Runs have numbers that the test chose, written where training would have written them.
"""

from __future__ import annotations

import contextlib
import csv
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from made_runs import config_of, run_maker
from ngptlab.cli import main
from ngptlab.config import RunConfig
from ngptlab.errors import ConfigError, DivergedError
from ngptlab.jobs import in_turn
from ngptlab.recipes import Recipe
from ngptlab.report.page import write_report
from ngptlab.runs import Run
from ngptlab.studies.recognize import recognize
from ngptlab.studies.target.numbers import Target
from ngptlab.studies.target.rule import Rule
from ngptlab.studies.target.run import goal_of, reach
from ngptlab.train.progress import Reporter, Silent

Captured = pytest.CaptureFixture[str]
RULE = Rule(significance=0.01, max_seeds=5)
SCATTER = (0.002, -0.001, 0.0005, -0.0015, 0.001)
"""Of the seeds, in nats, alike in every arm."""
Reach = Callable[..., tuple[Target, Path]]


class Trainer:
    """Stands in for `train`: losses by method, a little scatter by seed, and a list of what was trained."""

    def __init__(self, losses: dict[str, float], *, diverging: tuple[str, int] = ("", 0)) -> None:
        self.losses, self.diverging, self.trained = losses, diverging, list[tuple[str, int]]()
        self.scatter: dict[str, tuple[float, ...]] = {}

    def __call__(self, config: RunConfig, out: Path, *, reporter: Reporter) -> Run:
        if (out / "config.json").exists() and Run.open(out, config).done:
            return Run(out)
        self.trained.append((config.method, config.seed))
        if (config.method, config.seed) == self.diverging:
            run = Run.open(out, config)
            run.finish("failed", error="DivergedError", reason="the loss is nan at step 3")
            raise DivergedError("the loss is nan at step 3")
        end = self.losses[config.method] + self.scatter.get(config.method, SCATTER)[config.seed]
        sections = {k: v for k, v in config.model_dump(mode="json").items() if isinstance(v, dict)}
        values = {0: 5.0, 50: end + 1, 100: end}
        path = run_maker(out.parents[1])(
            config.method, values, seed=config.seed, name=out.name, seconds=[0.5] * 100, **sections
        )
        return Run.open(path, config)


@contextlib.contextmanager
def silent(config: RunConfig) -> Iterator[Reporter]:
    yield Silent()


def no_page(paths: Sequence[Path], out: Path) -> Path:
    """Drawing takes most of a test's time; what the page would be made of is all there."""
    (out / "runs.txt").write_text("\n".join(path.name for path in paths))
    return out / "report.html"


@pytest.fixture
def reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reach:
    """`reach`, with a stand-in for training, and for the page where that is not asked for."""

    def do(
        trainer: Trainer, target: str, rule: Rule = RULE, *, page: bool = False, **named: Any
    ) -> tuple[Target, Path]:
        monkeypatch.setattr(in_turn, "train", trainer)
        out = tmp_path / "out"
        recipe = Recipe(config=config_of("gpt"), methods=tuple(trainer.losses), tuned={})
        found, runs = reach(recipe, out=out, target=target, rule=rule, reporter=silent, **named)
        if page:
            return found, write_report(runs, out, title=recipe.config.name, studies=[out / "target.json"])
        return found, no_page(runs, out)

    return do


def test_seeds_are_added_until_each_method_is_decided(reached: Reach) -> None:
    """gpt is far above the target and decided first, ngpt is near it."""
    trainer = Trainer({"gpt": 1.53, "ngpt": 1.49, "qk_norm": 1.5})
    lines: list[str] = []
    found, _ = reached(trainer, "1.5", tell=lines.append)
    gpt, ngpt, qk = found["arms"]
    assert (gpt["verdict"], ngpt["verdict"], qk["verdict"]) == ("not reached", "reached", "undecided")
    assert gpt["seeds"] == [0, 1, 2] and ngpt["seeds"] == [0, 1, 2, 3] and qk["seeds"] == [0, 1, 2, 3, 4]
    for arm, side in ((gpt, "greater"), (ngpt, "less")):
        p = [
            scipy.stats.ttest_1samp(arm["losses"][:n], 1.5, alternative=side).pvalue
            for n in range(2, len(arm["losses"]) + 1)
        ]
        assert all(early >= 0.01 / 4 for early in p[:-1]) and p[-1] < 0.01 / 4
        assert arm["p_above" if side == "greater" else "p_below"] == pytest.approx(p[-1], rel=1e-6)
    assert [sum(method == name for method, _ in trainer.trained) for name in trainer.losses] == [3, 4, 5]
    assert trainer.trained[:3] == [("gpt", 0), ("ngpt", 0), ("qk_norm", 0)]
    assert lines[2] == "after 3 seeds of at most 5: gpt not reached, ngpt undecided, qk_norm undecided"
    assert len(lines) == 5 and lines[3].startswith("after 4 seeds of at most 5: ngpt reached")


def test_costs_are_those_of_whole_runs(reached: Reach) -> None:
    found, _ = reached(Trainer({"gpt": 1.53, "ngpt": 1.4}), "1.5")
    arm = found["arms"][1]
    assert (arm["steps"], arm["tokens"], arm["seconds"]) == (100, 100 * 8 * 16, 50.0)
    # Of one block of width 4 with an MLP of `d_ff`: see ngptlab/flops.py.
    dims = config_of("gpt").model
    flops = 6 * (4 * 4 * 4 + 3 * 4 * dims.d_ff + 8 * 4) + 6 * 4 * 16
    assert arm["flops"] == flops * 100 * 8 * 16
    way = arm["on_the_way"]
    assert way and arm["loss_nats"] is not None
    # From 1 + end at step 50 to end at step 100: 0.1 nats above its end it is a tenth of the way before it.
    expected = [100 - 50 * (1.5 - loss) for loss in arm["losses"]]
    assert way["by_seed"] == [pytest.approx(step) for step in expected]


def test_the_same_command_trains_nothing_and_writes_the_same(reached: Reach) -> None:
    trainer = Trainer({"gpt": 1.53, "ngpt": 1.49})
    _, page = reached(trainer, "1.5")
    before = {path: path.read_bytes() for path in page.parent.rglob("*") if path.is_file()}
    trainer.trained.clear()
    reached(trainer, "1.5")
    assert trainer.trained == []
    assert {path: path.read_bytes() for path in page.parent.rglob("*") if path.is_file()} == before


def test_seeds_that_are_there_already_are_not_looked_at_before_their_turn(reached: Reach) -> None:
    trainer = Trainer({"gpt": 1.53, "ngpt": 1.5})
    reached(trainer, "1.5")
    found, _ = reached(trainer, "1.53")
    assert [len(arm["seeds"]) for arm in found["arms"]] == [5, 3]


def test_the_loss_of_a_method_is_a_target_with_an_error_of_its_own(reached: Reach) -> None:
    """What a seed does to both cancels; what it does to one of them does not, be it the target."""
    trainer = Trainer({"gpt": 1.6, "ngpt": 1.55, "qk_norm": 1.599})
    trainer.scatter = {
        "gpt": (0.03, -0.02, 0.01, -0.04, 0.02),
        "ngpt": (0.032, -0.021, 0.0105, -0.0415, 0.021),
    }
    found, _ = reached(trainer, "gpt")
    gpt, ngpt, qk = found["arms"]
    assert gpt["verdict"] == "sets the target" and gpt["seeds"] == [0, 1, 2, 3, 4]
    assert gpt["difference_nats"] is None and gpt["on_the_way"] is None
    assert found["target_method"] == "gpt" and found["target_nats"] == pytest.approx(np.mean(gpt["losses"]))
    n = len(ngpt["seeds"])
    test = scipy.stats.ttest_rel(ngpt["losses"], gpt["losses"][:n], alternative="less")
    assert ngpt["verdict"] == "reached" and n < 5
    assert ngpt["p_below"] == pytest.approx(test.pvalue, rel=1e-6)
    assert ngpt["target_nats"] == pytest.approx(np.mean(gpt["losses"][:n])), "over the same seeds"
    alone = scipy.stats.ttest_1samp(ngpt["losses"], ngpt["target_nats"]).pvalue
    assert alone > 0.01, "the scatter that pairing cancels"
    assert qk["verdict"] == "undecided"


def test_a_known_sigma_decides_after_one_seed(reached: Reach) -> None:
    trainer = Trainer({"gpt": 1.53, "ngpt": 1.49})
    found, _ = reached(trainer, "1.5", Rule(significance=0.01, max_seeds=5, sigma=0.002))
    assert [arm["seeds"] for arm in found["arms"]] == [[0], [0]]
    z = (1.49 + SCATTER[0] - 1.5) / 0.002
    assert found["arms"][1]["p_below"] == pytest.approx(scipy.stats.norm.cdf(z))
    assert any("Fewer than three seeds for gpt, ngpt" in warning for warning in found["warnings"])


def test_a_sigma_that_the_runs_contradict_is_told(reached: Reach) -> None:
    trainer = Trainer({"gpt": 1.5, "ngpt": 1.5})
    trainer.scatter = {name: (0.01, -0.01, 0.011, -0.012, 0.01) for name in trainer.losses}
    found, _ = reached(trainer, "1.5", Rule(significance=1e-30, max_seeds=5, sigma=0.002))
    assert any("scatter more than the sigma given" in warning for warning in found["warnings"])


def test_a_method_that_diverges_has_no_verdict_and_is_not_trained_again(reached: Reach) -> None:
    trainer = Trainer({"gpt": 1.53, "ngpt": 1.4}, diverging=("ngpt", 1))
    for trained in (5, 0):
        trainer.trained.clear()
        found, page = reached(trainer, "1.5")
        gpt, ngpt = found["arms"]
        assert gpt["verdict"] == "not reached" and ngpt["verdict"] == "no verdict"
        assert ngpt["reason"] == "diverged with seed 1: the loss is nan at step 3"
        assert ngpt["loss_nats"] is None, "a mean over the survivors would flatter it"
        on_page = [
            Run(page.parent / "runs" / name) for name in (page.parent / "runs.txt").read_text().split()
        ]
        assert [run.config.method for run in on_page] == ["gpt"] * 3
        assert len(trainer.trained) == trained
    with pytest.raises(DivergedError):
        reached(trainer, "ngpt")


def test_files_and_page(reached: Reach, tmp_path: Path) -> None:
    found, page = reached(Trainer({"gpt": 1.53, "ngpt": 1.49}), "1.5", page=True)
    assert json.loads((page.parent / "target.json").read_text()) == found
    rows = list(csv.DictReader((page.parent / "target.csv").read_text().splitlines()))
    assert [(row["method"], row["verdict"], row["seeds"]) for row in rows] == [
        ("gpt", "not reached", "0 1 2"),
        ("ngpt", "reached", "0 1 2 3"),
    ]
    assert rows[0]["on_the_way_runs"] == "0" and float(rows[1]["on_the_way_median_step"]) == pytest.approx(
        99.5, abs=0.1
    )
    numbers = json.loads(page.with_suffix(".json").read_text())
    (study,) = numbers["studies"]
    assert study["kind"] == "target" and len(numbers["runs"]) == 7
    said = study["answer"].replace("\u00a0", " ")
    assert said.startswith("The target is a final validation loss of 1.5 nats. gpt does not reach it in 100 ")
    assert "ngpt reaches it in 100 steps (12.8k tokens, " in said and "50 s of training steps)" in said
    assert said.endswith(
        "One-sided Student's t test; chance of a wrong verdict at most 0.01 for each method and side, shared by 4 looks "
        "at the most: p below 0.0025 decides."
    )
    assert study["answer"] in page.read_text().replace("&#39;", "'")
    assert {path.name for path in (page.parent / "studies" / "1-target").iterdir()} == {
        "target.csv",
        "target.json",
    }
    given = recognize([page.parent])
    assert given.studies == (page.parent / "target.json",) and len(given.runs) == 7, "study and comparison"
    again = write_report((), tmp_path / "again", title="t", studies=given.studies)
    assert (
        json.loads(again.with_suffix(".json").read_text())["studies"][0]["rows"]
        == numbers["studies"][0]["rows"]
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda numbers: numbers["arms"].clear(),
        lambda numbers: numbers.update(target_method="other"),
        lambda numbers: numbers["arms"][0].update(steps="many"),
        lambda numbers: numbers["arms"][0].pop("verdict"),
    ],
)
def test_a_damaged_file_is_one_line(
    reached: Reach, tmp_path: Path, capsys: Captured, change: Callable[[Any], None]
) -> None:
    numbers, _ = reached(Trainer({"gpt": 1.53, "ngpt": 1.49}), "1.5")
    (tmp_path / "study").mkdir()
    change(numbers)
    (tmp_path / "study" / "target.json").write_text(json.dumps(numbers))
    assert main(["report", str(tmp_path / "study"), "--out", str(tmp_path / "page")]) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1 and "target.json" in err


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("ngptt", "did you mean 'ngpt'?"),
        ("muon", "one of the methods compared: allowed: gpt, ngpt (--methods adds others)"),
        ("1,55", "give a loss in nats, as 1.55"),
        ("nan", "given 'nan'; give a loss in nats above 0"),
        ("inf", "above 0"),
        ("-1", "above 0"),
        ("0", "above 0"),
    ],
)
def test_no_such_target(target: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        goal_of(target, ("gpt", "ngpt"))
    assert said in str(error.value) and "--target" in str(error.value)


def test_targets() -> None:
    assert goal_of("1.55", ("gpt",)) == 1.55 and goal_of("gpt", ("gpt", "ngpt")) == "gpt"
    with pytest.raises(ConfigError, match="the one method that is compared"):
        goal_of("gpt", ("gpt",))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--target", "1.5", "--max-seeds", "1"], "give at least 2 without --sigma"),
        (["--target", "1.5", "--max-seeds", "two"], "give a whole number"),
        (["--target", "1.5", "--significance", "nan"], "give a number above 0"),
        (["--target", "1.5", "--significance", "0.6"], "below 0.5"),
        (["--target", "1.5", "--sigma", "nan"], "give a number above 0"),
        (["--target", "1.5", "--seeds", "3"], "give --max-seeds N instead"),
        (["--target", "none"], "give a loss in nats"),
        (["--target", "1.5", "--methods", "gpt", "ngptt"], "did you mean 'ngpt'?"),
        (["--max-seeds", "4"], "--max-seeds: goes with a target only"),
        (["--sigma", "0.1"], "--sigma: goes with a target only"),
    ],
)
def test_wrong_use_is_one_line(work: Path, capsys: Captured, options: list[str], said: str) -> None:
    assert main(["compare", "demo", *options]) == 2
    err = capsys.readouterr().err
    assert said in err and len(err.splitlines()) == 1
    assert not (work / "out").exists()


def test_help_says_how_it_decides(capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for part in ("--target LOSS|METHOD", "--max-seeds N", "--significance P", "--sigma S", "one-sided"):
        assert part in text
    assert "Bonferroni" in text and "fix N beforehand" in text and "after its cooldown" in text


def test_the_verb(tiny: list[str], work: Path, capsys: Captured) -> None:
    command = ["compare", "demo", *tiny, "--methods", "gpt", "ngpt", "--out", "page"]
    command += ["--target", "9", "--sigma", "0.1", "--max-seeds", "2"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "Target: a final validation loss of 9 nats" in out and "page/report.html" in out
    lines = [line.split() for line in out.splitlines() if line.startswith(("gpt ", "ngpt "))]
    assert [(line[0], line[1], line[5]) for line in lines[:2]] == [
        ("gpt", "1", "reached"),
        ("ngpt", "1", "reached"),
    ]
    found = json.loads((work / "page" / "target.json").read_text())
    assert all(math.isfinite(arm["seconds"]) and arm["steps"] == 6 for arm in found["arms"])
