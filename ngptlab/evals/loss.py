"""Validation loss: exact, on the same fixed windows in every run."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngptlab.nn.decoder import Decoder

BATCH_TOKENS = 16_384
"""Tokens in one forward pass; bounds the memory of the logits."""


@torch.no_grad()
def losses(model: Decoder, inputs_NT: NDArray[np.int64], targets_NT: NDArray[np.int64]) -> Tensor:
    """Cross-entropy at every position in nats, float64, [N, T], on the CPU."""
    device = next(model.parameters()).device
    rows = max(1, BATCH_TOKENS // inputs_NT.shape[1])
    chunks = []
    for first in range(0, len(inputs_NT), rows):
        inputs_BT = torch.from_numpy(inputs_NT[first : first + rows]).to(device)
        targets_BT = torch.from_numpy(targets_NT[first : first + rows]).to(device)
        chunks.append(model.token_losses(inputs_BT, targets_BT).double().cpu())
    return torch.cat(chunks)


def validation_loss(
    model: Decoder, inputs_NT: NDArray[np.int64], targets_NT: NDArray[np.int64], *, text_bytes: int
) -> dict[str, Any]:
    """Mean loss with its standard error over windows.

    Units: loss_nats and stderr_nats a token; bits_per_byte: the loss of all targets over the bytes of their text. An end of
    text has no byte, and its loss counts: predicting it is part of the cost of the text.

    Args:
        text_bytes: UTF-8 bytes of the text that the targets stand for, at least one.
    """
    by_window_N = losses(model, inputs_NT, targets_NT).mean(dim=1)
    mean = by_window_N.mean().item()
    stderr = by_window_N.std().item() / math.sqrt(len(by_window_N)) if len(by_window_N) > 1 else 0.0
    return {
        "eval": "val",
        "loss_nats": mean,
        "stderr_nats": stderr,
        "bits_per_byte": mean * targets_NT.size / math.log(2) / text_bytes,
        "tokens": inputs_NT.size,
        "windows": len(inputs_NT),
    }
