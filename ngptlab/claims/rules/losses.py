"""Rules on final losses: lower at equal tokens, turning in the cooldown, a step of a ladder that can be left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ngptlab.claims.claim import Held, Outcome, Verdict
from ngptlab.claims.evidence import Ends, Estimate, Evidence, Turn
from ngptlab.claims.standard import (
    MIN_SEEDS,
    Compares,
    decide,
    estimate,
    nothing,
    outcome,
    rank,
    show,
    together,
)
from ngptlab.stats.doubts import forbidding

Match = tuple[Ends, Ends]


@dataclass(frozen=True, kw_only=True)
class LowerLoss(Compares):
    """`method` ends at a lower validation loss than `baseline` after equal tokens.

    The largest setting (`Setting.size`) with three seeds and no doubt about the arms is judged. Where it has several
    schedules, the one with the cooldown fraction nearest to `frac` is taken. Where another setting with three seeds decides
    the other way, nothing is decided, because the sign then depends on the setting. The outcome counts the settings with the
    same sign.
    """

    frac: float = 0.3

    def judge(self, evidence: Evidence) -> Outcome:
        """Judge from pairs of seeds."""
        candidates = matches(evidence, self.method, self.baseline)
        if not candidates:
            return nothing(f"runs of {self.both} with equal settings and a common seed")
        match = _first(candidates, self.frac)
        (ours, theirs), gap = match, _gap(match)
        decided = unless_opposed(_decided(match), [(each[0], _decided(each)[0]) for each in candidates])
        same_sign = sum((_gap(each).mean < 0) == (gap.mean < 0) for each in candidates)
        more = f"; the same sign in {same_sign} of {len(candidates)} settings" if len(candidates) > 1 else ""
        measured = f"{self.method} minus {self.baseline}: {show(gap)} ({ours.schedule}){more}"
        held = Held(found=gap, high=0.0, unit=" nats")
        return outcome([held], measured, ours.setting, (*theirs.hashes, *ours.hashes), decided=decided)


@dataclass(frozen=True, kw_only=True)
class Costs(Compares):
    """`method` ends at a loss that is `low` to `high` percent above `baseline`'s. The evidence is that of `LowerLoss`."""

    low: float
    high: float
    frac: float = 0.3

    def judge(self, evidence: Evidence) -> Outcome:
        """Judge from pairs of seeds."""
        candidates = matches(evidence, self.method, self.baseline)
        if not candidates:
            return nothing(f"runs of a method {self.method} beside {self.baseline}")
        ours, theirs = match = _first(candidates, self.frac)
        percent = estimate([100 * gap / theirs.losses[seed] for seed, gap in _gaps(match).items()])
        measured = f"{self.method} over {self.baseline}: {show(percent, '+z.2f', '%')} ({ours.schedule})"
        held = Held(found=percent, low=self.low, high=self.high, unit="%")
        runs = (*theirs.hashes, *ours.hashes)
        return outcome([held], measured, ours.setting, runs, _forbidding_doubts(match))


def matches(evidence: Evidence, method: str, baseline: str) -> list[Match]:
    """Pairs of arms of one group with a common seed, in the order they were read.

    A run whose learning rate never fell is left out, because its training is not finished.
    """
    return [
        (ours, theirs)
        for ours in evidence.ends
        for theirs in evidence.ends
        if (ours.method, theirs.method) == (method, baseline)
        and ours.group == theirs.group
        and ours.frac != 0.0
        and ours.losses.keys() & theirs.losses.keys()
    ]


def _decided(match: Match) -> tuple[Verdict, str]:
    """The verdict on whether the first of two arms ends lower."""
    return decide(_gap(match), -math.inf, 0.0, _forbidding_doubts(match))


def _forbidding_doubts(match: Match) -> list[str]:
    """Doubts that forbid a claim about these two arms."""
    ours, theirs = match
    return forbidding([*ours.doubts, *theirs.doubts], ours.method, theirs.method)


def unless_opposed(
    decided: tuple[Verdict, str], at: Sequence[tuple[Ends | Turn, Verdict]]
) -> tuple[Verdict, str]:
    """The verdict, or "not yet tested" where the same statistic decides the other way at another setting."""
    other = {"holds": "does not hold", "does not hold": "holds"}.get(decided[0])
    opposed = [f"{each.setting.text}, {each.schedule}" for each, verdict in at if verdict == other]
    if not opposed:
        return decided
    return "not yet tested", f"settings disagree: {decided[0]} here, {other} at {'; '.join(opposed)}"


