"""`--plan` of studies: how many runs and steps are left, and a time; nothing is trained where it says so."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ngptlab import Run, RunConfig
from ngptlab.cli import main
from ngptlab.config.due import validation_due, validations
from ngptlab.errors import DivergedError
from ngptlab.jobs import cost
from ngptlab.jobs.cost import Cost, cost_here
from ngptlab.recipes import Recipe
from ngptlab.train.stop import Stopped

MakeConfig = Callable[..., RunConfig]
Captured = pytest.CaptureFixture[str]


def left(capsys: Captured) -> tuple[int, int, int]:
    """Runs left, runs in all, steps."""
    said = capsys.readouterr().out
    found = re.search(
        r"Plan: (\d+) of (\d+) runs left, ([\d,]+) steps .* about [\d:]+ one after the other", said
    )
    assert found, said
    return int(found[1]), int(found[2]), int(found[3].replace(",", ""))


@pytest.mark.parametrize(
    ("command", "runs", "steps"),
    [
        ("sweep demo --methods gpt ngpt --lrs 2^-9 2^-8 --seeds 2", 8, 8 * 6),
        # A trunk of 6 steps; branches train their cooldown alone: 2 and 3 steps, each in two shapes.
        ("cooldown demo --methods gpt --fracs 0.33 0.5", 5, 6 + 2 * (2 + 3)),
        # What follows the run's length has nothing from a longer trunk.
        ("cooldown demo --methods seqlen_warmup --lengths 4 6 --fracs 0.5 --shapes linear", 3, 6 + 4 + 3),
    ],
)
def test_what_a_study_would_train(
    command: str, runs: int, steps: int, tiny: list[str], work: Path, capsys: Captured
) -> None:
    assert main([*command.split(), *tiny, "--plan", "--out", "out"]) == 0
    assert left(capsys) == (runs, runs, steps)
    assert not (work / "out").exists(), "nothing was trained"


def test_what_is_finished_is_not_left(
    tiny: list[str], work: Path, capsys: Captured, in_process: None
) -> None:
    ladder = ["ladder", "demo", "--from", "gpt", "--to", "qk_norm", *tiny, "--out", "out"]
    assert main([*ladder, "--plan"]) == 0
    runs, _, steps = left(capsys)
    assert runs >= 2 and steps == 6 * runs
    assert main(ladder) == 0
    capsys.readouterr()
    assert main([*ladder, "--plan"]) == 0
    assert f"all {runs} runs are finished" in capsys.readouterr().out
    assert main([*ladder, "--seeds", "2", "--plan"]) == 0
    assert left(capsys) == (runs, 2 * runs, 6 * runs)


def test_a_search_shows_its_runs_as_it_goes(tiny: list[str], work: Path, capsys: Captured) -> None:
    assert main(["sweep", "demo", "--search", "--lrs", "2^-9", "2^-8", *tiny, "--plan"]) == 2
    assert "--points" in capsys.readouterr().err


# --- the time ---------------------------------------------------------------------------------------------------------

SWEEP = ["sweep", "demo", "--methods", "gpt", "--lrs", "2^-9", "2^-8", "--plan"]


def test_a_run_is_as_long_as_all_it_measures(make_config: MakeConfig) -> None:
    found = Cost(step=1.0, rest=50.0, building=10.0, validation=100.0, length=1000.0)
    config = make_config(eval={"every": 3, "at": (4, 6)})
    assert config.train.steps == 8
    assert found.of(8) == 50 + 8
    assert found.whole(config, 8) == 10 + 8 + 6 * 100 + 1000, "after 0, 3, 4, 6, 8, and the last by document"
    assert found.whole(config, 3, more=2.0) == 10 + 2 * (3 + 3 * 100 + 1000), "after 6, 8, and the last"


@pytest.mark.parametrize(("every", "at"), [(3, ()), (4, (1, 4, 7)), (100, (8,))])
def test_validations_are_those_that_are_due(every: int, at: tuple[int, ...], make_config: MakeConfig) -> None:
    config = make_config(eval={"every": every, "at": at})
    due = [step for step in range(config.train.steps + 1) if validation_due(config, step)]
    assert validations(config) == len(due)
    assert validations(config, after=4) == len([step for step in due if step > 4])


def test_evaluations_are_measured(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass over the windows takes as long as there are tokens, of which it measures a part."""
    now, passes = 0.0, list[tuple[int, int]]()

    def losses(model: object, inputs_NT: np.ndarray, targets_NT: np.ndarray) -> None:
        nonlocal now
        now += inputs_NT.size
        passes.append(inputs_NT.shape)

    monkeypatch.setattr(cost, "losses", losses)
    monkeypatch.setattr(cost, "VAL_TOKENS", 32)
    monkeypatch.setattr(cost.time, "monotonic", lambda: now)
    config = make_config()
    found = cost_here(Recipe(config=config, methods=("gpt",), tuned={}), ["gpt"], whole=True)
    assert passes == [(2, 16), (1, 32)] and found.validation == 64, "64 tokens a validation"
    assert found.length == 3 * 32, "three documents of two contexts"


def test_a_measurement_is_shown_to_nobody_and_stops_quietly(
    tiny: list[str], work: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracks: list[str] = []

    def train(config: RunConfig, out: Path) -> Run:
        tracks.append(config.track)
        raise Stopped(signal.SIGINT, 3)

    monkeypatch.setattr(cost, "train", train)
    assert main([*SWEEP, *tiny, "--track", "wandb"]) == 128 + signal.SIGINT
    assert tracks == ["off"] and "stopped by SIGINT" in capsys.readouterr().err


def test_a_cell_that_diverges_ends_no_plan(
    tiny: list[str], work: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, rates = cost.train, list[float]()

    def train(config: RunConfig, out: Path) -> Run:
        rates.append(config.optim.lr)
        if len(rates) == 1 or config.optim.lr in (2**-5, 2**-4):
            raise DivergedError("here")
        return whole(config, out)

    monkeypatch.setattr(cost, "train", train)
    assert main([*SWEEP, *tiny]) == 0
    assert left(capsys)[0] == 2 and rates == [2**-9, 2**-8]
    assert main([*SWEEP, *tiny, "--lrs", "2^-5", "2^-4"]) == 0
    assert "can't be told, because the first 2 of them diverge at once" in capsys.readouterr().out
