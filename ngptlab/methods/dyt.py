"""The baseline with gamma tanh(slope h) + beta in place of every norm.

Source: arXiv:2503.10622 (Dynamic Tanh), with what it adds for language models: one trained factor right after the embedding,
which starts at sqrt(d_model), because without a norm nothing else brings small embeddings to where tanh bends. beta is in its
definition, but not in its LLaMA. The slope starts at 0.5, its value outside language models; its LLaMAs have a larger one before
attention, and smaller ones the wider they are (0.8 and 0.2 at 7B). arXiv:2604.23434 expects a gain only where data are scarce.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ngptlab.config import Dims
from ngptlab.nn.decoder import Parts
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, Rotate, Scale, SwiGLU
from ngptlab.nn.shared import Shared
from ngptlab.nn.structure import Embed


@dataclass(frozen=True)
class DynamicTanh:
    """gamma tanh(slope h) + beta; the slope is one trained number, gamma and beta are trained for each channel."""

    slope_init: float = 0.5

    def build(self, dims: Dims) -> nn.Module:
        return _DynamicTanh(dims, self.slope_init)


class _DynamicTanh(nn.Module):
    def __init__(self, dims: Dims, slope_init: float) -> None:
        super().__init__()
        self.slope = Scale(1, init=slope_init, scale=slope_init)
        self.gamma = Scale(dims.d_model, init=1.0, scale=1.0)
        self.beta = Scale(dims.d_model, init=0.0, scale=1.0)

    def forward(self, h_BTD: Tensor) -> Tensor:
        bounded_BTD = torch.tanh(self.slope.effective() * h_BTD)
        return (self.gamma.effective() * bounded_BTD + self.beta.effective()).to(h_BTD.dtype)


@dataclass(frozen=True)
class ScaledEmbedding:
    """factor h, one trained number that starts at sqrt(d_model) and is stored as it is, as in the source."""

    def build(self, dims: Dims) -> Embed:
        return _ScaledEmbedding(dims)


class _ScaledEmbedding(Embed):
    def __init__(self, dims: Dims) -> None:
        super().__init__()
        factor = dims.d_model**0.5
        self.factor = Scale(1, init=factor, scale=factor)

    def forward(self, h_BTD: Tensor, shared: Shared) -> Tensor:
        return (self.factor.effective() * h_BTD).to(h_BTD.dtype)


METHOD = Parts(
    norm=DynamicTanh(),
    after_step=FreeWeights(),
    residual=Add(),
    attn_scale=HeadWidthPower(-0.5),
    qk=Rotate(),
    gate=SwiGLU(),
    logits=PlainLogits(),
    weight_decay=0.1,
    warmup_steps=200,
    optimizer=AdamW(),
    embed=ScaledEmbedding(),
)
