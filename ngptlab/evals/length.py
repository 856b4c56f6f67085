"""Length extrapolation: loss by position, far beyond the training context, over many long documents."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ngptlab.data.shards import TokenStream
from ngptlab.evals.loss import losses
from ngptlab.nn.decoder import Decoder

BINS_PER_CONTEXT = 2
"""Positions are averaged over half a training context."""


def long_documents(stream: TokenStream, *, end_of_text: int, tokens: int, limit: int) -> NDArray[np.int64]:
    """The first `tokens` + 1 tokens of the first `limit` documents that have as many, each after an end of text.

    Shapes: [documents, 1 + tokens]; no rows where there is no such document.
    """
    found = itertools.islice(stream.documents(tokens, end_of_text), limit)
    rows = [np.concatenate(([end_of_text], document[:tokens])) for document in found]
    return np.stack(rows) if rows else np.empty((0, tokens + 1), np.int64)


def length_loss(model: Decoder, documents_NT: NDArray[np.int64], *, context: int) -> dict[str, Any]:
    """Mean loss by position with its standard error over documents.

    `from` and `to` count the tokens before the predicted one: a bin holds positions from <= t < to.
    """
    by_position_NT = losses(model, documents_NT[:, :-1], documents_NT[:, 1:]).numpy()
    count, length = by_position_NT.shape
    width = max(1, context // BINS_PER_CONTEXT)
    bins = []
    for first in range(0, length, width):
        by_document_N = by_position_NT[:, first : first + width].mean(axis=1)
        stderr = float(by_document_N.std(ddof=1)) / math.sqrt(count) if count > 1 else 0.0
        mean = float(by_document_N.mean())
        bins.append(
            {"from": first, "to": min(first + width, length), "loss_nats": mean, "stderr_nats": stderr}
        )
    return {"eval": "length", "context": context, "documents": count, "bins": bins}
