"""A comparison that adds seeds until it is decided which methods reach a target loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

from ngptlab.config import RunConfig
from ngptlab.config.read_number import read_number
from ngptlab.errors import ConfigError, DivergedError, nearest, shown
from ngptlab.jobs.cell import Cell
from ngptlab.jobs.in_turn import ReporterFactory, lending, plan, train_one
from ngptlab.jobs.outcome import outcome
from ngptlab.ledger.book import Ledger
from ngptlab.overrides import Overrides
from ngptlab.recipes import Recipe
from ngptlab.stats.records import load_runs
from ngptlab.studies.target.files import write_target
from ngptlab.studies.target.numbers import Arm, Target, judge_arm, measure
from ngptlab.studies.target.rule import Rule


def reach(
    recipe: Recipe,
    *,
    out: Path,
    target: str,
    rule: Rule,
    methods: Sequence[str] = (),
    ledger: Ledger | None = None,
    overrides: Overrides | None = None,
    reporter: ReporterFactory,
    tell: Callable[[str], None] = lambda line: None,
    go_on: Callable[[int], bool] = lambda runs: True,
) -> tuple[Target, list[Path]]:
    """Train seed after seed what is missing under out/runs; write out/target.json and .csv.

    Returns the numbers and the run directories that they are of, seed by seed.

    `target` is a loss in nats, or the name of a method whose loss it is. Methods that are decided get no more seeds. One of
    which a run diverges has no verdict, and the others go on. `go_on` is asked before each run, with how many its
    seed still needs; where it says no, no run follows.

    Raises:
        LabError: as `compare` does; no such target; the run of the method that sets it diverged.
        Stopped: a signal asked for it; the run under way was saved.
    """
    names = tuple(methods or recipe.methods)
    goal = goal_of(target, names)
    configs = plan(recipe, methods=names, seeds=rule.max_seeds, overrides=overrides or {})
    arms = {config.method: Arm(name=config.arm) for config in configs[: len(names)]}
    against = arms[goal] if isinstance(goal, str) else goal
    with lending(ledger, configs, out, tell):
        for first in range(0, len(configs), len(names)):
            wanted = [
                name for name, arm in arms.items() if arm is not against and _is_open(arm, against, rule)
            ]
            taken = [c for c in configs[first : first + len(names)] if c.method in (*wanted, goal)]
            if not wanted or not _train(taken, arms, goal, out, reporter, go_on):
                break
            tell(_standing(first // len(names) + 1, [arms[name] for name in wanted], against, rule))
    found = measure(list(arms.values()), against, rule, recipe=recipe.config.name)
    write_target(found, out)
    by_seed = zip_longest(*(arm.runs for arm in arms.values() if not arm.reason))
    return found, [out / "runs" / run.name for runs in by_seed for run in runs if run]


def _train(
    configs: Sequence[RunConfig],
    arms: Mapping[str, Arm],
    goal: float | str,
    out: Path,
    reporter: ReporterFactory,
    go_on: Callable[[int], bool],
) -> bool:
    """Add the runs of a seed to their arms; False where it was told not to go on."""
    for number, config in enumerate(configs):
        if not go_on(len(configs) - number):
            return False
        _add(arms[config.method], config, out, reporter, needed=config.method == goal)
    return True


def goal_of(target: str, methods: Sequence[str]) -> float | str:
    """The target as a loss in nats, or as one of the methods that are compared.

    Raises:
        ConfigError: it is neither.
    """
    if target in methods:
        if len(methods) == 1:
            raise ConfigError(
                f"--target: {target} is the one method that is compared; add others by --methods, or give a loss in nats"
            )
        return target
    try:
        value = float(target) if target.lower() in ("nan", "inf") else float(read_number(target))
    except ValueError:
        raise ConfigError(
            f"--target: given {shown(target)}; give a loss in nats, as 1.55, or one of the methods compared: "
            f"{nearest(target, methods)} (--methods adds others)"
        ) from None
    if not 0 < value < math.inf:
        raise ConfigError(f"--target: given {shown(target)}; give a loss in nats above 0, as 1.55")
    return value


def _is_open(arm: Arm, against: float | Arm, rule: Rule) -> bool:
    """Whether a method is still undecided, so that another seed is added."""
    return not arm.reason and (not arm.runs or judge_arm(arm, against, rule).verdict == "undecided")


def _add(arm: Arm, config: RunConfig, out: Path, reporter: ReporterFactory, *, needed: bool) -> None:
    """Add the run of a seed, or the reason why there is none. For a `needed` method that is an error."""
    try:
        there = outcome(Cell(config), out)
        if there.status == "diverged" and not needed:  # trained again, it would diverge again
            raise DivergedError(there.reason)
        run = train_one(config, out, reporter)
    except DivergedError as error:
        if needed:
            raise
        arm.reason = f"diverged with seed {config.seed}: {error}"
        return
    arm.runs += load_runs([run.path])


def _standing(seeds: int, arms: Sequence[Arm], against: float | Arm, rule: Rule) -> str:
    """Which methods are decided after so many seeds, in a line."""
    looks = [
        f"{arm.name} {'no verdict' if arm.reason else judge_arm(arm, against, rule).verdict}" for arm in arms
    ]
    return f"after {seeds} seed{'s' * (seeds > 1)} of at most {rule.max_seeds}: {', '.join(looks)}"
