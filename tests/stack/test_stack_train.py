"""Runs trained as a stack leave what runs trained alone leave: directories, numbers, and the ways to stop and go on."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from made_runs import ending
from ngptlab import Dims, experiment, methods
from ngptlab.config import RunConfig
from ngptlab.errors import ConfigError, DivergedError
from ngptlab.runs import Run
from ngptlab.stack import models as models_module
from ngptlab.stack.models import Stack
from ngptlab.stack.stackable import stack_key
from ngptlab.stack.train import train
from ngptlab.stack.trainer import StackTrainer
from ngptlab.train.checkpoint import list_checkpoints, read_checkpoint, step_of
from ngptlab.train.progress import Silent
from ngptlab.train.stop import Stopped

Make = Callable[..., RunConfig]


def grid(make_config: Make, method: str = "ngpt", **more: Any) -> list[RunConfig]:
    """Four runs that differ in seeds, rate, decay and rules."""
    return [
        make_config(method, **more),
        make_config(method, optim={"lr": 2**-7, "weight_decay": 0.1}, **more),
        make_config(method, seed=1, data={"seed": 1}, **more),
        make_config(method, param={"rules": "mup", "base_width": 8}, **more),
    ]


def jobs(configs: list[RunConfig], folder: Path) -> list[tuple[RunConfig, Path]]:
    return [(config, folder / config.run_name) for config in configs]


def numbers(run: Path, stream: str) -> list[dict[str, Any]]:
    kept = (int, float)
    return [{k: v for k, v in record.items() if isinstance(v, kept)} for record in Run(run).read(stream)]


def assert_alike(stacked: Path, alone: Path) -> None:
    """The same files, the same records; numbers to a few roundings in float32, over eight steps of a small model."""
    for folder in (alone, *(path for path in alone.rglob("*") if path.is_dir())):
        mirror = stacked / folder.relative_to(alone)
        assert sorted(p.name for p in mirror.iterdir()) == sorted(p.name for p in folder.iterdir())
    assert (stacked / "config.json").read_bytes() == (alone / "config.json").read_bytes()
    for stream in ("metrics", "evals"):
        for one, other in zip(numbers(alone, stream), numbers(stacked, stream), strict=True):
            assert list(other) == list(one)
            assert other == pytest.approx(one, rel=2e-4)
    learned, expected = (
        [(r["step"], s["name"], s["mean"]) for r in Run(path).read("scales") for s in r["scales"]]
        for path in (stacked, alone)
    )
    for (*where, value), (*place, wanted) in zip(learned, expected, strict=True):
        assert where == place and value == pytest.approx(wanted, rel=2e-4)
    assert [list(r) for r in numbers(stacked, "timing")] == [list(r) for r in numbers(alone, "timing")]
    ended, expected_end = ending(Run(stacked)), ending(Run(alone))
    assert list(ended) == list(expected_end)
    for fact, wanted in expected_end.items():
        assert ended[fact] == (pytest.approx(wanted, rel=2e-4) if fact.startswith("final_loss") else wanted)
    env, stacked_env = Run(alone).env, Run(stacked).env
    assert stacked_env.pop("stacked") > 1 and set(stacked_env) == set(env)
    for mine, theirs in zip(
        list_checkpoints(stacked / "checkpoints"), list_checkpoints(alone / "checkpoints"), strict=True
    ):
        for name, tensors in read_checkpoint(theirs)[1].items():
            found = read_checkpoint(mine)[1][name]
            assert list(found) == list(tensors)
            for key, tensor in tensors.items():
                assert found[key].shape == tensor.shape and found[key].dtype == tensor.dtype


@pytest.mark.parametrize("method", ["gpt", "ngpt"])
def test_each_run_is_as_if_trained_alone(method: str, make_config: Make, tmp_path: Path) -> None:
    configs = grid(make_config, method)
    together = jobs(configs, tmp_path / "stack")
    train(together)
    finals = set()
    for config, path in together:
        alone = experiment.train(config, tmp_path / "alone" / config.run_name)
        assert_alike(path, alone.path)
        finals.add(numbers(path, "metrics")[-1]["loss_nats"])
    assert len(finals) == len(configs), "each has its own rate, seed and rules"


def test_a_run_that_another_process_finishes_meanwhile_is_left_alone(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = jobs(grid(make_config)[:2], tmp_path)
    (config, path), _ = together
    experiment.train(config, path)
    before = (path / "summary.json").stat()
    early = iter([False])  # what the first look says, before the lock is had
    real = Run.done.fget
    assert real is not None
    monkeypatch.setattr(Run, "done", property(lambda run: next(early, None) is None and real(run)))
    train(together)
    assert (path / "summary.json").stat() == before
    assert all(Run(path).done for _, path in together)


def test_marks_and_a_horizon_are_those_of_runs_alone(make_config: Make, tmp_path: Path) -> None:
    """Validations and checkpoints at steps of their own, scales at each validation, and rates by the length of the run."""
    marks = {"eval": {"at": (5,)}, "checkpoint": {"at": (2,)}}
    param = {"rules": "nugpt", "base_width": 8, "base_layers": 2}
    configs = [make_config("ngpt", param=param | {"base_tokens": tokens}, **marks) for tokens in (0, 64)]
    together = jobs(configs, tmp_path / "stack")
    train(together)
    for config, path in together:
        assert_alike(path, experiment.train(config, tmp_path / "alone" / config.run_name).path)
        assert [r["step"] for r in Run(path).read("scales")] == [0, 3, 5, 6, 8]
        assert [step_of(c) for c in list_checkpoints(path / "checkpoints")] == [2, 6, 8]
    first, halved = (numbers(path, "metrics")[1]["loss_nats"] for _, path in together)
    assert abs(first - halved) > 1e-3, "512 tokens are 8 times the base: half the rates"


def test_micro_batches(make_config: Make, tmp_path: Path) -> None:
    """Sums of two halves are those of the whole but for their order."""
    whole, halves = (
        grid(make_config, device={"micro_batch": size, "kind": "cpu", "threads": 1}) for size in (0, 2)
    )
    for name, configs in (("whole", whole), ("halves", halves)):
        train(jobs(configs, tmp_path / name))
    for (_, one), (_, other) in zip(
        jobs(whole, tmp_path / "whole"), jobs(halves, tmp_path / "halves"), strict=True
    ):
        for a, b in zip(numbers(one, "metrics"), numbers(other, "metrics"), strict=True):
            assert a == pytest.approx(b, rel=2e-4)


def test_a_run_that_diverges_leaves_the_others_as_they_are(make_config: Make, tmp_path: Path) -> None:
    flat = {"schedule": {"warmup_steps": 0, "shape": "constant"}}
    good = [make_config("gpt", seed=seed, **flat) for seed in range(2)]
    wild = make_config("gpt", optim={"lr": 1e30}, **flat)
    together = jobs([good[0], wild, good[1]], tmp_path / "stack")
    train(together)
    summary = Run(together[1][1]).summary
    assert (summary["status"], summary["error"]) == ("failed", "DivergedError")
    with pytest.raises(DivergedError, match="lower"):
        experiment.train(wild, tmp_path / "alone" / wild.run_name)
    alone = Run(tmp_path / "alone" / wild.run_name)
    assert summary == alone.summary, "and it ends at the same step, for the same reason"
    assert len(numbers(together[1][1], "metrics")) == len(alone.read("metrics"))
    kept = [{file.name for file in (run / "non_finite").iterdir()} for run in (together[1][1], alone.path)]
    assert kept[1] - kept[0] == {"model.safetensors"}, "a stack has made the update before it knows"
    for config, path in (together[0], together[2]):
        assert_alike(path, experiment.train(config, tmp_path / "alone" / config.run_name).path)


def stopping_at(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[StackTrainer], None]) -> None:
    update = StackTrainer._update

    def stopped(trainer: StackTrainer, step: int) -> None:
        if step == number:
            act(trainer)
        update(trainer, step)

    monkeypatch.setattr(StackTrainer, "_update", stopped)


def killed(trainer: StackTrainer) -> None:
    raise OSError("power")


def test_a_killed_stack_goes_on_bit_for_bit(
    make_config: Make,
    outcome: Callable[[Path], dict[str, bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configs = grid(make_config)
    whole, cut = jobs(configs, tmp_path / "whole"), jobs(configs, tmp_path / "cut")
    train(whole)
    with monkeypatch.context() as patch:
        stopping_at(patch, 5, killed)
        with pytest.raises(OSError, match="power"):
            train(cut)
    assert [step_of(list_checkpoints(path / "checkpoints")[-1]) for _, path in cut] == [3] * 4
    assert not any(Run(path).summary for _, path in cut)
    train(cut)
    for (_, one), (_, other) in zip(whole, cut, strict=True):
        assert outcome(other) == outcome(one)
        assert Run(other).done


def test_a_signal_saves_every_run(make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configs = grid(make_config)
    together = jobs(configs, tmp_path / "stack")
    with monkeypatch.context() as patch:
        stopping_at(patch, 4, lambda trainer: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(Stopped, match="SIGTERM after step 5; saved"):
            train(together)
    for _, path in together:
        assert step_of(list_checkpoints(path / "checkpoints")[-1]) == 5
        assert (Run(path).summary["status"], Run(path).summary["step"]) == ("stopped", 5)
    # A run of a stack is a run: it goes on alone as well, and so does the stack without it.
    config, path = together[0]
    assert experiment.train(config, path).done
    train(together)
    assert all(Run(path).done for _, path in together)


def test_one_that_is_behind_comes_after(
    make_config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its newest checkpoint is damaged: it takes the steps from the one before alone."""
    configs = grid(make_config)
    together = jobs(configs, tmp_path / "stack")
    with monkeypatch.context() as patch:
        stopping_at(patch, 7, killed)
        with pytest.raises(OSError, match="power"):
            train(together)
    newest = list_checkpoints(together[1][1] / "checkpoints")[-1]
    assert step_of(newest) == 6
    (newest / "model.safetensors").write_bytes(b"damaged")
    notes: list[str] = []

    class Notes(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    train(together, reporter=Notes())
    assert any("falling back to the one before" in note and together[1][0].run_name in note for note in notes)
    for config, path in together:
        assert_alike(path, experiment.train(config, tmp_path / "alone" / config.run_name).path)


def test_a_directory_in_the_way_is_named_and_stops_no_other(make_config: Make, tmp_path: Path) -> None:
    together = jobs(grid(make_config), tmp_path / "stack")
    together[2][1].mkdir(parents=True)
    (together[2][1] / "mine.txt").write_text("mine")
    notes: list[str] = []

    class Notes(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    train(together, reporter=Notes())
    assert any("neither empty nor a run directory" in note for note in notes)
    assert [(path / "summary.json").exists() for _, path in together] == [True, True, False, True]


@pytest.mark.parametrize(
    "changes",
    [
        {"train": {"steps": 9}},
        {"model": {"d_model": 32}},
        {"schedule": {"warmup_steps": 3}},
        {"optim": {"grad_clip": 2.0}},
        {"optim": {"betas": (0.9, 0.99)}},
        {"seams": {"logits": "ngpt"}},
        {"eval": {"every": 4}},
        {"data": {"order": "sequential"}},
        {"device": {"micro_batch": 2}},
    ],
)
def test_runs_that_differ_in_more_are_no_stack(
    changes: dict[str, Any], make_config: Make, tmp_path: Path
) -> None:
    one, other = make_config("gpt"), make_config("gpt", **changes)
    assert stack_key(one) != stack_key(other)
    with pytest.raises(ConfigError, match="train them one by one"):
        train(jobs([one, other], tmp_path))
    assert not (tmp_path / one.run_name).exists()


def test_alike_are_runs_that_differ_in_what_a_stack_holds(make_config: Make) -> None:
    assert len({stack_key(config) for config in grid(make_config)}) == 1
    json.loads(stack_key(make_config()))


@pytest.mark.gpu
@pytest.mark.parametrize("method", ["gpt", "ngpt"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_on_a_gpu(method: str, dtype: str, make_config: Make, tmp_path: Path) -> None:
    """float32 products may go through TF32 there only where asked for; bfloat16 rounds by 2^-9, which eight steps keep
    within 1% of a loss of 5."""
    device = {"kind": "cuda", "compile": "on" if dtype == "bfloat16" else "off"}
    configs = grid(make_config, method, device=device, train={"compute_dtype": dtype})
    together = jobs(configs, tmp_path / "stack")
    train(together)
    for config, path in together:
        alone = experiment.train(config, tmp_path / "alone" / config.run_name)
        for one, other in zip(alone.read("metrics"), numbers(path, "metrics"), strict=True):
            assert other["loss_nats"] == pytest.approx(
                one["loss_nats"], rel=2e-4 if dtype == "float32" else 1e-2
            )


@pytest.mark.slow  # tracing takes seconds
@pytest.mark.parametrize("place", ["cpu", "gpu"])
def test_compiled(place: str, make_config: Make, request: pytest.FixtureRequest) -> None:
    """The program is one graph: a break would be an error here."""
    if place == "gpu":
        request.getfixturevalue("as_on_a_gpu")
    config = make_config("ngpt")
    stack = Stack([methods.build_model("ngpt", config.model, seed=seed) for seed in range(2)])
    tokens_MBT = torch.randint(257, (2, 2, 9))
    whole = torch.compile(stack._program, backend="eager", fullgraph=True)
    eager = stack.losses(tokens_MBT[:, :, :-1], tokens_MBT[:, :, 1:])
    stack._program = whole
    traced = stack.losses(tokens_MBT[:, :, :-1], tokens_MBT[:, :, 1:])
    torch.testing.assert_close(traced, eager, rtol=1e-6, atol=0)


@pytest.mark.slow  # compiles twice
def test_compiled_stacks_of_two_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one process: the second one's sizes are numbers, too, which torch 2.11 needs."""
    inputs: list[object] = []

    def spy(module: Callable[..., object], given: Sequence[object]) -> Callable[..., object]:
        inputs.extend(given)
        return module

    monkeypatch.setattr(models_module.torch, "compile", partial(torch.compile, backend=spy))
    for width, count in ((16, 2), (32, 3)):
        dims = Dims(vocab_size=17, num_layers=1, num_heads=2, d_model=width)
        stack = Stack([methods.build_model("ngpt", dims, seed=seed) for seed in range(count)], compiled=True)
        tokens_MBT = torch.randint(17, (count, 2, 9))
        stack.losses(tokens_MBT[:, :, :-1], tokens_MBT[:, :, 1:])
    assert inputs and not any(isinstance(value, torch.SymInt) for value in inputs)
