"""Rules on the factor of tokens saved, from runs of several lengths. Statistics are of its logarithm, a value a seed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ngptlab.analysis.speedup import Bounded
from ngptlab.claims.claim import Outcome, Verdict
from ngptlab.claims.evidence import Evidence, Factor, Savings
from ngptlab.claims.rules.losses import nothing
from ngptlab.claims.standard import MIN_SEEDS, decide, estimate, show, show_ratio

NO_SEEDS = "the factors of single seeds are not recorded"


@dataclass(frozen=True, kw_only=True)
class SavesTokens:
    """For the loss of `method`, `baseline` needs `low` to `high` times the tokens.

    Judged at the greatest length of the method at which every seed's factor lies between measured losses. Where there is
    none, a bound of all seeds on the wrong side of the limit is evidence against the claim; no bound is evidence for it,
    but for "at least" above `low` where there is no `high`.
    """

    method: str
    baseline: str
    low: float
    high: float = math.inf

    def judge(self, evidence: Evidence) -> Outcome:
        """From each seed's own factor."""
        found = [s for s in evidence.savings if (s.method, s.baseline) == (self.method, self.baseline)]
        if not found:
            return nothing(f"runs of {self.method} and {self.baseline} of several lengths")
        saving = max(found, key=rank)
        factor = judged(saving)
        logs = [math.log(each["value"]) for each in factor.by_seed]
        if not logs:
            return _outcome(saving, factor, NO_SEEDS)
        mean = estimate(logs)
        verdict, reason = decide(mean, _log(self.low), _log(self.high), saving.doubts)
        bounds = {each["bound"] for each in factor.by_seed}
        said = f"{show_ratio(mean)} the tokens"
        if bounds != {"measured"}:
            said = f"beyond what {self.baseline} was trained for: {_range(factor)} the tokens"
            told = self._told_by_bounds(factor)
            if not told or verdict == "not yet tested":
                verdict = "not yet tested"
                reason = reason or f"{self.baseline} was not trained at the length that it would need"
            else:
                verdict, reason = told, ""
        return Outcome(
            verdict=verdict,
            reason=reason,
            measured=f"{self.baseline} needs {said} at {factor.tokens:,} tokens of {self.method} ({saving.how})",
            settings=(saving.setting,),
            seeds=len(logs),
            hashes=saving.hashes,
        )

    def _told_by_bounds(self, factor: Factor) -> Verdict | None:
        """What bounds alone decide: limits that every seed lies beyond."""
        if self.high == math.inf and all(_above(each, self.low) for each in factor.by_seed):
            return "holds"
        if all(each["bound"] != "at least" and each["value"] < self.low for each in factor.by_seed):
            return "does not hold"
        return None


def _above(each: Bounded, low: float) -> bool:
    return each["bound"] != "at most" and each["value"] >= low


def rank(saving: Savings) -> tuple[object, ...]:
    """Three seeds, then the larger setting."""
    seeds = max((len(f.by_seed) for f in saving.factors), default=0)
    return seeds >= MIN_SEEDS, saving.setting.size, seeds


def judged(saving: Savings) -> Factor:
    """The factor at the greatest length at which it was measured; the last one where it never was."""
    inside = [f for f in saving.factors if f.by_seed and all(e["bound"] == "measured" for e in f.by_seed)]
    return (inside or list(saving.factors))[-1]


def _log(limit: float) -> float:
    return math.log(limit) if limit > 0 else -math.inf


def _range(factor: Factor) -> str:
    return ", ".join(
        f"{'' if e['bound'] == 'measured' else e['bound'] + ' '}{e['value']:.2f}×" for e in factor.by_seed
    )


def _outcome(saving: Savings, factor: Factor, reason: str) -> Outcome:
    return Outcome(
        verdict="not yet tested",
        reason=reason,
        measured=f"{len(saving.factors)} lengths up to {factor.tokens:,} tokens ({saving.how})",
        settings=(saving.setting,),
        hashes=saving.hashes,
    )


@dataclass(frozen=True, kw_only=True)
class FactorGrows:
    """The factor of `method` over `baseline` grows with the training length.

    The slope of its logarithm over that of the tokens, by least squares for each seed, over the lengths at which every
    seed's factor lies between measured losses; three such lengths at least.
    """

    method: str
    baseline: str

    def judge(self, evidence: Evidence) -> Outcome:
        """From each seed's slope."""
        found = [s for s in evidence.savings if (s.method, s.baseline) == (self.method, self.baseline)]
        if not found:
            return nothing(f"runs of {self.method} and {self.baseline} of several lengths")
        saving = max(found, key=rank)
        seeds = max(len(f.by_seed) for f in saving.factors)
        if not seeds:
            return _outcome(saving, saving.factors[-1], NO_SEEDS)
        measured = [f for f in saving.factors if all(e["bound"] == "measured" for e in f.by_seed)]
        inside = [f for f in measured if len(f.by_seed) == seeds]
        if len(inside) < 3:
            few = f"the factor lies between measured losses at {len(inside)} lengths, three are needed"
            return _outcome(saving, saving.factors[-1], few)
        x = np.log2([f.tokens for f in inside])
        values = [
            float(np.polyfit(x, np.log2([f.by_seed[s]["value"] for f in inside]), 1)[0]) for s in range(seeds)
        ]
        slope = estimate(values)
        verdict, reason = decide(slope, 0.0, math.inf, saving.doubts)
        ends = [math.exp(estimate([math.log(e["value"]) for e in f.by_seed]).mean) for f in inside]
        return Outcome(
            verdict=verdict,
            reason=reason,
            measured=f"factor {ends[0]:.2f}× at {inside[0].tokens:,} tokens, {ends[-1]:.2f}× at {inside[-1].tokens:,}; "
            f"powers of two a doubling: {show(slope, '+z.2f', '')} ({saving.how})",
            settings=(saving.setting,),
            seeds=slope.pairs,
            hashes=saving.hashes,
        )
