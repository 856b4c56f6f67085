"""With `train.weights_dtype bfloat16` the blocks' matrices keep bfloat16's digits from step to step, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from ngptlab import methods
from ngptlab.config import RunConfig
from ngptlab.experiment import train
from ngptlab.initial_model import initial_model
from ngptlab.stack.train import train as train_together
from ngptlab.train.checkpoint import list_checkpoints

MakeConfig = Callable[..., RunConfig]
ROUNDED = {"train": {"weights_dtype": "bfloat16"}}

every_method = pytest.mark.parametrize("method", methods.names())


def is_rounded(weight: Tensor) -> bool:
    return torch.equal(weight, weight.bfloat16().float())


def of_a_block(name: str) -> bool:
    return ".W_" in name


def weights(run: Path) -> dict[str, Tensor]:
    return load_file(list_checkpoints(run / "checkpoints")[-1] / "model.safetensors")


@every_method
def test_which_weights_are_rounded_at_first_and_after_training(
    method: str, make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config(method, **ROUNDED)
    first = {name: weight.detach() for name, weight in initial_model(config).named_parameters()}
    last = weights(train(config, tmp_path / "run").path)
    for found in (first, last):
        for name, weight in found.items():
            assert weight.dtype == torch.float32
            if of_a_block(name):
                assert is_rounded(weight), name
            elif found is last:
                assert not is_rounded(weight), name
    plain = weights(train(make_config(method), tmp_path / "plain").path)
    assert not any(is_rounded(weight) for weight in plain.values())


def test_an_update_below_half_a_digit_is_lost(make_config: MakeConfig, tmp_path: Path) -> None:
    """At a rate of 2^-20, steps of AdamW change weights of 0.02 in float32, and hardly any in bfloat16."""
    moved = {}
    for name, more in (("float32", {}), ("bfloat16", ROUNDED)):
        config = make_config(optim={"lr": 2**-20, "weight_decay": 0.0}, **more)
        first, last = initial_model(config).state_dict(), weights(train(config, tmp_path / name).path)
        blocks = [key for key in last if of_a_block(key)]
        moved[name] = sum(int((last[key] != first[key]).sum()) for key in blocks)
    assert moved["bfloat16"] < 0.25 * moved["float32"], moved


def test_an_interrupted_run_goes_on_bit_for_bit(
    make_config: MakeConfig, tmp_path: Path, outcome: Callable[[Path], dict[str, bytes]]
) -> None:
    config = make_config("ngpt", **ROUNDED)
    straight = train(config, tmp_path / "straight").path
    resumed = train(config, tmp_path / "resumed").path
    newest = list_checkpoints(resumed / "checkpoints")[-1]
    for file in newest.iterdir():
        file.unlink()
    newest.rmdir()
    (resumed / "summary.json").unlink()
    assert outcome(train(config, resumed).path) == outcome(straight)


def test_a_stack_rounds_each_of_its_models(make_config: MakeConfig, tmp_path: Path) -> None:
    configs = [make_config("ngpt", seed=seed, **ROUNDED) for seed in (0, 1)]
    jobs = [(config, tmp_path / config.run_name) for config in configs]
    train_together(jobs)
    for _, run in jobs:
        assert all(is_rounded(weight) for name, weight in weights(run).items() if of_a_block(name))


def test_runs_that_store_differently_have_different_hashes(make_config: MakeConfig) -> None:
    assert make_config().hash != make_config(**ROUNDED).hash
    assert make_config().hash == make_config(train={"weights_dtype": "float32"}).hash
