"""What a run of a recipe costs on this machine, measured by a few steps: for whoever has a budget, or tells how much is left."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ngptlab import methods
from ngptlab.config import RunConfig
from ngptlab.config.method_name import stem
from ngptlab.data.corpus import open_data
from ngptlab.errors import ConfigError, DivergedError
from ngptlab.experiment import train
from ngptlab.folders import scratch
from ngptlab.overrides import apply
from ngptlab.recipes import Recipe

PROBE_STEPS = 8
VAL_TOKENS = 65_536
"""Most validation tokens: in short runs, measuring more of them takes longer than training."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a run costs here, in seconds."""

    step: float
    rest: float
    """Reading, building, measuring."""

    def of(self, steps: int) -> float:
        """A run of so many steps."""
        return self.rest + steps * self.step


def shortened(config: RunConfig, steps: int) -> RunConfig:
    """The config with so many steps, measured at its first and last one only, on a part of the validation text."""
    changes: dict[str, Any] = {
        "train.steps": steps,
        "eval.every": steps,
        "eval.at": (),
        "eval.val_tokens": min(config.eval.val_tokens, VAL_TOKENS),
        "eval.length_documents": 0,
        "checkpoint.every": steps,
        "checkpoint.at": (),
    }
    if warmup := config.schedule.warmup_steps:
        changes["schedule.warmup_steps"] = warmup * steps // config.train.steps
    return apply(config, changes)


def cost_here(recipe: Recipe, names: Sequence[str]) -> Cost:
    """What a run costs here, measured: the dearest of the methods, by a few steps.

    Raises:
        ConfigError: all of them diverge at once.
    """
    config = shortened(recipe.config, min(PROBE_STEPS, recipe.config.train.steps))
    short, steps, rests = replace(recipe, config=config), list[float](), list[float]()
    open_data(config)  # read once, and by none of the runs that are timed
    with scratch() as folder:
        for name in names:
            begun = time.monotonic()
            try:
                run = train(methods.resolve(short.arm(name)), folder / stem(name))
            except DivergedError:  # another learning rate may do
                continue
            times = [row["step_seconds"] for row in run.read("timing")]
            steps.append(statistics.median(times))
            rests.append(max(0.0, time.monotonic() - begun - sum(times)))
    if not steps:
        raise ConfigError(
            f"{' and '.join(map(stem, names))} diverged at once; give another --recipe, or --optim.lr"
        )
    return Cost(step=max(steps), rest=max(rests))
