"""Whether a finished run learned anything. One that did not is done like any other, and is told apart. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

COINCIDENCE = 1e-6
"""Nats from ln V within which a loss is that of equal probabilities: no text of a trained model comes so near by chance."""

Validation = tuple[int, float, float]
"""(finished steps, loss in nats, its standard error)."""


def nothing_learned(validations: Sequence[Validation], vocab_size: int) -> str:
    """Why a run's last validation is no better than no training, in a sentence without a full stop; '' where it is.

    The untrained model's loss is the one at step 0. A run that has none, as an imported one, is held against ln V.
    """
    if not validations:
        return ""
    (_, first, _), (_, last, stderr) = min(validations), max(validations)
    uniform = math.log(vocab_size)
    if abs(last - uniform) <= COINCIDENCE:
        return f"it learned nothing: its last validation is ln V, {uniform:.4f} nats, as of equal probabilities for all tokens"
    if min(validations)[0] == 0 and max(validations)[0] > 0 and last + stderr >= first:
        size = f"{last:.4g}" if last >= 1000 else f"{last:.4f}"
        return (
            f"it learned nothing: its last validation, {size} ± {stderr:.2g} nats, is no better than the untrained model's "
            f"{first:.4f}"
        )
    return ""
