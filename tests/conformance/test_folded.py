"""A folded model is the same function, and folds all that a method multiplies into its matrices."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from distinct import MODELS
from ngptlab import Dims, build_model
from ngptlab.nn.blocks import FeedForward
from ngptlab.nn.folded import folded

# d_ff is no multiple of 16, so that matrices are filled up.
DIMS = Dims(vocab_size=17, num_layers=2, num_heads=2, d_model=16, d_ff=23)
TOKENS = (torch.arange(40) ** 2 * 5 % 17).view(2, 20)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("method", MODELS)
@torch.no_grad()
def test_equal_bit_for_bit(method: str, dtype: torch.dtype) -> None:
    model = build_model(method, DIMS, seed=3)
    model.compute_dtype = dtype
    for name, weight in model.named_parameters():
        if name.endswith(".stored"):
            weight.mul_(torch.rand(weight.shape, generator=torch.Generator().manual_seed(len(name))) + 0.5)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    twin = folded(model)
    assert torch.equal(twin(TOKENS), model(TOKENS))
    assert torch.equal(twin.token_losses(TOKENS, TOKENS), model.token_losses(TOKENS, TOKENS))
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())

    def unmoved(weight: Tensor) -> bool:
        return weight.untyped_storage().data_ptr() in {
            w.untyped_storage().data_ptr() for w in model.parameters()
        }

    assert unmoved(twin.E_in), "what needs no folding is not copied"
    mlp = twin.blocks[0].mlp
    if isinstance(mlp, FeedForward):
        assert mlp.gate.rows(mlp.W_u, mlp.W_v) == (mlp.W_u, mlp.W_v) and mlp.padded(mlp.W_o, 1) is mlp.W_o
    assert twin.logits_map.rows(twin.E_out) is twin.E_out and twin.E_out.dtype == dtype
