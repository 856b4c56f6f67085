"""Rules on measurements of trained models: loss by position, condition numbers, learned scales, tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from ngptlab.claims.claim import Held, Outcome, Verdict
from ngptlab.claims.evidence import Estimate, Evidence, OfRun, Positions, Scales
from ngptlab.claims.standard import (
    MIN_SEEDS,
    Compares,
    decide,
    estimate,
    nothing,
    outcome,
    pairs,
    show,
    show_ratio,
)
from ngptlab.stats.doubts import Doubt, forbidding

R = TypeVar("R", bound=OfRun)
USUAL_COOLDOWN = 0.3
"""Where models differ in their cooldown only, those with the cooldown fraction nearest to this are judged."""

Records = Mapping[str, R]
"""Records by seed."""


def _group(found: Sequence[R], methods: Sequence[str]) -> list[Records[R]]:
    """Each method's records by seed, from one group. A group with three seeds of all comes first, then one without doubt,
    then the one with the largest models.
    """
    groups: dict[tuple[object, ...], list[R]] = {}
    for record in found:
        if record.frac == 0.0:
            continue  # its learning rate never fell, so its training is not finished
        groups.setdefault(record.group, []).append(record)

    def split(group: list[R]) -> list[Records[R]]:
        return [_by_seed([r for r in group if r.method == method]) for method in methods]

    def rank(each: list[Records[R]]) -> tuple[object, ...]:
        common = set.intersection(*(set(records) for records in each))
        every = [record for records in each for record in records.values()]
        largest = max((record.setting.size for record in every), default=0)
        near = max((record.near(USUAL_COOLDOWN) for record in every), default=(0.0, False))
        clear = not forbidding((d for r in every for d in r.doubts), *methods)
        return min(len(common), MIN_SEEDS), clear, largest, near, len(common)

    parts = [split(group) for group in groups.values()]
    return max(parts, key=rank) if parts else [{} for _ in methods]


def _by_seed(found: Sequence[R]) -> Records[R]:
    """Records by seed. Where two models have one seed, all of them are in doubt."""
    runs = {(record.seed, record.hash) for record in found}
    seeds = {record.seed for record in found}
    if len(runs) == len(seeds):
        return {r.seed: r for r in found}
    method = found[0].method
    twice = Doubt(kind="recording", arms=(method,), text=f"Several models of {method} have one seed.")
    return {r.seed: replace(r, doubts=(*r.doubts, twice)) for r in found}


def _finish(
    records: Sequence[Records[R]],
    measured: str,
    held: Sequence[Held],
    decided: tuple[Verdict, str] | None = None,
) -> Outcome:
    """The outcome of a rule. Nothing is decided where the models' runs are not recorded, or are in doubt."""
    every = [record for part in records for record in part.values()]
    hashes = dict.fromkeys(record.hash for record in every if record.hash)
    measured += f" ({every[0].schedule})" if every[0].schedule else ""
    found = outcome(held, measured, every[0].setting, list(hashes), decided=decided)
    if not all(record.seed and record.hash for record in every):
        reason = "the runs' seeds and hashes are not recorded"
        return replace(found, verdict="not yet tested", reason=reason, seeds=0, held=())
    doubts = forbidding((d for record in every for d in record.doubts), *(r.method for r in every))
    if doubts:
        reason = "; ".join([*filter(None, [found.reason]), *doubts])
        return replace(found, verdict="not yet tested", reason=reason)
    return found


