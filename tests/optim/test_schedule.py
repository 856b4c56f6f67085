"""Learning-rate factors against written tables, and the replication's schedule at its two ends."""

from __future__ import annotations

import pytest

from ngptlab.config import Dims, RunConfig, ScheduleConfig, TrainConfig
from ngptlab.optim.schedule import cooldown_start, lr_factor

DIMS = Dims(vocab_size=4, num_layers=1, num_heads=1, d_model=2)


def config_of(steps: int, *, warmup: int = 0, frac: float = 0.0, **schedule: str) -> RunConfig:
    return RunConfig(
        method="gpt",
        name="x",
        model=DIMS,
        train=TrainConfig(steps=steps),
        schedule=ScheduleConfig.model_validate({"warmup_steps": warmup, "cooldown_frac": frac, **schedule}),
    )


TABLES = {
    "wsd linear": (config_of(10, warmup=2, frac=0.4), [0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]),
    "wsd 1-sqrt": (
        config_of(10, warmup=2, frac=0.4, cooldown_shape="1-sqrt"),
        [0.5, 1, 1, 1, 1, 1, 1, 0.5, 0.2928932188134524, 0.1339745962155614],
    ),
    "wsd, nothing but cooldown": (config_of(4, frac=1), [1, 0.75, 0.5, 0.25]),
    "wsd without cooldown": (config_of(4, warmup=1), [1, 1, 1, 1]),
    "wsd, warm-up meets cooldown": (config_of(4, warmup=2, frac=0.5), [0.5, 1, 1, 0.5]),
    "cosine": (
        config_of(6, warmup=2, shape="cosine"),
        [0.5, 1, 1, 0.8535533905932737, 0.5, 0.1464466094067263],
    ),
    "cosine ignores the cooldown": (config_of(2, frac=0.5, shape="cosine"), [1, 0.5]),
    "constant": (config_of(5, shape="constant"), [1, 1, 1, 1, 1]),
    "constant after warm-up": (
        config_of(6, warmup=4, frac=0.5, shape="constant"),
        [0.25, 0.5, 0.75, 1, 1, 1],
    ),
    "warm-up to the end": (config_of(4, warmup=4, shape="cosine"), [0.25, 0.5, 0.75, 1]),
}


@pytest.mark.parametrize("name", TABLES)
def test_table(name: str) -> None:
    config, expected = TABLES[name]
    factors = [lr_factor(config, step) for step in range(config.train.steps)]
    assert factors == pytest.approx(expected, rel=1e-12)


def test_replication() -> None:
    """4768 steps, the last 1450 of them cooling down from 1 to 1/1450; the baseline warms up over 200."""
    config = config_of(4768, warmup=200, frac=1450 / 4768)
    assert cooldown_start(config) == 4768 - 1450 == 3318
    assert lr_factor(config, 0) == 1 / 200
    assert lr_factor(config, 198) == 199 / 200
    assert lr_factor(config, 199) == lr_factor(config, 3317) == lr_factor(config, 3318) == 1
    assert lr_factor(config, 3319) == 1449 / 1450
    assert lr_factor(config, 4767) == 1 / 1450


@pytest.mark.parametrize("cooldown_shape", ["linear", "1-sqrt"])
def test_factor_is_never_zero_and_never_above_1(cooldown_shape: str) -> None:
    config = config_of(97, warmup=7, frac=0.37, cooldown_shape=cooldown_shape)
    factors = [lr_factor(config, step) for step in range(97)]
    assert all(0 < factor <= 1 for factor in factors)
    start = cooldown_start(config)
    assert start is not None
    assert factors[start:] == sorted(factors[start:], reverse=True)


@pytest.mark.parametrize("shape", ["cosine", "constant"])
def test_only_wsd_has_a_cooldown(shape: str) -> None:
    assert cooldown_start(config_of(10, frac=0.5, shape=shape)) is None
    assert cooldown_start(config_of(10, frac=0.5)) == 5


@pytest.mark.parametrize("step", [-1, 10])
def test_a_step_outside_the_run_is_our_own_mistake(step: int) -> None:
    with pytest.raises(AssertionError):
        lr_factor(config_of(10), step)
