"""A model for inference only: what depends on the weights alone is computed once, not again for every token.

Training multiplies scales into the rows of matrices, pads matrices to a fast width and rounds them to the compute dtype in
every forward pass. These are passes over the weights, which many tokens share. Where tokens are generated one by one, they
would be most of the work.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ngptlab.nn.blocks import Mlp
from ngptlab.nn.decoder import Decoder
from ngptlab.nn.parts import Logits, Scale


@torch.no_grad()
def folded(model: Decoder) -> Decoder:
    """A model with the same logits, bit for bit, and no gradient.

    It shares every tensor that folding leaves as it is, so it is no longer valid once `model` is trained further.
    """
    shared = {id(weight): weight for weight in model.parameters()}
    twin: Decoder = copy.deepcopy(model, shared)
    dtype = model.compute_dtype or model.E_in.dtype

    def fixed(weight: Tensor) -> nn.Parameter:
        return nn.Parameter(weight.to(dtype), requires_grad=False)

    for module in list(twin.blocks.modules()):
        if isinstance(module, Mlp):
            module.fold(fixed)
        elif not isinstance(module, Scale):
            for name, weight in list(module.named_parameters(recurse=False)):
                setattr(module, name, fixed(weight))
    twin.E_out = fixed(twin.logits_map.rows(twin.head))
    twin.logits_map = _FoldedLogits(twin.logits_map)
    return twin


class _FoldedLogits(Logits):
    def __init__(self, logits_map: Logits) -> None:
        super().__init__()
        self.logits_map = logits_map

    def forward(self, z: Tensor) -> Tensor:
        return self.logits_map(z)  # type: ignore[no-any-return]

    @property
    def scales_rows(self) -> bool:
        return self.logits_map.scales_rows
