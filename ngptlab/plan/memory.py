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

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from ngptlab.config import Dims, RunConfig
from ngptlab.methods import load
from ngptlab.nn.cache import Cache
from ngptlab.nn.cost import MANY_LAYERS, PERIOD, extrapolated
from ngptlab.nn.decoder import Decoder, Parts
from ngptlab.nn.loss import CHUNK_VALUES
from ngptlab.nn.recompute import BlockCall
from ngptlab.nn.roles import placed, roles
from ngptlab.nn.shared import Shared
from ngptlab.nn.structure import NextToken
from ngptlab.sizes import FLOAT32
from ngptlab.train.updates import EVERYWHERE, owners
from ngptlab.world.processes import BUCKET_BYTES

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
    sums: int = 0
    """Gradients that are there twice while several processes sum them: a bucket, or all where a CUDA graph keeps its own."""
    copy: int = 0
    """What a checkpoint is written from while the training goes on; 0 on a GPU, because it is in the CPU's memory. One process
    has it; on a CPU all share one memory, so each is given its part."""
    lent: int = 0
    """Weights and gradients of other processes, where each has some only."""

    @property
    def total(self) -> int:
        """All parts together."""
        return sum(getattr(self, part.name) for part in fields(self))


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


def checkpoint_bytes(config: RunConfig) -> int:
    """Bytes of a checkpoint's tensors: the weights and what the optimizer keeps."""
    return FLOAT32 * (num_params(config) + num_moments(config))


def copy_bytes(config: RunConfig) -> int:
    """Bytes in the CPU's memory that a checkpoint is written from while the training goes on; 0 where it waits for the disk."""
    return checkpoint_bytes(config) if config.checkpoint.asynchronous == "on" else 0


def num_owned_moments(config: RunConfig, processes: int) -> int:
    """Number of values that the optimizer keeps in the process that has most of them, where each owns some parameters."""

    def count(model: Decoder) -> dict[str, int]:
        kept, kinds = model.optimizers.state_values, roles(model)
        means = model.parts.average.build(model.dims) is not None
        return {
            name: kept(kinds[name], weight.shape) + means * weight.numel()
            for name, weight in model.named_parameters()
        }

    return _of_most(config, processes, count)


def num_owned_params(config: RunConfig, processes: int) -> int:
    """Number of weights in the process that has most of them, where each owns some parameters."""
    return _of_most(
        config, processes, lambda model: {name: weight.numel() for name, weight in model.named_parameters()}
    )


def num_lent(config: RunConfig) -> int:
    """Number of weights and gradients of others that a process has at once, at most, where it is lent them (`device.shard on`).

    In a forward pass these are the weights outside of blocks and those of a block, in a backward pass a unit's weights and their
    gradients.
    """

    def count(model: Decoder) -> int:
        outside, blocks = [0], [0] * model.dims.num_layers
        for name, kind in roles(model).items():
            block, values = placed(name)[0], model.get_parameter(name).numel()
            if kind in EVERYWHERE:
                continue
            if block is None:
                outside.append(values)
            else:
                blocks[block] += values
        return max(sum(outside) + max(blocks), 2 * max(*outside, *blocks))

    return _by_layer(config, count)


def _of_most(config: RunConfig, processes: int, values: Callable[[Decoder], dict[str, int]]) -> int:
    """What the process has that has most, of values that are counted for each parameter."""
    whole = EVERYWHERE if config.device.shard == "on" else ()

    def count(model: Decoder) -> int:
        owner, held = owners(model, processes, whole), [0] * processes
        for name, number in values(model).items():
            its = owner[name]
            for process in range(processes) if its is None else (its,):
                held[process] += number
        return max(held)

    return _by_layer(config, count)


def largest_param(config: RunConfig) -> int:
    """Number of values in the largest parameter."""
    return _by_layer(config, lambda model: max(p.numel() for p in model.parameters()))


def _by_layer(config: RunConfig, count: Callable[[Decoder], int]) -> int:
    """What is counted of a model without values."""
    parts = load(config.method, config.seams.lenders)

    def at(dims: Dims) -> int:
        with torch.device("meta"):
            return count(Decoder(dims, parts))

    return extrapolated(at, config.model, whole=MANY_LAYERS)


def step_memory(config: RunConfig, *, place: str, value_bytes: int, processes: int = 1) -> Memory:
    """Memory of a step of a resolved config on `place` (cpu or cuda), whose activations have values of so many bytes.

    It is that of one device, where each of several `processes` has one.
    """
    sequences = config.device.micro_batch or config.train.largest_batch // processes
    kept = activations(config, sequences)
    return memory_with(config, sequences, kept, place=place, value_bytes=value_bytes, processes=processes)


