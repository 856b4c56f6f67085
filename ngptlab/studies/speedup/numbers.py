"""The speed-up of a method over a baseline, from runs of several lengths or, weaker, from points within runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from typing_extensions import TypedDict

from ngptlab.config import RunConfig
from ngptlab.stats import costs, doubts, series
from ngptlab.stats.doubts import Doubt, Doubted
from ngptlab.stats.records import RunRecord, Seeds
from ngptlab.stats.speedup import Bounded, Point, points, times

Kind = Literal["by length", "within runs"]
LENGTH = ("train.steps", "schedule.warmup_steps")
"""Fields in which runs of several lengths may differ. Warm-up is one, because a method's default depends on the length."""


class SpeedUpPoint(TypedDict):
    """Costs of the baseline to reach the loss that the method has after `steps`."""

    steps: int
    tokens: Annotated[int, Field(gt=0)]
    loss_nats: float
    """Loss of the method, mean over the seeds."""
    baseline_tokens: Bounded
    baseline_steps: Bounded
    baseline_flops: Bounded
    """Counted from sizes (`ngptlab/flops.py`)."""
    baseline_seconds: Bounded | None
    """Seconds at the baseline's median step time; None where that is not recorded."""
    factor: Bounded
    """Baseline's tokens over the method's, and so of steps. Above one, the method needs fewer."""
    interval: list[Bounded] | None
    """95% interval by Student's t over the seeds; None for one seed, and where a value is only a bound."""
    by_seed: list[Bounded]
    """The factor from each seed's own runs, in the order of the seeds."""
    flops_factor: Bounded
    seconds_factor: Bounded | None


class SpeedUp(Doubted):
    """A method against a baseline at equal settings, as a function of the training length."""

    method: str
    baseline: str
    kind: Kind
    """`by length`: from final losses of runs of several lengths. `within runs`: from validations during runs. These are no
    ends of shorter runs, whose cooldown would have come earlier."""
    runs: str
    """Kind of runs: full schedules, or cooldown branches of one trunk for each method and seed."""
    schedule: str
    seeds: list[str]
    """Seeds that both arms have at every length. No others are used."""
    lengths: list[int]
    """Steps at which the baseline was measured."""
    points: list[SpeedUpPoint]
    summary: str


Losses = dict[Seeds, dict[int, float]]
"""Losses by step, for each seed."""


def by_length(ours: Sequence[RunRecord], theirs: Sequence[RunRecord]) -> SpeedUp | None:
    """From final losses of runs of several lengths; None where the baseline has fewer than two lengths with common seeds."""
    mine, base = (_ends(arm) for arm in (ours, theirs))
    seeds, steps, base_steps = _complete(mine, base)
    if not seeds or len(base_steps) < 2:
        return None
    used = [run for run in (*ours, *theirs) if run.seeds in seeds]
    return _speedup("by length", ours, theirs, seeds, (steps, mine), (base_steps, base), _kind_of_runs(used))


def within_runs(ours: Sequence[RunRecord], theirs: Sequence[RunRecord]) -> SpeedUp | None:
    """From the validations during runs of one length, without the untrained model; None without common seeds."""
    mine, base = (
        {run.seeds: {row.step: row.loss_nats for row in run.val if row.step} for run in arm}
        for arm in (ours, theirs)
    )
    seeds, steps, base_steps = _complete(mine, base)
    if not seeds or len(base_steps) < 2:
        return None
    return _speedup(
        "within runs", ours, theirs, seeds, (steps, mine), (base_steps, base), "points of one run"
    )


def _ends(arm: Sequence[RunRecord]) -> Losses:
    losses: Losses = {}
    for run in arm:
        losses.setdefault(run.seeds, {})[run.config.train.steps] = run.val[-1].loss_nats
    return losses


def _complete(mine: Losses, base: Losses) -> tuple[list[Seeds], list[int], list[int]]:
    """Seeds of both arms, and the steps of each arm at which all these seeds were measured."""
    seeds = sorted(mine.keys() & base.keys())
    if not seeds:
        return [], [], []
    steps, base_steps = (series.common_steps([arm[s] for s in seeds]) for arm in (mine, base))
    return seeds, steps, base_steps


def _kind_of_runs(runs: Sequence[RunRecord]) -> str:
    if not any(run.trunk for run in runs):
        return "full schedules"
    if not all(run.trunk for run in runs):
        return "full schedules and cooldown branches"
    trunks = {(run.method, run.seeds, run.trunk) for run in runs}
    one = len(trunks) == len({trunk[:2] for trunk in trunks})
    return f"cooldown branches of {'one trunk' if one else 'several trunks'} for each method and seed"


def _speedup(
    kind: Kind,
    ours: Sequence[RunRecord],
    theirs: Sequence[RunRecord],
    seeds: list[Seeds],
    mine: tuple[list[int], Losses],
    base: tuple[list[int], Losses],
    whence: str,
) -> SpeedUp:
    (steps, losses), (base_steps, base_losses) = mine, base
    found = points(
        [_tokens(kind, ours, step) for step in steps],
        np.array([[losses[s][step] for step in steps] for s in seeds]),
        [_tokens(kind, theirs, step) for step in base_steps],
        np.array([[base_losses[s][step] for step in base_steps] for s in seeds]),
    )
    doubted = _doubts(kind, ours, theirs, seeds)
    speedup: SpeedUp = {
        "method": ours[0].method,
        "baseline": theirs[0].method,
        "kind": kind,
        "runs": whence,
        "schedule": _schedule(theirs[0].config),
        "seeds": _labels(seeds),
        "lengths": base_steps,
        "points": [
            _priced(kind, step, point, ours, theirs) for step, point in zip(steps, found, strict=True)
        ],
        "summary": "",
        "warnings": doubts.texts(doubted),
        "doubts": [doubt.plain() for doubt in doubted],
    }
    speedup["summary"] = summary(speedup)
    return speedup


