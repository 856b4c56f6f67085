"""The verb `plan`: what training a recipe would take, without training."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from ngptlab.errors import ConfigError
from ngptlab.options.methods import Methods
from ngptlab.options.types import count, number, positive
from ngptlab.plan.links import BETWEEN
from ngptlab.terminal import say

if TYPE_CHECKING:
    from ngptlab.plan.devices import Devices, OnDevices
    from ngptlab.plan.plan import Plan
    from ngptlab.plan.step_time import StepTime

LONGEST = timedelta(days=365_250)
"""The longest time that is written in days; longer ones are written in years."""
USUAL_SHARE = 0.4
"""Share of a GPU's peak where `--mfu` says nothing. It is assumed, not measured."""

SUMMARY = "What training a recipe would take, without training. For studies: sweep, ladder, cooldown, board with --plan."


def add(plan: argparse.ArgumentParser) -> None:
    """Give the verb's parser its options."""
    plan.add_argument(
        "--methods",
        action=Methods,
        nargs="+",
        default=[],
        metavar="M",
        help="methods: names, or paths of files (default: the recipe's)",
    )
    plan.add_argument("--seeds", type=count, default=1, metavar="N", help="runs of each method (default: 1)")
    plan.add_argument(
        "--flops-per-second",
        type=positive,
        metavar="X",
        help="speed for the estimate of time, as `train` shows it",
    )
    plan.add_argument(
        "--gpu", metavar="NAME", help="or a GPU, such as H100; memory is then estimated for CUDA"
    )
    plan.add_argument(
        "--mfu",
        type=number,
        default=USUAL_SHARE,
        metavar="X",
        help=f"share of its peak (default: {USUAL_SHARE})",
    )
    plan.add_argument(
        "--gpus",
        type=count,
        metavar="N",
        help="devices that train one run together, those of all nodes: memory of each, the largest micro-batch, and with --gpu a "
        "step's time",
    )
    plan.add_argument(
        "--nodes", type=count, default=1, metavar="M", help="nodes that they are on (default: 1)"
    )
    plan.add_argument(
        "--interconnect",
        choices=sorted(BETWEEN),
        help="what joins the nodes: ib with an adapter for each device, eth with one for a node, or nvlink (default: ib)",
    )
    plan.add_argument("--json", action="store_true", help="all numbers as JSON, bytes and operations whole")


def act(options: argparse.Namespace) -> int:
    """Print the plan."""
    from ngptlab.device import memory_bytes, on_cuda
    from ngptlab.gpus import gpu_speed
    from ngptlab.jobs.in_turn import plan as runs_of
    from ngptlab.plan.plan import plan
    from ngptlab.recipes import recipe

    found = recipe(options.recipe)
    given = options.overrides.get("method")
    if given and options.methods:
        raise ConfigError("--methods and --method: give one of them")
    methods = options.methods or ([given] if given else found.methods)
    overrides = {field: value for field, value in options.overrides.items() if field != "method"}
    arms = runs_of(found, methods=methods, seeds=1, overrides=overrides)
    speed = options.flops_per_second
    if speed is not None and options.gpu:
        raise ConfigError("--flops-per-second and --gpu: give one of them")
    if not 0 < options.mfu <= 1:
        raise ConfigError("--mfu is a share between 0 and 1")
    if options.gpu:
        speed = gpu_speed(options.gpu, options.mfu)
    place = "cuda" if options.gpu or on_cuda(arms[0].device) else "cpu"
    devices = None
    if options.gpus:
        devices = _devices(options, speed, place, lambda: memory_bytes(arms[0].device)[0])
    elif options.nodes > 1 or options.interconnect:
        raise ConfigError("--nodes and --interconnect need --gpus, the number of devices of all nodes")
    made = plan(arms, seeds=options.seeds, place=place, flops_per_second=speed, devices=devices)
    say(json.dumps(dataclasses.asdict(made), indent=1) if options.json else text(made))
    return 0