def activations(config: RunConfig, sequences: int) -> int:
    """Bytes in float32 that so many sequences at once keep for their backward."""
    parts, context = load(config.method, config.seams.lenders), config.train.context
    recompute = config.device.recompute == "on"
    return extrapolated(
        lambda dims: kept_bytes(dims, parts, sequences, context, recompute=recompute),
        config.model,
        whole=FEW_LAYERS,
    )


def memory_with(
    config: RunConfig, sequences: int, kept: int, *, place: str, value_bytes: int, processes: int
) -> Memory:
    """As `step_memory`, with micro-batches of so many sequences, which keep so many bytes in float32."""
    params, parts, context = (
        num_params(config),
        load(config.method, config.seams.lenders),
        config.train.context,
    )
    dims, positions = config.model, sequences * context
    # In chunks, the gradient of the head is formed beside them.
    logits = min(max(16, CHUNK_VALUES[place] // dims.vocab_size), positions) + dims.d_model
    if not _in_chunks(dims, parts):
        logits = WHOLE_LOGITS * positions
    shard = config.device.shard if processes > 1 else "off"
    held, lent = (num_owned_params(config, processes), num_lent(config)) if shard == "on" else (params, 0)
    # A block that isn't computed again keeps its copies for its backward.
    copied = lent if shard == "on" and config.device.recompute == "on" else params
    return Memory(
        weights=FLOAT32 * held + (value_bytes * copied if value_bytes != FLOAT32 else 0),
        gradients=FLOAT32 * held,
        moments=FLOAT32 * (num_moments(config) if shard == "off" else num_owned_moments(config, processes)),
        activations=kept * value_bytes // FLOAT32,
        logits=FLOAT32 * logits * dims.vocab_size,
        sums=_sums(config, params, place) if processes > 1 else 0,
        copy=copy_bytes(config) // processes if place == "cpu" else 0,
        lent=FLOAT32 * lent,
    )


def _sums(config: RunConfig, params: int, place: str) -> int:
    device = config.device
    if place == "cuda" and device.compile != "off" and device.graphs != "off" and device.shard != "on":
        return FLOAT32 * params
    return min(FLOAT32 * params, max(BUCKET_BYTES, FLOAT32 * largest_param(config)))


def _in_chunks(dims: Dims, parts: Parts) -> bool:
    """Whether the loss is taken from a few rows of logits at a time."""
    return bool(parts.logits.build(dims).scales_rows) and parts.loss == NextToken()


def kept_bytes(dims: Dims, parts: Parts, sequences: int, context: int, *, recompute: bool = False) -> int:
    """Bytes that a forward pass in float32 on a CPU, up to the head, keeps for its backward; weights don't count.

    Where blocks are recomputed, it keeps what they are given. The backward then has the activations of one block at a time.
    """
    with FakeTensorMode():
        model, outside = _Unchecked(dims, parts), Kept()
        model.outside = outside if recompute else None
        with outside:
            held = model.hidden(torch.zeros(sequences, context, dtype=torch.long))
        assert held.requires_grad
        without = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
        known = without | outside.tensors.keys()
        return outside.size(without) + max((inside.size(known) for inside in model.inside), default=0)


class Kept(saved_tensors_hooks):
    """What operations inside it keep for their backward."""

    def __init__(self) -> None:
        super().__init__(self.keep, lambda tensor: tensor)
        self.tensors: dict[int, Tensor] = {}
        """By storage; the tensors are held, so that no storage is freed and its place used again."""

    def keep(self, tensor: Tensor) -> Tensor:
        self.tensors[tensor.untyped_storage()._cdata] = tensor
        return tensor

    def size(self, without: Set[int]) -> int:
        """Bytes of all storages but these."""
        return sum(x.untyped_storage().nbytes() for key, x in self.tensors.items() if key not in without)


class _Unchecked(Decoder):
    """A decoder that does not check its tokens, because they have no values here, and counts what is recomputed by block."""

    def __init__(self, dims: Dims, parts: Parts) -> None:
        super().__init__(dims, parts)
        self.outside: Kept | None = None
        self.inside: list[Kept] = []

    def _check(self, tokens_BT: Tensor) -> None:
        pass

    def _blocks(self, cache: Cache | None) -> Sequence[BlockCall]:
        blocks = super()._blocks(cache)
        return blocks if self.outside is None else [self._counted(block, self.outside) for block in blocks]

    def _counted(self, block: BlockCall, outside: Kept) -> BlockCall:
        def run(h_BTD: Tensor, shared: Shared) -> Tensor:
            inside = Kept()
            self.inside.append(inside)
            with inside:
                result = block(h_BTD, shared)
            for given in (h_BTD, shared.v1_BTHK, *shared.rope):
                if given is not None:
                    outside.keep(given)
            return result

        return run