def _rises(records: Records[Positions], contexts: int) -> dict[str, float]:
    """Loss at the last doubling up to `contexts` training contexts minus that within the training context, by seed."""
    found = {}
    for seed, record in records.items():
        context = record.setting.context or 0
        near, far = record.loss(0, context), record.loss(contexts * context // 2, contexts * context)
        if near is not None and far is not None:
            found[seed] = far - near
    return found


def _reading(evidence: Evidence, contexts: int, *methods: str) -> list[Records[Positions]]:
    """Each method's records of texts that were read to this length. The selection depends on lengths only, not on losses."""
    long_enough = [record for record in evidence.positions if _rises({record.seed: record}, contexts)]
    return _group(long_enough, methods)


def _no_reading(contexts: int, whose: str) -> Outcome:
    return nothing(f"loss to {contexts} contexts of {whose}")


def _risen(
    evidence: Evidence,
    records: Sequence[Records[Positions]],
    contexts: int,
    rise: Estimate,
    most: float,
    measured: str,
) -> Outcome:
    """The outcome on a rise, or a difference of rises, of at most `most` nats.

    Nothing is decided where no model's loss rises on that text, whose first tokens are then its hardest. The text is chosen
    before this test, because a choice by the losses would find a text for every claim.
    """
    decided = decide(rise, -math.inf, most)
    groups = {record.group for part in records for record in part.values()}
    equals = [record for record in evidence.positions if record.group in groups]
    if not any(up > 0 for record in equals for up in _rises({record.seed: record}, contexts).values()):
        decided = (
            "not yet tested",
            "every model's loss falls on that text, so it says nothing about positions",
        )
    return _finish(records, measured, [Held(found=rise, high=most, unit=" nats")], decided)


@dataclass(frozen=True, kw_only=True)
class RisesLess(Compares):
    """The loss of `method` rises less than `baseline`'s from the training context to `contexts` times that length.

    The rise is the loss over the last doubling minus the loss inside the training context. Both read the same documents.
    """

    contexts: int

    def judge(self, evidence: Evidence) -> Outcome:
        """Judge from pairs of seeds."""
        both = _reading(evidence, self.contexts, self.method, self.baseline)
        ours, theirs = (_rises(records, self.contexts) for records in both)
        values = pairs(ours, theirs)
        if not values:
            return _no_reading(self.contexts, self.both)
        gap = estimate(values)
        measured = f"{self.method} {_mean(ours):+z.3f}, {self.baseline} {_mean(theirs):+z.3f} nats; difference {show(gap)}"
        return _risen(evidence, both, self.contexts, gap, 0.0, measured)


@dataclass(frozen=True, kw_only=True)
class StaysFlat:
    """The loss of `method` at `contexts` times its training context is at most `most` nats above that within it."""

    method: str
    contexts: int
    most: float

    def judge(self, evidence: Evidence) -> Outcome:
        """Judge from the value of each seed."""
        (records,) = _reading(evidence, self.contexts, self.method)
        values = list(_rises(records, self.contexts).values())
        if not values:
            return _no_reading(self.contexts, self.method)
        rise = estimate(values)
        return _risen(evidence, [records], self.contexts, rise, self.most, f"rises by {show(rise)}")


@dataclass(frozen=True, kw_only=True)
class LevelsOff:
    """Beyond its training context the loss of `method` stops rising.

    From the last doubling before `contexts` contexts to the next, the loss rises by at most `most` nats.
    """

    method: str
    contexts: int
    most: float

    def judge(self, evidence: Evidence) -> Outcome:
        """Judge from the value of each seed."""
        (records,) = _reading(evidence, 2 * self.contexts, self.method)
        near, far = (_rises(records, contexts) for contexts in (self.contexts, 2 * self.contexts))
        values = pairs(far, near)
        if not values:
            return _no_reading(2 * self.contexts, self.method)
        rise = estimate(values)
        measured = f"from {self.contexts // 2}-{self.contexts} to {self.contexts}-{2 * self.contexts} contexts: {show(rise)}"
        return _risen(evidence, [records], 2 * self.contexts, rise, self.most, measured)


def _mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / len(values)


@dataclass(frozen=True, kw_only=True)
class BetterConditioned(Compares):
    """Every kind of matrix in `places` has a lower condition number in `method` than in `baseline`.

    The numbers are medians over blocks (and heads) of the matrices as stored. The statistic is the logarithm of their
    ratio, paired by seed.
    """

    places: tuple[str, ...]

    def judge(self, evidence: Evidence) -> Outcome:
        """Judge from pairs of seeds; the claim must hold for all kinds."""
        both = _group(evidence.conditions, (self.method, self.baseline))
        parts, held = [], []
        for place in self.places:
            ours, theirs = (
                {seed: math.log(r.medians[place]) for seed, r in records.items() if place in r.medians}
                for records in both
            )
            values = pairs(ours, theirs)
            if not values:
                return nothing(f"condition numbers of {place} in {self.both}")
            ratio = estimate(values)
            parts.append(f"{place} {show_ratio(ratio)}")
            held.append(Held(found=ratio, high=0.0, ratio=True))
        return _finish(both, f"over {self.baseline}'s: {'; '.join(parts)}", held)


@dataclass(frozen=True, kw_only=True)
class ScaleBetween:
    """The mean of a learned scale over all blocks is between `low` and `high`.

    `squared`: the root mean square is taken instead. It is for a scale that multiplies both factors of a product, so that its
    sign has no effect. In a mean of signed values, channels with the same effect would cancel.
    """

    method: str
    place: str
    low: float
    high: float
    squared: bool = False

    def judge(self, evidence: Evidence) -> Outcome:
        """Judge from the value of each seed."""
        records = _scales(evidence, self.method, self.place)
        values = [value for r in records.values() if (value := self._of(r)) is not None]
        if not values:
            return nothing(f"learned scales {self.place} of {self.method}")
        mean = estimate(values)
        name = f"{self.place}, root mean square" if self.squared else self.place
        measured = f"{name} {show(mean, '.3g', '')}, held against {self.low:g} to {self.high:g}"
        return _finish((records,), measured, [Held(found=mean, low=self.low, high=self.high)])

    def _of(self, model: Scales) -> float | None:
        if not self.squared:
            return float(np.mean(np.abs(model.means[self.place])))
        mean_squares = model.mean_squares.get(self.place)
        return None if mean_squares is None else math.sqrt(float(np.mean(mean_squares)))


@dataclass(frozen=True, kw_only=True)
class FallsWithDepth:
    """Learned scales fall from the first block to the last: the slope of the mean over depth is below 0 at each of `places`."""

    method: str
    places: tuple[str, ...]

    def judge(self, evidence: Evidence) -> Outcome:
        """Judge from the slope of each seed; all scales must fall."""
        parts, held = [], []
        for place in self.places:
            records = _scales(evidence, self.method, place)
            values = [
                float(np.polyfit(range(len(r.means[place])), np.abs(r.means[place]), 1)[0])
                for r in records.values()
                if len(r.means[place]) > 1
            ]
            if not values:
                return nothing(f"learned scales {place} of {self.method} in several blocks")
            slope = estimate(values)
            parts.append(f"{place} {show(slope, '+z.3f', ' a block')}")
            held.append(Held(found=slope, high=0.0, unit=" a block"))
        return _finish((records,), "; ".join(parts), held)


def _scales(evidence: Evidence, method: str, place: str) -> Records[Scales]:
    (records,) = _group([r for r in evidence.scales if place in r.means], (method,))
    return records


@dataclass(frozen=True, kw_only=True)
class BetterAtTasks(Compares):
    """`method` has a higher average accuracy over `tasks` than `baseline`. An average over only some of them does not count."""

    tasks: tuple[str, ...]

    def judge(self, evidence: Evidence) -> Outcome:
        """Judge from pairs of seeds, over the same tasks."""
        found = [record for record in evidence.accuracies if set(record.tasks) == set(self.tasks)]
        both = _group(found, (self.method, self.baseline))
        values = pairs(*({seed: r.average for seed, r in records.items()} for records in both))
        if not values:
            return nothing(f"{', '.join(self.tasks)} of {self.both}")
        gap = estimate(values)
        measured = (
            f"{self.method} minus {self.baseline}: {show(gap, '+z.4f', '')} over {', '.join(self.tasks)}"
        )
        return _finish(both, measured, [Held(found=gap, low=0.0)])
