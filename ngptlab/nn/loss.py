"""Cross-entropy of next tokens, in nats, computed in float32 at least."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ngptlab.nn.norms import wide


def token_losses(logits_BTV: Tensor, targets_BT: Tensor) -> Tensor:
    """-log softmax(logits)[target] of every position, [B, T]."""
    flat = F.cross_entropy(wide(logits_BTV).flatten(0, 1), targets_BT.flatten(), reduction="none")
    return flat.view_as(targets_BT)


def mean_loss(logits_BTV: Tensor, targets_BT: Tensor) -> Tensor:
    """Mean over all positions, a scalar."""
    return F.cross_entropy(wide(logits_BTV).flatten(0, 1), targets_BT.flatten())
