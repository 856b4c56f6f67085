"""The time of a step on several devices, from operations, bytes and links. A model: `docs/scaling.md` holds it against runs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ngptlab.config import RunConfig
from ngptlab.flops import token_flops
from ngptlab.plan.links import Joined
from ngptlab.sizes import FLOAT32
from ngptlab.world.processes import BUCKET_BYTES

FORWARD = 1 / 3
"""Share of a step's operations: a backward takes twice what a forward does."""
CLIPPING, UPDATE, CONSTRAINT = 3, 3, 2
"""How often as many values as there are weights are read or written. The norm reads gradients, and the scaling reads and writes
them. An update reads gradient and weight, and writes the weight. The constraint reads and writes the weight. What the optimizer
keeps is read and written once, too."""
DATA_SECONDS = 25e-9
"""For each token: 0.41 ms for 16,384 of them (results/gpu-h200-2026-11-27.json)."""
COPY = 20e9
"""Bytes a second from a GPU's memory to the CPU's: PCIe 4 with 16 lanes. Assumed."""
MATRICES = 7
"""Of a block, with q, k, v, the output and a gated MLP: as many owners at most lend a block's weights."""
DISK = 1e9
"""Bytes a second to a disk, digests included. Assumed; `python -m benchmarks.io` measures it."""


@dataclass(frozen=True)
class Machine:
    """What devices do, each alike."""

    flops_per_second: float
    """In forward and backward passes, not at the peak."""
    memory_bytes_per_second: float
    joined: Joined
    data_seconds: float = DATA_SECONDS
    disk_bytes_per_second: float = DISK


@dataclass(frozen=True)
class Work:
    """What a step is made of, whatever the number of devices."""

    tokens: int
    flops_per_token: float
    again: float
    """Operations for each token that recomputing adds."""
    params: int
    kept: int
    """Values that the optimizer keeps."""
    owned: int
    """Of them, those that the device with most of them keeps."""
    shard: str
    """`device.shard`: whose updates and whose weights each device has."""
    passes: int
    """Micro-batches of a step: as often are weights lent and gradients summed where each device has some weights only."""
    units: int
    """Blocks, embedding and head, each of which is lent by itself."""
    asynchronous: bool
    """Whether steps go on while a checkpoint is written, and wait for a copy only."""
    steps_between_checkpoints: int


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step's parts, one after the other, as the trainer runs them."""

    passes: float
    """Forward and backward."""
    recomputing: float
    sums: float
    """Gradients, until all devices have their sum, or each that of its own."""
    update: float
    """Clipping, optimizer and constraint."""
    weights: float
    """Until all have the weights that others own; or, where these are lent, for each pass forward and each backward."""
    data: float
    checkpoint: float
    """A save, divided by the steps between two."""

    @property
    def total(self) -> float:
        """All parts together."""
        return float(sum(vars(self).values()))


def work(
    config: RunConfig,
    devices: int,
    *,
    micro_batch: int,
    flops_per_token: float,
    params: int,
    kept: int,
    owned: int,
) -> Work:
    """The work of a resolved config's largest step on so many devices, in micro-batches of so many sequences."""
    head, rows = token_flops(config.model, config.train.context).head, config.train.largest_batch // devices
    return Work(
        tokens=config.train.step_tokens,
        flops_per_token=flops_per_token,
        again=FORWARD * (flops_per_token - head) if config.device.recompute == "on" else 0.0,
        params=params,
        kept=kept,
        owned=owned,
        shard=config.device.shard,
        passes=-(-rows // micro_batch),
        units=config.model.num_layers + 2,
        asynchronous=config.checkpoint.asynchronous == "on",
        steps_between_checkpoints=config.checkpoint.every,
    )


def step_time(work: Work, machine: Machine) -> StepTime:
    """How long a step takes. Kernels that wait for each other, small products and evaluations are not in it."""
    joined = machine.joined
    tokens, weights = work.tokens / joined.devices, FLOAT32 * work.params
    moved = work.params / joined.devices if work.shard != "off" else work.params
    clipped = moved if work.shard == "on" else work.params
    touched = (CLIPPING + CONSTRAINT) * clipped + UPDATE * moved + 2 * work.owned
    saved = FLOAT32 * (work.params + work.kept)
    return StepTime(
        passes=tokens * work.flops_per_token / machine.flops_per_second,
        recomputing=tokens * work.again / machine.flops_per_second,
        sums=_sums(work, joined, weights),
        update=FLOAT32 * touched / machine.memory_bytes_per_second,
        weights=_weights(work, joined, weights),
        data=tokens * machine.data_seconds,
        checkpoint=saved
        / (COPY if work.asynchronous else machine.disk_bytes_per_second)
        / work.steps_between_checkpoints,
    )


def _sums(work: Work, joined: Joined, size: float) -> float:
    if joined.devices == 1:
        return 0.0
    if work.shard == "on":  # a reduction to the owners sends as much as their weights to all
        return work.passes * joined.spread_seconds(size, _pieces(work, joined, size))
    return joined.sum_seconds(size, math.ceil(size / BUCKET_BYTES))


def _weights(work: Work, joined: Joined, size: float) -> float:
    if joined.devices == 1 or work.shard == "off":
        return 0.0
    times = 2 * work.passes if work.shard == "on" else 1
    return times * joined.spread_seconds(size, _pieces(work, joined, size))


def _pieces(work: Work, joined: Joined, size: float) -> int:
    """At least one for each owner; where each unit is lent by itself, for each of its owners, of which there may be fewer."""
    owners = work.units * min(joined.devices, MATRICES) if work.shard == "on" else joined.devices
    return max(owners, math.ceil(size / BUCKET_BYTES))


KNOBS = {
    "recomputing": "leave --device.recompute off, where memory allows it",
    "sums": "a faster --interconnect, fewer devices, or a larger train.batch_size, which is another experiment",
    "update": "an optimizer that keeps less, or a larger train.batch_size, which is another experiment",
    "weights": "--device.shard off or optimizer, or larger micro-batches, where memory allows it",
    "data": "shards on a faster disk",
    "checkpoint": "--checkpoint.asynchronous on, or a larger --checkpoint.every",
}
"""What makes a part of a step smaller."""
WORTH_TELLING = 0.05
"""Share of a step below which no part is worth a change."""


def knob(step: StepTime, *, divides: bool) -> str:
    """What to turn for a shorter step: by the largest part beside the passes. `divides`: whether updates could be divided."""
    name, seconds = max(((n, s) for n, s in vars(step).items() if n != "passes"), key=lambda part: part[1])
    share = seconds / step.total
    if share < WORTH_TELLING:
        return "forward and backward take nearly all of the fastest way: more devices make it faster"
    turn = "--device.shard optimizer divides it" if name == "update" and divides else KNOBS[name]
    return f"the fastest way spends {share:.0%} on {name}: {turn}"
