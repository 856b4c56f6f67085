"""A comparison against a target loss, from its runs: verdicts, costs of whole runs, and doubts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from typing_extensions import TypedDict

from ngptlab.stats import doubts
from ngptlab.stats import estimates as stats
from ngptlab.stats.costs import Meter
from ngptlab.stats.doubts import Doubt, Doubted
from ngptlab.stats.records import RunRecord
from ngptlab.studies.target.rule import Look, OnTheWay, Rule, judge, on_the_way, scatter_beyond

SCATTER_P = 0.01
"""A warning is given where the scatter would be this improbable if the given sigma were right."""


@dataclass(kw_only=True)
class Arm:
    """A method's runs, one for each seed, from seed 0 on without a gap."""

    name: str
    runs: list[RunRecord] = field(default_factory=list)
    reason: str = ""
    """Why the method can't be judged; '' where it can."""

    @property
    def losses(self) -> list[float]:
        """Final validation losses, nats, in the order of the seeds."""
        return [run.val[-1].loss_nats for run in self.runs]


class ArmNumbers(TypedDict):
    """One method as `target.json` has it. Losses in nats; None where there is none, as of a method with a `reason`."""

    method: str
    verdict: Literal["reached", "not reached", "undecided", "sets the target", "no verdict"]
    reason: str
    runs: list[str]
    seeds: list[int]
    losses: list[float]
    loss_nats: float | None
    """Mean final loss over the seeds."""
    target_nats: float | None
    """The target: the loss given, or the target method's mean over the same seeds."""
    difference_nats: float | None
    """Mean minus target; below zero is below the target."""
    stderr: float | None
    """Standard error of the difference: from sigma where that is given, else over the seeds."""
    p_below: float | None
    p_above: float | None
    bound_nats: float | None
    """One-sided bound of the true difference at `level`: its upper end where the difference is below zero, else its lower."""
    steps: int
    """Steps of each run; 0 where no run was finished. The costs are per run, too."""
    tokens: int
    flops: int
    """Counted from sizes (`ngptlab/flops.py`)."""
    seconds: float | None
    """Time in training steps, mean over the seeds; None where a run did not record each of its steps."""
    on_the_way: OnTheWay | None


class Target(Doubted):
    """The content of `target.json`."""

    recipe: str
    target_method: str | None
    """The method whose loss is the target; None where a loss was given."""
    target_nats: float
    """The loss given, or the target method's mean over all of its seeds."""
    significance: float
    max_seeds: int
    sigma: float | None
    looks: int
    level: float
    """p below it decides: the significance over the looks."""
    arms: list[ArmNumbers]


def judge_arm(arm: Arm, target: float | Arm, rule: Rule) -> Look:
    """The verdict on a method that has runs. Where the target is an arm, it has the same seeds, or more."""
    if isinstance(target, Arm):
        pairs = zip(arm.losses, target.losses, strict=False)
        return judge([ours - theirs for ours, theirs in pairs], rule, paired=True)
    return judge([loss - target for loss in arm.losses], rule)


def measure(arms: Sequence[Arm], target: float | Arm, rule: Rule, *, recipe: str) -> Target:
    """The numbers of a comparison against a target: a loss in nats, or one of `arms`."""
    found = _doubts(arms, target, rule)
    return {
        "recipe": recipe,
        "target_method": target.name if isinstance(target, Arm) else None,
        "target_nats": stats.mean(target.losses) if isinstance(target, Arm) else target,
        "significance": rule.significance,
        "max_seeds": rule.max_seeds,
        "sigma": rule.sigma,
        "looks": rule.looks,
        "level": rule.level,
        "arms": [_numbers(arm, target, rule) for arm in arms],
        "warnings": doubts.texts(found, arms[0].name),
        "doubts": [doubt.plain() for doubt in found],
    }


def _numbers(arm: Arm, target: float | Arm, rule: Rule) -> ArmNumbers:
    cost = Meter(arm.runs).at(arm.runs[0].config.train.steps) if arm.runs else None
    numbers: ArmNumbers = {
        "method": arm.name,
        "verdict": "sets the target" if arm is target else "no verdict",
        "reason": arm.reason,
        "runs": [run.name for run in arm.runs],
        "seeds": [run.config.seed for run in arm.runs],
        "losses": arm.losses,
        "loss_nats": None if arm.reason else stats.mean(arm.losses),
        "target_nats": None,
        "difference_nats": None,
        "stderr": None,
        "p_below": None,
        "p_above": None,
        "bound_nats": None,
        "steps": cost["step"] if cost else 0,
        "tokens": cost["tokens"] if cost else 0,
        "flops": cost["flops"] if cost else 0,
        "seconds": cost["seconds"] if cost else None,
        "on_the_way": None,
    }
    if arm is target or arm.reason:
        return numbers
    held = stats.mean(target.losses[: len(arm.runs)]) if isinstance(target, Arm) else target
    look = judge_arm(arm, target, rule)
    curves = [[(row.step, row.loss_nats) for row in run.val] for run in arm.runs]
    return numbers | {
        "verdict": look.verdict,
        "target_nats": held,
        "difference_nats": look.mean,
        "stderr": look.error,
        "p_below": look.p_below,
        "p_above": look.p_above,
        "bound_nats": look.bound,
        "on_the_way": on_the_way(curves, held),
    }


def _doubts(arms: Sequence[Arm], target: float | Arm, rule: Rule) -> list[Doubt]:
    """Every doubt about these verdicts, the gravest first."""
    whole = {arm.name: arm.runs for arm in arms if not arm.reason}
    absent = [
        Doubt(kind="missing", arms=(arm.name,), text=f"No verdict on {arm.name}: {arm.reason}.")
        for arm in arms
        if arm.reason
    ]
    return [
        *absent,
        *doubts.learned_nothing(whole),
        *doubts.settings(whole),
        *doubts.tuning(whole),
        *_sigma([arm for arm in arms if not arm.reason], rule),
        *_seeds([arm for arm in arms if not arm.reason and arm is not target]),
        *doubts.provenance(whole),
    ]


def _sigma(arms: Sequence[Arm], rule: Rule) -> list[Doubt]:
    """Doubts about sigma, because one that is too small makes every verdict too easy."""
    found = scatter_beyond(rule.sigma, [arm.losses for arm in arms]) if rule.sigma else None
    if found is None or found[1] >= SCATTER_P:
        return []
    text = (
        f"These runs scatter more than the sigma given: {found[0]:.2g} nats within methods, not {rule.sigma:.2g} "
        f"(p = {found[1]:.2g}, chi squared). Verdicts come too easily with a sigma that is too small."
    )
    return [Doubt(kind="seeds", text=text)]


def _seeds(arms: Sequence[Arm]) -> list[Doubt]:
    found = []
    if few := [arm.name for arm in arms if len(arm.runs) < 3]:
        text = f"Fewer than three seeds for {', '.join(few)}: a claim needs three at least."
        found.append(Doubt(kind="seeds", text=text))
    text = (
        "Seeds were added until the target's questions were decided. Intervals that take the number of seeds for fixed, as "
        "a comparison's, are then somewhat too narrow, and means lean to the side of their verdict."
    )
    return [*found, Doubt(kind="seeds", text=text)]
