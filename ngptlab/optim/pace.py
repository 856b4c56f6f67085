"""How fast an update goes: the config's schedule and the method's, brought together, and put into the optimizer's groups."""

from __future__ import annotations

import torch

from ngptlab.config import RunConfig
from ngptlab.nn.structure import Schedule, When
from ngptlab.optim.schedule import lr_factor


def pace(config: RunConfig, schedule: Schedule, step: int) -> tuple[float, float]:
    """Factors on the peak learning rate and on the weight decay of update number `step`, a pure function of it."""
    train, warmup_steps = config.train, config.schedule.warmup_steps
    assert warmup_steps is not None, "methods.resolve comes first"
    when = When(step, train.steps, warmup_steps, train.sequences(step) / train.batch_size)
    usual = 1.0 if schedule.own_shape else lr_factor(config, step)
    return usual * schedule.lr(when), schedule.decay(when)


def set_pace(optimizer: torch.optim.Optimizer, lr: float, decay: float) -> None:
    """Every group's learning rate and decay to these factors times its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * lr
        group["weight_decay"] = group["peak_decay"] * decay
