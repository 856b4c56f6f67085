"""A model for reading only: what follows from the weights alone is computed once, not again for every token.

Training multiplies scales into the rows of matrices, fills matrices up to a fast width and rounds them to the compute
dtype in every forward pass: passes over the weights that many tokens share. Where one token follows another they would be
most of the work.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ngptlab.nn.decoder import Block, Decoder
from ngptlab.nn.parts import Gate, Logits


@torch.no_grad()
def folded(model: Decoder) -> Decoder:
    """A model with the same logits, bit for bit, and no gradient.

    It shares every tensor that folding leaves as it is, so it is of no use once `model` is trained on.
    """
    shared = {id(weight): weight for weight in model.parameters()}
    twin: Decoder = copy.deepcopy(model, shared)
    dtype = model.compute_dtype or model.E_in.dtype

    def fixed(weight: Tensor) -> nn.Parameter:
        return nn.Parameter(weight.to(dtype), requires_grad=False)

    for block in twin.blocks:
        assert isinstance(block, Block)
        attn, mlp = block.attn, block.mlp
        attn.W_q, attn.W_k, attn.W_v, attn.W_o = map(fixed, (attn.W_q, attn.W_k, attn.W_v, attn.W_o))
        W_u, W_v = mlp.gate.rows(mlp.W_u, mlp.W_v)
        mlp.W_u, mlp.W_v = fixed(mlp.padded(W_u, 0)), fixed(mlp.padded(W_v, 0))
        mlp.W_o = fixed(mlp.padded(mlp.W_o, 1))
        mlp.gate = _FoldedGate(mlp.gate)
    twin.E_out = fixed(twin.logits_map.rows(twin.E_out))
    twin.logits_map = _FoldedLogits(twin.logits_map)
    return twin


class _FoldedGate(Gate):
    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self.gate = gate

    def forward(self, u_BTF: Tensor, v_BTF: Tensor) -> Tensor:
        return self.gate(u_BTF, v_BTF)  # type: ignore[no-any-return]


class _FoldedLogits(Logits):
    def __init__(self, logits_map: Logits) -> None:
        super().__init__()
        self.logits_map = logits_map

    def forward(self, z: Tensor) -> Tensor:
        return self.logits_map(z)  # type: ignore[no-any-return]

    @property
    def scales_rows(self) -> bool:
        return self.logits_map.scales_rows
