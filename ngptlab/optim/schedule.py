"""The learning rate as a pure function of the step: no state to save, so resuming is exact by construction."""

from __future__ import annotations

import math

from ngptlab.config import RunConfig, cooldown_steps


def lr_factor(config: RunConfig, step: int) -> float:
    """Learning rate of update number `step` (0 .. steps-1) relative to the peak.

    Warm-up rises linearly and reaches 1 with its last update: (step + 1) / warmup_steps.
    The WSD cooldown over the last N updates starts at 1 and would reach 0 with the update after the last: linear is
    left / N with left = steps - step, 1-sqrt is 1 - sqrt((N - left) / N) (arXiv:2405.18392).
    The cosine falls from 1 after warm-up towards 0, which it too would reach with the update after the last.
    """
    schedule, steps = config.schedule, config.train.steps
    assert 0 <= step < steps, (step, steps)
    assert schedule.warmup_steps is not None, "methods.resolve comes first"
    assert schedule.shape != "method", "only the method knows it"
    if step < schedule.warmup_steps:
        return (step + 1) / schedule.warmup_steps
    if schedule.shape == "cosine":
        done = (step - schedule.warmup_steps) / (steps - schedule.warmup_steps)
        return (1 + math.cos(math.pi * done)) / 2
    length, left = cooldown_steps(config), steps - step
    if schedule.shape == "constant" or left > length:
        return 1.0
    return left / length if schedule.cooldown_shape == "linear" else 1 - math.sqrt((length - left) / length)


def cooldown_start(config: RunConfig) -> int | None:
    """Number of updates before the WSD cooldown; None for other shapes."""
    return config.train.steps - cooldown_steps(config) if config.schedule.shape == "wsd" else None
