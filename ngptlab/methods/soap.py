"""The baseline with SOAP for its blocks: Adam in the axes along which a matrix's gradients lie.

Source: arXiv:2409.11321 (algorithm 3) and github.com/nikhilvyas/SOAP. The first step only finds the axes, and moves nothing. A
step uses the axes of the step before. They are refreshed by one step of power iteration and a QR decomposition.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor

from ngptlab.config import OptimConfig
from ngptlab.nn.decoder import Parts
from ngptlab.nn.optimizers import BesideAdamW, Groups
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, Rotate, SwiGLU
from ngptlab.nn.updates import OneByOne, State, descend, kept, moments


class Soap(OneByOne):
    """Adam in the eigenvectors of L and R, running means of G G^T and G^T G. m is kept as it is, v in those axes."""

    def update(self, weight: Tensor, grad: Tensor, state: State, group: dict[str, Any]) -> None:
        begins = "axes_0" not in state
        if not begins:
            left, right = state["axes_0"], state["axes_1"]
            mean, square = moments(state, grad, left.mT @ grad @ right, group["betas"])
            direction = (left.mT @ mean @ right) / (square.sqrt() + group["eps"])
            descend(weight, left @ direction @ right.mT, group)
        refreshes = not begins and state["step"].item() % group["every"] == 0
        for side, product in enumerate((grad @ grad.mT, grad.mT @ grad)):
            factor = kept(state, f"factor_{side}", product).lerp_(product, 1 - group["betas"][1])
            if begins:
                state[f"axes_{side}"] = torch.linalg.eigh(factor).eigenvectors.flip(1).contiguous()
            elif refreshes:
                _refresh(factor, state, side)


def _refresh(factor: Tensor, state: State, side: int) -> None:
    """One step of power iteration, the longest axis first; v, which has a value for each pair of axes, follows their order."""
    axes = state[f"axes_{side}"]
    stretched = factor @ axes
    order = (axes * stretched).sum(dim=0).argsort(descending=True, stable=True)
    axes.copy_(torch.linalg.qr(stretched[:, order]).Q)
    square = state["exp_avg_sq"]
    square.copy_(square.index_select(side, order))


@dataclass(frozen=True)
class SoapInBlocks(BesideAdamW):
    """SOAP for the matrices of blocks, AdamW for the rest. The betas are SOAP's own; those of the config are AdamW's."""

    betas: tuple[float, float] = (0.95, 0.95)
    every: int = 10
    """Steps from one refresh of the axes to the next."""

    name: ClassVar[str] = "SOAP"

    def kept(self, shape: Sequence[int]) -> int:
        return 2 * prod(shape) + 2 * sum(side**2 for side in shape)

    def own(self, groups: Groups, config: OptimConfig) -> Soap:
        return Soap(groups, betas=self.betas, every=self.every, eps=config.eps)


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
    optimizer=SoapInBlocks(),
)
