"""A measurement of a tiny size from end to end. What it says of time is not looked at."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import gpu
from benchmarks.memory import peak_bytes
from benchmarks.roofline import flops
from benchmarks.sizes import Size
from benchmarks.step_time import measure, show
from benchmarks.steps import WARM_UP_STEPS, Stepper, bench_device, interleave, ours
from ngptlab.config import Dims
from ngptlab.methods import names

TINY = Size(Dims(vocab_size=17, num_layers=1, num_heads=2, d_model=8), batch=2, context=6)


def test_every_method_is_measured() -> None:
    device = bench_device(cuda=False, compiled=False)
    rows = measure("tiny", TINY, [ours(name, TINY, device) for name in names()], 2, device)
    assert [row.label for row in rows] == names()
    assert all(row.turns == 2 and row.flops == flops(TINY) and row.size == "tiny" for row in rows)
    assert all(row.roofline.median > 0 and row.step_seconds.median > 0 for row in rows)
    assert rows[0].ratio.median == rows[0].ratio.high == 1.0
    assert all(name in show(rows, 1e9) for name in names())


def test_contestants_take_turns_and_the_first_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def step(self: Stepper, *sample: object) -> float:
        order.append(self.label)
        return float(len(order))

    device, turns = bench_device(cuda=False, compiled=False), list[int]()
    a, b = (ours(name, TINY, device) for name in names()[:2])
    monkeypatch.setattr(Stepper, "step", step)
    seconds = interleave([a, b], TINY.sample(device.place), 3, turns.append)
    first = 2 * WARM_UP_STEPS
    assert order[first:] == [a.label, b.label, b.label, a.label, a.label, b.label]
    assert (seconds - first).tolist() == [[1, 2], [4, 3], [5, 6]]  # each in its own column
    assert turns == [0, 1, 2]


def test_a_step_trains_and_keeps_the_constraint() -> None:
    device = bench_device(cuda=False, compiled=False)
    for name in names():
        stepper = ours(name, TINY, device)
        before = {key: p.detach().clone() for key, p in stepper.model.named_parameters()}
        for _ in range(2):  # behind a matrix of zeros nothing moves in the first
            stepper.step(*TINY.sample(device.place))
        after = {key: p.detach().clone() for key, p in stepper.model.named_parameters()}
        assert all(not after[key].equal(before[key]) for key in before), name
        stepper.constraint()
        for key, p in stepper.model.named_parameters():
            # Normalizing what is normal already moves values by rounding only.
            assert p.detach().allclose(after[key], atol=1e-6), (name, key)


@pytest.mark.skipif(sys.platform != "linux", reason="the high-water mark can be reset on Linux only")
def test_peak_memory_sees_what_is_freed_again() -> None:
    device = bench_device(cuda=False, compiled=False)
    size = 2**27  # above what malloc keeps, so that it is fresh memory
    assert peak_bytes(lambda: len(bytearray(b"x") * size), device) >= 0.9 * size
    assert peak_bytes(lambda: None, device) < 0.1 * size


def test_gpu_says_that_there_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["gpu"])
    gpu.main()
    assert "no CUDA device" in capsys.readouterr().out


def test_every_stage_on_a_gpu_is_a_command_that_parses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong option there would be found out on a lent machine."""
    trainer = f"theirs={Path(__file__)}"
    for title, (module, *arguments) in gpu.stages(["gpt"], ["nGPT-pytorch"], [trainer], "out"):
        if module == "pytest":
            continue
        reached: list[object] = []
        main = importlib.import_module(module)
        monkeypatch.setattr("sys.argv", [module, *arguments])
        monkeypatch.setattr(argparse.ArgumentParser, "parse_args", _parsed(reached))
        with pytest.raises(_ReachedError):
            main.main()
        assert len(reached) == 1, title


class _ReachedError(Exception):
    pass


def _parsed(reached: list[object]) -> Callable[[argparse.ArgumentParser], None]:
    def parse(self: argparse.ArgumentParser) -> None:
        reached.append(self.parse_known_args()[0])
        assert not self.parse_known_args()[1]
        raise _ReachedError

    return parse
