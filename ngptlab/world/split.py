"""How a batch is divided among processes and micro-batches."""

from __future__ import annotations

import hashlib
import math

from ngptlab.config import RunConfig
from ngptlab.errors import ConfigError
from ngptlab.world.world import World


def check_split(config: RunConfig, world: World) -> None:
    """Hold a batch against the number of processes: all have the same rows, in whole micro-batches.

    Raises:
        ConfigError: it can't be divided so; the message lists what could.
    """
    sizes = sorted({sequences for steps, sequences in config.train.stages if steps})
    # What divides the batch of every stage divides their greatest common divisor.
    batch, micro = math.gcd(*sizes), config.device.micro_batch
    if batch % (world.size * (micro or 1)) == 0:
        return
    processes = _divisors(batch)
    if batch % world.size:
        what = (
            f"{batch} sequences"
            if len(sizes) == 1
            else f"batches of {_listed(sizes)} sequences (train.batch_stages)"
        )
        other = f", or a batch of {_near(batch, world.size)}" if len(sizes) == 1 else ""
        raise ConfigError(
            f"train.batch_size: {what} can't be divided among {world.size} processes; possible are {_listed(processes)} "
            f"processes{other}"
        )
    rows = batch // world.size
    fitting = [number for number in processes if batch % (number * micro) == 0]
    others = f", or {_listed(fitting)} processes with micro-batches of {micro}" if fitting else ""
    raise ConfigError(
        f"device.micro_batch {micro}: each of {world.size} processes has {rows} of the {batch} sequences of a batch; possible "
        f"are micro-batches of {_listed(_divisors(rows))}{others}"
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


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]


def _listed(numbers: list[int]) -> str:
    return ", ".join(str(number) for number in numbers)


def _near(batch: int, size: int) -> str:
    below = batch // size * size
    return f"{below} or {below + size}" if below else str(size)
