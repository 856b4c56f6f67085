"""A rule on the time of a training step."""

from __future__ import annotations

from dataclasses import dataclass

from ngptlab.claims.claim import Outcome, Verdict
from ngptlab.claims.evidence import Evidence
from ngptlab.claims.standard import Compares, nothing

MIN_TURNS = 10


@dataclass(frozen=True, kw_only=True)
class StepTakes(Compares):
    """A step of `method` takes `low` to `high` times that of `baseline`.

    The evidence is interleaved steps on one machine, ten turns at least. The claim holds where the quartiles at every size
    lie in that range. It does not hold where they lie outside at every size, on one side. Seeds don't matter to it, but the
    machine does: a claim about GPUs (`gpu`) is not judged from a CPU.
    """

    low: float
    high: float
    gpu: bool = False

    def judge(self, evidence: Evidence) -> Outcome:
        """Judge from the quartiles at each size."""
        found = self.among(evidence.step_times)
        if not found:
            return nothing(f"interleaved steps of {self.both}")
        found = [t for t in found if t.gpu] or found if self.gpu else found
        verdict: Verdict = "not yet tested"
        reason = ""
        if min(t.turns for t in found) < MIN_TURNS:
            reason = f"under {MIN_TURNS} turns"
        elif self.gpu and not found[0].gpu:
            reason = "measured on a CPU, and said of GPUs"
        elif all(self.low <= t.low and t.high <= self.high for t in found):
            verdict = "holds"
        elif all(t.high < self.low for t in found) or all(t.low > self.high for t in found):
            verdict = "does not hold"
        else:
            reason = "the quartiles of some sizes reach across the limits"
        said = "; ".join(
            f"{t.median:.3g}× ({t.low:.3g} to {t.high:.3g}) at {t.size}, {t.machine}" for t in found
        )
        settings = tuple(dict.fromkeys(t.setting for t in found))
        return Outcome(verdict=verdict, reason=reason, measured=said, settings=settings)
