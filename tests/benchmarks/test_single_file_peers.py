"""Foreign trainers: how they are named, what of them is executed, and that a broken one does no harm."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import pytest

from benchmarks import packages, single_file
from benchmarks.peers import in_time, try_step
from benchmarks.sizes import Size
from benchmarks.steps import bench_device
from ngptlab.config import Dims
from ngptlab.errors import ConfigError

SIZE = Size(Dims(vocab_size=7, num_layers=1, num_heads=1, d_model=4), batch=2, context=3)

TRAINER = """import sys
with open(sys.argv[0]) as f:
    code = f.read()
import tyro, wandb
from dataclasses import dataclass
import torch
from torch import nn
import torch.nn.functional as F

@dataclass
class GPTConfig:
    vocab_size: int
    n_layer: int
    n_head: int
    n_embd: int

class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.emb = nn.Embedding(config.vocab_size, config.n_embd)
        self.head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.normed = 0
    def forward(self, idx, targets=None, return_logits=True):
        logits = self.head(self.emb(idx))
        return None, F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    def norm_weights(self):
        self.normed += 1

# -----
# Our own simple Distributed Data Loader
raise SystemExit("the training loop ran")
"""


@pytest.fixture
def trainer(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text(TRAINER)
    return path


def test_module_file_is_label_and_path(trainer: Path) -> None:
    assert single_file.module_file(f"theirs={trainer}") == ("theirs", trainer)


@pytest.mark.parametrize("text", ["", "theirs", "theirs=", "=path"])
def test_other_module_files_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="write LABEL=PATH"):
        single_file.module_file(text)


def test_a_missing_module_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="no such file"):
        single_file.module_file(f"a={tmp_path / 'none.py'}")


def test_only_the_model_is_executed() -> None:
    source = single_file.model_source(TRAINER)
    assert "class GPT(nn.Module)" in source
    assert "argv" not in source and "f.read" not in source and "SystemExit" not in source


def test_another_layout_is_refused() -> None:
    with pytest.raises(ConfigError, match="another layout"):
        single_file.model_source("import torch\n")


def test_a_trainer_takes_a_step_with_its_constraint(trainer: Path) -> None:
    device = bench_device(cuda=False, compiled=False)
    stepper = single_file.stepper("theirs", trainer, SIZE, device)
    before = [p.detach().clone() for p in stepper.model.parameters()]
    stepper.step(*SIZE.sample(device.place))
    assert all(not p.equal(old) for p, old in zip(stepper.model.parameters(), before, strict=True))
    assert stepper.model.normed == 1


def test_stand_ins_do_not_stay(trainer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever imports the real package later in this process would get an empty one."""
    for stub in single_file.STUBS:
        monkeypatch.delitem(sys.modules, stub, raising=False)
    single_file.load_module(trainer)
    assert not set(single_file.STUBS) & set(sys.modules)


def test_what_is_not_installed_or_fails_is_left_out(
    trainer: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    device = bench_device(cuda=False, compiled=False)

    def missing(size: Size, device: object) -> single_file.Stepper:
        raise ImportError("No module named 'theirs'")

    def broken(size: Size, device: object) -> single_file.Stepper:
        raise RuntimeError("shapes\ndiffer")

    assert try_step("missing", missing, SIZE, device) is None
    assert try_step("broken", broken, SIZE, device) is None
    assert try_step("sound", lambda s, d: single_file.stepper("sound", trainer, s, d), SIZE, device)
    assert in_time("soon", time.monotonic() + 60) and not in_time("late", time.monotonic())
    assert capsys.readouterr().out.splitlines() == [
        "missing: left out, not installed (No module named 'theirs')",
        "broken: left out, RuntimeError: shapes differ",
        "sound: ready after 0 s",
        "late: left out, its turn came too late for --ready-within",
    ]


@pytest.mark.parametrize(
    ("label", "package"),
    [
        ("nGPT-pytorch", "nGPT_pytorch"),
        ("x-transformers", "x_transformers"),
        ("transformers-llama", "transformers"),
    ],
)
def test_a_package_has_our_shape(label: str, package: str) -> None:
    pytest.importorskip(package)
    size = Size(Dims(vocab_size=32, num_layers=2, num_heads=2, d_model=64), batch=2, context=8)
    device = bench_device(cuda=False, compiled=False)
    D, F, V = size.dims.d_model, size.dims.d_ff, size.dims.vocab_size
    matrices = 2 * (4 * D * D + 3 * D * F) + 2 * V * D
    model = packages.stepper(label, size, device).model
    assert sum(p.numel() for p in model.parameters() if p.ndim == 2) == matrices
