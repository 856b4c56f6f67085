"""One run on several devices: what a plan says of each, against what processes do."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from ngptlab import build_model
from ngptlab.bench.measure import most_allocated
from ngptlab.cli import main
from ngptlab.config import DeviceConfig, Dims, OptimConfig, RunConfig
from ngptlab.device import Device
from ngptlab.errors import ConfigError
from ngptlab.gpus import MEMORY_GB, PEAK_FLOPS, gpu_memory
from ngptlab.nn.roles import Role, roles
from ngptlab.optim.groups import make_optimizer
from ngptlab.plan.devices import USABLE, Devices, on_devices
from ngptlab.plan.memory import num_lent, num_moments, num_owned_moments, num_owned_params, step_memory
from ngptlab.train.updates import EVERYWHERE, owners, updates
from ngptlab.world import processes
from ngptlab.world.processes import Processes
from ngptlab.world.world import World

CPU = Device(torch.device("cpu"), torch.float32, compile=False)
MakeConfig = Callable[..., RunConfig]
DIMS = {"vocab_size": 257, "num_layers": 4, "num_heads": 2, "d_model": 32}


class Fake(World):
    """One of several processes, which the others tell nothing."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size


@pytest.mark.parametrize("method", ["gpt", "soap", "demo_optimizer"])
def test_moments_are_those_that_an_owner_keeps(method: str, make_config: MakeConfig) -> None:
    """Single numbers, such as a count of steps, are left out of a plan."""
    config, held = make_config(method, model=DIMS), []
    for rank in range(3):
        model = build_model(method, Dims(**DIMS), seed=0)
        optimizer = make_optimizer(model, OptimConfig(weight_decay=0.1))
        tokens_BT = torch.arange(2 * 9).view(2, 9) ** 2 * 5 % 257
        for _ in range(2):
            model.loss(tokens_BT[:, :-1], tokens_BT[:, 1:]).backward()  # type: ignore[no-untyped-call]
            updates(DeviceConfig(shard="optimizer"), model, optimizer, Fake(rank, 3)).step()
        state = [value for values in optimizer.state.values() for value in values.values()]
        held.append(sum(value.numel() for value in state if value.dim()))
    assert num_owned_moments(config, 3) == max(held)
    if method != "demo_optimizer":  # whose matrices are moved in every process
        assert num_owned_moments(config, 3) < 0.6 * num_moments(config)


def test_weights_are_those_that_an_owner_has(make_config: MakeConfig) -> None:
    """Of a hundred processes each has a matrix at most, beside the vectors that all have."""
    config = make_config("ngpt", model=DIMS, device={"shard": "on"})
    model = build_model("ngpt", Dims(**DIMS), seed=0)
    kinds, named = roles(model), dict(model.named_parameters())
    vectors = sum(p.numel() for name, p in named.items() if kinds[name] is Role.SCALE)
    assert num_owned_params(config, 100) == vectors + 257 * 32
    for devices in (2, 3):
        owner = owners(model, devices, EVERYWHERE)
        held = [sum(p.numel() for n, p in named.items() if owner[n] in (None, r)) for r in range(devices)]
        assert num_owned_params(config, devices) == max(held)
    block = sum(
        p.numel() for n, p in named.items() if n.startswith("blocks.0.") and kinds[n] is not Role.SCALE
    )
    assert num_lent(config) == max(2 * 257 * 32 + block, 2 * block)
    halves = step_memory(config, place="cuda", value_bytes=2, processes=4)
    again = config.model_copy(update={"device": config.device.model_copy(update={"recompute": "on"})})
    fewer = step_memory(again, place="cuda", value_bytes=2, processes=4)
    assert halves.weights - fewer.weights == 2 * (model.num_params() - num_lent(config))


