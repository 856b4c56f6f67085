"""Length extrapolation: loss by position, far beyond the training context, over many long documents."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ngptlab.data.shards.stream import TokenStream
from ngptlab.data.tokens.tokenizer import Tokenizer
from ngptlab.measure.length.numbers import UpTo
from ngptlab.measure.val.measure import losses
from ngptlab.nn.decoder import Decoder
from ngptlab.stats.records import LengthBin
from ngptlab.world.world import ALONE, World

BINS_PER_CONTEXT = 2
"""Bins of equal width in a training context: positions are averaged over half of it."""
BINS_PER_OCTAVE = 4
"""Bins in each doubling of the position, where bins grow with it."""
OCTAVES_BEFORE = 5
"""Number of halvings of the training context that have bins of their own; all earlier positions share one bin."""


def long_documents(stream: TokenStream, *, end_of_text: int, tokens: int, limit: int) -> NDArray[np.int64]:
    """The first `tokens` + 1 tokens of the first `limit` documents that have as many, each after an end of text.

    Shapes: [documents, 1 + tokens]; no rows where there is no such document.
    """
    return _beginnings(stream.documents(tokens, end_of_text), end_of_text, tokens, limit)


def long_texts(texts: Iterable[str], tokenizer: Tokenizer, *, tokens: int, limit: int) -> NDArray[np.int64]:
    """The long documents among these texts. A byte order mark, which some editors put before a text, is dropped."""
    encoded = (tokenizer.encode(text.removeprefix("\ufeff")).astype(np.int64) for text in texts)
    return _beginnings((ids for ids in encoded if len(ids) >= tokens), tokenizer.end_of_text, tokens, limit)


def _beginnings(
    documents: Iterator[NDArray[np.int64]], end_of_text: int, tokens: int, limit: int
) -> NDArray[np.int64]:
    rows = [
        np.concatenate(([end_of_text], document[:tokens])) for document in itertools.islice(documents, limit)
    ]
    return np.stack(rows) if rows else np.empty((0, tokens + 1), np.int64)


def linear_edges(length: int, context: int) -> list[int]:
    """Edges of bins of equal width."""
    return [*range(0, length, max(1, context // BINS_PER_CONTEXT)), length]


def log_edges(length: int, context: int) -> list[int]:
    """Edges of bins that widen with the position. The training context and its doublings are among them."""
    steps = range(-BINS_PER_OCTAVE * OCTAVES_BEFORE, BINS_PER_OCTAVE * (length // context).bit_length() + 1)
    edges = {round(context * 2 ** (step / BINS_PER_OCTAVE)) for step in steps}
    return sorted({0, length} | {edge for edge in edges if 0 < edge < length})


def binned(losses_NT: NDArray[np.float64], edges: Sequence[int]) -> list[LengthBin]:
    """Mean loss by position with its standard error over documents.

    `from` and `to` count the tokens before the predicted one: a bin holds positions from <= t < to.
    """
    bins: list[LengthBin] = []
    for first, end in itertools.pairwise(edges):
        mean, stderr = _mean(losses_NT[:, first:end])
        bins.append({"from": first, "to": end, "loss_nats": mean, "stderr_nats": stderr})
    return bins


def up_to(losses_NT: NDArray[np.float64], edges: Sequence[int]) -> list[UpTo]:
    """Mean loss of all tokens before each edge but the first, with its standard error over documents."""
    found = [(end, *_mean(losses_NT[:, :end])) for end in edges[1:]]
    return [{"to": end, "loss_nats": mean, "stderr_nats": stderr} for end, mean, stderr in found]


def _mean(losses_NT: NDArray[np.float64]) -> tuple[float, float]:
    by_document_N = losses_NT.mean(axis=1)
    count = len(by_document_N)
    stderr = float(by_document_N.std(ddof=1)) / math.sqrt(count) if count > 1 else 0.0
    return float(by_document_N.mean()), stderr


def length_loss(
    model: Decoder, documents_NT: NDArray[np.int64], *, context: int, world: World = ALONE
) -> dict[str, Any]:
    """The length evaluation at the end of a training run, each document in one pass."""
    by_position_NT = losses(model, documents_NT[:, :-1], documents_NT[:, 1:], world).numpy()
    count, length = by_position_NT.shape
    bins = binned(by_position_NT, linear_edges(length, context))
    return {"eval": "length", "context": context, "documents": count, "bins": bins}
