"""Speeds: what a step adds to timing.jsonl, what a person sees, and which devices have a known peak."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ngptlab.config import RunConfig
from ngptlab.data.batches import Batches
from ngptlab.device import Device
from ngptlab.experiment import train
from ngptlab.flops import token_flops
from ngptlab.train import trainer
from ngptlab.train.progress import ConsoleReporter, Silent, pace
from ngptlab.train.speed import RECENT_STEPS, Meter, Speed

MakeConfig = Callable[..., RunConfig]


def speed(**changes: Any) -> Speed:
    fields = {"step_seconds": 0.1, "tokens_per_second": 12_345.6, "flops_per_second": 0.5e12}
    return Speed(**{"mfu": None, "data_share": 0.0, **fields, **changes})


def test_other_programs_that_take_the_cores_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that works 0.1 s of each 0.25 s waits for a core, or for data, which is told instead. A save is left out."""
    wall, worked = iter((0.0, 0.25, 0.5, 9.0, 9.25)), iter((0.0, 0.1, 0.2, 0.3, 0.4))
    monkeypatch.setattr(time, "perf_counter", lambda: next(wall))
    monkeypatch.setattr(time, "process_time", lambda: next(worked))
    meter = Meter(sequence_tokens=100, sequence_flops=3_000_000, peak_flops=None, on_cpu=True)
    for step in (1, 2, 3, 4):
        meter.record(step, sequences=1, step_seconds=0.25, data_seconds=0.0)
    assert meter.mean().cores == pytest.approx(0.4)
    assert pace(meter.mean()).endswith("  has 0.4 of a core: the machine is busy")
    assert "core" not in pace(speed(cores=0.9)) and "core" not in pace(speed(cores=None))
    assert "core" not in pace(speed(cores=0.4, data_share=0.6))


def test_line_of_a_step() -> None:
    meter = Meter(sequence_tokens=100, sequence_flops=3_000_000, peak_flops=None)
    assert meter.record(7, sequences=1, step_seconds=0.25, data_seconds=0.0123456789) == {
        "step": 7,
        "step_seconds": 0.25,
        "data_seconds": 0.012346,
        "flops_per_second": 12_000_000,
    }
    known = Meter(sequence_tokens=100, sequence_flops=3_000_000, peak_flops=48e6)
    assert known.record(1, sequences=1, step_seconds=0.25, data_seconds=0.0)["mfu"] == 0.25


def test_the_peak_of_several_devices_is_that_of_all() -> None:
    meter = Meter(sequence_tokens=100, sequence_flops=3_000_000, peak_flops=48e6, devices=4)
    assert meter.record(1, sequences=1, step_seconds=0.25, data_seconds=0.0)["mfu"] == 0.0625
    assert meter.mean().devices == 4 and meter.mean().mfu == 0.0625


def test_mean_is_over_time() -> None:
    """A slow step weighs by its time: two steps of 1 s and 3 s give half a step's work a second."""
    meter = Meter(sequence_tokens=100, sequence_flops=1000, peak_flops=4000.0)
    meter.record(1, sequences=1, step_seconds=1.0, data_seconds=0.0)
    meter.record(2, sequences=1, step_seconds=3.0, data_seconds=1.0)
    assert meter.mean() == Speed(
        step_seconds=2.0, tokens_per_second=50.0, flops_per_second=500.0, mfu=0.125, data_share=0.25
    )


def test_a_step_counts_its_own_sequences() -> None:
    """2 sequences of 10 tokens in the first second, 6 in the next three."""
    meter = Meter(sequence_tokens=10, sequence_flops=100, peak_flops=None)
    assert meter.record(1, sequences=2, step_seconds=1.0, data_seconds=0.0)["flops_per_second"] == 200
    assert meter.record(2, sequences=6, step_seconds=3.0, data_seconds=0.0)["flops_per_second"] == 200
    assert (meter.mean().tokens_per_second, meter.mean().flops_per_second) == (20.0, 200.0)


