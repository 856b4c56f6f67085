"""Runs of a try: both methods, the same settings, the same learning rates, in runs short enough for the budget."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ngptlab.config import RunConfig
from ngptlab.overrides import Overrides, apply
from ngptlab.recipes import Recipe, Tuned

FACTORS = (0.5, 1.0, 2.0)
"""The grid of learning rates, as multiples of the rival's own in the recipe."""
SEEDS = 3
"""Number of seeds that the budget must have time for, because fewer give no claim."""
MOST_SEEDS = 8
SIGNIFICANCE = 0.05
"""Chance of a wrong 'better', and of a wrong 'worse', over all looks. A try is a first look, not a claim."""
FEWEST_STEPS = 20
PROBE_STEPS = 8
VAL_TOKENS = 65_536
"""Most validation tokens: in short runs, measuring more of them takes longer than training."""
CHOSEN_BY = 1
"""Number of seeds that select learning rates: seed 0 alone. Their losses are biased, so the comparison begins after them."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a run costs here, in seconds."""

    step: float
    rest: float
    """Seconds of reading, building and measuring."""

    def of(self, steps: int) -> float:
        """Seconds of a run of so many steps."""
        return self.rest + steps * self.step


def rates(recipe: Recipe) -> tuple[float, ...]:
    """The learning rates that both methods are trained at."""
    return tuple(factor * recipe.config.optim.lr for factor in FACTORS)


def shared(recipe: Recipe, rival: str, overrides: Overrides) -> tuple[Recipe, dict[str, Any]]:
    """The recipe with the rival's learning rate in its base config, and nothing tuned for one method alone.

    Also returns the rival's other tuned settings, by field, which both methods have where they fit.
    """
    tuned = recipe.tuned.get(rival)
    settings: dict[str, Any] = dict(tuned.settings) if tuned else {}
    if rival in recipe.warmup_steps:
        settings["schedule.warmup_steps"] = recipe.warmup_steps[rival]
    changes = {"optim.lr": tuned.lr if tuned else recipe.config.optim.lr, "optim.lr_grid": (), **overrides}
    config = apply(recipe.config, changes)
    return (
        replace(recipe, config=config, tuned={}, warmup_steps={}, sweep=None),
        {path: value for path, value in settings.items() if path not in overrides},
    )


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


def steps_within(budget_seconds: float, full: int, cost: Cost) -> int:
    """Steps of each run: the recipe's, halved until all runs fit into the budget."""
    steps = full
    while steps // 2 >= FEWEST_STEPS and seconds(steps, cost) > budget_seconds:
        steps //= 2
    return steps


def seconds(steps: int, cost: Cost) -> float:
    """Time of the learning rates and of `SEEDS` seeds of both methods, one run after the other."""
    return 2 * (len(FACTORS) + SEEDS) * cost.of(steps)


def at_their_best(recipe: Recipe, lrs: dict[str, float]) -> Recipe:
    """The recipe in which each method has the learning rate that was best for it."""
    grid = rates(recipe)
    tuned = {method: Tuned(lr=lr, lr_grid=grid, first_seed=CHOSEN_BY) for method, lr in lrs.items()}
    return replace(recipe, tuned=tuned)
