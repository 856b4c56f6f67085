"""What tests hold a model against its literal equations with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ngptlab import Dims

# Two float64 evaluations of one function differ by rounding, some 1e-15 here. 1e-9 leaves room for another
# order of summation and is far below any wrong equation, of which the mildest tested here is above 1e-3.
RTOL, ATOL = 1e-9, 1e-12
WRONG = 1e-3


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Copies of a model's weights, as float64 leaves."""
    return {name: w.detach().double().clone().requires_grad_() for name, w in model.named_parameters()}


def sequences(dims: Dims, context: int, seed: int, batch: int = 2) -> tuple[Tensor, Tensor]:
    """Random tokens and the targets one further on."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(dims.vocab_size, (batch, context + 1), generator=generator)
    return tokens[:, :-1], tokens[:, 1:]


def gap(a: Tensor, b: Tensor) -> float:
    """Largest absolute difference."""
    return float((a - b).detach().abs().max())


def close(actual: Tensor, expected: Tensor, *, of: str) -> None:
    """Asserts equality up to float64 rounding, entry by entry."""
    torch.testing.assert_close(actual, expected, rtol=RTOL, atol=ATOL, msg=lambda text: f"{of}: {text}")
