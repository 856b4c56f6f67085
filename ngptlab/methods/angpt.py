"""nGPT without norms of the stream: a step is divided by the norm that it has for unit vectors at right angles.

Source: arXiv:2505.22014 (anGPT). A step is (1 - a) h + a f over sqrt((1 - a)^2 + a^2). Vectors along d_model have a norm of at
most 1. The paper also has a constant factor after each map, which we could not check one by one; ours has nGPT's trained
scales there, and nGPT's norm of queries and keys.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ngptlab.config import Dims
from ngptlab.nn.decoder import Parts
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import HeadWidthPower, NoNorm, RotateNormScale, Scale, ScaledLogits, ScaledSwiGLU
from ngptlab.nn.roles import along_d_model


@dataclass(frozen=True)
class BoundedWeights:
    """Every vector along d_model back to a norm of at most 1."""

    def build(self, dims: Dims) -> Callable[[nn.Module], None]:
        return _bound


@torch.no_grad()
def _bound(model: nn.Module) -> None:
    for weight, axis in along_d_model(model):
        weight.div_(torch.linalg.vector_norm(weight, dim=axis, keepdim=True).clamp_min_(1.0))


@dataclass(frozen=True)
class ApproximateStep:
    """(h + a (branch - h)) / sqrt((1 - a)^2 + a^2), with a trained rate a for each channel."""

    alpha_init: float = 0.05

    def build(self, dims: Dims) -> nn.Module:
        return _ApproximateStep(dims, self.alpha_init)


class _ApproximateStep(nn.Module):
    def __init__(self, dims: Dims, alpha_init: float) -> None:
        super().__init__()
        self.alpha = Scale(dims.d_model, init=alpha_init, scale=dims.d_model**-0.5)

    def forward(self, h_BTD: Tensor, branch_BTD: Tensor) -> Tensor:
        a_D = self.alpha.effective().abs()
        factor_D = torch.rsqrt((1 - a_D).square() + a_D.square())
        return ((h_BTD + a_D * (branch_BTD - h_BTD)) * factor_D).to(h_BTD.dtype)


METHOD = Parts(
    norm=NoNorm(),
    after_step=BoundedWeights(),
    residual=ApproximateStep(),
    attn_scale=HeadWidthPower(0.5),
    qk=RotateNormScale(),
    gate=ScaledSwiGLU(),
    logits=ScaledLogits(),
    weight_decay=0.0,
    warmup_steps=0,
    optimizer=AdamW(),
)
