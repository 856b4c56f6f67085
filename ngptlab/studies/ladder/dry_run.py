"""Test whether a mixture of parts can be trained at all, by two steps at toy size."""

from __future__ import annotations

import math

import torch

from ngptlab import methods
from ngptlab.config import Dims, OptimConfig
from ngptlab.nn.decoder import Parts
from ngptlab.optim.groups import make_optimizer

DIMS = Dims(vocab_size=17, num_layers=2, num_heads=4, d_model=16)
"""Sizes of the test. There are four heads, because a single head of keys would fit any number of query heads."""
LR = 2**-9


def why_not(parts: Parts) -> str:
    """Why these parts cannot be combined, in one line; '' where they can.

    Building and one update must succeed, and the loss after it must be finite. A mixture that passes may still diverge later.
    """
    try:
        losses = _dry_run(parts)
    # Whatever error a part raises beside parts that it was not written for is the reason.
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    for when, loss in zip(("before", "after"), losses, strict=True):
        if not math.isfinite(loss):
            return f"the loss is {loss} {when} the first update, at toy size"
    return ""


def _dry_run(parts: Parts) -> list[float]:
    """Losses on one batch before and after one update."""
    model = methods.build_model(parts, DIMS, seed=0)
    optimizer = make_optimizer(model, OptimConfig(lr=LR, weight_decay=parts.weight_decay))
    tokens_BT = torch.arange(4 * 9).view(4, 9) * 5 % DIMS.vocab_size
    losses = []
    for _ in range(2):
        loss = model.loss(tokens_BT[:, :-1], tokens_BT[:, 1:])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        model.after_step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
    return losses
