"""Which runs can be one stack: those that differ only in what a stack holds for each model. Imports no torch."""

from __future__ import annotations

from typing import Any

from ngptlab.config import RunConfig, dump
from ngptlab.errors import ConfigError


def stack_key(config: RunConfig) -> str:
    """A key that is equal for runs that can be one stack.

    It holds all settings but seeds, learning rate, weight decay and rules of parametrization.
    """
    optim = config.optim.model_copy(update={"lr": 1.0, "lr_grid": (), "weight_decay": 0.0})
    changes: dict[str, Any] = {
        "name": "any",
        "seed": 0,
        "data": config.data.model_copy(update={"seed": 0}),
        "optim": optim,
        "param": type(config.param)(),
    }
    return dump(config.model_copy(update=changes))


def why_not(config: RunConfig) -> str:
    """What a run with these settings needs that no stack does, in words; empty where there is nothing."""
    if config.train.batch_stages:
        return "a stack has batches of one size (train.batch_stages)"
    if config.device.recompute == "on":
        return "a stack keeps its activations (device.recompute on)"
    for name, value, without in (
        ("train.non_finite", config.train.non_finite, ("stop",)),
        ("train.spikes", config.train.spikes, ("warn", "off")),
    ):
        if value not in without:
            return f"a stack makes all updates at once, before their numbers are read ({name} {value})"
    return ""


def check_stackable(configs: list[RunConfig]) -> None:
    """Raises ConfigError where runs can't be one stack."""
    if why := why_not(configs[0]):
        raise ConfigError(f"stack: {why}; train the runs one by one")
    if len({stack_key(config) for config in configs}) > 1:
        names = ", ".join(config.run_name for config in configs)
        raise ConfigError(
            f"stack: {names} differ in more than seeds, learning rate, weight decay and param; train them one by one"
        )
