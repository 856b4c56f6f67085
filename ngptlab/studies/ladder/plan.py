"""The rungs between two methods, as configs. Only the seam table is used, so any two methods have a ladder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ngptlab import methods
from ngptlab.config import RunConfig, SeamsConfig
from ngptlab.errors import ConfigError
from ngptlab.nn.decoder import Parts
from ngptlab.nn.seams import differing_steps
from ngptlab.overrides import Overrides, apply
from ngptlab.recipes import Recipe
from ngptlab.studies.ladder.dry_run import why_not
from ngptlab.studies.ladder.numbers import Mode


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A rung to train, or the reason why it can't be trained."""

    label: str
    seams: tuple[str, ...]
    """Seams that this rung changes against the rung before it, or in leave-one-out against the first."""
    config: RunConfig
    lr_of: str
    """The method whose learning rate the rung has; '' where the user set the learning rate."""
    reason: str
    """Why the rung can't be trained; '' where it can."""


def plan(recipe: Recipe, *, base: str, target: str, mode: Mode, overrides: Overrides) -> list[Planned]:
    """The rungs from `base` to `target`, in the order of the paper's steps. Configs are resolved and have seed 0.

    cumulative: `base`, then one step more at each rung, the last of which is `target`.
    leave-one-out: `target`, then `target` with one step taken back at each rung.

    Raises:
        ConfigError: a method is unknown, the two have equal parts, or a wrong override.
    """
    steps = differing_steps(methods.load(base), methods.load(target))
    if not steps:
        raise ConfigError(f"--from {base} --to {target}: no seam differs, so there is no ladder between them")
    # Each rung: its label, the seams that it changes, and the seams that `target` fills.
    if mode == "cumulative":
        lists = [(f"+ {_step_name(step)}", step, sum(steps[: i + 1], ())) for i, step in enumerate(steps)]
        lists = [(base, (), ()), *lists]
    else:
        every = sum(steps, ())
        lists = [(f"- {_step_name(step)}", step, tuple(s for s in every if s not in step)) for step in steps]
        lists = [(target, (), every), *lists]
    planned: list[Planned] = []
    for label, step, taken in lists:
        config, lr_of = _config(recipe, base, target, taken, mode, overrides)
        planned.append(Planned(label=label, seams=step, config=config, lr_of=lr_of, reason=""))
    return _judge(planned, mode)


def _step_name(step: tuple[str, ...]) -> str:
    return " and ".join(step)


def _config(
    recipe: Recipe, base: str, target: str, taken: tuple[str, ...], mode: Mode, overrides: Overrides
) -> tuple[RunConfig, str]:
    """The config of `base` with these seams taken from `target`, and the method whose learning rate it has.

    A rung that equals one of the two methods has that method's name, so that it is the same run as in a comparison.
    """
    parts = methods.load(base, dict.fromkeys(taken, target))
    method, lent = _identity(parts, base, target, taken, mode)
    # The learning rate follows the constraint on the weights, which decides the effect of a step of a given size.
    lr_of = base if parts.after_step == methods.load(base).after_step else target
    arm = recipe.arm(lr_of)
    optim = arm.optim
    if lent or method != lr_of:
        # These were searched for another model. This one may have no alpha at all.
        optim = optim.model_copy(update={"lr_grid": (), "search": "", "alpha_init": None})
    arm = arm.model_copy(update={"method": method, "optim": optim, "seams": SeamsConfig(**lent)})
    return methods.resolve(apply(arm, overrides)), "" if "optim.lr" in overrides else lr_of


def _identity(
    parts: Parts, base: str, target: str, taken: tuple[str, ...], mode: Mode
) -> tuple[str, Mapping[str, str]]:
    """The method that a rung is named after, and the seams that come from the other method."""
    for whole in (base, target):
        if parts == methods.load(whole):
            return whole, {}
    if mode == "cumulative":
        return base, dict.fromkeys(taken, target)
    back = [seam for step in differing_steps(parts, methods.load(target)) for seam in step]
    return target, dict.fromkeys(back, base)


def _judge(planned: list[Planned], mode: Mode) -> list[Planned]:
    """The same rungs, with a reason where one can't be trained or repeats the one that it is compared with."""
    judged: list[Planned] = []
    against: Planned | None = None
    for number, rung in enumerate(planned):
        parts = methods.load(rung.config.method, rung.config.seams.lenders)
        reason = why_not(parts)
        if not reason and against is not None and _numbers(rung.config) == _numbers(against.config):
            reason = "changes nothing here: the config or an option sets what these seams would decide"
        rung = replace(rung, reason=reason)
        judged.append(rung)
        if not reason and (mode == "cumulative" or number == 0):
            against = rung
    return judged


def _numbers(config: RunConfig) -> tuple[object, ...]:
    """The config fields and seams that decide a rung's numbers, without two seams that are only defaults of config fields."""
    parts = methods.load(config.method, config.seams.lenders)
    parts = replace(parts, weight_decay=0.0, warmup_steps=0)
    return parts, config.optim.lr, config.optim.weight_decay, config.schedule.warmup_steps
