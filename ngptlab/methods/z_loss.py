"""The baseline with a small loss on the normalizer of the softmax, CE + 0.0001 mean(logsumexp(z)^2).

Source: arXiv:2204.02311 (PaLM), section 5. It keeps logits from drifting together, which the cross-entropy doesn't see.
Validation takes the cross-entropy alone. Training holds all logits at once, where the baseline holds a few rows of them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ngptlab.config import Dims
from ngptlab.nn.decoder import Parts
from ngptlab.nn.loss import LogitsMap
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, Rotate, SwiGLU
from ngptlab.nn.precision import wide
from ngptlab.nn.structure import Loss


@dataclass(frozen=True)
class WithNormalizer:
    """Mean loss of the next token, and `weight` times the mean square of logsumexp(z)."""

    weight: float = 1e-4

    def build(self, dims: Dims) -> Loss:
        return _WithNormalizer(self.weight)


class _WithNormalizer(Loss):
    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, h_BTD: Tensor, rows_VD: Tensor, targets_BT: Tensor, logits_map: LogitsMap) -> Tensor:
        z_BTV = logits_map(wide(h_BTD @ rows_VD.T))
        log_sum_BT = torch.logsumexp(z_BTV, dim=-1)
        own_BT = z_BTV.gather(-1, targets_BT.unsqueeze(-1)).squeeze(-1)
        return (log_sum_BT - own_BT).mean() + self.weight * log_sum_BT.square().mean()


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
    loss=WithNormalizer(),
)
