"""How a batch is divided among processes and micro-batches."""

from __future__ import annotations

import hashlib

from ngptlab.config import RunConfig
from ngptlab.errors import ConfigError
from ngptlab.world.world import World


def check_split(config: RunConfig, world: World) -> None:
    """Hold a batch against the number of processes: all have the same rows, in whole micro-batches.

    Raises:
        ConfigError: it can't be divided so; the message lists what could.
    """
    for batch in sorted({sequences for steps, sequences in config.train.stages if steps}):
        _check_batch(batch, config.device.micro_batch, world)


def _check_batch(batch: int, micro: int, world: World) -> None:
    if batch % (world.size * (micro or 1)) == 0:
        return
    processes = [number for number in range(1, batch + 1) if batch % number == 0]
    if batch % world.size:
        raise ConfigError(
            f"train.batch_size: {batch} sequences can't be divided among {world.size} processes; possible are "
            f"{_listed(processes)} processes, or a batch of {_near(batch, world.size)}"
        )
    rows = batch // world.size
    fitting = [number for number in processes if batch % (number * micro) == 0]
    others = f", or {_listed(fitting)} processes with micro-batches of {micro}" if fitting else ""
    sizes = [size for size in range(1, rows + 1) if rows % size == 0]
    raise ConfigError(
        f"device.micro_batch {micro}: each of {world.size} processes has {rows} of the {batch} sequences of a batch; possible "
        f"are micro-batches of {_listed(sizes)}{others}"
    )


def of_one_process(config: RunConfig, world: World) -> RunConfig:
    """The config as its memory is estimated for one process: its rows are the most that it computes at once."""
    if world.size == 1 or config.device.micro_batch:
        return config
    device = config.device.model_copy(update={"micro_batch": config.train.largest_batch // world.size})
    return config.model_copy(update={"device": device})


def number_of(text: object) -> int:
    """A number of 63 bits for a text, by which processes compare it."""
    return int.from_bytes(hashlib.sha256(str(text).encode()).digest()[:8], "big") >> 1


def _listed(numbers: list[int]) -> str:
    return ", ".join(str(number) for number in numbers)


def _near(batch: int, size: int) -> str:
    below = batch // size * size
    return f"{below} or {below + size}" if below else str(size)
