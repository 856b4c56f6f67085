"""Blocks that keep nothing for their backward but what they were given, and run once more there."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ngptlab.nn.shared import Shared

BlockCall = Callable[[Tensor, Shared], Tensor]


def recomputed(block: BlockCall) -> BlockCall:
    """`block`, whose activations are dropped after the forward pass and computed again for the backward, to the same bits.

    A block must give the same when it runs again. So there are no random numbers in it: their generator is not put back,
    because a recorded CUDA graph can't do that.
    """

    def run(h_BTD: Tensor, shared: Shared) -> Tensor:
        result: Tensor = checkpoint(block, h_BTD, shared, use_reentrant=False, preserve_rng_state=False)
        return result

    return run
