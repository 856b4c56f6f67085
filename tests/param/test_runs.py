"""Rules of parametrization in a whole run: the header, resuming, and schedules over several groups."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ngptlab import experiment
from ngptlab.config import RunConfig
from ngptlab.train.progress import Silent
from ngptlab.train.trainer import Trainer

MUP = {"rules": "mup", "base_width": 8}


class Notes(Silent):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def test_the_header_shows_the_table_as_applied(make_config: Callable[..., RunConfig], tmp_path: Path) -> None:
    notes = Notes()
    experiment.train(make_config("ngpt_modded", param=MUP), tmp_path / "run", reporter=notes)
    (header,) = (text for text in notes.texts if text.startswith("mup"))
    assert header.startswith("mup, base width 8\n") and "hidden state / 2 before the head" in header
    (line,) = (line for line in header.splitlines() if line.startswith("blocks.*.mlp.W_o"))
    assert line.split() == ["blocks.*.mlp.W_o", "writer", "16", "x", "42", "0.01", "AdamW", "0.0009766", "0"]


def test_the_horizon_of_a_run_is_its_own(make_config: Callable[..., RunConfig], tmp_path: Path) -> None:
    """8 steps of 4 x 16 tokens are 512, 8 times the base: rates are halved, in the header and in the step."""
    notes = Notes()
    param = {"rules": "nugpt", "base_width": 16, "base_layers": 2, "base_tokens": 64}
    experiment.train(make_config("ngpt", param=param), tmp_path / "run", reporter=notes)
    (header,) = (text for text in notes.texts if text.startswith("nugpt"))
    lines = header.splitlines()
    assert lines[0] == "nugpt, base width 16, base layers 2, base tokens 64"
    (alpha,) = (line for line in lines if line.startswith("blocks.*.mlp_residual.alpha"))
    assert alpha.split() == [
        "blocks.*.mlp_residual.alpha",
        "scale",
        "16",
        "0.1",
        "stored",
        "0.03",
        "AdamW",
        "0.0009766",
        "0",
    ]
    (matrix,) = (line for line in lines if line.startswith("E_in"))
    assert matrix.split()[-2] == "0.0009766"


def test_sp_prints_no_table(make_config: Callable[..., RunConfig], tmp_path: Path) -> None:
    notes = Notes()
    experiment.train(make_config(), tmp_path / "run", reporter=notes)
    assert not any("tensor" in text for text in notes.texts)


@pytest.mark.parametrize("method", ["gpt", "ngpt"])
def test_resume_is_exact(
    method: str,
    make_config: Callable[..., RunConfig],
    outcome: Callable[[Path], dict[str, bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = make_config(method, param=MUP)
    whole = experiment.train(config, tmp_path / "whole")
    queue = Trainer._queue

    def stopping(trainer: Trainer, number: int) -> object:
        if number == 5:
            raise OSError("power")
        return queue(trainer, number)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_queue", stopping)
        with pytest.raises(OSError, match="power"):
            experiment.train(config, tmp_path / "cut")
    resumed = experiment.train(config, tmp_path / "cut")
    assert outcome(resumed.path) == outcome(whole.path)
    plain = experiment.train(make_config(method), tmp_path / "sp")
    assert outcome(plain.path) != outcome(whole.path)


def test_the_rules_are_under_the_hash(make_config: Callable[..., RunConfig]) -> None:
    configs = [
        make_config("ngpt", param=p) for p in ({}, MUP, {**MUP, "rules": "nugpt"}, {**MUP, "base_width": 16})
    ]
    assert len({config.hash for config in configs}) == 4
