"""From logits to a token: temperature, what is cut off, and one draw.

The order is that of `transformers`: temperature, then the k likeliest, then the fewest that reach a mass, then those not
too far below the likeliest. Each acts on what the one before left, renormalized.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ngptlab.errors import ConfigError


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. The defaults draw from the model as it is.

    Raises:
        ConfigError: a value out of its range.
    """

    temperature: float = 1.0
    """Logits are divided by it. 0: always the likeliest token."""
    top_k: int = 0
    """Only so many of the likeliest tokens stay. 0: all."""
    top_p: float = 1.0
    """The likeliest tokens stay, the fewest whose probabilities add up to this (arXiv:1904.09751)."""
    min_p: float = 0.0
    """Tokens stay whose probability is at least this share of the likeliest's (arXiv:2407.01082)."""

    def __post_init__(self) -> None:
        for name, fits, allowed in (
            ("temperature", math.isfinite(self.temperature) and self.temperature >= 0, "0 or more"),
            ("top_k", self.top_k >= 0, "0 (all) or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0, at most 1"),
            ("min_p", 0 <= self.min_p <= 1, "from 0 to 1"),
        ):
            if not fits:
                raise ConfigError(f"{name}: given {getattr(self, name)}; allowed: {allowed}")


def probabilities(logits_NV: Tensor, sampling: Sampling) -> Tensor:
    """What each token is drawn with, float64, [N, V]. Among equally likely tokens, those of lower number come first."""
    z_NV = logits_NV.double()
    if sampling.temperature == 0:
        return torch.zeros_like(z_NV).scatter_(1, z_NV.argmax(dim=1, keepdim=True), 1.0)
    # The largest logit is taken off first: divided by a small temperature, it would overflow.
    p_NV = ((z_NV - z_NV.amax(dim=1, keepdim=True)) / sampling.temperature).softmax(dim=1)
    if sampling.top_k or sampling.top_p < 1:
        p_NV = _likeliest(p_NV, sampling.top_k or p_NV.shape[1], sampling.top_p)
    if sampling.min_p:
        p_NV = p_NV.masked_fill(p_NV < sampling.min_p * p_NV.amax(dim=1, keepdim=True), 0.0)
    return p_NV / p_NV.sum(dim=1, keepdim=True)


def _likeliest(p_NV: Tensor, top_k: int, top_p: float) -> Tensor:
    sorted_NV, order_NV = p_NV.sort(dim=1, descending=True, stable=True)
    sorted_NV[:, top_k:] = 0
    mass_NV = sorted_NV.cumsum(dim=1)
    if top_p < 1:
        # A token stays while those before it fall short of the mass, so the first one always does.
        sorted_NV[mass_NV - sorted_NV >= top_p * mass_NV[:, -1:]] = 0
    return torch.zeros_like(p_NV).scatter_(1, order_NV, sorted_NV)


def draw(p_NV: Tensor, uniform_N: Tensor) -> Tensor:
    """The token at which the running sum of probabilities passes a number from [0, 1), [N]. Never one of probability 0."""
    mass_NV = p_NV.cumsum(dim=1)
    tokens_N1 = torch.searchsorted(mass_NV, uniform_N.unsqueeze(1) * mass_NV[:, -1:], right=True)
    # A product that rounds up to the whole mass would lie behind the last token.
    last_N1 = torch.searchsorted(mass_NV, mass_NV[:, -1:].contiguous())
    return torch.minimum(tokens_N1, last_N1).squeeze(1)
