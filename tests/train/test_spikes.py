"""Spikes: six standard deviations above the last 128 steps, by recorded numbers alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ngptlab.config import RunConfig
from ngptlab.errors import ConfigError
from ngptlab.experiment import train
from ngptlab.stack.stackable import check_stackable, why_not
from ngptlab.train import policies, spikes
from ngptlab.train.progress import Silent
from ngptlab.train.spikes import Recent
from ngptlab.train.trainer import Trainer

MakeConfig = Callable[..., RunConfig]


def numbers(count: int, seed: int = 0) -> list[tuple[float, float]]:
    draw = random.Random(seed)
    return [(3 + 0.1 * draw.gauss(0, 1), 1 + 0.2 * draw.gauss(0, 1)) for _ in range(count)]


@pytest.mark.parametrize("count", [64, 100, 128, 500])
@pytest.mark.parametrize("which", [0, 1])
def test_the_limit_is_six_deviations(count: int, which: int) -> None:
    """As numpy computes it, of the last 128."""
    before = numbers(count)
    column = np.array(before)[-128:, which]
    limit = float(column.mean() + 6 * column.std(ddof=1))
    # numpy's sums differ from exact ones by 128 roundings at most, 128 * 2^-53 of a number below 4.
    for factor, expected in ((1 - 1e-13, False), (1 + 1e-13, True)):
        given = [3.0, 1.0]
        given[which] = limit * factor
        told = Recent(before).spike(*given)
        assert bool(told) == expected
        assert not told or told.startswith(("loss ", "gradient norm ")[which])


def test_not_before_sixty_four_steps() -> None:
    assert not Recent(numbers(63)).spike(1e9, 1e9)
    assert "loss" in Recent(numbers(64)).spike(1e9, 1e9) and "gradient norm" in Recent(numbers(64)).spike(
        1e9, 1e9
    )


def test_of_equal_outliers_the_fifth_is_none() -> None:
    recent = Recent([(3.0, 1.0)] * 127 + [(3.0 + 1e-9, 1.0)])
    told = []
    for _ in range(6):
        told.append(bool(recent.spike(9.0, 1.0)))
        recent.add(9.0, 1.0)
    assert told == [True] * 4 + [False] * 2


def test_only_what_is_above_counts() -> None:
    assert not Recent(numbers(128)).spike(-1e9, 0.0)
    assert not Recent([(3.0, 1.0)] * 128).spike(3.0, 1.0), "equal numbers have no deviation"


def test_what_came_before_the_window_has_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resumed run knows the last 128 steps only."""
    all_of_them = [(1e12, 1e12), *numbers(400)]
    straight, resumed = Recent(all_of_them), Recent(all_of_them[-128:])
    for value in np.linspace(3.5, 3.7, 200):
        assert straight.spike(float(value), 1.0) == resumed.spike(float(value), 1.0)


def test_a_level_that_stays_is_taken_for_the_new_one() -> None:
    recent, called = Recent(numbers(128)), []
    for _ in range(10):
        called.append(bool(recent.spike(50.0, 1.0)))
        recent.add(50.0, 1.0)
    assert called == [True] * 4 + [False] * 6


@pytest.mark.parametrize("policy", ["warn", "skip", "off"])
def test_in_training(
    policy: str, make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loss of 1000 at step 7, where the five steps before it are known."""
    monkeypatch.setattr(spikes, "LEAST", 5)
    for module in (spikes, policies):
        monkeypatch.setattr(module, "WINDOW", 5)
    accumulate, calls, notes = Trainer._accumulate, [], []

    def spiking(self: Trainer, *batch: Tensor) -> Tensor:
        calls.append(0)
        loss = accumulate(self, *batch)
        return torch.full_like(loss, 1e3) if len(calls) == 7 else loss

    class Teller(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    def trained(name: str, how: str) -> Any:
        calls.clear()
        return train(make_config(train={"spikes": how}), tmp_path / name, reporter=Teller())

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_accumulate", spiking)
        plain = trained("plain", "off")
        assert not any("deviations" in note for note in notes)
        run = trained("run", policy)
    told = [note for note in notes if "standard deviations above" in note and "step 7" in note]
    assert len(told) == (policy != "off")
    assert all("sequences 24 to 27 of the data order" in note for note in told if policy == "warn")
    losses = [record["loss_nats"] for record in run.read("metrics")]
    assert losses[6] == 1e3 and len(losses) == 8, "what was measured is recorded"
    assert (run.content("metrics") == plain.content("metrics")) == (policy != "skip"), (
        "a warning changes nothing"
    )
    lines = run.read("skipped")
    assert [(line["step"], line["kind"]) for line in lines] == ([(7, "spike")] if policy == "skip" else [])


@pytest.mark.parametrize("changes", [{"non_finite": "skip"}, {"non_finite": "rewind"}, {"spikes": "skip"}])
def test_a_stack_can_not_leave_out_one_runs_update(changes: dict[str, str], make_config: MakeConfig) -> None:
    config = make_config(train=changes)
    ((name, value),) = changes.items()
    assert f"train.{name} {value}" in why_not(config) and not why_not(make_config(train={"spikes": "off"}))
    with pytest.raises(ConfigError, match="one by one") as caught:
        check_stackable([config, config])
    assert "\n" not in str(caught.value)
