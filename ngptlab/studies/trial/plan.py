"""Runs of a try: both methods, the same settings, the same learning rates, in runs short enough for the budget."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ngptlab.jobs.cost import Cost
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
CHOSEN_BY = 1
"""Number of seeds that select learning rates: seed 0 alone. Their losses are biased, so the comparison begins after them."""


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
