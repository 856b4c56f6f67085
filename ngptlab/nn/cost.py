"""Operations of a training step and the size of a cache, counted on a model without values, so that nothing is missed.

The convention is that of ngptlab/flops.py, whose formula gives the same number for the plain decoder. Products of matrices are
counted where torch makes them. The embedding, elementwise operations, the loss and the optimizer are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from ngptlab.config import Dims, TrainConfig
from ngptlab.nn.cache import Cache
from ngptlab.nn.decoder import Decoder, Parts
from ngptlab.nn.fast.counted import attention_counted

PERIOD = 4
"""Longest period, in layers, of a pattern over blocks, where layers are extrapolated."""
MANY_LAYERS = 64
"""Layers beyond these are extrapolated. So many are built without values in a fraction of a second."""
FORWARD_AND_BACKWARD = 3
"""Backward costs twice what forward does."""


def token_flops(dims: Dims, parts: Parts, context: int) -> int:
    """Operations per token of forward and backward over sequences of `context` tokens."""
    return extrapolated(lambda few: _token_flops(few, parts, context), dims, whole=MANY_LAYERS)


def extrapolated(count: Callable[[Dims], int], dims: Dims, *, whole: int) -> int:
    """`count` of a model of `dims`. Layers beyond `whole` are not built: each counts as the mean of the last `PERIOD` layers.

    Blocks may differ by their number, in patterns that repeat after `PERIOD` layers or earlier.
    """
    if dims.num_layers <= whole:
        return count(dims)
    fewer, few = (count(dims.model_copy(update={"num_layers": layers})) for layers in (whole - PERIOD, whole))
    return few + (dims.num_layers - whole) * (few - fewer) // PERIOD


def _token_flops(dims: Dims, parts: Parts, context: int) -> int:
    with torch.device("meta"), torch.no_grad():
        model, tokens_BT = Decoder(dims, parts), torch.zeros(1, context, dtype=torch.long)
        with FlopCounterMode(display=False) as products, attention_counted() as attended:
            model(tokens_BT)
    return int(FORWARD_AND_BACKWARD * (products.get_total_flops() + sum(attended)) // context)


def cached_values(dims: Dims, parts: Parts) -> int:
    """Values that a cache keeps for each position of a text, over all layers: as attention hands them over, not as sizes suggest.

    What parts keep of the last position alone does not grow with the text, and is left out.
    """
    return extrapolated(lambda few: _cached_values(few, parts), dims, whole=MANY_LAYERS)


def _cached_values(dims: Dims, parts: Parts) -> int:
    with torch.device("meta"), torch.no_grad():
        model, cache = Decoder(dims, parts), Cache(dims)
        model(torch.zeros(1, 1, dtype=torch.long), cache)
    return sum(layer.position_values for layer in cache.layers)


def mean_token_flops(dims: Dims, parts: Parts, train: TrainConfig) -> int:
    """Mean of `token_flops` over the tokens of a run, in which a method's sequences may have several lengths.

    A length counts by the sequences of its updates, because batches may grow while sequences do.
    """
    length = parts.context.build(dims)
    if length is None:
        return token_flops(dims, parts, train.context)
    sequences: Counter[int] = Counter()
    for step in range(train.steps):
        sequences[length(step, train.steps, train.context)] += train.sequences(step)
    flops = sum(n * token_flops(dims, parts, context) for context, n in sequences.items())
    return round(flops / sequences.total())
