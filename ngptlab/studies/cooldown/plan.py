"""The runs of a cooldown study as configs: for each method and seed a trunk at a constant learning rate, and its branches.

A branch's config is that of the straight run with the same schedule, and so is its hash.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ngptlab import config as configs
from ngptlab import methods as all_methods
from ngptlab.config import RunConfig, cooldown_steps
from ngptlab.errors import ConfigError
from ngptlab.jobs.cell import Cell
from ngptlab.method_files.copies import load_config
from ngptlab.overrides import Overrides, apply
from ngptlab.recipes import Recipe, recipe
from ngptlab.studies.sweep.plan import OF_RUNS, check_free, check_parts

SET_BY = {
    **OF_RUNS,
    "schedule.shape": "--shapes",
    "schedule.cooldown_shape": "--shapes",
    "schedule.cooldown_frac": "--fracs",
    "eval.at": "--fracs",
    "checkpoint.at": "--fracs",
}
"""Fields that the study decides, and the option that sets each."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """The factors that are crossed for each method and seed."""

    fracs: tuple[float, ...]
    shapes: tuple[str, ...]
    lengths: tuple[int, ...] = ()
    """Steps of the runs; empty: those of the config."""
    seeds: int = 1
    first_seed: int = 0
    """First seed: 0, or the one after those that selected an arm's settings."""


@dataclass(frozen=True)
class Leg(Cell):
    """A run of the study: the trunk, or a branch with the fraction and shape of its cooldown."""

    frac: float = 0.0
    """Cooldown fraction; 0 for the trunk."""
    shape: str = ""

    @property
    def title(self) -> str:
        """The run's place in the study, in words."""
        config = self.config
        what = f"cooldown {self.frac:g} {self.shape}" if self.frac else "trunk"
        return f"{config.arm} seed {config.seed} {config.train.steps} steps {what}"

    @property
    def start(self) -> int:
        """Finished updates at which the cooldown begins."""
        return self.config.train.steps - (cooldown_steps(self.config) if self.frac else 0)


@dataclass(frozen=True)
class Trunk:
    """A run at a constant learning rate, as long as the longest branch, with its branches."""

    leg: Leg
    branches: tuple[Leg, ...]


def arms(
    given: str,
    methods: Sequence[str],
    overrides: Overrides,
    tuned: Callable[[Recipe], Recipe] = lambda recipe: recipe,
) -> list[RunConfig]:
    """The configs that a study starts from, the baseline's first: a recipe's, a config file's, or a run directory's.

    `tuned` gives a recipe's arms their settings.

    Raises:
        ConfigError: no such recipe, file or run; a field that the study sets is overridden; another method than a run's.
    """
    check_free("cooldown", SET_BY, overrides)
    if len(set(methods)) != len(methods):
        raise ConfigError(f"--methods: given {' '.join(methods)}; name each method once")
    if Path(given).is_dir():
        config = load_config(Path(given) / "config.json")
        if methods and list(methods) != [config.method]:
            raise ConfigError(
                f"--methods {' '.join(methods)}: {given} is a run, whose learning rate, decay and warm-up belong to "
                f"{config.method}; give a recipe to compare methods"
            )
        return [apply(_without_marks(config), overrides)]
    found = tuned(recipe(given))
    return [apply(found.arm(method), overrides) for method in methods or found.methods]


def first_seed(given: str, tuned: Callable[[Recipe], Recipe]) -> int:
    """The first seed of a study, after those that selected an arm's settings."""
    return 0 if Path(given).is_dir() else tuned(recipe(given)).first_seed


def _without_marks(config: RunConfig) -> RunConfig:
    """The config without an earlier study's `eval.at` and `checkpoint.at`, which a shorter run may not reach."""
    return config.model_copy(
        update={
            "eval": config.eval.model_copy(update={"at": ()}),
            "checkpoint": config.checkpoint.model_copy(update={"at": ()}),
        }
    )


