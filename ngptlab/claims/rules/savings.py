"""Rules on the factor of tokens saved, from runs of several lengths. The statistic is its logarithm, one value a seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ngptlab.claims.claim import Held, Outcome, Verdict
from ngptlab.claims.evidence import Evidence, Factor, Savings
from ngptlab.claims.standard import Compares, decide, estimate, nothing, outcome, rank, show, show_ratio
from ngptlab.stats.doubts import forbidding
from ngptlab.stats.speedup import Bounded

NO_SEEDS = "the factors of single seeds are not recorded"


@dataclass(frozen=True, kw_only=True)
class SavesTokens(Compares):
    """To reach the loss of `method`, `baseline` needs `low` to `high` times the tokens.

    The method's greatest length is judged, whatever its factor. Leaving out a length because its factor lies beyond the
    baseline's training would select by outcome, and drop the greatest factors. For such a length only bounds are known. Bounds
    on the wrong side of the limit in all seeds are evidence against the claim. Bounds are evidence for it in one case: "at
    least" above `low` in all seeds, where there is no `high`.
    """

    low: float
    high: float = math.inf

    def judge(self, evidence: Evidence) -> Outcome:
        """Judge from each seed's own factor."""
        saving = _best(self.among(evidence.savings))
        if saving is None:
            return nothing(f"runs of {self.both} of several lengths")
        factor = _judged(saving)
        logs = [math.log(each["value"]) for each in factor.by_seed]
        if not logs:
            return _outcome(saving, factor, NO_SEEDS)
        mean = estimate(logs)
        held = Held(found=mean, low=_log(self.low), high=_log(self.high), ratio=True)
        verdict, reason = decide(mean, held.low, held.high, _against(saving))
        bounds = {each["bound"] for each in factor.by_seed}
        needs = f"{show_ratio(mean)} the tokens"
        if bounds != {"measured"}:
            needs = f"beyond what {self.baseline} was trained for: {_range(factor)} the tokens"
            by_bounds = self._verdict_by_bounds(factor)
            if not by_bounds or verdict == "not yet tested":
                verdict = "not yet tested"
                reason = reason or f"{self.baseline} was not trained at the length that it would need"
            else:
                verdict, reason = by_bounds, ""
        return Outcome(
            verdict=verdict,
            reason=reason,
            measured=f"{self.baseline} needs {needs} at {factor.tokens:,} tokens of {self.method} ({saving.how})",
            settings=(saving.setting,),
            seeds=len(logs),
            hashes=saving.hashes,
            # Bounds are lengths of the baseline, so their scatter is not that over seeds.
            held=(held,) if bounds == {"measured"} else (),
        )

    def _verdict_by_bounds(self, factor: Factor) -> Verdict | None:
        """The verdict by bounds alone, where every seed lies beyond a limit; None where they don't decide."""
        if self.high == math.inf and all(_above(each, self.low) for each in factor.by_seed):
            return "holds"
        if all(each["bound"] != "at least" and each["value"] < self.low for each in factor.by_seed):
            return "does not hold"
        return None


def _against(saving: Savings) -> list[str]:
    """Doubts that forbid a claim about these two arms."""
    return forbidding(saving.doubts, saving.method, saving.baseline)


def _above(each: Bounded, low: float) -> bool:
    return each["bound"] != "at most" and each["value"] >= low


def _best(found: Sequence[Savings]) -> Savings | None:
    """The savings to judge."""

    def order(saving: Savings) -> tuple[object, ...]:
        seeds = max((len(f.by_seed) for f in saving.factors), default=0)
        return rank(seeds, _against(saving), saving.setting)

    return max(found, key=order, default=None)


def _judged(saving: Savings) -> Factor:
    """The judged factor: at the greatest length with factors by seed, or at the greatest length where none has them."""
    return ([f for f in saving.factors if f.by_seed] or list(saving.factors))[-1]


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
class FactorGrows(Compares):
    """The factor of `method` over `baseline` grows with the training length.

    The statistic is the slope of the factor's logarithm over the logarithm of the tokens, by least squares for each seed,
    over three lengths at least. Nothing is decided where a seed's factor lies beyond measured losses at any length, because
    the remaining lengths would be a selection by outcome.
    """

    def judge(self, evidence: Evidence) -> Outcome:
        """Judge from each seed's slope."""
        saving = _best(self.among(evidence.savings))
        if saving is None:
            return nothing(f"runs of {self.both} of several lengths")
        seeds = max(len(f.by_seed) for f in saving.factors)
        if not seeds:
            return _outcome(saving, saving.factors[-1], NO_SEEDS)
        inside = [f for f in saving.factors if len(f.by_seed) == seeds]
        if len(inside) < 3:
            too_few = f"all seeds' factors are recorded at {len(inside)} lengths, three are needed"
            return _outcome(saving, saving.factors[-1], too_few)
        if beyond := [f for f in inside if any(e["bound"] != "measured" for e in f.by_seed)]:
            where = ", ".join(f"{f.tokens:,}" for f in beyond)
            return _outcome(
                saving, saving.factors[-1], f"the factor lies beyond measured losses at {where} tokens"
            )
        x = np.log2([f.tokens for f in inside])
        values = [
            float(np.polyfit(x, np.log2([f.by_seed[s]["value"] for f in inside]), 1)[0]) for s in range(seeds)
        ]
        slope = estimate(values)
        ends = [math.exp(estimate([math.log(e["value"]) for e in f.by_seed]).mean) for f in inside]
        measured = (
            f"factor {ends[0]:.2f}× at {inside[0].tokens:,} tokens, {ends[-1]:.2f}× at {inside[-1].tokens:,}; "
            f"powers of two a doubling: {show(slope, '+z.2f', '')} ({saving.how})"
        )
        held = Held(found=slope, low=0.0, unit=" powers of two a doubling")
        return outcome([held], measured, saving.setting, saving.hashes, _against(saving))
