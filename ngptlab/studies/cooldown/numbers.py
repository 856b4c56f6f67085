"""A cooldown study in numbers: final loss by cooldown fraction and shape, and the gap to the baseline before and after each.

Fraction 0 is the trunk itself, at a constant learning rate to the end. Where one run of a row has no result, the row has none,
because a mean over the others would be biased downwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired

from typing_extensions import TypedDict

from ngptlab.config import RunConfig
from ngptlab.stats import doubts
from ngptlab.stats import estimates as stats
from ngptlab.stats.doubts import Doubt, Searched
from ngptlab.stats.estimates import Difference
from ngptlab.stats.records import RunRecord, load_runs
from ngptlab.studies.speedup.numbers import SpeedUp, by_length


@dataclass(frozen=True, kw_only=True)
class Leg:
    """A run of the study as it ended: a trunk, or a branch."""

    config: RunConfig
    frac: float
    """Cooldown fraction; 0 for the trunk."""
    shape: str
    start: int
    """Finished updates at which the cooldown begins."""
    path: Path | None
    """Run directory; None where the run has no result."""
    status: str
    reason: str


class Gaps(TypedDict):
    """A method minus the baseline, over the seeds of both. Below zero, the method has the lower loss."""

    before: Difference | None
    """The gap where the branch leaves the trunk; None where that was not measured."""
    after: Difference
    change: Difference | None
    """After minus before, paired by seed: the effect of the cooldown on the gap."""


class Row(TypedDict):
    """One method, length, cooldown fraction and shape. Numbers are None where there is a `reason`."""

    arm: str
    steps: int
    tokens: int
    params: int | None
    """Number of parameters; None where no run of the row has a result."""
    frac: float
    shape: str
    start_step: int
    """Finished updates at which the cooldown begins."""
    seeds: list[int]
    losses: list[float]
    """Final losses, in the order of the seeds."""
    final_loss_nats: float | None
    final_loss_stderr: float | None
    """Standard error over the seeds; None under two."""
    validation_stderr: float | None
    """Standard error over the documents of the validation text, mean over the seeds. It is no error over seeds."""
    before_nats: float | None
    """Mean loss at the branch point."""
    before_losses: NotRequired[list[float]]
    """Losses at the branch point, in the order of the seeds; empty where not measured. Older files lack it."""
    gaps: Gaps | None
    """None for the baseline, and where the row or the baseline has no result."""
    runs: list[str]
    reason: str


class Study(Searched):
    """The content of `cooldown.json`."""

    name: str
    baseline: str
    arms: list[str]
    context: int
    """Tokens of the training context."""
    data: str
    rows: list[Row]
    speedups: list[SpeedUp]
    """Speed-ups by cooldown fraction and shape, where there are several lengths."""


Losses = dict[int, float]
"""Losses by seed."""


def measure(legs: Sequence[Leg], *, name: str) -> Study:
    """The numbers of a study. The first leg's method is the baseline.

    Raises:
        DataError: a run is damaged.
    """
    records = {leg.config.hash: load_runs([leg.path])[0] for leg in legs if leg.path}
    arms = list(dict.fromkeys(leg.config.arm for leg in legs))
    groups = _groups(legs, records)
    rows = []
    for (arm, steps, frac, shape), points in groups.items():
        base = groups.get((arms[0], steps, frac, shape), []) if arm != arms[0] else []
        rows.append(_row(points, base))
    found = _doubts(legs, rows, records)
    return {
        "name": name,
        "baseline": arms[0],
        "arms": arms,
        "context": legs[0].config.train.context,
        "data": legs[0].config.data.source,
        "rows": rows,
        "speedups": _speedups(groups, arms),
        "searches": {leg.config.arm: leg.config.optim.search for leg in legs},
        "warnings": doubts.texts(found, arms[0]),
        "doubts": [doubt.plain() for doubt in found],
    }


@dataclass(frozen=True)
class Point:
    """A leg as a member of a row. The trunk is a member of several rows, one for each length that it passed."""

    leg: Leg
    steps: int
    record: RunRecord | None
    trunk: RunRecord | None
    """The run that it branched off, with the same losses up to the branch point."""

    def loss(self, step: int) -> float | None:
        """Validation loss after this many updates; None where it was not measured."""
        for record in (self.record, self.trunk if step <= self.leg.start else None):
            for row in record.val if record else ():
                if row.step == step:
                    return row.loss_nats
        return None


Key = tuple[str, int, float, str]
"""(arm, steps, cooldown fraction, shape)."""
Groups = dict[Key, list[Point]]


def _groups(legs: Sequence[Leg], records: dict[str, RunRecord]) -> Groups:
    """Rows in the order of arms, lengths, cooldown fractions and shapes; each with its points by seed."""
    lengths = sorted({leg.config.train.steps for leg in legs})
    trunks = {(t.config.arm, t.config.seed): records.get(t.config.hash) for t in legs if not t.frac}
    groups: Groups = {}
    for leg in legs:
        record, trunk = records.get(leg.config.hash), trunks.get((leg.config.arm, leg.config.seed))
        for steps in [leg.config.train.steps] if leg.frac else lengths:
            point = Point(leg, steps, record, trunk)
            groups.setdefault((leg.config.arm, steps, leg.frac, leg.shape), []).append(point)
    arms = list(dict.fromkeys(key[0] for key in groups))
    shapes = list(dict.fromkeys(key[3] for key in groups))
    order = sorted(groups, key=lambda k: (arms.index(k[0]), k[1], k[2], shapes.index(k[3])))
    return {key: groups[key] for key in order}


def _row(points: list[Point], base: list[Point]) -> Row:
    leg, steps = points[0].leg, points[0].steps
    last = _losses(points, steps)
    before = _losses(points, leg.start) if last and leg.frac else {}
    values = list(last.values())
    return {
        "arm": leg.config.arm,
        "steps": steps,
        "tokens": steps * leg.config.train.step_tokens,
        "params": next((p.record.params for p in points if p.record), None),
        "frac": leg.frac,
        "shape": leg.shape,
        "start_step": leg.start if leg.frac else steps,
        "seeds": list(last),
        "losses": values,
        "final_loss_nats": stats.mean(values) if values else None,
        "final_loss_stderr": stats.stderr(values),
        "validation_stderr": _validation_error(points) if last else None,
        "before_nats": stats.mean(list(before.values())) if before else None,
        "before_losses": [before[seed] for seed in last] if before else [],
        "gaps": _gaps(last, before, base) if last and base else None,
        "runs": [p.record.name for p in points if p.record],
        "reason": "; ".join(
            f"seed {p.leg.config.seed} {_why_no_loss(p)}" for p in points if p.loss(steps) is None
        ),
    }


def _why_no_loss(point: Point) -> str:
    """Why a point has no final loss."""
    if not point.record:
        return f"{point.leg.status}: {point.leg.reason}"
    return f"was not measured after {point.steps} steps"


def _losses(points: list[Point], step: int) -> Losses:
    """Validation losses at a step; empty unless every run measured it."""
    found = {point.leg.config.seed: point.loss(step) for point in points}
    known = {seed: loss for seed, loss in sorted(found.items()) if loss is not None}
    return known if len(known) == len(found) else {}


def _validation_error(points: list[Point]) -> float:
    rows = [row for p in points if p.record for row in p.record.val if row.step == p.steps]
    return stats.mean([row.stderr_nats for row in rows])


def _gaps(last: Losses, before: Losses, base: list[Point]) -> Gaps | None:
    theirs = _losses(base, base[0].steps)
    if theirs.keys() != last.keys():
        return None
    after = [last[seed] for seed in last], [theirs[seed] for seed in last]
    gaps: Gaps = {"before": None, "after": stats.difference(*after), "change": None}
    theirs_before = _losses(base, base[0].leg.start) if before else {}
    if theirs_before:
        early = [before[seed] for seed in last], [theirs_before[seed] for seed in last]
        gaps["before"] = stats.difference(*early)
        ours, base_s = ([b - a for a, b in zip(*arm, strict=True)] for arm in zip(early, after, strict=True))
        gaps["change"] = stats.difference(ours, base_s)
    return gaps


def _speedups(groups: Groups, arms: list[str]) -> list[SpeedUp]:
    """Speed-ups for every cooldown fraction and shape that has several lengths."""
    found: list[SpeedUp] = []
    for cooldown in dict.fromkeys((frac, shape) for _, _, frac, shape in groups if frac):
        runs = {
            arm: [
                p.record
                for key, points in groups.items()
                if key[0] == arm and key[2:] == cooldown
                for p in points
                if p.record
            ]
            for arm in arms
        }
        for arm in arms[1:]:
            speedup = by_length(runs[arm], runs[arms[0]]) if runs[arm] and runs[arms[0]] else None
            if speedup:
                found.append(speedup)
    return found


def _doubts(legs: Sequence[Leg], rows: list[Row], records: dict[str, RunRecord]) -> list[Doubt]:
    """Every doubt about this study, the gravest first."""
    missing = [f"No result for {_row_in_words(row)}: {row['reason']}." for row in rows if row["reason"]]
    found = [Doubt(kind="missing", text=text) for text in missing]
    by_arm: doubts.Arms = {}
    for record in records.values():
        by_arm.setdefault(record.method, []).append(record)
    found += doubts.tuning(by_arm)
    arms: dict[str, RunConfig] = {}
    for leg in legs:
        arms.setdefault(leg.config.arm, leg.config)
    shortest = min(leg.config.train.steps for leg in legs)
    if shortest < max(leg.config.train.steps for leg in legs):
        for arm, config in arms.items():
            if warmup := config.schedule.warmup_steps:
                share = f"{warmup} steps: {warmup / shortest:.0%} of the shortest run"
                text = f"All lengths of {arm} share one warm-up of {share}."
                found.append(Doubt(kind="schedule", arms=(arm,), text=text))
    seeds = len({leg.config.seed for leg in legs})
    if seeds == 1:
        text = "One seed: nothing says how far another would move a loss or a gap."
        found.append(Doubt(kind="seeds", text=text))
    elif seeds == 2:
        found.append(Doubt(kind="seeds", text="Two seeds: a claim needs three at least."))
    return [*doubts.learned_nothing(by_arm), *found, *doubts.provenance(by_arm)]


def _row_in_words(row: Row) -> str:
    what = f"cooldown {row['frac']:g} {row['shape']}" if row["frac"] else "no cooldown"
    return f"{row['arm']}, {row['steps']} steps, {what}"
