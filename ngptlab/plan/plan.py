"""All that a plan says, for every arm of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ngptlab.config import RunConfig
from ngptlab.config.due import most_checkpoints
from ngptlab.device import COMPUTE_DTYPES, compute_dtype
from ngptlab.methods import load
from ngptlab.nn.cost import mean_token_flops
from ngptlab.plan.data import PlannedData, planned_data
from ngptlab.plan.devices import Devices, OnDevices, on_devices
from ngptlab.plan.memory import Memory, checkpoint_bytes, copy_bytes, num_params, step_memory
from ngptlab.sizes import check_fits, training_parts

LARGEST = 2**60
"""Bytes that no machine exceeds. torch counts them in signed 64 bits, with room for what it multiplies them by."""


@dataclass(frozen=True)
class Arm:
    """What one run of one arm takes."""

    name: str
    """The method, and what others lend it."""
    params: int
    flops_per_token: int
    flops: int
    """Operations of one run."""
    memory: Memory
    checkpoint_bytes: int
    """Size of one checkpoint."""
    copy_bytes: int
    """In the CPU's memory, beside what a GPU has: what a checkpoint is written from (checkpoint.asynchronous); 0: nothing."""
    disk_bytes: int
    """Size of the checkpoints that are kept, and of the one that is being written beside them."""
    on_devices: tuple[OnDevices, ...] = ()
    """One run on several devices, where that was asked for: plain, and with what lowers memory."""


@dataclass(frozen=True)
class Plan:
    """What a recipe takes."""

    name: str
    steps: int
    step_tokens: int
    tokens: int
    """Tokens of one run."""
    runs: int
    """Arms times seeds."""
    place: str
    """cpu or cuda, for which memory is estimated."""
    dtype: str
    """Dtype of activations."""
    arms: tuple[Arm, ...]
    data: PlannedData
    flops_per_second: float | None
    seconds: float | None
    """Time of all runs' training steps at that speed; evaluation and saving come on top."""
    devices: Devices | None = None
    """Devices that train one run together, where they were asked for."""


def plan(
    arms: Sequence[RunConfig],
    *,
    seeds: int,
    place: str,
    flops_per_second: float | None,
    devices: Devices | None = None,
) -> Plan:
    """The plan of resolved configs that differ in their method only; with `devices`, also of one run on all of them.

    Raises:
        ConfigError: a config doesn't fit its method, no machine, or not so many devices.
    """
    first = arms[0]
    check_fits(training_parts(first), LARGEST, what="a training step", where="any machine")
    dtype = compute_dtype(first.train, on_cuda=place == "cuda")
    value_bytes = COMPUTE_DTYPES[dtype].itemsize
    planned = tuple(_arm(config, place, value_bytes, devices) for config in arms)
    return Plan(
        name=first.name,
        steps=first.train.steps,
        step_tokens=first.train.step_tokens,
        tokens=first.train.tokens,
        runs=len(arms) * seeds,
        place=place,
        dtype=dtype,
        arms=planned,
        data=planned_data(first),
        flops_per_second=flops_per_second,
        seconds=seeds * sum(arm.flops for arm in planned) / flops_per_second if flops_per_second else None,
        devices=devices,
    )


def _arm(config: RunConfig, place: str, value_bytes: int, devices: Devices | None) -> Arm:
    params = num_params(config)
    checkpoint = checkpoint_bytes(config)
    parts = load(config.method, config.seams.lenders)
    per_token = mean_token_flops(config.model, parts, config.train)
    return Arm(
        name=config.arm,
        params=params,
        flops_per_token=per_token,
        flops=per_token * config.train.tokens,
        memory=step_memory(config, place=place, value_bytes=value_bytes),
        checkpoint_bytes=checkpoint,
        copy_bytes=copy_bytes(config),
        disk_bytes=checkpoint * most_checkpoints(config),
        on_devices=on_devices(
            config, devices, place=place, value_bytes=value_bytes, flops_per_token=per_token
        )
        if devices
        else (),
    )
