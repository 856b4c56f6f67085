"""The replication's recipes, number by number, and the smoke test that any recipe has."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from ngptlab.cli import main
from ngptlab.config import Dims, RunConfig, cooldown_steps
from ngptlab.data.shards.verify import verify
from ngptlab.methods import load, resolve
from ngptlab.nn.decoder import Decoder
from ngptlab.optim.schedule import lr_factor
from ngptlab.recipes import names, recipe
from ngptlab.smoke import MAX_PARAMS, shrink, smoke


def arms(name: str) -> list[RunConfig]:
    found = recipe(name)
    return [resolve(found.arm(method)) for method in found.methods]


@pytest.mark.parametrize(
    ("name", "counts"),
    [("fineweb-162m", [162_201_600, 162_320_256]), ("fineweb-7m", [7_027_200, 7_083_888])],
)
def test_parameters(name: str, counts: list[int]) -> None:
    with torch.device("meta"):
        found = [Decoder(arm.model, load(arm.method)).num_params() for arm in arms(name)]
    assert found == counts


@pytest.mark.parametrize(("name", "width", "heads"), [("fineweb-162m", 768, 12), ("fineweb-7m", 64, 1)])
def test_settings_of_the_replication(name: str, width: int, heads: int) -> None:
    """FineWeb in order, 4768 x 512 x 1024 tokens, 2^-9 in both arms, linear cooldown over the last 1450 steps."""
    gpt, normalized = arms(name)
    assert (
        gpt.model == normalized.model == Dims(vocab_size=50304, num_layers=12, num_heads=heads, d_model=width)
    )
    for arm in (gpt, normalized):
        assert arm.train.steps * arm.train.step_tokens == 2_499_805_184
        assert (arm.train.step_tokens, arm.train.context) == (524_288, 1024)
        assert (arm.data.order, arm.data.tokenizer) == ("sequential", "gpt2")
        assert (arm.optim.lr, arm.optim.betas, arm.optim.grad_clip) == (1 / 512, (0.9, 0.95), 1.0)
        assert (arm.eval.every, arm.eval.val_tokens) == (125, 10_485_760)
        assert (arm.schedule.shape, arm.schedule.cooldown_shape, cooldown_steps(arm)) == (
            "wsd",
            "linear",
            1450,
        )
        factors = [lr_factor(arm, step) for step in range(arm.train.steps)]
        assert sum(factor < 1 for factor in factors[200:]) in (1449, 1450) and factors[3300] == 1
    assert (gpt.schedule.warmup_steps, gpt.optim.weight_decay) == (200, 0.1)
    assert (normalized.schedule.warmup_steps, normalized.optim.weight_decay) == (0, 0.0)


@pytest.mark.parametrize("name", names())
def test_every_recipe_has_a_smoke_test(name: str) -> None:
    whole, small = recipe(name), smoke(recipe(name))
    assert small.config.name == f"{name}-smoke" and small.methods == whole.methods
    assert (small.config.train.steps, small.config.device.kind) == (20, "cpu")
    assert small.config.model == shrink(whole.config.model)
    assert (
        small.config.optim == whole.config.optim
        and small.config.schedule.shape == whole.config.schedule.shape
    )
    for method in small.methods:
        warmup_steps = resolve(small.arm(method)).schedule.warmup_steps
        assert warmup_steps is not None and warmup_steps <= 1


def test_large_models_are_shrunk() -> None:
    """Layers first, then heads; their width, the MLP's share and the vocabulary stay."""
    paper = Dims(vocab_size=50304, num_layers=36, num_heads=20, d_model=1280, d_ff=5120)
    small = shrink(paper)
    assert small == Dims(vocab_size=50304, num_layers=2, num_heads=20, d_model=1280, d_ff=5120)
    wide = shrink(Dims(vocab_size=50304, num_layers=2, num_heads=64, d_model=8192))
    assert wide.d_head == 128 and wide.num_heads == 8 and wide.vocab_size == 50304
    with torch.device("meta"):
        assert all(Decoder(dims, load("gpt")).num_params() <= MAX_PARAMS for dims in (small, wide))


def test_smoke_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Options come after shrinking; what it changed is said."""
    assert main(["train", "demo", "--smoke", "--train.steps", "3", "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().err
    assert "the model is whole" in said and "train.steps 600 -> 20" in said
    assert said.splitlines()[-1].endswith("the losses above mean nothing")
    assert re.search(r"data\.source stdlib -> shards:\S+made", said)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["train"]["steps"] == 3


@pytest.mark.slow
def test_smoke_of_a_comparison(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The made-up shards are sound, and both arms learn them."""
    monkeypatch.chdir(tmp_path)
    assert main(["compare", "demo", "--smoke"]) == 0
    runs = sorted((tmp_path / "out" / "demo-smoke" / "runs").iterdir())
    assert len(runs) == 2 and (tmp_path / "out" / "demo-smoke" / "report.html").exists()
    for run in runs:
        assert json.loads((run / "summary.json").read_text())["status"] == "done"
        evals = [json.loads(line) for line in (run / "evals.jsonl").read_text().splitlines()]
        losses = [record["loss_nats"] for record in evals if record["eval"] == "val"]
        assert losses[-1] < losses[0] - 0.5  # the rule of the made-up tokens is learned
        assert [record["documents"] for record in evals if record["eval"] == "length"] == [2]
    (folder,) = (cache / "made").iterdir()
    assert all(verify(folder).compared.values())


@pytest.mark.slow
def test_smoke_with_gpt2s_tokens(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the tokenizer's table and without the data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "none"))
    assert main(["train", "fineweb-7m", "--smoke"]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.startswith("fineweb-7m-smoke-gpt-s0-")


def test_missing_shards_name_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "fineweb-7m"]) == 2
    assert "`ngptlab data get fineweb10B --shards 26` gets them" in capsys.readouterr().err
    elsewhere = tmp_path / "my data" / "fineweb10B"
    elsewhere.mkdir(parents=True)
    (elsewhere / "fineweb_train_000001.bin").touch()
    source = ["--data.source", f"shards:{elsewhere}"]
    assert main(["train", "fineweb-7m", "--train.steps", "200", *source]) == 2
    error = capsys.readouterr().err
    assert f"`ngptlab data get fineweb10B --shards 2 --out '{elsewhere}'`" in error and error.count("\n") == 1
    (elsewhere / "fineweb_val_000000.bin").touch()
    assert main(["train", "fineweb-7m", *source]) == 2
    assert "truncated" in capsys.readouterr().err  # what is there and damaged is another matter
    assert not (tmp_path / "runs").exists()
