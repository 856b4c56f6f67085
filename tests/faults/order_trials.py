"""Random sizes of a corpus, a batch, its parts and its processes: each window once an epoch, however the work is cut."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from forking import Lab, Tally

from ngptlab.config.training import TrainConfig
from ngptlab.data.batches import Batches, OwnRows
from ngptlab.world.world import World


class Counted:
    """A stream in which every token is its own number."""

    def __init__(self, tokens: int) -> None:
        self._tokens = tokens

    def __len__(self) -> int:
        return self._tokens

    def window(self, start: int, length: int) -> Any:
        assert 0 <= start <= start + length <= self._tokens
        return np.arange(start, start + length)


class One(World):
    """One process of several."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size


def orders(lab: Lab, tally: Tally, count: int, draw: random.Random) -> None:
    """So many draws."""
    while tally.done < count:
        processes, micro, pieces = draw.choice((1, 2, 3, 4)), draw.randint(1, 3), draw.randint(1, 3)
        rows, context = processes * micro * pieces, draw.randint(1, 6)
        windows, seed = draw.randint(1, 60), draw.randrange(2**40)
        stages = draw.choice((None, (0.5, 1.0, 1.5), (1.5, 0.5)))
        batch = rows * 2 if stages else rows
        steps = -(-2 * windows // batch) + draw.randint(1, 9)
        shuffled = draw.random() < 0.8
        train = TrainConfig(steps=steps, batch_size=batch, batch_stages=stages, context=context)

        def made() -> Batches:
            return Batches(
                Counted(windows * context + 1 + draw.randrange(context)),  # type: ignore[arg-type]  # noqa: B023
                context=context,  # noqa: B023
                batch_size=batch,  # noqa: B023
                seed=seed,  # noqa: B023
                shuffled=shuffled,  # noqa: B023
                before=train.sequences_before if stages else None,  # noqa: B023
            )

        sizes = f"{windows} windows, batch {batch}, stages {stages}, {steps} steps, seed {seed}"
        what = f"{sizes}, {processes} processes, micro-batch {micro}"
        problem = wrong(made, windows, context, steps, processes, micro, draw.randrange(steps))
        tally.add(f"{what}: {problem}" if problem else "")


def wrong(made: Any, windows: int, context: int, steps: int, processes: int, micro: int, stop: int) -> str:
    """What is wrong with an order; empty where nothing is."""
    whole = made()
    batches = [whole.at(step) for step in range(steps)]
    for inputs, targets in batches:
        if (targets != inputs + 1).any() or (inputs[:, 0] % context).any():
            return "a target is not the token after its input, or a window begins within another"
    met = np.concatenate([inputs[:, 0] // context for inputs, _ in batches])
    for epoch in range(len(met) // windows):
        if sorted(met[epoch * windows : (epoch + 1) * windows]) != list(range(windows)):
            return f"epoch {epoch} has a window twice, or not at all"
    rest = met[len(met) // windows * windows :]
    if len(set(rest)) != len(rest):
        return "a window is twice in the epoch that was begun"
    resumed = made()  # has met nothing, as the process that goes on
    if any((resumed.at(step)[0] != batches[step][0]).any() for step in range(stop, min(stop + 4, steps))):
        return f"another order after step {stop}"
    shares = [OwnRows(made(), One(rank, processes).rows) for rank in range(processes)]
    for step in {0, stop, steps // 2, steps - 1}:
        inputs = batches[step][0]
        parts = [share.at(step)[0] for share in shares]
        cut = [part[first : first + micro] for part in parts for first in range(0, len(part), micro)]
        if {len(part) for part in parts} != {len(inputs) // processes} or (
            np.concatenate(cut) != inputs
        ).any():
            return f"the processes' rows of step {step} are not the batch"
    return ""
