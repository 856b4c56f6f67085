"""The standard of evidence, the same for every rule.

A statistic has one value for each seed; two arms are paired by seed. Its 95% interval is Student's t over the seeds.

    holds           three seeds or more, no doubt, and the whole interval inside the claim's limits, touching neither
    does not hold   three seeds or more, no doubt, and the whole interval beyond one of them
    not yet tested  anything else, with the reason

An interval that touches a limit decides nothing: two identical arms differ by exactly zero, and neither is ahead.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ngptlab.claims.claim import Held, Outcome, Verdict
from ngptlab.claims.evidence import Between, Estimate, Setting
from ngptlab.stats import estimates as stats

B = TypeVar("B", bound=Between)
MIN_SEEDS = 3
MOST_SEEDS = 1000
"""The largest number of seeds that is proposed."""


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and 95% interval over seeds."""
    half = stats.ci95(stats.stderr(values), len(values))
    return Estimate(mean=stats.mean(values), half=half, pairs=len(values))


def decide(found: Estimate, low: float, high: float, doubts: Sequence[str] = ()) -> tuple[Verdict, str]:
    """The verdict on whether the interval lies in low..high and, where it is not yet tested, the reason."""
    reasons = list(dict.fromkeys(doubts))
    if found.pairs < MIN_SEEDS or found.half is None:
        reasons.insert(0, "one seed" if found.pairs == 1 else f"{found.pairs} seeds, three are needed")
    if reasons or found.half is None:
        return "not yet tested", "; ".join(reasons)
    ends = found.mean - found.half, found.mean + found.half
    if low < ends[0] and ends[1] < high:
        return "holds", ""
    if ends[1] < low or high < ends[0]:
        return "does not hold", ""
    return "not yet tested", "the 95% interval reaches a limit"


def seeds_needed(found: Estimate, low: float, high: float) -> int | None:
    """The fewest seeds whose 95% interval would reach neither limit, at this mean and scatter.

    None where that is not known (under two seeds, or equal values) or is above `MOST_SEEDS`.
    """
    if not found.half:
        return None
    scatter = found.half / stats.t95(found.pairs - 1) * math.sqrt(found.pairs)
    distance = min(abs(found.mean - limit) for limit in (low, high))
    counts = range(MIN_SEEDS, MOST_SEEDS + 1)
    return next((n for n in counts if stats.t95(n - 1) * scatter / math.sqrt(n) < distance), None)


def together(verdicts: Sequence[tuple[Verdict, str]]) -> tuple[Verdict, str]:
    """The verdict on a claim whose parts must all hold. One part that does not hold decides against it."""
    for verdict in ("does not hold", "not yet tested"):
        for found in verdicts:
            if found[0] == verdict:
                return found
    return "holds", ""


def outcome(
    held: Sequence[Held],
    measured: str,
    setting: Setting,
    hashes: Sequence[str],
    doubts: Sequence[str] = (),
    decided: tuple[Verdict, str] | None = None,
) -> Outcome:
    """The outcome of statistics that must all hold. `decided` is the verdict where it is not by these and the doubts alone."""
    verdict, reason = decided or together([decide(h.found, h.low, h.high, doubts) for h in held])
    return Outcome(
        verdict=verdict,
        reason=reason,
        measured=measured,
        settings=(setting,),
        seeds=min(each.found.pairs for each in held),
        hashes=tuple(hashes),
        held=tuple(held),
    )


@dataclass(frozen=True, kw_only=True)
class Compares:
    """Base of rules that hold a method against a baseline."""

    method: str
    baseline: str

    @property
    def both(self) -> str:
        """The two methods as part of a sentence."""
        return f"{self.method} and {self.baseline}"

    def among(self, found: Iterable[B]) -> list[B]:
        """The measurements of these two."""
        return [each for each in found if (each.method, each.baseline) == (self.method, self.baseline)]


def rank(seeds: int, against: Sequence[str], setting: Setting, *nearness: object) -> tuple[object, ...]:
    """Sort key that says which evidence is judged: three seeds first, then arms without doubt, then the larger setting.

    A small comparison of tuned arms comes before a larger one of arms that were not tuned. `against` are the doubts that forbid
    a claim. Equal settings are told apart by how near they are to what the claim is about, then by their seeds.
    """
    return seeds >= MIN_SEEDS, not against, setting.size, *nearness, seeds


def nothing(what: str) -> Outcome:
    """The outcome where no evidence about the claim was recorded."""
    return Outcome(verdict="not yet tested", reason=f"nothing recorded: {what}")


def pairs(ours: Mapping[str, float], theirs: Mapping[str, float]) -> list[float]:
    """Differences over the seeds that both have, in their order."""
    return [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]


def show(found: Estimate, form: str = "+z.4f", unit: str = " nats") -> str:
    """An estimate as text: '-0.0123 nats, 95% interval -0.0200 to -0.0046'."""
    value = f"{found.mean:{form}}{unit}"
    if found.half is None:
        return value
    return f"{value}, 95% interval {found.mean - found.half:{form}} to {found.mean + found.half:{form}}"


def show_ratio(found: Estimate) -> str:
    """An estimate of a ratio's logarithm, shown as the ratio: '1.10×, 95% interval 1.02× to 1.19×'."""
    value = f"{math.exp(found.mean):.3g}×"
    if found.half is None:
        return value
    low, high = (math.exp(found.mean + sign * found.half) for sign in (-1, 1))
    return f"{value}, 95% interval {low:.3g}× to {high:.3g}×"
