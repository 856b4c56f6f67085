"""Rounds matrices after a step, as if a narrower dtype stored them. They keep their dtype, in which all is computed."""

from __future__ import annotations

import torch
from torch import nn

from ngptlab.nn.roles import Role, roles


@torch.no_grad()
def round_blocks(model: nn.Module, dtype: torch.dtype) -> None:
    """Round the matrices of all blocks to `dtype`, in place; embeddings, head and scales are not rounded.

    The official code of arXiv:2410.01131 stores these matrices, and no others, in bfloat16. There an update below some
    2^-9 of a weight leaves the weight unchanged.
    """
    weights = dict(model.named_parameters())  # `get_parameter` wants parameters, and a stack lends tensors
    for name, kind in roles(model).items():
        if kind in (Role.READER, Role.WRITER, Role.INNER):
            weights[name].copy_(weights[name].to(dtype))
