"""`plan`: every number against another way to it; memory against what a step was seen to allocate."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ngptlab import methods
from ngptlab.bench.axes import Point
from ngptlab.bench.measure import Stepper, most_allocated
from ngptlab.cli import main
from ngptlab.config import Dims, RunConfig, TrainConfig
from ngptlab.device import Device
from ngptlab.errors import ConfigError
from ngptlab.experiment import train
from ngptlab.gpus import gpu_speed
from ngptlab.methods import resolve
from ngptlab.nn.cost import PERIOD, extrapolated
from ngptlab.plan.memory import FEW_LAYERS, kept_bytes, num_params, step_memory
from ngptlab.plan.plan import Plan, plan

CPU = Device(torch.device("cpu"), torch.float32, compile=False)
SIZES = {
    "activations": (Dims(vocab_size=257, num_layers=3, num_heads=2, d_model=64), 8, 64),
    "parameters": (Dims(vocab_size=4096, num_layers=2, num_heads=2, d_model=128), 2, 16),
    "many positions": (Dims(vocab_size=257, num_layers=2, num_heads=2, d_model=32), 4, 256),
}


def config(method: str, dims: Dims, batch: int, context: int) -> RunConfig:
    settings = TrainConfig(steps=10, batch_size=batch, context=context)
    return resolve(RunConfig(name="x", method=method, model=dims, train=settings))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", ["gpt", "ngpt", "softcap", "relu2", "gated_attention"])
def test_memory_is_near_a_measured_peak(method: str, size: str) -> None:
    """Within a fifth: the backward has tensors of its own, and not all gradients meet all activations."""
    dims, batch, context = SIZES[size]
    stepper = Stepper(method, Point(dims, context=context, batch=batch), CPU)
    stepper()
    peak = stepper.held_bytes() + most_allocated(stepper, CPU)
    estimate = step_memory(config(method, dims, batch, context), place="cpu", value_bytes=4).total
    assert 0.8 < estimate / peak < 1.2


def test_memory_parts() -> None:
    dims, batch, context = SIZES["activations"]
    whole = config("gpt", dims, batch, context)
    memory = step_memory(whole, place="cpu", value_bytes=4)
    params = num_params(whole)
    assert (memory.weights, memory.gradients, memory.moments) == (4 * params, 4 * params, 8 * params)
    assert memory.total == sum(dataclasses.astuple(memory))
    parts = whole.model_copy(update={"device": whole.device.model_copy(update={"micro_batch": 2})})
    # What depends on the positions of a sequence alone, RoPE's tables, is not divided.
    assert (
        memory.activations / 4
        < step_memory(parts, place="cpu", value_bytes=4).activations
        < memory.activations / 3
    )
    narrow = step_memory(whole, place="cuda", value_bytes=2)
    assert (narrow.weights, narrow.activations) == (6 * params, memory.activations // 2)


@pytest.fixture
def planned(make_config: Callable[..., RunConfig]) -> Plan:
    arms = [make_config(method) for method in ("gpt", "ngpt")]
    return plan(arms, seeds=3, place="cpu", flops_per_second=1e6)


def test_a_plan_is_what_a_run_does(
    make_config: Callable[..., RunConfig], planned: Plan, tmp_path: Path
) -> None:
    """Parameters, tokens and epochs are those of the run's summary, operations those of its timing."""
    for arm in planned.arms:
        run = train(make_config(arm.name), tmp_path / arm.name)
        summary = json.loads((run.path / "summary.json").read_text())
        assert (summary["params"], summary["tokens"]) == (arm.params, planned.tokens)
        assert summary["flops_per_token"] == arm.flops_per_token
        known = plan([make_config(arm.name)], seeds=1, place="cpu", flops_per_second=None)
        assert known.data.epochs == pytest.approx(summary["epochs"]) and not known.data.missing
        timing = [json.loads(line) for line in (run.path / "timing.jsonl").read_text().splitlines()]
        counted = sum(record["flops_per_second"] * record["step_seconds"] for record in timing)
        assert counted == pytest.approx(arm.flops, rel=1e-3)  # both are written with few digits
        checkpoints = [path.stat().st_size for path in run.path.glob("checkpoints/*/*.safetensors")]
        # Beside the values a file holds a header of names and shapes.
        assert sum(checkpoints) == pytest.approx(2 * arm.checkpoint_bytes, rel=0.5)
        assert sum(checkpoints) > 2 * arm.checkpoint_bytes
    assert planned.data.train_tokens is None and planned.data.epochs is None  # not prepared then
    assert (planned.runs, planned.seconds) == (6, 3 * sum(arm.flops for arm in planned.arms) / 1e6)