def test_the_time_that_is_left_follows_the_sequences_that_are(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a second a sequence: 2 in each of the first 4 steps, 6 in each of the last 4."""
    config, left = make_config(train={"batch_stages": (0.5, 1.5)}), []
    real = trainer.Trainer.time

    def timed(self: trainer.Trainer, step: int, **seconds: float) -> dict[str, Any]:
        return real(self, step, step_seconds=config.train.sequences(step) / 2, data_seconds=0.0)

    class Listener(Silent):
        def step(self, step: int, *, eta_seconds: float, **facts: Any) -> None:
            left.append(eta_seconds)

    monkeypatch.setattr(trainer.Trainer, "time", timed)
    train(config, tmp_path / "run", reporter=Listener())
    assert left == pytest.approx([15.0, 14.0, 13.0, 12.0, 9.0, 6.0, 3.0, 0.0])


def test_mean_forgets() -> None:
    meter = Meter(sequence_tokens=1, sequence_flops=1, peak_flops=None)
    for seconds in [1000.0] + [1.0] * RECENT_STEPS:
        meter.record(1, sequences=1, step_seconds=seconds, data_seconds=0.0)
    assert meter.mean().step_seconds == 1.0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "12,346 tok/s  500.0 GFLOP/s"),
        ({"flops_per_second": 1.25e12}, "12,346 tok/s  1.2 TFLOP/s"),
        ({"mfu": 0.4567}, "12,346 tok/s  MFU 45.7%"),
        ({"devices": 4}, "12,346 tok/s  (3,086 on each of 4)  500.0 GFLOP/s"),
        ({"data_share": 0.01}, "12,346 tok/s  500.0 GFLOP/s"),
        ({"data_share": 0.034}, "12,346 tok/s  500.0 GFLOP/s  waiting for data 3%"),
    ],
)
def test_words(changes: dict[str, float], said: str) -> None:
    assert pace(speed(**changes)) == said


def test_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    with ConsoleReporter("a run", 5) as reporter:
        reporter.step(5, loss_nats=1.0, lr=0.1, speed=speed(mfu=0.5, data_share=0.2), eta_seconds=0.0)
    assert "tok/s  MFU 50.0%  waiting for data 20%  ETA 0:00" in capsys.readouterr().err


def test_of_a_run(make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operations of all tokens of a step, over its seconds; fetching a batch counts as waiting."""
    config, told, clock = make_config(device={"micro_batch": 2}), [], [0.0]
    monkeypatch.setattr(trainer.time, "perf_counter", lambda: clock[0])
    at = Batches.at

    def slow(self: Batches, *arguments: Any) -> Any:
        clock[0] += 0.25
        return at(self, *arguments)

    class Listener(Silent):
        def step(self, step: int, *, speed: Speed, **facts: Any) -> None:
            told.append(replace(speed, cores=None))  # by a clock that the test doesn't set

    monkeypatch.setattr(Batches, "at", slow)
    run_step = torch.optim.AdamW.step

    def busy(self: torch.optim.AdamW, *arguments: Any, **more: Any) -> Any:
        clock[0] += 0.75
        return run_step(self, *arguments, **more)

    monkeypatch.setattr(torch.optim.AdamW, "step", busy)
    run = train(config, tmp_path / "run", reporter=Listener())
    step_flops = 64 * token_flops(config.model, 16).total
    for line in run.read("timing"):
        assert (line["step_seconds"], line["data_seconds"]) == (1.0, 0.25)
        assert line["flops_per_second"] == step_flops
    assert (
        told
        == [
            Speed(
                step_seconds=1.0, tokens_per_second=64, flops_per_second=step_flops, mfu=None, data_share=0.25
            )
        ]
        * 8
    )
    assert "flops" not in (run.path / "metrics.jsonl").read_text()


@pytest.mark.parametrize(
    ("name", "dtype", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", torch.bfloat16, 989e12),
        ("NVIDIA H200", torch.bfloat16, 989e12),
        ("NVIDIA A100-SXM4-80GB", torch.bfloat16, 312e12),
        ("NVIDIA L40S", torch.bfloat16, 362e12),
        ("NVIDIA GeForce RTX 4090", torch.bfloat16, 165e12),
        ("NVIDIA H100 PCIe", torch.bfloat16, None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", torch.bfloat16, None),
        ("NVIDIA H200", torch.float32, None),
    ],
)
def test_known_peaks(
    name: str, dtype: torch.dtype, peak: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda place: name)
    assert Device(torch.device("cuda", 0), dtype, compile=False).peak_flops == peak
    assert Device(torch.device("cpu"), dtype, compile=False).peak_flops is None
