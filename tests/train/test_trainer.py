"""The loop: what it records, and that it does what it records."""

from __future__ import annotations

import fcntl
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ngptlab.config import RunConfig
from ngptlab.data.batches import Batches
from ngptlab.data.corpus import open_data
from ngptlab.errors import CheckpointError, DivergedError
from ngptlab.experiment import train
from ngptlab.nn.decoder import Decoder
from ngptlab.optim.schedule import lr_factor
from ngptlab.runs import Run
from ngptlab.train.checkpoint import list_checkpoints
from ngptlab.train.progress import Silent

MakeConfig = Callable[..., RunConfig]


def test_records(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config()
    run = train(config, tmp_path / "run")
    metrics = run.read("metrics")
    assert all(list(r) == ["step", "tokens", "loss_nats", "lr", "grad_norm"] for r in metrics)
    assert [r["step"] for r in metrics] == list(range(1, 9))
    assert [r["tokens"] for r in metrics] == [64 * step for step in range(1, 9)]
    assert [r["lr"] for r in metrics] == [config.optim.lr * lr_factor(config, n) for n in range(8)]
    assert all(math.isfinite(r["loss_nats"]) and r["grad_norm"] > 0 for r in metrics)
    timing = run.read("timing")
    assert all(list(r) == ["step", "step_seconds", "data_seconds", "flops_per_second"] for r in timing)
    assert [r["step"] for r in timing] == list(range(1, 9))
    evals = run.read("evals")
    assert [(r["step"], r["eval"]) for r in evals] == [
        *((step, "val") for step in (0, 3, 6, 8)),
        (8, "parts"),
        (8, "length"),
    ]
    assert abs(evals[0]["loss_nats"] - math.log(257)) < 0.5, "initial weights predict almost uniformly"
    summary = run.summary
    assert summary["status"] == "done" and summary["step"] == 8 and summary["tokens"] == 512
    assert run.env["threads"] == 1 and run.env["device"] == "cpu"


def test_schedule_reaches_its_ends(make_config: MakeConfig, tmp_path: Path) -> None:
    """Warm-up does not begin at 0, and wsd with linear cooldown falls towards 0."""
    lrs = [r["lr"] for r in train(make_config(), tmp_path / "run").read("metrics")]
    peak = make_config().optim.lr
    assert 0 < lrs[0] < peak and max(lrs) == peak and lrs[-1] < peak / 1.5


@pytest.mark.parametrize("size", [1, 2, 4])
def test_micro_batches_sum_to_the_batch(size: int, make_config: MakeConfig, tmp_path: Path) -> None:
    # The same sums in another order. One step differs by some float32 roundings (6e-8 relative, of a loss of about
    # 5.5); AdamW's division by sqrt(v) lets entries with gradients near 0 differ by up to lr, over 8 steps.
    whole = train(make_config(), tmp_path / "whole").read("metrics")
    parts = train(make_config(device={"micro_batch": size}), tmp_path / "parts").read("metrics")
    for a, b in zip(whole, parts, strict=True):
        assert b["loss_nats"] == pytest.approx(a["loss_nats"], rel=2e-6 if a["step"] == 1 else 1e-4)
        assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-5 if a["step"] == 1 else 1e-2)


def test_gradient_is_clipped(make_config: MakeConfig, tmp_path: Path) -> None:
    norms: list[float] = []
    step = torch.optim.AdamW.step

    def watched(self: torch.optim.AdamW, *args: Any, **kwargs: Any) -> Any:
        gradients = [p.grad for group in self.param_groups for p in group["params"]]
        norms.append(torch.cat([g.flatten() for g in gradients if g is not None]).norm().item())
        return step(self, *args, **kwargs)

    config = make_config(optim={"grad_clip": 0.01})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", watched)
        run = train(config, tmp_path / "run")
    assert all(r["grad_norm"] > 0.02 for r in run.read("metrics")), "metrics hold the norm before clipping"
    # clip_grad_norm_ divides by norm + 1e-6.
    assert norms == pytest.approx([0.01] * 8, rel=1e-3)