def _devices(
    options: argparse.Namespace, speed: float | None, place: str, memory: Callable[[], int]
) -> Devices:
    """The devices that were asked for.

    Args:
        memory: () -> bytes of this machine's device.
    """
    from ngptlab.gpus import gpu_bandwidth, gpu_memory
    from ngptlab.plan.devices import Devices
    from ngptlab.plan.links import joined
    from ngptlab.plan.step_time import Machine

    if not options.gpu:
        if options.nodes > 1 or options.interconnect:
            raise ConfigError(
                "--nodes and --interconnect need --gpu, because a step's time needs the kind of GPU"
            )
        # Processes on a CPU share its memory.
        return Devices(options.gpus, memory() if place == "cuda" else memory() // options.gpus)
    together = joined(options.gpu, options.gpus, options.nodes, options.interconnect)
    assert speed is not None
    machine = Machine(speed, gpu_bandwidth(options.gpu), together)
    return Devices(options.gpus, gpu_memory(options.gpu), machine)


def text(plan: Plan) -> str:
    """The plan as lines to read."""
    data, arms = plan.data, plan.arms
    lines = [
        f"{plan.name}: {plan.runs} runs of {plan.steps:,} steps x {plan.step_tokens:,} tokens = {plan.tokens:,} tokens",
        f"operations     {_each(plan, [f'{arm.flops_per_token:,}' for arm in arms])} a token, "
        f"{_each(plan, [f'{arm.flops:.2e}' for arm in arms])} a run",
        "time           " + _time(plan),
        f"parameters     {_each(plan, [f'{arm.params:,}' for arm in arms])}",
        f"memory         {_each(plan, [_gb(arm.memory.total) for arm in arms])} on {plan.place} by estimate, with "
        f"activations in {plan.dtype}",
    ]
    for part in dataclasses.fields(arms[0].memory):
        sizes = [getattr(arm.memory, part.name) for arm in arms]
        if any(sizes):
            lines.append(f"  {part.name:13}{_each(plan, [_gb(size) for size in sizes])}")
    if plan.place != "cpu" and arms[0].copy_bytes:
        copies = _each(plan, [_gb(arm.copy_bytes) for arm in arms])
        lines.append(f"CPU's memory   {copies} more for what a checkpoint is written from")
    lines += _on_devices(plan)
    disk = sum(arm.disk_bytes for arm in arms) * plan.runs // len(arms)
    each = _each(plan, [_gb(arm.checkpoint_bytes) for arm in arms])
    lines.append(
        f"disk           {_gb(disk)} for checkpoints of all runs ({each} each), {_gb(data.bytes)} of training tokens"
    )
    if data.epochs is not None:
        lines.append(
            f"data           {data.source}: {data.train_tokens:,} tokens, each met {data.epochs:.2f} times"
        )
    elif not data.missing:
        lines.append(
            f"data           {data.source}: not prepared yet, so the number of its tokens isn't known"
        )
    else:
        lines.append(f"data missing   {data.missing}")
    if data.command and not data.missing:
        lines.append(f"               `{data.command}` gets enough to meet each once")
    return "\n".join(lines)


def _on_devices(plan: Plan) -> list[str]:
    """A line for each way to train one run on all devices."""
    if not plan.devices:
        return []
    lines = [
        f"on {plan.devices.number} devices of {_gb(plan.devices.memory)}{_links(plan.devices)}, one run, each of them holds"
    ]
    ways = [arm.on_devices for arm in plan.arms]
    for same in zip(*ways, strict=True):
        changed = [
            f"--device.{name} {value}"
            for name in ("shard", "recompute")
            if (value := getattr(same[0], name)) != "off"
        ]
        told = [
            f"{_gb(way.memory.total)} with micro-batches of {way.micro_batch}, and "
            + (
                f"at most {way.largest} fit ({_gb(way.at_largest.total)})"
                if way.largest
                else f"none fits ({_gb(way.at_largest.total)} with one sequence)"
            )
            for way in same
        ]
        lines.append(f"  {' '.join(changed) or 'plain'}: {_each(plan, told)}")
        steps = [_step_line(plan, way.step) for way in same if way.step]
        slower = (
            ", and more, because nothing is compiled"
            if same[0].shard == "on" and plan.place == "cuda"
            else ""
        )
        lines += [f"    {_each(plan, steps)}{slower}"] if steps else []
    return lines + [f"  {line}" for line in _advice(plan, ways)]


def _links(devices: Devices) -> str:
    """', joined at 370 GB/s and 46 GB/s between 8 nodes', because a name may be that of several kinds of GPU."""
    if not devices.machine or devices.number == 1:
        return ""
    joined = devices.machine.joined
    inside, between = (_short(link.bytes_per_second / 1e9) for link in (joined.inside, joined.between))
    told = [f"{inside} GB/s"] if joined.devices > joined.nodes else []
    told += [f"{between} GB/s between {joined.nodes} nodes"] if joined.nodes > 1 else []
    return f", joined at {' and '.join(told)}"


def _advice(plan: Plan, ways: Sequence[Sequence[OnDevices]]) -> list[str]:
    """For each arm which way is fastest of those that fit, and what would make it faster."""
    from ngptlab.plan.step_time import knob

    told = []
    for of_arm in ways:
        fitting = [(way.shard, way.step) for way in of_arm if way.step and way.largest]
        if fitting:
            shard, step = min(fitting, key=lambda way: way[1].total)
            told.append(knob(step, divides=shard == "off" and len({way.shard for way in of_arm}) > 1))
    return [_each(plan, told)] if len(told) == len(ways) else []


def _step_line(plan: Plan, step: StepTime) -> str:
    """'144 ms a step (passes 132, sums 4), 3,640,000 tokens/s, 0:11:27 a run'; parts below a hundredth are left out."""
    parts = [
        f"{name} {_short(1e3 * seconds)}"
        for name, seconds in sorted(vars(step).items(), key=lambda part: -part[1])
        if seconds >= 0.01 * step.total
    ]
    tokens, whole = _short(plan.step_tokens / step.total), _duration(plan.steps * step.total)
    return f"{_short(1e3 * step.total)} ms a step ({', '.join(parts)}), {tokens} tokens/s, {whole} a run"


def _short(number: float) -> str:
    """Three digits, and zeros instead of a power of ten."""
    rounded = float(f"{number:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:g}"


def _each(plan: Plan, values: list[str]) -> str:
    """'A 1, B 2' for arms A and B; the value alone where all have the same."""
    if len(set(values)) == 1:
        return values[0]
    return ", ".join(f"{arm.name} {value}" for arm, value in zip(plan.arms, values, strict=True))


def _time(plan: Plan) -> str:
    if plan.seconds is None:
        return "not estimated; give --flops-per-second, as the line of progress shows it, or --gpu"
    one, every = (_duration(seconds) for seconds in (plan.seconds / plan.runs, plan.seconds))
    return f"{one} a run, {every} for {plan.runs}, at {plan.flops_per_second:.3g} operations a second; evaluations not counted"


def _duration(seconds: float) -> str:
    if seconds < LONGEST.total_seconds():
        return str(timedelta(seconds=round(seconds)))
    return f"{seconds / timedelta(days=365.25).total_seconds():.3g} years"


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e7 else f"{size / 1e6:.2f} MB"