def test_what_a_checkpoint_is_written_from(
    make_config: Callable[..., RunConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    """While the training goes on: as many bytes as a checkpoint has. On a GPU they are not in its memory."""
    waiting, beside = (make_config("ema", checkpoint={"asynchronous": how}) for how in ("off", "on"))
    for place, more in (("cpu", 1), ("cuda", 0)):
        found = [
            plan([config], seeds=1, place=place, flops_per_second=None).arms[0]
            for config in (waiting, beside)
        ]
        assert [arm.copy_bytes for arm in found] == [0, found[0].checkpoint_bytes]
        assert found[1].memory.total - found[0].memory.total == more * found[0].checkpoint_bytes > -1
    for command, line in (
        (["plan", "demo", "--device.kind", "cpu"], r"^  copy +.*\d"),
        (
            ["plan", "demo", "--gpu", "H100"],
            r"^CPU's memory +.*\d.* more for what a checkpoint is written from",
        ),
    ):
        assert main(command) == 0
        assert not re.search(line, capsys.readouterr().out, re.MULTILINE)
        assert main([*command, "--checkpoint.asynchronous", "on"]) == 0
        assert re.search(line, capsys.readouterr().out, re.MULTILINE)


def test_nothing_is_prepared(planned: Plan, cache: Path) -> None:
    assert not cache.exists()
    assert planned.data.missing == "" and planned.data.command == ""


def test_data_that_are_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plan", "fineweb-7m", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)["data"]
    assert data["command"] == "ngptlab data get fineweb10B --shards 26" and data["command"] in data["missing"]
    assert (data["train_tokens"], data["epochs"], data["bytes"]) == (None, None, 2 * 2_499_805_184)
    assert main(["plan", "demo", "--data.source", "text:nowhere"]) == 0
    said = capsys.readouterr().out
    assert "data missing" in said and "nowhere" in said
    assert main(["plan", "demo", "--data.source", "hf:lab/texts"]) == 0
    assert "`ngptlab data prepare hf:lab/texts --out DIR`" in capsys.readouterr().out  # nobody is asked


def test_too_few_shards(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards without a manifest are known by their headers; tokens that are met again are named, with the way to more."""
    from ngptlab.data.shards.writer import ShardWriter

    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data" / "fineweb10B"
    folder.mkdir(parents=True)
    for split in ("fineweb_train", "fineweb_val"):
        with ShardWriter(folder, split) as writer:
            writer.write(torch.arange(20_001).remainder(50_000).numpy())
    fields = ["--train.steps", "40", "--train.batch-size", "2", "--train.context", "500"]
    assert main(["plan", "fineweb-7m", "--device.micro-batch", "1", *fields]) == 0
    said = capsys.readouterr().out
    assert "20,001 tokens, each met 2.00 times" in said
    assert "`ngptlab data get fineweb10B --shards 1` gets enough" in said
    assert not (folder / "manifest.json").exists()


def test_speed() -> None:
    assert gpu_speed("h100", 0.5) == 989e12 / 2
    assert gpu_speed("A100", 1) == 312e12  # several, all alike
    for name in ("A", "V100"):
        with pytest.raises(ConfigError, match=r"give one of .*H200.*or --flops-per-second"):
            gpu_speed(name, 1)


def test_the_command(
    tmp_path: Path, tiny: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plan", "demo", *tiny, "--gpu", "H100", "--mfu", "0.5", "--seeds", "2"]) == 0
    said = capsys.readouterr().out
    assert "4 runs of 6 steps x 64 tokens = 384 tokens" in said
    assert (
        "at 4.94e+14 operations a second" in said
        and "on cuda by estimate, with activations in bfloat16" in said
    )
    assert list(tmp_path.glob("runs*")) == []
    for wrong in (["--mfu", "2"], ["--flops-per-second", "0"], ["--gpu", "H100", "--flops-per-second", "1"]):
        assert main(["plan", "demo", *tiny, *wrong]) == 2
    assert main(["plan", "demo", *tiny, "--method", "none"]) == 2
    assert main(["plan", "demo", *tiny, "--methods", "gpt", "gpt"]) == 2
    assert main(["plan", "demo", *tiny, "--methods", "gpt", "--method", "ngpt"]) == 2
    capsys.readouterr()
    assert main(["plan", "demo", *tiny, "--method", "qk_norm", "--json"]) == 0
    assert [arm["name"] for arm in json.loads(capsys.readouterr().out)["arms"]] == ["qk_norm"]


@pytest.mark.parametrize("method", methods.names())
def test_a_few_layers_tell_of_all(method: str) -> None:
    """Blocks may differ by their number, and depth itself in what a method begins with, which rounds the rest."""
    dims = Dims(vocab_size=17, num_layers=FEW_LAYERS + PERIOD, num_heads=2, d_model=16)
    parts = methods.load(method)
    whole = kept_bytes(dims, parts, 2, 8)
    assert extrapolated(lambda few: kept_bytes(few, parts, 2, 8), dims, whole=FEW_LAYERS) == whole
    assert num_params(config(method, dims, 2, 8)) == methods.build_model(method, dims).num_params()


def test_a_plan_of_thousands_of_layers_is_made_at_once() -> None:
    deep = config("gpt", Dims(vocab_size=17, num_layers=4096, num_heads=1, d_model=2), 2, 8)
    start = time.perf_counter()
    assert step_memory(deep, place="cpu", value_bytes=4).total > 4096 * 2 * 8 * 4
    assert time.perf_counter() - start < 10
