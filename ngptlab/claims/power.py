"""How many seeds a claim needs, and how small an effect the recorded seeds can detect.

Both assume that all seeds scatter as the recorded ones do. They are about seeds only; a claim may lack other things.
"""

from __future__ import annotations

import math

from ngptlab.claims.claim import Held, Outcome
from ngptlab.claims.standard import MOST_SEEDS, seeds_needed
from ngptlab.stats import estimates as stats

DECIDED = ("holds", "does not hold")


def needed(outcome: Outcome) -> int | None:
    """Number of seeds that decide a claim: for a decided claim its own seeds, for any other the fewest that would decide it.

    `seeds_needed` computes the fewest from mean and scatter. Their interval just clears the limits, so this number decides in
    about half of all cases. Where there are several statistics, one on the wrong side of its limit decides against the claim,
    and all must be clear of theirs to decide for it. None where nothing was measured over seeds, for one seed, which has no
    scatter, and above `MOST_SEEDS`.
    """
    if not outcome.held:
        return None
    if outcome.verdict in DECIDED:
        return outcome.seeds
    wrong = [held for held in outcome.held if not held.low < held.found.mean < held.high]
    counts = [seeds_needed(held.found, held.low, held.high) for held in wrong or outcome.held]
    known = [count for count in counts if count is not None]
    if wrong:
        return min(known, default=None)
    return max(known) if len(known) == len(counts) else None


def detectable(outcome: Outcome) -> tuple[float, str] | None:
    """The smallest distance from a limit that the recorded seeds find with 80% power (`stats.detectable`), and its text.

    Where there are several statistics, the largest distance counts, because all of them must be found. Its unit is the
    statistic's; for a ratio it is a distance between logarithms.
    """
    found = [(distance, held) for held in outcome.held if (distance := _distance(held)) is not None]
    if not found or len(found) < len(outcome.held):
        return None
    most, held = max(found, key=lambda each: each[0])
    return most, f"a factor of {math.exp(most):.3g}" if held.ratio else f"{most:.3g}{held.unit}"


def _distance(held: Held) -> float | None:
    if held.found.half is None:
        return None
    error = held.found.half / stats.t95(held.found.pairs - 1)
    return stats.detectable(error, held.found.pairs)


def in_words(outcome: Outcome) -> str:
    """A cell of the column: '3, which it has', '21; it has 3, which show 0.08 nats', '-' where no seeds are counted."""
    count, smallest = needed(outcome), detectable(outcome)
    if count is None and smallest is None:
        return "-"
    if outcome.verdict in DECIDED:
        return f"{count}, which it has"
    shows = f", which show {smallest[1]}" if smallest else ""
    # The scatter is known here, so a count that is not is above `MOST_SEEDS`.
    return f"{f'over {MOST_SEEDS:,}' if count is None else f'{count:,}'}; it has {outcome.seeds}{shows}"
