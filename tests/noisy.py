"""Models away from their initial values, where a forgotten scale or another order of operations shows."""

from __future__ import annotations

import torch

from ngptlab import Decoder


@torch.no_grad()
def noisy(model: Decoder, seed: int, *, scales: float, weights: float) -> Decoder:
    """The model itself, each stored scale times exp(`scales` x), `weights` x added to all else, x normal.

    A scale of 0, which no factor moves, becomes `scales` x.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        x = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
        if name.endswith(".stored"):
            weight.copy_(torch.where(weight == 0, scales * x, weight * torch.exp(scales * x)))
        else:
            weight.add_(weights * x)
    return model
