"""A small board that is trained: a method that is the baseline under another name, and one that is broken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ngptlab.cli import main
from ngptlab.jobs.local import Local
from ngptlab.method_files import sources

Captured = pytest.CaptureFixture[str]

SAME = '''"""The baseline under another name, for tests."""

from ngptlab.methods.gpt import METHOD as METHOD
'''
DEAF = '''"""The baseline whose branches are not heard, for tests."""

from dataclasses import dataclass, replace

import torch

from ngptlab.methods.gpt import METHOD as GPT


class Still(torch.nn.Module):
    def forward(self, h):
        return h * 0.0


@dataclass(frozen=True)
class Silence:
    def build(self, dims):
        return Still()


METHOD = replace(GPT, norm=Silence())
'''


@pytest.fixture(autouse=True)
def nothing_read() -> Iterator[None]:
    """As in a process of its own."""
    yield
    sources.forget()


def test_a_board_from_its_command_to_its_page(
    tiny: list[str], work: Path, in_process: None, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / "same.py").write_text(SAME)
    (work / "deaf.py").write_text(DEAF)
    (work / "torn.py").write_text("METHOD = 3\n")
    command = ["board", "demo", *tiny, "--train.steps", "40", "--schedule.warmup-steps", "2"]
    command += ["--methods", "gpt", "./same.py", "./deaf.py", "./torn.py", "--ledger", "runs.jsonl"]
    command += [
        "--lrs",
        "2^-8",
        "2^-6",
        "--decays",
        "0.1",
        "--seeds",
        "3",
        "--eval.every",
        "20",
        "--out",
        "b",
    ]
    assert main(command) == 0
    out = capsys.readouterr().out
    rows = {row["method"]: row for row in json.loads((work / "b" / "board.json").read_text())["rows"]}
    assert {name: row["verdict"] for name, row in rows.items()} == {
        "gpt": "baseline",
        "same": "undecided",
        "deaf": "worse",
        "torn": None,
    }
    assert rows["same"]["losses"] == rows["gpt"]["losses"] and rows["same"]["against"]["mean"] == 0
    assert rows["deaf"]["rank"] == 3 and rows["deaf"]["p_holm"] < 0.05
    assert rows["torn"]["state"] == "cannot run" and "METHOD is int" in rows["torn"]["reason"]
    assert rows["gpt"]["tuning"]["runs"] == 2 and rows["gpt"]["seeds"] == [1, 2, 3]
    assert "torn: cannot run" in out and "Worse than gpt: deaf." in out

    # Nothing is trained again, not even elsewhere; and the page has it.
    monkeypatch.setattr(Local, "train", None)
    assert main(command) == 0
    elsewhere = [*command[:-1], "c"]
    assert main([*elsewhere, "--plan"]) == 0
    assert "Plan: nothing is left to train" in capsys.readouterr().out
    again = {row["method"]: row for row in json.loads((work / "c" / "board.json").read_text())["rows"]}
    assert {name: (row["losses"], row["tuning"]) for name, row in again.items()} == {
        name: (row["losses"], row["tuning"]) for name, row in rows.items()
    }
    assert main(["report", "b", "--out", "page"]) == 0
    assert "Worse than gpt: deaf." in capsys.readouterr().out
    assert (work / "page" / "studies" / "1-board" / "board.md").is_file()
    assert main(["report", "b", "--out", "page"]) == 0, "over an earlier one"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--methods", "gpt", "gpt"], "name each once"),
        (["--methods", "gptt"], "did you mean 'gpt'"),
        (["--seeds", "0"], "give at least 1"),
        (["--lrs", "0.1", "0.1"], "name each once"),
        (["--decays", "-1"], "give numbers from 0 on"),
        (["--decays", "0.1", "1e-1"], "name each once"),
        (["--optim.lr", "0.1"], "board sets it; give --lrs"),
        (["--optim.weight-decay", "0.1"], "board sets it; give --decays"),
        (["--seed", "3"], "this verb sets both"),
        (["--method", "gpt"], "board sets it; give --methods"),
        (["--seams.norm", "ngpt"], "a board is of whole methods"),
    ],
)
def test_wrong_use_is_one_line(work: Path, capsys: Captured, given: list[str], said: str) -> None:
    assert main(["board", "demo", *given]) == 2
    err = capsys.readouterr().err
    assert said in err and len(err.splitlines()) == 1
    assert not (work / "out").exists()


def test_all_stands_for_every_method_that_is_not_named(work: Path) -> None:
    from ngptlab import methods
    from ngptlab.studies.board.verb import _named

    every = methods.names()
    assert _named(["all"], ("gpt", "ngpt"))[0] == "gpt" and sorted(_named(["all"], ("gpt",))) == every
    named = _named(["ngpt", "all", "x@0123456789ab"], ("gpt",))
    assert named[:2] == ["ngpt", "x@0123456789ab"] and len(named) == len(every) + 1
    assert _named([], ("gpt", "ngpt")) == ["gpt", "ngpt"]
