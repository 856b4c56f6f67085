"""Loss at every position of documents far longer than a training context, in memory that grows with their length, not its square.

A document is read in pieces: queries a piece at a time, keys and values kept in a cache. In names: C positions of a piece.
What is held at once:

    weights                 4 bytes a parameter, and a copy of those matrices that folding changes
    keys and values         2 L D T values a document of the plain decoder, in the compute dtype: 2.4 GB for 162M parameters
                            at 32k in float32. Of a method with other attention they are counted (`nn/cost.py`)
    mask of a piece         C T values and as many bytes: at most 0.2 GB at 32k
    activations of a piece  C (10 D + 4 F) values, and logits a few rows at a time: some 0.3 GB

So a model of 162M parameters reads 32k tokens in under 5 GB.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from ngptlab.nn.cache import Cache
from ngptlab.nn.cost import cached_values
from ngptlab.nn.decoder import Decoder
from ngptlab.nn.folded import folded
from ngptlab.nn.rope import TRAINED, Angles

PIECE_TOKENS = 2048
"""Tokens of one forward pass, over all documents read at once."""
PIECE_POSITIONS = 64, 1024
"""Fewest and most positions of a piece: few are slow, and many need a large mask."""
CACHE_BYTES = 2**30
"""Most bytes of keys and values for documents read together; a document read alone may need more."""

Tell = Callable[[int, int], None]


@torch.no_grad()
def read_losses(
    model: Decoder,
    documents_NS: NDArray[np.int64],
    *,
    window: int | None = None,
    angles: Angles = TRAINED,
    tell: Tell = lambda done, all_tokens: None,
) -> NDArray[np.float64]:
    """Cross-entropy in nats of every token but the first of each document, [N, S - 1].

    Args:
        window: each token attends to itself and the window - 1 before it; None: to all before it.
        angles: RoPE's angles.
        tell: called after each piece with the tokens read so far and those of all documents.
    """
    reader, place = folded(model), model.E_in.device
    count, length = documents_NS.shape[0], documents_NS.shape[1] - 1
    rows = max(1, min(count, CACHE_BYTES // _document_bytes(model, length)))
    fewest, most = PIECE_POSITIONS
    piece = min(most, max(fewest, PIECE_TOKENS // rows))
    losses_NT, done = np.empty((count, length)), 0
    for first in range(0, count, rows):
        tokens_BS = torch.from_numpy(documents_NS[first : first + rows]).to(place)
        # Positions before the text are held too; a cache that is one short of its room takes twice as much.
        capacity = length + model.embed.prefix
        cache = Cache(model.dims, capacity=capacity, window=window, angles=angles)
        for start in range(0, length, piece):
            end = min(start + piece, length)
            inputs_BC, targets_BC = tokens_BS[:, start:end], tokens_BS[:, start + 1 : end + 1]
            losses_BC = reader.token_losses(inputs_BC, targets_BC, cache).double().cpu()
            losses_NT[first : first + rows, start:end] = losses_BC.numpy()
            done += inputs_BC.numel()
            tell(done, losses_NT.size)
    return losses_NT


def _document_bytes(model: Decoder, length: int) -> int:
    dtype = model.compute_dtype or model.E_in.dtype
    return cached_values(model.dims, model.parts) * (length + model.embed.prefix) * dtype.itemsize
