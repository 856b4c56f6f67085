"""Two runs compared document by document on the validation text that both read. One seed of each is enough.

The error says how far the gap would move on other documents of such text. It says nothing about other seeds, so it never
stands in for the error over seeds.
"""

from __future__ import annotations

import math

import numpy as np
from typing_extensions import TypedDict

from ngptlab.errors import ConfigError
from ngptlab.stats import estimates as stats
from ngptlab.stats.records import Parts


class OverParts(TypedDict):
    """One run minus another over the documents (or windows) of the validation text."""

    of: str
    """What a part is; see `Parts.of`."""
    parts: int
    tokens: int
    mean_nats: float
    """Mean over all tokens: the gap of the two validation losses, up to the rounding of the parts' losses."""
    stderr: float | None
    """Standard error of the mean, with whole parts as draws; None for one part."""
    ci95: float | None
    """Half-width of the 95% interval by Student's t for the number of parts."""


def over_parts(ours: Parts, theirs: Parts) -> OverParts:
    """`ours` minus `theirs`, paired by part.

    The standard error is the one of a ratio of sums with whole parts as draws (Cochran, Sampling Techniques, 1977, 6.4). It is
    computed as in `measure.val.measure.clustered_stderr`, from differences instead of losses.

    Raises:
        ConfigError: the two are not of the same documents: their number differs, or the tokens of one do.
    """
    if why := unlike(ours, theirs):
        raise ConfigError(f"not paired by document: {why}")
    tokens_P = np.asarray(ours.tokens, dtype=np.float64)
    gap_P = np.asarray(ours.loss_nats, dtype=np.float64) - np.asarray(theirs.loss_nats, dtype=np.float64)
    total, count = float(tokens_P.sum()), len(tokens_P)
    mean = float(tokens_P @ gap_P) / total
    squares = float(((tokens_P * (gap_P - mean)) ** 2).sum())
    error = math.sqrt(squares * count / (count - 1)) / total if count > 1 else None
    return {
        "of": ours.of,
        "parts": count,
        "tokens": int(total),
        "mean_nats": mean,
        "stderr": error,
        "ci95": stats.ci95(error, count),
    }


def unlike(ours: Parts, theirs: Parts) -> str:
    """Why two runs did not read the same documents, judged by the numbers of tokens; empty where these agree."""
    if ours.of != theirs.of:
        return f"one is by {ours.of}s, the other by {theirs.of}s"
    if len(ours.tokens) != len(theirs.tokens):
        return f"{len(ours.tokens):,} {ours.of}s against {len(theirs.tokens):,}"
    differ = sum(a != b for a, b in zip(ours.tokens, theirs.tokens, strict=True))
    return f"tokens differ in {differ:,} of {len(ours.tokens):,} {ours.of}s" if differ else ""