def plan(arms: Sequence[RunConfig], design: Design) -> list[Trunk]:
    """The runs of a study, seed by seed so that every method has its first ones early.

    Raises:
        ConfigError: a part of the design is empty, out of range or named twice; a cooldown doesn't fit; a method has a
            schedule of its own; the rules of parametrization give every length a learning rate of its own.
    """
    _check(design)
    resolved = [all_methods.resolve(arm) for arm in arms]
    for arm in resolved:
        if arm.schedule.shape == "method":
            raise ConfigError(
                f"{arm.arm} has a schedule of its own, so there is no cooldown to choose; leave it out of --methods"
            )
        if len(design.lengths) > 1 and arm.param.base_tokens:
            raise ConfigError(
                f"--lengths: given {' '.join(map(str, design.lengths))}; with param.base_tokens {arm.param.base_tokens} every "
                "learning rate depends on the run's length, so that lengths can't share a trunk: give one at a time"
            )
    return [
        _trunk(arm, design, seed)
        for seed in range(design.first_seed, design.first_seed + design.seeds)
        for arm in resolved
    ]


def _check(design: Design) -> None:
    check_parts({option: getattr(design, option) for option in ("fracs", "shapes", "lengths")}, design.seeds)
    if not design.fracs or not all(0 < frac <= 1 for frac in design.fracs):
        raise ConfigError(
            f"--fracs: given {' '.join(map(str, design.fracs))}; give fractions of a run above 0 and up to 1"
        )
    if not all(steps > 0 for steps in design.lengths):
        raise ConfigError(f"--lengths: given {' '.join(map(str, design.lengths))}; give steps from 1 on")


def _trunk(arm: RunConfig, design: Design, seed: int) -> Trunk:
    """The trunk of an arm, with its branches. All have the warm-up of `arm`, which is resolved at its own length.

    A warm-up left to the method depends on the run's length. If each length resolved its own, trunk and branches would
    differ from the first update on.
    """
    lengths = sorted(design.lengths or (arm.train.steps,))
    seeded: Overrides = {"seed": seed, "data.seed": seed}
    branches = [
        _branch(arm, seeded, steps, frac, shape)
        for steps in lengths
        for frac in sorted(design.fracs)
        for shape in design.shapes
    ]
    starts = {leg.start for leg in branches if leg.start}
    # The trunk is as long as the longest branch, so that it is finished when fractions are added later. Its loss after
    # as many steps as a branch has is the loss without a cooldown.
    changes: Overrides = {
        **seeded,
        "train.steps": lengths[-1],
        "schedule.shape": "constant",
        "schedule.cooldown_frac": configs.ScheduleConfig().cooldown_frac,
        "schedule.cooldown_shape": configs.ScheduleConfig().cooldown_shape,
        "eval.at": tuple(sorted(starts | set(lengths))),
        "checkpoint.at": tuple(sorted(starts)),
    }
    return Trunk(Leg(_fitted(arm, changes)), tuple(branches))


def _branch(arm: RunConfig, seeded: Overrides, steps: int, frac: float, shape: str) -> Leg:
    changes: Overrides = {
        **seeded,
        "train.steps": steps,
        "schedule.shape": "wsd",
        "schedule.cooldown_frac": frac,
        "schedule.cooldown_shape": shape,
        "eval.at": (),
        "checkpoint.at": (),
    }
    leg = Leg(_fitted(arm, changes), frac=frac, shape=shape)
    if steps - leg.start < 2:
        raise ConfigError(
            f"--fracs {frac:g}: of {steps} steps that is a cooldown of {steps - leg.start}, in which the learning rate "
            "can't fall; give a larger fraction, or longer runs"
        )
    at = (leg.start,) if leg.start else ()
    return Leg(_fitted(leg.config, {"eval.at": at, "checkpoint.at": at}), frac=frac, shape=shape)


def _fitted(arm: RunConfig, changes: Overrides) -> RunConfig:
    try:
        return apply(arm, changes)
    except ConfigError as error:
        raise ConfigError(
            f"{arm.arm}, {changes.get('train.steps', arm.train.steps)} steps: {error}"
        ) from None
