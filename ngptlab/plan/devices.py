"""One run on several devices: memory of each, the largest micro-batch, a step's time, plain and with what lowers memory."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial

from ngptlab.config import RunConfig
from ngptlab.plan.memory import Memory, activations, memory_with, num_moments, num_owned_moments, num_params
from ngptlab.plan.step_time import Machine, StepTime, step_time, work
from ngptlab.world.split import check_split
from ngptlab.world.world import World

USABLE = 0.9
"""Share of a device's memory that is planned with, because libraries and a divided memory take some. Assumed, not measured."""


@dataclass(frozen=True)
class Devices:
    """Devices that train one run together, all alike."""

    number: int
    memory: int
    """Bytes of each."""
    machine: Machine | None = None
    """What they do in a second, where that is known."""


@dataclass(frozen=True)
class OnDevices:
    """What one device holds of a run."""

    recompute: str
    shard: str
    """Settings `device.recompute` and `device.shard`."""
    micro_batch: int
    """Sequences at once, as the config says, else all of a device's rows."""
    memory: Memory
    largest: int
    """The largest micro-batch that fits; 0 where none does."""
    at_largest: Memory
    """The memory with it; with one sequence where none fits."""
    step: StepTime | None
    """The time of a step where the devices' speed is known. With the micro-batch of the config, or else the largest that fits."""


def on_devices(
    config: RunConfig, devices: Devices, *, place: str, value_bytes: int, flops_per_token: float
) -> tuple[OnDevices, ...]:
    """Every combination of what lowers memory; a single device has nothing to divide.

    Raises:
        ConfigError: the batch can't be divided so.
    """
    check_split(config, _Some(devices.number))
    shards = ["off", *(("optimizer", "on") if devices.number > 1 else ())]
    if config.device.compile == "on" and "on" in shards:
        shards.remove("on")  # which is refused together
    ways = []
    for recompute in ("off", "on"):
        kept = cache(partial(activations, _set(config, recompute=recompute)))  # dividing changes none
        for shard in shards:
            way = _set(config, recompute=recompute, shard=shard)
            found = _on(way, devices, kept, place=place, value_bytes=value_bytes)
            if devices.machine:
                fits = found.memory.total <= USABLE * devices.memory or not found.largest
                micro = found.micro_batch if fits else found.largest
                found = replace(found, step=_step(way, devices, micro, flops_per_token))
            ways.append(found)
    return tuple(ways)


def _step(config: RunConfig, devices: Devices, micro_batch: int, flops_per_token: float) -> StepTime:
    assert devices.machine is not None
    kept = num_moments(config)
    owned = num_owned_moments(config, devices.number) if config.device.shard != "off" else kept
    made = work(
        config,
        devices.number,
        micro_batch=micro_batch,
        flops_per_token=flops_per_token,
        params=num_params(config),
        kept=kept,
        owned=owned,
    )
    return step_time(made, devices.machine)


def _set(config: RunConfig, **settings: str) -> RunConfig:
    return config.model_copy(update={"device": config.device.model_copy(update=settings)})


class _Some(World):
    """So many processes, of which none is there."""

    def __init__(self, size: int) -> None:
        self.size = size


def _on(
    config: RunConfig,
    devices: Devices,
    kept: Callable[[int], int],
    *,
    place: str,
    value_bytes: int,
) -> OnDevices:
    def memory(sequences: int) -> Memory:
        return memory_with(
            *(config, sequences, kept(sequences)),
            place=place,
            value_bytes=value_bytes,
            processes=devices.number,
        )

    sizes, there = _micro_batches(config, devices.number), USABLE * devices.memory
    fitting = bisect_right(sizes, there, key=lambda size: memory(size).total)
    largest = sizes[fitting - 1] if fitting else 0
    micro = config.device.micro_batch or config.train.largest_batch // devices.number
    return OnDevices(
        config.device.recompute,
        config.device.shard,
        micro,
        memory(micro),
        largest,
        memory(largest or 1),
        None,
    )


def _micro_batches(config: RunConfig, processes: int) -> list[int]:
    """Those that divide a device's rows of every stage."""
    rows = math.gcd(*(sequences for steps, sequences in config.train.stages if steps)) // processes
    return [size for size in range(1, rows + 1) if rows % size == 0]