def all_finite(run: Path) -> bool:
    files = [file for path in list_checkpoints(run / "checkpoints") for file in path.glob("*.safetensors")]
    return all(bool(t.isfinite().all()) for file in files for t in load_file(file).values())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_loss_that_is_not_finite(
    bad: float, make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, calls = Decoder.loss, [0]

    def diverging(self: Decoder, *batch: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        return loss(self, *batch) * (bad if calls[0] == 5 else 1.0)

    monkeypatch.setattr(Decoder, "loss", diverging)
    out = tmp_path / "run"
    with pytest.raises(DivergedError, match=r"step 5: .*--optim\.lr") as caught:
        train(make_config(), out)
    assert "\n" not in str(caught.value)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["status"] == "failed" and summary["reason"] == str(caught.value)
    assert [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()] == [
        1,
        2,
        3,
        4,
    ]
    assert [path.name for path in list_checkpoints(out / "checkpoints")] == ["step_000003"]
    assert all_finite(out)


@pytest.mark.parametrize("lr, steps", [(1e30, 8), (3.4e38, 1), (3.4e38, 8)])
def test_absurd_learning_rate(lr: float, steps: int, make_config: MakeConfig, tmp_path: Path) -> None:
    """The update itself overflows: an evaluation or a checkpoint may come before the next loss does."""
    config = make_config(
        optim={"lr": lr},
        schedule={"warmup_steps": 0, "cooldown_frac": 0.0},
        train={"steps": steps},
        eval={"every": 1},
        checkpoint={"every": 1},
    )
    out = tmp_path / "run"
    with pytest.raises(DivergedError, match=r"--optim\.lr"):
        train(config, out)
    assert json.loads((out / "summary.json").read_text())["status"] == "failed"
    assert all_finite(out)
    assert "NaN" not in (out / "evals.jsonl").read_text()


def test_one_writer_at_a_time(make_config: MakeConfig, tmp_path: Path) -> None:
    """A second run in the directory is refused while the first is under way, and does it no harm."""
    config, out = make_config(), tmp_path / "run"
    refusals: list[str] = []

    class Second(Silent):
        def step(self, step: int, **facts: float) -> None:
            if step == 4:
                with pytest.raises(CheckpointError) as caught:
                    train(config, out)
                refusals.append(str(caught.value))

    assert train(config, out, reporter=Second()).done
    assert len(refusals) == 1 and "another process is training this run" in refusals[0]


def test_lock_of_another_handle(make_config: MakeConfig, tmp_path: Path) -> None:
    config, out = make_config(), tmp_path / "run"
    Run.open(out, config)
    with (out / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(CheckpointError, match="another process"):
            train(config, out)
        assert not (out / "metrics.jsonl").exists() and not (out / "summary.json").exists()
    assert train(config, out).done


def test_arms_of_a_comparison_meet_the_same_batches(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    met: dict[str, list[np.ndarray]] = {"gpt": [], "ngpt": []}
    loss = Decoder.loss
    for method, batches in met.items():

        def watched(
            self: Decoder, inputs: torch.Tensor, targets: torch.Tensor, into: list[np.ndarray] = batches
        ) -> torch.Tensor:
            into += [inputs.numpy().copy(), targets.numpy().copy()]
            return loss(self, inputs, targets)

        monkeypatch.setattr(Decoder, "loss", watched)
        train(make_config(method), tmp_path / method)
    assert len(met["gpt"]) == len(met["ngpt"]) == 16
    assert all(np.array_equal(a, b) for a, b in zip(met["gpt"], met["ngpt"], strict=True))


def test_other_data_seed_gives_other_batches(make_config: MakeConfig, tmp_path: Path) -> None:
    met: dict[int, list[np.ndarray]] = {0: [], 1: []}
    at = Batches.at
    for seed, batches in met.items():
        with pytest.MonkeyPatch.context() as patch:

            def watched(self: Batches, step: int, into: list[np.ndarray] = batches) -> Any:
                batch = at(self, step)
                into.append(batch[0])
                return batch

            patch.setattr(Batches, "at", watched)
            train(make_config(data={"seed": seed}), tmp_path / str(seed))
    assert not any(np.array_equal(a, b) for a, b in zip(met[0], met[1], strict=True))


def test_the_order_of_the_config_is_the_runs(make_config: MakeConfig, tmp_path: Path) -> None:
    met: list[np.ndarray] = []
    at = Batches.at

    def watched(self: Batches, step: int) -> Any:
        batch = at(self, step)
        met.append(batch[0])
        return batch

    config = make_config(data={"order": "sequential"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Batches, "at", watched)
        train(config, tmp_path / "run")
    first = open_data(config).train.window(0, met[0].size)
    assert met[0].ravel().tolist() == first.tolist()
