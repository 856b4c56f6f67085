"""Loss spikes: numbers of an update that are far above those of the updates before it, by recorded numbers alone. No torch.

The rule is OLMo's (SkipStepOptimizer of allenai/OLMo-core): 6 standard deviations over the last 128 steps, not before 64 of
them. OLMo also counts what is far below the mean; a loss that is too low is no spike here.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable

WINDOW = 128
LEAST = 64
"""Steps before which nothing is called a spike. At the start losses fall so fast that they tell little of each other."""
SIGMAS = 6.0


class Recent:
    """Loss and gradient norm of the last `WINDOW` steps that were measured, those whose update was skipped among them.

    So a level that stays is taken for the new one: where n equal outliers are among the 128, the next one is
    sqrt((128 - n) / n) standard deviations above the mean, which is below 6 from n = 4 on. Outliers 1 to 4 are spikes, the
    fifth is none.
    """

    def __init__(self, numbers: Iterable[tuple[float, float]] = ()) -> None:
        self._losses: deque[float] = deque(maxlen=WINDOW)
        self._norms: deque[float] = deque(maxlen=WINDOW)
        for loss_nats, grad_norm in numbers:
            self.add(loss_nats, grad_norm)

    def add(self, loss_nats: float, grad_norm: float) -> None:
        """Take in the numbers of a step, which must be finite."""
        self._losses.append(loss_nats)
        self._norms.append(grad_norm)

    def spike(self, loss_nats: float, grad_norm: float) -> str:
        """What is too high in the numbers of the step that follows, in words; empty where nothing is."""
        found = (self.high_loss(loss_nats), _above("gradient norm", grad_norm, self._norms))
        return ", ".join(text for text in found if text)

    def high_loss(self, loss_nats: float) -> str:
        """As `spike`, of the loss alone."""
        return _above("loss", loss_nats, self._losses)


def _above(name: str, value: float, values: deque[float]) -> str:
    if (count := len(values)) < LEAST or value <= (mean := math.fsum(values) / count):
        return ""
    # Over the window anew each time, in C: sums that are carried along would hold the roundings of all earlier windows.
    deviation = math.dist(values, (mean,) * count) / math.sqrt(count - 1)
    if deviation == 0 or value - mean <= SIGMAS * deviation:
        return ""
    return (
        f"{name} {value:.4g} is {(value - mean) / deviation:.1f} standard deviations above {mean:.4g}, the mean of the {count} "
        "steps before"
    )
