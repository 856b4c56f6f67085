"""A try from its method to its verdict: checks, a grid of learning rates, then seed after seed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ngptlab import methods
from ngptlab.config.method_name import stem
from ngptlab.conformance.run import check
from ngptlab.errors import ConfigError, DivergedError
from ngptlab.initial_model import initial_model
from ngptlab.jobs.cost import cost_here, shortened
from ngptlab.jobs.executor import Executor, Gate
from ngptlab.jobs.in_turn import ReporterFactory
from ngptlab.jobs.local import Local
from ngptlab.overrides import Overrides, apply
from ngptlab.recipes import Recipe
from ngptlab.studies.lent_settings import fits, has_own
from ngptlab.studies.sweep.plan import grid_of
from ngptlab.studies.sweep.run import sweep
from ngptlab.studies.sweep.tuning import best
from ngptlab.studies.target.numbers import Target
from ngptlab.studies.target.rule import Rule
from ngptlab.studies.target.run import reach
from ngptlab.studies.trial import plan
from ngptlab.studies.trial.budget import Budget, Spent
from ngptlab.studies.trial.files import record, recorded, steps_of
from ngptlab.studies.trial.numbers import Setting, Trial, diverged, of_target, unfinished


def within(gate: Gate) -> Executor:
    """The executor of this machine, which starts what the gate holds."""
    return Local(stack=None, gate=gate)


@dataclass(frozen=True, kw_only=True)
class How:
    """The executor, ledger and output of a try."""

    out: Path
    budget_seconds: float
    reporter: ReporterFactory
    executor: Callable[[Gate], Executor] = within
    again: bool = False
    tell: Callable[[str], None] = lambda line: None
    clock: Callable[[], float] = time.monotonic


def attempt(recipe: Recipe, method: str, rival: str, overrides: Overrides, how: How) -> tuple[Trial, bool]:
    """Run the checks on a method, compare it with its rival, and record the verdict; True where it was recorded before.

    Raises:
        Broken: the method fails a check; the message says what to mend.
        LabError: both are the same, wrong settings or data, or a run failed or the rival diverged.
        Stopped: a signal asked for it; the same command goes on.
    """
    budget = Budget(seconds=how.budget_seconds, clock=how.clock, begun=how.clock())
    mine, theirs = methods.load(method), methods.load(rival)
    if mine == theirs:
        raise ConfigError(f"{stem(method)}: fills every seam as {stem(rival)} does; change one, then try it")
    whole, settings = plan.shared(recipe, rival, overrides)
    arms = whole.arm(method), apply(recipe.arm(rival), overrides)
    key = "-".join(methods.resolve(arm).hash for arm in arms)
    if not how.again and (there := recorded(how.out, key)):
        return there, True
    checks = check(mine, stem(method), how.tell)
    whole = _with_settings(whole, settings, (method, rival), how.tell)
    full, folder = (
        whole.config.train.steps,
        how.out / f"{stem(method)}-{stem(rival)}-{whole.config.name}-{key}",
    )
    steps = steps_of(folder, how.budget_seconds, lambda: _steps(whole, (method, rival), budget, how.tell))
    short = replace(whole, config=shortened(whole.config, steps))
    setting: Setting = {
        "method": method,
        "against": rival,
        "recipe": whole.config.name,
        "key": key,
        "checks": checks,
        "lrs": list(plan.rates(short)),
        "steps": steps,
        "recipe_steps": full,
        "budget_seconds": how.budget_seconds,
        "folder": str(folder),
    }
    trial = _compare(short, setting, how, budget)
    record(how.out, trial)
    return trial, False


def _compare(recipe: Recipe, setting: Setting, how: How, budget: Budget) -> Trial:
    """Learning rates for both, then seeds until it is decided or the budget is spent."""
    method, rival = setting["method"], setting["against"]
    how.tell(f"learning rates for both, runs of {setting['steps']} of {setting['recipe_steps']} steps")
    best_lr: dict[str, float] = {}
    try:
        lrs = _best_rates(recipe, setting, how, budget)
        best_lr = {stem(name): lr for name, lr in lrs.items()}
        if rival not in lrs:
            raise ConfigError(
                f"{stem(rival)} diverged at every learning rate; give another --recipe, or --optim.lr"
            )
        if method not in lrs:
            return diverged(setting, best_lr, seconds=budget.used)
        found = _seeds(recipe, setting, lrs, how, budget)
    except Spent:
        return unfinished(setting, best_lr, seconds=budget.used)
    return of_target(setting, found, best_lr, seconds=budget.used)


def _seeds(recipe: Recipe, setting: Setting, lrs: dict[str, float], how: How, budget: Budget) -> Target:
    """Seed after seed of both methods, as long as the budget holds what a seed still needs.

    Raises:
        Spent: before there was a seed of both.
    """
    method, rival, out = setting["method"], setting["against"], Path(setting["folder"])
    asked, begun = 0, how.clock()

    def go_on(runs: int) -> bool:
        nonlocal asked, begun
        if asked:
            budget.took(1, how.clock() - begun)
        begun, fits = how.clock(), budget.holds(runs)
        if not fits and asked < 2:
            raise Spent
        asked += 1
        return fits

    try:
        found, _ = reach(
            plan.at_their_best(recipe, lrs),
            out=out,
            target=rival,
            rule=Rule(significance=plan.SIGNIFICANCE, max_seeds=plan.MOST_SEEDS),
            methods=(rival, method),
            reporter=how.reporter,
            tell=how.tell,
            go_on=go_on,
        )
    except DivergedError as error:
        raise ConfigError(f"{stem(rival)} diverged at its best learning rate: {error}") from None
    return found


def _best_rates(recipe: Recipe, setting: Setting, how: How, budget: Budget) -> dict[str, float]:
    """The best learning rate of each method; none for a method that diverged at all of them.

    Raises:
        Spent: before all learning rates were tried.
    """
    param = recipe.config.param
    grid = grid_of(
        recipe,
        methods=(setting["against"], setting["method"]),
        params=(param.rules,),
        widths=(recipe.config.model.d_model,),
        lrs=setting["lrs"],
        base_width=param.base_width,
    )
    folder = Path(setting["folder"]) / "rates"
    table, _ = sweep(recipe, grid, folder, executor=how.executor(budget), tell=how.tell)
    left = [row for row in table if not row.over]
    if failed := [row for row in left if row.status != "waiting"]:
        raise ConfigError(f"{failed[0].method} at learning rate {failed[0].lr:g}: {failed[0].reason}")
    if left:
        raise Spent
    found = {arm.method: arm.lr for arm in best(table)}
    return {
        name: found[stem(name)] for name in (setting["against"], setting["method"]) if stem(name) in found
    }


def _with_settings(
    recipe: Recipe, settings: dict[str, Any], names: tuple[str, str], tell: Callable[[str], None]
) -> Recipe:
    """The recipe with the rival's settings that both methods accept, without those that a method sets itself."""
    for path, value in settings.items():
        own, tried = has_own(path, *names), replace(recipe, config=apply(recipe.config, {path: value}))
        if own or not all(fits(tried, name) for name in names):
            tell(
                f"both without the recipe's {path} {value}: {'each has its own' if own else 'one refuses it'}"
            )
        else:
            recipe = tried
    for name in names:  # an error from here on is the recipe's own
        initial_model(methods.resolve(recipe.arm(name)))
    return recipe


def _steps(recipe: Recipe, names: tuple[str, str], budget: Budget, tell: Callable[[str], None]) -> int:
    """Steps of each run, from the measured time of a few steps here; the budget learns what a run is expected to take."""
    try:
        cost = cost_here(recipe, names)
    except DivergedError as error:
        raise ConfigError(f"{error}; give another --recipe, or --optim.lr") from None
    steps = plan.steps_within(budget.seconds, recipe.config.train.steps, cost)
    budget.took(1, cost.of(steps))
    if (expected := plan.seconds(steps, cost)) > budget.seconds:
        tell(
            f"even runs of {steps} steps may take {expected / 60:.1f} minutes, which is more than the budget; a smaller --recipe "
            "or a larger --budget is better"
        )
    return steps
