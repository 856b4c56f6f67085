"""The small model and text that checks work on, and what they do with it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ngptlab.config import Dims, OptimConfig
from ngptlab.methods import build_model
from ngptlab.nn.cache import Cache
from ngptlab.nn.decoder import Decoder, Parts
from ngptlab.optim.groups import make_optimizer

DIMS = Dims(vocab_size=17, num_layers=2, num_heads=4, d_model=16, d_ff=24)
"""Four heads, because half as many are not one: what takes one head for another's shape would broadcast without a word."""
TOKENS = torch.tensor([[3, 11, 0, 7, 14, 5, 16, 2]])
"""All different: a row of E_in's gradient is a position's."""


@torch.no_grad()
def noisy(model: Decoder, seed: int, *, scales: float, weights: float) -> Decoder:
    """The model itself, each stored scale times exp(`scales` x), `weights` x added to all else, x normal.

    A scale of 0, which no factor moves, becomes `scales` x.

    Away from their initial values a forgotten scale or another order of operations shows.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        x = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
        if name.endswith(".stored"):
            weight.copy_(torch.where(weight == 0, scales * x, weight * torch.exp(scales * x)))
        else:
            weight.add_(weights * x)
    return model


def perturbed(parts: Parts) -> Decoder:
    """A model away from its initial values, within its constraint."""
    model = noisy(build_model(parts, DIMS, seed=1), 5, scales=0.3, weights=0.1)
    model.after_step()
    return model


def optimizer_of(model: Decoder, lr: float = 2**-7) -> torch.optim.Optimizer:
    """The method's own, with its own decay."""
    return make_optimizer(model, OptimConfig(lr=lr, weight_decay=model.parts.weight_decay))


def train(model: Decoder, steps: int, optimizer: torch.optim.Optimizer | None = None) -> list[float]:
    """Losses on one sequence that repeats itself."""
    row = torch.arange(25) % 5 * 3
    tokens = torch.stack((row, row.roll(1)))
    optimizer, losses = optimizer or optimizer_of(model), []
    for _ in range(steps):
        loss = model.loss(tokens[:, :-1], tokens[:, 1:])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        model.after_step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def in_pieces(model: Decoder, tokens_BT: Tensor, cuts: Sequence[int], **options: Any) -> Tensor:
    """Logits of a text that a cache gets in pieces, [B, T, V]."""
    cache = Cache(model.dims, **options)
    edges = [0, *cuts, tokens_BT.shape[1]]
    found = [model(tokens_BT[:, a:b], cache) for a, b in itertools.pairwise(edges)]
    assert cache.length == tokens_BT.shape[1]
    return torch.cat(found, dim=1)
