"""Losses of tokens in nats, without a gradient, computed in float32 at least, from hidden states and the head's matrix.

Logits of all positions at once would be the largest tensor of a run by far: 824 MB for 4096 tokens of GPT-2's
vocabulary, several times over. Here they exist a few rows at a time.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ngptlab.nn.precision import wide

CHUNK_VALUES = {"cpu": 2**24, "cuda": 2**28}
"""Logits held at a time: 64 MB in float32, where more is no faster; a GPU needs larger products."""

TINY = 1e-30
"""Probability below which -log(p) is not computed from p, because float32 can't hold p much further."""


class LogitsMap(Protocol):
    """The method's map of logits. Where `scales_rows`, it changes nothing, because the head's matrix is scaled already."""

    def __call__(self, z: Tensor) -> Tensor: ...

    @property
    def scales_rows(self) -> bool: ...


def token_losses(h_ND: Tensor, rows_VD: Tensor, targets_N: Tensor, logits_map: LogitsMap) -> Tensor:
    """-log softmax(map(rows h))[target] of every position, [N], without a gradient."""
    size = chunk(rows_VD)
    with torch.no_grad():
        chunks = zip(torch.split(h_ND, size), torch.split(targets_N, size), strict=True)
        return torch.cat([_cross_entropy(h, rows_VD, t, logits_map) for h, t in chunks])


def token_scores(
    h_ND: Tensor, rows_VD: Tensor, targets_N: Tensor, logits_map: LogitsMap
) -> tuple[Tensor, Tensor]:
    """`token_losses`, and whether each target is the most probable token (of equals, the first), [N] each."""
    size = max(1, min(chunk(rows_VD), len(h_ND)))
    logits_CV = h_ND.new_empty(size, len(rows_VD))
    losses_N, greedy_N = wide(h_ND.new_empty(len(h_ND))), torch.empty_like(targets_N, dtype=torch.bool)
    with torch.no_grad():
        for first in range(0, len(h_ND), size):
            h_CD, targets_C = h_ND[first : first + size], targets_N[first : first + size]
            z_CV = logits_map(wide(torch.mm(h_CD, rows_VD.T, out=logits_CV[: len(h_CD)])))
            at_C1 = targets_C.unsqueeze(1)
            best_C = (z_CV.gather(1, at_C1) >= z_CV.amax(1, keepdim=True)).squeeze(1)
            # argmax takes five times as long as amax, and few rows are left to it.
            best_C[best_C.clone()] = z_CV[best_C].argmax(1) == targets_C[best_C]
            greedy_N[first : first + size] = best_C
            p_C = softmax_in_place(z_CV).gather(1, at_C1).squeeze(1)
            losses_N[first : first + size] = minus_log(p_C, h_CD, rows_VD, targets_C, logits_map)
    return losses_N, greedy_N


def _cross_entropy(h_ND: Tensor, rows_VD: Tensor, targets_N: Tensor, logits_map: LogitsMap) -> Tensor:
    """The plain formula at every position, [N]."""
    return F.cross_entropy(logits_map(wide(h_ND @ rows_VD.T)), targets_N, reduction="none")


def chunk(rows_VD: Tensor) -> int:
    """Rows of logits held at a time."""
    return max(16, CHUNK_VALUES.get(rows_VD.device.type, 2**24) // len(rows_VD) // 64 * 64)


def softmax_in_place(z_CV: Tensor) -> Tensor:
    """Softmax over the last axis, written over `z_CV` unless that is narrower than float32."""
    z_CV = wide(z_CV)
    return torch.softmax(z_CV, dim=-1, out=z_CV)


def minus_log(
    p_C: Tensor, h_CD: Tensor, rows_VD: Tensor, targets_C: Tensor, logits_map: LogitsMap | None = None
) -> Tensor:
    """-log(p), from the logits again where p is too small to keep its digits."""
    losses_C = -p_C.log()
    rare_C = p_C < TINY
    if bool(rare_C.any()):
        z_RV = wide(h_CD[rare_C] @ rows_VD.T)
        z_RV = logits_map(z_RV) if logits_map else z_RV
        losses_C[rare_C] = F.cross_entropy(z_RV, targets_C[rare_C], reduction="none")
    return losses_C
