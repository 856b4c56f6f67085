"""Models away from their initial values, where a forgotten scale or another order of operations shows."""

from __future__ import annotations

import torch

from ngptlab import Decoder


@torch.no_grad()
def noisy(model: Decoder, seed: int, *, scales: float, weights: float) -> Decoder:
    """The model itself, each stored scale times exp(`scales` x), `weights` x added to all else, x normal."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        x = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
        weight.mul_(torch.exp(scales * x)) if name.endswith(".stored") else weight.add_(weights * x)
    return model
