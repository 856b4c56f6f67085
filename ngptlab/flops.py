"""Floating-point operations of a training step, counted from sizes. Imports no torch.

The convention is PaLM's (arXiv:2204.02311, appendix B). A multiplication and an addition are two operations, and backward
costs twice what forward does: 6 a token for each weight of a matrix that multiplies activations, so the head counts and
the input embedding, a lookup, does not; and 12 L D T a token for attention's two products over all T keys. Here attention
is causal, so half of those are needed: 6 L D T. Norms, gates and scales, the loss and the optimizer are left out, as is
what an implementation computes and throws away. So the count is the same for every method of equal sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

from ngptlab.config import Dims


@dataclass(frozen=True)
class TokenFlops:
    """Operations of forward and backward per token, by part of the model."""

    projections: int
    """W_q, W_k, W_v and W_o of all blocks."""
    scores: int
    """Queries with keys, and probabilities with values."""
    mlp: int
    """The gated MLP's three matrices of all blocks."""
    head: int
    """E_out."""

    @property
    def total(self) -> int:
        """All parts together."""
        return self.projections + self.scores + self.mlp + self.head


def token_flops(dims: Dims, context: int) -> TokenFlops:
    """Operations per token of a training step over sequences of `context` tokens."""
    L, D, F, V = dims.num_layers, dims.d_model, dims.d_ff, dims.vocab_size
    return TokenFlops(
        projections=6 * L * 4 * D * D,
        scores=12 * L * D * context // 2,
        mlp=6 * L * 3 * D * F,
        head=6 * V * D,
    )