def _gaps(match: Match) -> dict[str, float]:
    ours, theirs = match[0].losses, match[1].losses
    return {seed: ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())}


def _gap(match: Match) -> Estimate:
    return estimate(list(_gaps(match).values()))


def _first(candidates: Sequence[Match], frac: float) -> Match:
    """The match to judge, of equal ones that with the schedule nearest to this cooldown fraction."""

    def order(match: Match) -> tuple[object, ...]:
        ours = match[0]
        return rank(len(_gaps(match)), _forbidding_doubts(match), ours.setting, ours.near(frac))

    return max(candidates, key=order)


@dataclass(frozen=True, kw_only=True)
class TurnsInCooldown(Compares):
    """`method` is behind `baseline` where the cooldown begins, and ahead at its end.

    The longest run with three seeds and no doubt about the arms is judged, with the cooldown fraction nearest to `frac` in
    shape `shape`.
    """

    frac: float
    shape: str

    def judge(self, evidence: Evidence) -> Outcome:
        """Judge from pairs of seeds; both gaps must be clear of zero."""
        candidates = self.among(evidence.turns)
        if not candidates:
            return nothing(f"gaps of {self.method} to {self.baseline} before and after a cooldown")
        turn = max(candidates, key=self._rank)
        comparable = [(each, self._decided(each)[0]) for each in candidates if self._comparable(each)]
        turned = sum(t.before.mean > 0 > t.after.mean for t in candidates)
        more = f"; it turns in {turned} of {len(candidates)} cooldowns" if len(candidates) > 1 else ""
        measured = f"gap before {show(turn.before)}; after {show(turn.after)} ({turn.schedule}){more}"
        held = [
            Held(found=turn.before, low=0.0, unit=" nats"),
            Held(found=turn.after, high=0.0, unit=" nats"),
        ]
        decided = unless_opposed(self._decided(turn), comparable)
        return outcome(held, measured, turn.setting, turn.hashes, decided=decided)

    @staticmethod
    def _decided(turn: Turn) -> tuple[Verdict, str]:
        """The verdict on whether the method is behind before the cooldown and ahead after it."""
        against = _against(turn)
        return together(
            [decide(turn.before, 0.0, math.inf, against), decide(turn.after, -math.inf, 0.0, against)]
        )

    def _comparable(self, turn: Turn) -> bool:
        """Whether the cooldown is like the claim's. With another fraction or shape the gap may change sign elsewhere."""
        return turn.shape == self.shape and math.isclose(turn.frac, self.frac, abs_tol=0.05)

    def _rank(self, turn: Turn) -> tuple[object, ...]:
        seeds, against = min(turn.before.pairs, turn.after.pairs), _against(turn)
        return rank(seeds, against, turn.setting, turn.shape == self.shape, -abs(turn.frac - self.frac))


def _against(turn: Turn) -> list[str]:
    return forbidding(turn.doubts, turn.method, turn.baseline)


@dataclass(frozen=True, kw_only=True)
class StepNotNeeded:
    """`target` does not need the baseline's `seams`: restoring them lowers its loss by less than `margin` nats.

    The evidence is a ladder between the two, of either mode. A mixture that was not tuned is no evidence for the claim,
    because another learning rate might serve it better. It can be evidence against the claim where `target` itself was tuned.
    """

    base: str
    target: str
    seams: tuple[str, ...]
    margin: float

    def judge(self, evidence: Evidence) -> Outcome:
        """Judge from pairs of seeds; ladders with three seeds come first."""
        candidates = [
            step
            for step in evidence.steps
            if (step.base, step.target) == (self.base, self.target) and set(step.seams) == set(self.seams)
        ]
        if not candidates:
            return nothing(
                f"a ladder from {self.base} to {self.target} with a rung for {' and '.join(self.seams)}"
            )
        step = max(
            candidates, key=lambda s: (s.adds.pairs >= MIN_SEEDS, s.mode == "leave-one-out", s.adds.pairs)
        )
        sign = 1 if step.mode == "leave-one-out" else -1
        back = replace(step.adds, mean=sign * step.adds.mean)  # the step taken back
        decided = decide(back, -self.margin, math.inf, forbidding(step.doubts, *step.rungs))
        if decided[0] == "holds" and not step.tuned:
            decided = "not yet tested", "the mixture's learning rate was not searched"
        measured = (
            f"{self.target} with {self.base}'s {' and '.join(self.seams)}: {show(back)} ({step.mode} ladder)"
        )
        held = Held(found=back, low=-self.margin, unit=" nats")
        return outcome([held], measured, step.setting, step.hashes, decided=decided)
