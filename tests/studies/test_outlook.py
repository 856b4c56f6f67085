"""`--plan` of studies: how many runs and steps are left, and a time; nothing is trained where it says so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ngptlab.cli import main

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
