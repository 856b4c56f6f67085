"""The baseline with DeMo for its blocks: the sign of what is largest in a momentum, which is then taken out of it.

Source: arXiv:2411.19870 and github.com/bloc97/DeMo, with the values of branch demo of alxndrTL/modded-nanogpt. Processes share
the largest cosine coefficients of their momenta in place of gradients; one process does all of it but the sharing. Where there
are several, nothing else may average gradients. Decay is the baseline's (ours; 0 in the branch).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor

from ngptlab.config import OptimConfig
from ngptlab.nn.decoder import Parts
from ngptlab.nn.optimizers import BesideAdamW, Groups
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, Rotate, SwiGLU
from ngptlab.nn.roles import Role
from ngptlab.nn.updates import OneByOne, State, descend, kept


class DeMo(OneByOne):
    """m <- decay m + lr g; q = the largest coefficients of each chunk of m; m <- m - q; W moves by sign(mean of q)."""

    def update(self, weight: Tensor, grad: Tensor, state: State, group: dict[str, Any]) -> None:
        momentum = kept(state, "momentum", grad).mul_(group["momentum"]).add_(grad, alpha=group["lr"])
        chunks = Chunks(momentum, group["chunk"])
        coefficients = chunks.cosines(momentum)
        places = coefficients.abs().topk(min(group["largest"], coefficients.shape[1])).indices
        values = coefficients.gather(1, places)
        empty = torch.zeros_like(coefficients)
        momentum -= chunks.back(empty.scatter(1, places, values))
        descend(weight, chunks.back(_mean(empty, places, values)).sign(), group)


class Chunks:
    """A matrix in blocks, [blocks, values] after a cosine transform of each. Sides are the largest divisors up to a limit."""

    def __init__(self, like: Tensor, limit: int) -> None:
        self.sides = [max(d for d in range(1, limit + 1) if size % d == 0) for size in like.shape]
        self.counts = [size // side for size, side in zip(like.shape, self.sides, strict=True)]
        self.bases = [cosine_basis(side, like.dtype, like.device) for side in self.sides]

    def cosines(self, matrix: Tensor) -> Tensor:
        (a, b), (r, c) = self.counts, self.sides
        return torch.einsum("arbc,kr,lc->abkl", matrix.reshape(a, r, b, c), *self.bases).reshape(a * b, r * c)

    def back(self, coefficients: Tensor) -> Tensor:
        (a, b), (r, c) = self.counts, self.sides
        return torch.einsum("abkl,kr,lc->arbc", coefficients.view(a, b, r, c), *self.bases).reshape(
            a * r, b * c
        )


@cache
def cosine_basis(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The orthonormal transform (DCT-II), [frequency, place]."""
    places = torch.arange(size, dtype=torch.float64)
    basis = torch.cos(math.pi / size * places[:, None] * (places + 0.5)) * math.sqrt(2 / size)
    basis[0] /= math.sqrt(2)
    return basis.to(device, dtype)


def _mean(empty: Tensor, places: Tensor, values: Tensor) -> Tensor:
    """The mean of what processes send, at each place over those that sent it. Their order is fixed, so all get the same bits."""
    if not dist.is_initialized():
        return empty.scatter(1, places, values)
    world = range(dist.get_world_size())
    all_places, all_values = (
        [torch.empty_like(places) for _ in world],
        [torch.empty_like(values) for _ in world],
    )
    dist.all_gather(all_places, places)
    dist.all_gather(all_values, values)
    total, count = empty.clone(), empty.clone()
    for where, what in zip(all_places, all_values, strict=True):
        total.scatter_add_(1, where, what)
        count.scatter_add_(1, where, torch.ones_like(what))
    return total / count.clamp_min(1)


@dataclass(frozen=True)
class DeMoInBlocks(BesideAdamW):
    """DeMo for the matrices of blocks, AdamW for the rest."""

    momentum: float = 0.999
    chunk: int = 64
    """Largest side of a chunk."""
    largest: int = 32
    """Coefficients that are sent of each chunk."""

    name: ClassVar[str] = "DeMo"

    def kept(self, shape: Sequence[int]) -> int:
        return prod(shape)

    def talks(self, role: Role) -> bool:
        return role in self.roles

    def own(self, groups: Groups, config: OptimConfig) -> DeMo:
        return DeMo(groups, momentum=self.momentum, chunk=self.chunk, largest=self.largest)


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
    optimizer=DeMoInBlocks(),
)
