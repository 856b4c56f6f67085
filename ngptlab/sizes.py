"""The least memory that a model and its training take, from sizes alone and at once. Imports no torch.

`plan.memory` estimates better, but builds the model for it. These numbers are held against the machine's
memory before anything is built. A part is at most what `plan` counts for any method, as a test holds, so that nothing is
refused that would run.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ngptlab import disk
from ngptlab.config import Dims, RunConfig
from ngptlab.errors import ConfigError

FLOAT32, INT64 = 4, 8
"""Bytes of a value: weights are in the first, tokens of a batch in the second."""
STATE = 3
"""Values kept for each weight: itself, its gradient, and one at least that the optimizer keeps."""
HALF = 2
"""Bytes of an activation in the narrowest compute dtype."""


USUAL = {
    "model.d_model": 1024,
    "model.d_ff": 8 * 1024 // 3,
    "model.num_layers": 24,
    "model.vocab_size": 50_000,
    "train.batch_size": 64,
    "device.micro_batch": 64,
    "train.context": 1024,
}
"""Sizes of a model of some 300M parameters: what is far beyond is what a message names."""
CONTAINER_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


@dataclass(frozen=True)
class Part:
    """What takes memory."""

    name: str
    bytes: int
    fields: Mapping[str, int]
    """Settings on which the bytes depend, with their values."""

    @property
    def to_lower(self) -> str:
        """The setting that is furthest beyond what is usual."""
        name = max(self.fields, key=lambda field: self.fields[field] / USUAL.get(field, 1))
        return f"{name} ({self.fields[name]:,})"


def block_values(dims: Dims) -> int:
    """Values in the matrices of all blocks."""
    L, D, F = dims.num_layers, dims.d_model, dims.d_ff
    return L * (4 * D * D + 3 * D * F)


def embedding_values(dims: Dims) -> int:
    """Values in both embeddings."""
    return 2 * dims.vocab_size * dims.d_model


def model_parts(dims: Dims, *, values: int = 1) -> list[Part]:
    """What a model's matrices take in float32, with so many values kept for each weight."""
    vocabulary = {"model.vocab_size": dims.vocab_size, "model.d_model": dims.d_model}
    return [
        Part("the blocks", values * FLOAT32 * block_values(dims), _of_blocks(dims)),
        # One matrix at least, because a method may tie the head to the embedding.
        Part("the embeddings", values * FLOAT32 * embedding_values(dims) // 2, vocabulary),
    ]


def training_parts(config: RunConfig) -> list[Part]:
    """What a training step keeps: weights, gradients, moments, and activations of a micro-batch; and the batch's tokens."""
    dims, train, micro = config.model, config.train, config.device.micro_batch
    positions = (micro or train.largest_batch) * train.context
    kept = dims.num_layers * (4 * dims.d_model + 2 * dims.d_ff)
    if config.device.recompute == "on":  # what each block is given, and one block's activations beside it
        kept = dims.num_layers * dims.d_model + 2 * (dims.d_model + dims.d_ff)
    # Of many processes that divide it, each may keep nearly nothing of the optimizer's state, or of all three.
    state = {"off": STATE, "optimizer": STATE - 1, "on": 0}[config.device.shard]
    batch = {"train.batch_size": train.batch_size, "train.context": train.context}
    sequences = {"device.micro_batch": micro, "train.context": train.context} if micro else batch
    return [
        *model_parts(dims, values=state),
        Part("activations", HALF * positions * kept, {**sequences, **_of_blocks(dims)}),
        Part("a batch", 2 * INT64 * train.largest_batch * train.context, batch),
    ]


def _of_blocks(dims: Dims) -> dict[str, int]:
    sizes = {"model.d_model": dims.d_model, "model.num_layers": dims.num_layers}
    # A width of the MLP that follows from d_model is nothing that anybody set.
    derived = dims.d_ff == Dims.default_d_ff(dims.d_model)
    return sizes if derived else {**sizes, "model.d_ff": dims.d_ff}


def host_bytes() -> int:
    """Memory of this machine, or of the container that this process is in."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for limit in CONTAINER_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no such file, or the word `max`
            found.append(int(disk.read_text(limit)))
    return min(found)


def check_model(dims: Dims) -> None:
    """Hold a model's matrices against the machine's memory.

    Raises:
        ConfigError: they are larger.
    """
    check_fits(model_parts(dims), host_bytes(), what="the model", where="this machine")


def check_fits(parts: Sequence[Part], there: int, *, what: str, where: str) -> None:
    """Hold what is needed against the memory that is there, in bytes.

    Raises:
        ConfigError: it is less; the message names the largest part, and what to lower.
    """
    needed = sum(part.bytes for part in parts)
    if needed > there:
        largest = max(parts, key=lambda part: part.bytes)
        raise ConfigError(
            f"{what} takes {in_bytes(needed)} at least, {in_bytes(largest.bytes)} of them for {largest.name}; {where} has "
            f"{in_bytes(there)}: lower {largest.to_lower}"
        )


def in_bytes(size: int) -> str:
    """A size as people read it, in powers of 1000."""
    for unit, name in ((10**18, "EB"), (10**15, "PB"), (10**12, "TB"), (10**9, "GB")):
        if size >= unit:
            return f"{size // unit:,} {name}" if size >= 1000 * unit else f"{size / unit:.3g} {name}"
    return f"{size / 10**6:.3g} MB"