def _labels(seeds: list[Seeds]) -> list[str]:
    return [str(weights) if weights == data else f"{weights}/{data}" for weights, data in seeds]


def _schedule(config: RunConfig) -> str:
    schedule = config.schedule
    if schedule.shape != "wsd":
        return schedule.shape
    return f"cooldown {schedule.cooldown_frac:g} {schedule.cooldown_shape}"


def _tokens(kind: Kind, arm: Sequence[RunRecord], step: int) -> int:
    """Tokens of a run that ends with this step, or those met by it within a longer run, whose batches may have grown."""
    train = arm[0].config.train
    return step * train.step_tokens if kind == "by length" else train.tokens_before(step)


def _steps(kind: Kind, arm: Sequence[RunRecord], tokens: Bounded) -> Bounded:
    """The steps after which `_tokens` are so many."""
    train = arm[0].config.train
    if kind == "by length" or not train.batch_stages:
        return times(tokens, 1 / train.step_tokens)
    met = [train.tokens_before(step) for step in range(train.steps + 1)]
    return {"value": float(np.interp(tokens["value"], met, range(len(met)))), "bound": tokens["bound"]}


def _priced(
    kind: Kind, step: int, point: Point, ours: Sequence[RunRecord], theirs: Sequence[RunRecord]
) -> SpeedUpPoint:
    """The baseline's tokens as steps, operations and seconds."""
    flops, base_flops = ours[0].flops_per_token, theirs[0].flops_per_token
    seconds, base_seconds = costs.token_seconds(ours), costs.token_seconds(theirs)
    return {
        "steps": step,
        "tokens": round(point.tokens),
        "loss_nats": point.loss_nats,
        "baseline_tokens": point.need,
        "baseline_steps": _steps(kind, theirs, point.need),
        "baseline_flops": times(point.need, base_flops),
        "baseline_seconds": times(point.need, base_seconds) if base_seconds else None,
        "factor": point.factor,
        "interval": list(point.interval) if point.interval else None,
        "by_seed": list(point.by_seed),
        "flops_factor": times(point.factor, base_flops / flops),
        "seconds_factor": times(point.factor, base_seconds / seconds) if seconds and base_seconds else None,
    }


def _doubts(
    kind: Kind, ours: Sequence[RunRecord], theirs: Sequence[RunRecord], seeds: list[Seeds]
) -> list[Doubt]:
    arms = {theirs[0].method: list(theirs), ours[0].method: list(ours)}
    found = []
    if kind == "within runs":
        text = (
            "Within runs: a point half-way is not the end of a shorter run, whose cooldown would have come earlier. "
            "Runs of several lengths say more."
        )
        found.append(Doubt(kind="schedule", text=text))
    found += doubts.settings(arms, LENGTH, "length")
    if len(seeds) == 1:
        text = "One seed: nothing says how far another would move the factor."
        found.append(Doubt(kind="seeds", text=text))
    return [*doubts.learned_nothing(arms), *found, *doubts.provenance(arms)]


def summary(speedup: SpeedUp) -> str:
    """Sentences on the factor at the greatest length with a measured one, and on final losses beyond the baseline's."""
    method, base, points = speedup["method"], speedup["baseline"], speedup["points"]
    said = []
    for point in [p for p in points if p["factor"]["bound"] == "measured"][-1:]:
        said.append(
            f"For the loss of {method} after {point['steps']:,} steps ({point['loss_nats']:.4f} nats) {base} needs "
            f"{point['factor']['value']:.2f} times the tokens ({_certainty(speedup, point)})."
        )
    last, factor = points[-1], points[-1]["factor"]
    reached = f"the loss of {method} after {last['steps']:,} steps ({last['loss_nats']:.4f} nats)"
    if factor["bound"] == "at least":
        said.append(f"{base} does not reach {reached}: it was given {factor['value']:.2f} times the tokens.")
    elif factor["bound"] == "at most":
        said.append(
            f"{base} is below {reached} at its first point, with {factor['value']:.2f} times the tokens."
        )
    return " ".join([*said, f"From {speedup['runs']} ({speedup['kind']})."])


def _certainty(speedup: SpeedUp, point: SpeedUpPoint) -> str:
    if point["interval"] is None:
        one = len(speedup["seeds"]) == 1
        return (
            "one seed, so no interval"
            if one
            else "no interval: beyond measured losses without one of the seeds"
        )
    low, high = (show(end) for end in point["interval"])
    return f"95% interval over {len(speedup['seeds'])} paired seeds: {low} to {high}"


def show(factor: Bounded) -> str:
    """'1.32×', or 'at least 2.00×'."""
    bound = "" if factor["bound"] == "measured" else f"{factor['bound']} "
    return f"{bound}{factor['value']:.2f}×"
