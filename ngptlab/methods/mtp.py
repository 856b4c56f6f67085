"""The baseline trained on several tokens ahead with one head, sum_k w_k CE(t + k) / sum_k w_k.

Source: KellerJordan/modded-nanogpt, record 53, with constant weights (1, 0.5), where its weights fall in the course of training.
CE(t + k) is a mean over the positions that have a token so far ahead. Dividing by the sum of weights is ours. Validation takes
the loss of the next token alone.
"""

from dataclasses import dataclass

from torch import Tensor

from ngptlab.config import Dims
from ngptlab.nn.decoder import Parts
from ngptlab.nn.functions import mean_loss
from ngptlab.nn.loss import LogitsMap
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Add, FreeWeights, HeadWidthPower, PlainLogits, RMSNorm, Rotate, SwiGLU
from ngptlab.nn.structure import Loss


@dataclass(frozen=True)
class Ahead:
    """Mean loss of the next tokens, the first weighted 1 and each later one as given."""

    second: float = 0.5
    third: float = 0.0

    def build(self, dims: Dims) -> Loss:
        return _Ahead((1.0, self.second, self.third))


class _Ahead(Loss):
    def __init__(self, weights: tuple[float, ...]) -> None:
        super().__init__()
        # By how far the token is beyond the next one.
        self.weights = {k: weight for k, weight in enumerate(weights) if weight}

    def forward(self, h_BTD: Tensor, rows_VD: Tensor, targets_BT: Tensor, logits_map: LogitsMap) -> Tensor:
        # A sequence has no token further ahead than it is long.
        weights = {k: weight for k, weight in self.weights.items() if k < h_BTD.shape[1]}
        total = h_BTD.new_zeros(())
        for k, weight in weights.items():
            # Position t gives token t + 1 + k, which is the target of position t + k.
            h_ND, targets_N = h_BTD[:, : h_BTD.shape[1] - k].flatten(0, 1), targets_BT[:, k:].flatten()
            total = total + weight * mean_loss(h_ND, rows_VD, targets_N, logits_map)
        return total / sum(weights.values())


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
    loss=Ahead(),
)
