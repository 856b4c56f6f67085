"""Validation loss: exact, on the same fixed windows in every run."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngptlab.nn.decoder import Decoder
from ngptlab.world.world import ALONE, World

F64 = NDArray[np.float64]

BATCH_TOKENS = 16_384
"""Tokens in one forward pass; bounds the memory of the logits."""
MOST_PARTS = 1024
"""Most parts of a validation text whose losses a run records at its end."""


@torch.no_grad()
def losses(
    model: Decoder, inputs_NT: NDArray[np.int64], targets_NT: NDArray[np.int64], world: World = ALONE
) -> Tensor:
    """Cross-entropy at every position in nats, float64, [N, T], on the CPU.

    Processes share the forward passes and all get all losses, bit for bit those of one: the passes are the same ones.
    """
    rows = max(1, BATCH_TOKENS // inputs_NT.shape[1])
    passes = range(0, len(inputs_NT), rows)
    losses_NT = torch.zeros(inputs_NT.shape, dtype=torch.float64)

    def losses_from(first: int) -> Tensor:
        inputs_BT = torch.from_numpy(inputs_NT[first : first + rows]).to(model.place)
        targets_BT = torch.from_numpy(targets_NT[first : first + rows]).to(model.place)
        return model.token_losses(inputs_BT, targets_BT).double().cpu()

    for first in world.share(passes):
        losses_NT[first : first + rows] = losses_from(first)
    if model.lender is not None and world.has_fewer(passes):
        losses_from(0)  # for nothing but the weights that the others' last pass asks of this process
    return world.total(losses_NT)  # a pass that was another's is zeros here


def validation_loss(
    model: Decoder,
    inputs_NT: NDArray[np.int64],
    targets_NT: NDArray[np.int64],
    *,
    text_bytes: int,
    documents_NT: NDArray[np.int64] | None = None,
    world: World = ALONE,
) -> dict[str, Any]:
    """Mean loss with its standard error over documents.

    Units: loss_nats and stderr_nats per token; bits_per_byte: the loss of all targets over the bytes of their text. An end of
    text has no byte, but its loss counts, because predicting it is part of the cost of the text.

    Args:
        text_bytes: UTF-8 bytes of the text that the targets stand for, at least one.
        documents_NT: which document each target belongs to. None, or one document: the error is over windows.
    """
    losses_NT = losses(model, inputs_NT, targets_NT, world)
    mean = losses_NT.mean(dim=1).mean().item()
    tokens, by_document = by_group(losses_NT, documents_NT)
    if len(tokens) < 2:
        tokens, by_document = by_group(losses_NT, _windows(losses_NT))
    return {
        "eval": "val",
        "loss_nats": mean,
        "stderr_nats": clustered_stderr(tokens, by_document),
        "bits_per_byte": mean * targets_NT.size / math.log(2) / text_bytes,
        "tokens": inputs_NT.size,
        "windows": len(inputs_NT),
        "documents": 1 if documents_NT is None else int(documents_NT.max()) + 1,
    }


def document_losses(
    model: Decoder,
    inputs_NT: NDArray[np.int64],
    targets_NT: NDArray[np.int64],
    documents_NT: NDArray[np.int64],
    world: World = ALONE,
) -> dict[str, Any]:
    """Number of targets and mean loss of every document, or of every window where there is one document only.

    Two models of one text can be compared by these, document by document, from one seed each. More than `MOST_PARTS` of them are
    joined to so many blocks of neighbours, because a line of a run's records should stay one.
    """
    losses_NT = losses(model, inputs_NT, targets_NT, world)
    of, groups_NT = ("document", documents_NT) if documents_NT.max() else ("window", _windows(losses_NT))
    if (groups := int(groups_NT.max()) + 1) > MOST_PARTS:
        of, groups_NT = f"{of} block", groups_NT * MOST_PARTS // groups
    tokens, by_part = by_group(losses_NT, groups_NT)
    return {
        "eval": "parts",
        "of": of,
        "tokens": tokens.tolist(),
        "loss_nats": [round(value, 6) for value in by_part.tolist()],
    }


def by_group(losses_NT: Tensor, groups_NT: NDArray[np.int64] | None) -> tuple[F64, F64]:
    """Number of targets and mean loss of each group, [G] each; one group where none are given."""
    values = losses_NT.numpy().reshape(-1)
    groups = np.zeros(values.size, dtype=np.int64) if groups_NT is None else groups_NT.reshape(-1)
    tokens = np.bincount(groups).astype(np.float64)
    return tokens, np.bincount(groups, weights=values) / tokens


def clustered_stderr(tokens: F64, loss_nats: F64) -> float:
    """Standard error of the mean over all tokens where whole groups of them were drawn; 0 for one group.

    Tokens of one document are alike: to count each, or each window, as a draw of its own makes the error too small. This is
    the error of a ratio of sums (Cochran, Sampling Techniques, 1977, 6.4), with G / (G - 1) for few groups. Of groups of one
    size it is the standard deviation over the square root of their number.
    """
    groups = len(tokens)
    if groups < 2:
        return 0.0
    mean = (tokens * loss_nats).sum() / tokens.sum()
    squares = ((tokens * (loss_nats - mean)) ** 2).sum()
    return float(math.sqrt(squares * groups / (groups - 1)) / tokens.sum())


def _windows(losses_NT: Tensor) -> NDArray[np.int64]:
    rows, length = losses_NT.shape
    return np.repeat(np.arange(rows), length).reshape(rows, length)
