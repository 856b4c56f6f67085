"""Memory of a training step, by part, from sizes alone: the model is built and run without values.

Activations are counted, not guessed: a forward pass over shapes only (torch's fake tensors) collects what autograd would
keep for the backward, of this method at these sizes. That pass takes the CPU's path in float32. For CUDA the same tensors are
taken in the compute dtype, and the masters' copies in it are added.

Tests hold this estimate within a fifth of what a step has allocated at its highest on a CPU (bench/measure.py). It may be less,
because the backward has tensors of its own, or more, because gradients come as activations go. On CUDA it was compared once:
fineweb-162m compiled on an H200 had 8.6 GB where this says 9.0 for one arm, 11.0 where it says 10.3 for the other. With CUDA
graphs (`device.graphs`) gradients and activations stay between steps, so that an evaluation's few come on top.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from ngptlab.config import Dims, RunConfig
from ngptlab.methods import load
from ngptlab.nn.cost import MANY_LAYERS, PERIOD, extrapolated
from ngptlab.nn.decoder import Decoder, Parts
from ngptlab.nn.loss import CHUNK_VALUES
from ngptlab.nn.roles import roles
from ngptlab.nn.structure import NextToken
from ngptlab.sizes import FLOAT32

WHOLE_LOGITS = 3
"""Tensors of all logits at once where the loss is not taken in chunks: as the head gives them, as mapped, and their gradient."""
FEW_LAYERS = 2 * PERIOD
"""Activations of deeper models are counted from this depth on."""


@dataclass(frozen=True)
class Memory:
    """Bytes of a step's parts."""

    weights: int
    """float32 masters; on CUDA their copies in the compute dtype, too."""
    gradients: int
    moments: int
    """What the optimizer keeps, AdamW two for each weight."""
    activations: int
    """What one micro-batch keeps for its backward."""
    logits: int
    """Logits of one chunk of positions, and the gradient of the head that is formed with them; or all logits at once."""

    @property
    def total(self) -> int:
        """All parts together."""
        return self.weights + self.gradients + self.moments + self.activations + self.logits


def num_params(config: RunConfig) -> int:
    """Number of trained values."""
    return _by_layer(config, lambda model: model.num_params())


def num_moments(config: RunConfig) -> int:
    """Number of values that the optimizer keeps from step to step, a mean of the weights among them."""

    def count(model: Decoder) -> int:
        kept, kinds = model.optimizers.state_values, roles(model)
        moments = sum(kept(kinds[name], weight.shape) for name, weight in model.named_parameters())
        means = model.parts.average.build(model.dims) is not None
        return moments + means * model.num_params()

    return _by_layer(config, count)


def _by_layer(config: RunConfig, count: Callable[[Decoder], int]) -> int:
    """What is counted of a model without values."""
    parts = load(config.method, config.seams.lenders)

    def at(dims: Dims) -> int:
        with torch.device("meta"):
            return count(Decoder(dims, parts))

    return extrapolated(at, config.model, whole=MANY_LAYERS)


def step_memory(config: RunConfig, *, place: str, value_bytes: int) -> Memory:
    """Memory of a step of a resolved config on `place` (cpu or cuda), whose activations have values of so many bytes."""
    params = num_params(config)
    sequences = config.device.micro_batch or config.train.largest_batch
    parts, context = load(config.method, config.seams.lenders), config.train.context
    kept = extrapolated(
        lambda dims: kept_bytes(dims, parts, sequences, context), config.model, whole=FEW_LAYERS
    )
    copies = value_bytes * params if value_bytes != FLOAT32 else 0
    dims, positions = config.model, sequences * context
    # In chunks, the gradient of the head is formed beside them.
    logits = min(max(16, CHUNK_VALUES[place] // dims.vocab_size), positions) + dims.d_model
    if not _in_chunks(dims, parts):
        logits = WHOLE_LOGITS * positions
    return Memory(
        weights=FLOAT32 * params + copies,
        gradients=FLOAT32 * params,
        moments=FLOAT32 * num_moments(config),
        activations=kept * value_bytes // FLOAT32,
        logits=FLOAT32 * logits * dims.vocab_size,
    )


def _in_chunks(dims: Dims, parts: Parts) -> bool:
    """Whether the loss is taken from a few rows of logits at a time."""
    return bool(parts.logits.build(dims).scales_rows) and parts.loss == NextToken()


def kept_bytes(dims: Dims, parts: Parts, sequences: int, context: int) -> int:
    """Bytes that a forward pass in float32 on a CPU, up to the head, keeps for its backward; weights don't count."""
    kept: dict[
        int, Tensor
    ] = {}  # by storage; the tensors are held, so that no storage is freed and its place used again

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with FakeTensorMode(), saved_tensors_hooks(keep, lambda tensor: tensor):
        model = _Unchecked(dims, parts)
        held = model.hidden(torch.zeros(sequences, context, dtype=torch.long))
        own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
        assert held.requires_grad
        return sum(x.untyped_storage().nbytes() for key, x in kept.items() if key not in own)


class _Unchecked(Decoder):
    """A decoder that does not check its tokens, because they have no values here."""

    def _check(self, tokens_BT: Tensor) -> None:
        pass
