"""The baseline with half as many heads of keys and values as of queries.

Source: arXiv:2305.13245 (grouped queries). It has fewer weights, and a cache of half the size.
"""

from dataclasses import dataclass

from torch import nn

from ngptlab.config import Dims
from ngptlab.errors import ConfigError
from ngptlab.nn.blocks import Attention
from ngptlab.nn.decoder import Parts
from ngptlab.nn.matrices import matrix
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, Rotate, SwiGLU


@dataclass(frozen=True)
class GroupedQueries:
    """Attention in which `group` query heads, one after the other, share keys and values."""

    group: int = 2

    def build(self, dims: Dims, parts: Parts, layer: int) -> nn.Module:
        return _GroupedQueries(dims, parts, layer, self.group)


class _GroupedQueries(Attention):
    def __init__(self, dims: Dims, parts: Parts, layer: int, group: int) -> None:
        super().__init__(dims, parts, layer)
        if dims.num_heads % group:
            raise ConfigError(
                f"model.num_heads {dims.num_heads}: heads share keys and values in groups of {group}; give a multiple"
            )
        width = dims.d_model // group
        self.W_k, self.W_v = matrix(width, dims.d_model), matrix(width, dims.d_model)


METHOD = Parts(
    norm=RMSNorm(),
    after_step=FreeWeights(),
    residual=Add(),
    attn_scale=HeadWidthPower(-0.5),
    qk=Rotate(),
    gate=SwiGLU(),
    logits=PlainLogits(),
    weight_decay=0.1,
    warmup_steps=200,
    optimizer=AdamW(),
    attention=GroupedQueries(),
)
