"""The time of a step on several devices: against sums done by hand, and what it says of a plan."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from ngptlab.cli import main
from ngptlab.errors import ConfigError
from ngptlab.gpus import MEMORY_BANDWIDTH, PEAK_FLOPS, gpu_bandwidth
from ngptlab.plan.links import BETWEEN, LATENCY, NVLINK, Joined, Link, joined
from ngptlab.plan.step_time import COPY, KNOBS, Machine, StepTime, Work, knob, step_time
from ngptlab.world.processes import BUCKET_BYTES

SLOW, FAST = Link(10.0, 0.5), Link(100.0, 0.25)
WORK = Work(
    tokens=800,
    flops_per_token=30.0,
    again=0.0,
    params=1000,
    kept=2000,
    owned=2000,
    shard="off",
    passes=1,
    units=1,
    asynchronous=False,
    steps_between_checkpoints=5,
)


def machine(devices: int, nodes: int = 1) -> Machine:
    return Machine(
        600.0, 4000.0, Joined(devices, nodes, FAST, SLOW), data_seconds=0.01, disk_bytes_per_second=100.0
    )


def test_a_sum_by_hand() -> None:
    """Four devices send 2 x 3/4 of the bytes; of two nodes, each device sends 2 x 1/2 of its half over the slow link."""
    assert Joined(1, 1, FAST, SLOW).sum_seconds(1000, 7) == 0
    assert Joined(4, 1, FAST, SLOW).sum_seconds(1000, 2) == pytest.approx(1500 / 100 + 2 * 0.25)
    assert Joined(4, 2, FAST, SLOW).sum_seconds(1000, 2) == pytest.approx(1000 / 100 + 500 / 10 + 2 * 0.75)
    assert Joined(4, 4, FAST, SLOW).sum_seconds(1000, 2) == pytest.approx(1500 / 10 + 2 * 0.5)
    assert Joined(4, 1, FAST, SLOW).spread_seconds(1000, 2) == pytest.approx(750 / 100 + 2 * 0.25)


def test_a_step_by_hand() -> None:
    alone, four = step_time(WORK, machine(1)), step_time(WORK, machine(4))
    assert alone == StepTime(
        passes=800 * 30 / 600,
        recomputing=0.0,
        sums=0.0,
        update=4 * (3 + 3 + 2 + 4) * 1000 / 4000,
        weights=0.0,
        data=8.0,
        checkpoint=4 * 3000 / 100 / 5,
    )
    assert four == replace(alone, passes=alone.passes / 4, data=2.0, sums=1.5 * 4000 / 100 + 0.25)
    assert alone.total == sum(vars(alone).values())


def test_what_lowers_memory_costs_time() -> None:
    plain = step_time(WORK, machine(4))
    divided = step_time(replace(WORK, shard="optimizer", owned=500), machine(4))
    assert divided.update == 4 * (5 * 1000 + 3 * 250 + 2 * 500) / 4000 < plain.update
    assert divided.weights == pytest.approx(0.75 * 4000 / 100 + 4 * 0.25)
    lent = step_time(replace(WORK, shard="on", owned=500, passes=3), machine(4))
    assert lent.update == 4 * ((5 + 3) * 250 + 2 * 500) / 4000 < divided.update
    assert lent.weights == pytest.approx(6 * divided.weights) and lent.sums == pytest.approx(
        3 * divided.weights
    )
    many = step_time(replace(WORK, shard="on", owned=500, units=9), machine(4))
    assert many.weights == pytest.approx(2 * (0.75 * 4000 / 100 + 9 * 4 * 0.25))
    copied = step_time(replace(WORK, asynchronous=True), machine(4))
    assert copied.checkpoint == pytest.approx(plain.checkpoint * 100 / COPY)
    again = step_time(replace(WORK, again=9.0), machine(4))
    assert again.recomputing == pytest.approx(0.3 * plain.passes) and again.passes == plain.passes


def test_every_part_has_a_knob() -> None:
    parts = dict.fromkeys(vars(step_time(WORK, machine(1))), 1.0)
    assert {*KNOBS, "passes"} == parts.keys()
    for part in KNOBS:
        assert KNOBS[part] in knob(StepTime(**{**parts, part: 2.0}), divides=False)
    assert "--device.shard optimizer divides" in knob(StepTime(**{**parts, "update": 2.0}), divides=True)
    assert "more devices" in knob(StepTime(**{**dict.fromkeys(parts, 0.1), "passes": 9.0}), divides=True)


def test_gpus_are_joined_by_what_they_have() -> None:
    assert MEMORY_BANDWIDTH.keys() == PEAK_FLOPS.keys() >= NVLINK.keys()
    assert gpu_bandwidth("h100") == 3.35e12 and gpu_bandwidth("A100") == 1.555e12
    assert joined("H100", 8, 1, None).inside.bytes_per_second == 370e9
    assert joined("A100", 8, 1, "nvlink").inside.bytes_per_second == 20e9  # one of several kinds is on PCIe
    assert joined("H100", 16, 2, None).between.bytes_per_second == BETWEEN["ib"]
    assert [joined("H100", 2 * each, 2, "eth").between.bytes_per_second for each in (1, 4)] == [
        12.5e9,
        12.5e9 / 4,
    ]
    with pytest.raises(ConfigError, match="--gpus 8 can't be divided among --nodes 3"):
        joined("H100", 8, 3, None)
    with pytest.raises(ConfigError, match="joins nodes, and there is one"):
        joined("H100", 8, 1, "ib")


def test_the_verb(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["plan", "fineweb-162m", "--methods", "gpt", "--gpu", "H100", "--gpus"]
    assert main([*asked, "16", "--nodes", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (arm,) = found["arms"]
    plain = next(way for way in arm["on_devices"] if (way["shard"], way["recompute"]) == ("off", "off"))
    passes = found["step_tokens"] * arm["flops_per_token"] / 16 / (0.4 * PEAK_FLOPS["NVIDIA H100 80GB HBM3"])
    assert math.isclose(plain["step"]["passes"], passes)
    size = 4 * arm["params"]
    moved = 2 * 7 / 8 * size / 370e9 + 2 * 1 / 2 * size / 8 / BETWEEN["ib"]
    late = math.ceil(size / BUCKET_BYTES) * 2 * LATENCY
    assert math.isclose(plain["step"]["sums"], moved + late)
    assert main([*asked, "16", "--nodes", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("ms a step (passes" in line and "tokens/s" in line for line in lines)
    assert any("the fastest way spends" in line or "more devices" in line for line in lines)


@pytest.mark.parametrize(
    "options, told",
    [
        (["--nodes", "2"], "need --gpus"),
        (["--gpus", "4", "--nodes", "2"], "need --gpu,"),
        (["--gpus", "4", "--gpu", "H100", "--nodes", "3"], "can't be divided"),
        (["--gpus", "4", "--gpu", "H100", "--interconnect", "eth"], "there is one"),
        (["--gpus", "4", "--gpu", "H100", "--interconnect", "pigeon"], "invalid choice"),
    ],
)
def test_what_can_not_be_planned(options: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "fineweb-7m", "--methods", "gpt", *options]) == 2
    assert told in capsys.readouterr().err