def test_the_largest_micro_batch_fits_and_the_next_does_not(make_config: MakeConfig) -> None:
    config = make_config(model=DIMS, train={"batch_size": 64, "context": 64}, device={"micro_batch": 2})

    def total(sequences: int, **settings: str) -> int:
        device = config.device.model_copy(update={"micro_batch": sequences, **settings})
        changed = config.model_copy(update={"device": device})
        return step_memory(changed, place="cpu", value_bytes=4, processes=2).total

    ways_of = partial(on_devices, place="cpu", value_bytes=4, flops_per_token=1.0)
    memory = int(total(8) / USABLE) + 1
    plain, again, divided, both, lent, least = sorted(
        ways_of(config, Devices(2, memory)),
        key=lambda way: (("off", "optimizer", "on").index(way.shard), way.recompute == "on"),
    )
    assert (plain.micro_batch, plain.memory.total, plain.largest) == (2, total(2), 8)
    assert plain.at_largest.total == total(8) < USABLE * memory < total(16)
    assert again.largest > 8 and again.at_largest.total == total(again.largest, recompute="on")
    assert divided.memory.moments < 0.7 * plain.memory.moments
    assert both.memory.total < min(again.memory.total, divided.memory.total)
    assert lent.memory.moments == divided.memory.moments and lent.memory.lent > 0
    assert lent.memory.weights == lent.memory.gradients < 0.6 * plain.memory.weights
    assert least.memory.total == total(2, recompute="on", shard="on") < both.memory.total
    none = ways_of(config, Devices(2, 1000))
    assert {way.largest for way in none} == {0} and none[0].at_largest.total == total(1)
    # One device has nobody to share with.
    assert [way.shard for way in ways_of(config, Devices(1, memory))] == [
        "off",
        "off",
    ]
    with pytest.raises(ConfigError, match="can't be divided among 3 processes"):
        ways_of(config, Devices(3, memory))


def test_sums_take_one_bucket(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients become views of their buckets one after another; only a recorded graph keeps those that it made."""

    class Done:
        def wait(self) -> None:
            pass

    monkeypatch.setattr(processes, "BUCKET_BYTES", 2**18)
    monkeypatch.setattr(processes.dist, "all_reduce", lambda flat, async_op: Done())
    weights = [torch.nn.Parameter(torch.zeros(2**14)) for _ in range(40)]
    world = object.__new__(Processes)

    def summed() -> None:
        for weight in weights:
            weight.grad = torch.ones_like(weight)
        world.sum_gradients(weights, torch.zeros(()), None)
        for weight in weights:
            weight.grad = None

    gradients = 40 * 2**16
    assert gradients + 2**18 <= most_allocated(summed, CPU) < gradients + 2 * 2**18

    config = make_config(model={**DIMS, "d_model": 512})
    plain = step_memory(config, place="cpu", value_bytes=4, processes=2)
    assert plain.sums == processes.BUCKET_BYTES or plain.sums == 2**25
    assert step_memory(config, place="cuda", value_bytes=2, processes=2).sums == plain.gradients
    assert step_memory(config, place="cpu", value_bytes=4).sums == 0


def test_memory_of_gpus() -> None:
    assert MEMORY_GB.keys() == PEAK_FLOPS.keys()
    assert gpu_memory("h100") == 80e9 and gpu_memory("A100") == 40e9


def test_the_command(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plan", "demo", *tiny, "--gpu", "H100", "--gpus", "2"]) == 0
    said = capsys.readouterr().out.splitlines()
    at = next(n for n, line in enumerate(said) if line.startswith("on 2 devices of 80.00 GB"))
    ways = [line for line in said[at + 1 : at + 13] if " ms a step " not in line]
    assert [line.partition(":")[0].strip() for line in ways[:6]] == [
        "plain",
        "--device.shard optimizer",
        "--device.shard on",
        "--device.recompute on",
        "--device.shard optimizer --device.recompute on",
        "--device.shard on --device.recompute on",
    ]
    assert main(["plan", "demo", *tiny, "--gpus", "3"]) == 2
    assert "possible are 1, 2, 4" in capsys.readouterr().err
    assert main(["plan", "demo", *tiny, "--gpus", "4", "--json"]) == 0
    arm = json.loads(capsys.readouterr().out)["arms"][0]
    assert [way["largest"] for way in arm["on_devices"]] == [1] * 6
