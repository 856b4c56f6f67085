"""Blocks that run twice (`device.recompute`): the same bits, less memory, and methods that can't are named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ngptlab import ConfigError, build_model, methods
from ngptlab.bench.axes import Point
from ngptlab.bench.measure import Stepper, most_allocated
from ngptlab.config import Dims, RunConfig
from ngptlab.device import Device
from ngptlab.experiment import train
from ngptlab.jobs.cell import Cell
from ngptlab.jobs.stacks import stacks
from ngptlab.nn.blocks import Block, Parts
from ngptlab.nn.shared import Shared
from ngptlab.plan.memory import step_memory
from ngptlab.stack.stackable import check_stackable
from ngptlab.train import twice
from ngptlab.train.program import program
from ngptlab.train.twice import check_recomputes

CPU = Device(torch.device("cpu"), torch.float32, compile=False)
MakeConfig = Callable[..., RunConfig]


@pytest.mark.parametrize("method", methods.names())
def test_every_method_has_the_same_gradients(method: str) -> None:
    check_recomputes(methods.load(method), method)


@pytest.mark.parametrize("method", ["value_residual", "unet", "ngpt"])
def test_in_bfloat16(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other forms of the functions; blocks that use the first one's values, and skips."""
    reset = twice.Decoder.reset

    def narrow(model: twice.Decoder, seed: int) -> None:
        reset(model, seed)
        model.compute_dtype = torch.bfloat16

    monkeypatch.setattr(twice.Decoder, "reset", narrow)
    check_recomputes(methods.load(method), method)


@pytest.mark.parametrize("method", ["ngpt", "value_residual"])
def test_a_run_has_the_same_bytes(
    method: str, make_config: MakeConfig, outcome: Callable[[Path], dict[str, bytes]], tmp_path: Path
) -> None:
    found = []
    for recompute in ("off", "on"):
        config = make_config(method, device={"recompute": recompute, "micro_batch": 2})
        found.append(outcome(train(config, tmp_path / recompute).path))
    assert found[0] == found[1]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings(
    "ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"
)  # torch's own, compiling
def test_compiled_it_is_one_graph() -> None:
    """In float64, up to roundings: a sum of 66 terms below 1, some of which the compiler adds in another order."""
    from torch._dynamo.utils import counters

    tokens_BT = torch.arange(2 * 33).view(2, 33) ** 2 * 5 % 257
    found = []
    for recompute, compiled in ((False, False), (True, True)):
        model = build_model("value_residual", SIZES["activations"][0], seed=1).double()
        model.recompute = recompute
        counters.clear()
        gradients = program(model, replace(CPU, compile=compiled, compute_dtype=torch.float64)).gradients
        loss = gradients(tokens_BT[:, :-1], tokens_BT[:, 1:])
        found.append([loss, *(p.grad for p in model.parameters())])
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]
    for one, other in zip(*found, strict=True):
        assert one is not None and other is not None
        assert (one - other).abs().max() <= 66 * 2**-52


SIZES = {
    "activations": (Dims(vocab_size=257, num_layers=6, num_heads=2, d_model=64), 8, 64),
    "many positions": (Dims(vocab_size=257, num_layers=4, num_heads=2, d_model=32), 4, 256),
}


@pytest.mark.parametrize(
    ("method", "size"),
    [("gpt", "many positions"), ("ngpt", "activations"), ("value_residual", "activations")],
)
def test_memory_falls_as_estimated(method: str, size: str, make_config: MakeConfig) -> None:
    """Within a fifth of the peak, as without recomputation (tests/plan/test_plan.py)."""
    dims, batch, context = SIZES[size]
    peaks, estimates = [], []
    for recompute in ("off", "on"):
        stepper = Stepper(method, Point(dims, context=context, batch=batch), CPU)
        stepper.model.recompute = recompute == "on"
        stepper()
        peaks.append(stepper.held_bytes() + most_allocated(stepper, CPU))
        config = make_config(
            method,
            model=dims.model_dump(),
            train={"batch_size": batch, "context": context},
            device={"recompute": recompute},
        )
        estimates.append(step_memory(config, place="cpu", value_bytes=4).total)
    print(
        method,
        size,
        [f"{peak / 1e6:.2f} MB" for peak in peaks],
        [e / p for e, p in zip(estimates, peaks, strict=True)],
    )
    assert peaks[1] < 0.6 * peaks[0]
    assert all(0.8 < estimate / peak < 1.2 for estimate, peak in zip(estimates, peaks, strict=True))


# --- methods that can't -----------------------------------------------------------------------------------------------


class Drops(Block):
    """A block with random numbers."""

    def forward(self, h_BTD: Tensor, shared: Shared) -> Tensor:
        return nn.functional.dropout(super().forward(h_BTD, shared), 0.5)


class Counts(Block):
    """A block that is another one when it is called again."""

    calls = 0

    def forward(self, h_BTD: Tensor, shared: Shared) -> Tensor:
        self.calls += 1
        return super().forward(h_BTD * self.calls, shared)


class Stops(Block):
    """A block that does less when it is called again."""

    calls = 0

    def forward(self, h_BTD: Tensor, shared: Shared) -> Tensor:
        self.calls += 1
        return super().forward(h_BTD, shared) if self.calls == 1 else h_BTD * 2


@dataclass(frozen=True)
class Built:
    kind: type[Block]

    def build(self, dims: Dims, parts: Parts, layer: int) -> nn.Module:
        return self.kind(dims, parts, layer)


@pytest.mark.parametrize(
    ("kind", "why"),
    [(Drops, "another gradient"), (Counts, "another gradient"), (Stops, "can't run a second time")],
)
def test_what_can_not_run_twice_is_named(kind: type[Block], why: str) -> None:
    before = torch.random.get_rng_state()
    with pytest.raises(
        ConfigError, match=rf"^device.recompute: mine does not work with it.*{why}.*leave it out$"
    ) as told:
        check_recomputes(replace(methods.load("gpt"), block=Built(kind)), "mine")
    assert "\n" not in str(told.value)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_run_asks_first(make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = replace(methods.load("gpt"), block=Built(Drops))
    monkeypatch.setattr("ngptlab.experiment.methods.load", lambda *given: parts)
    with pytest.raises(ConfigError, match=r"^device\.recompute: gpt does not"):
        train(make_config(device={"recompute": "on"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_stack_does_without(make_config: MakeConfig, tmp_path: Path) -> None:
    configs = [make_config(seed=seed, device={"recompute": "on"}) for seed in (0, 1)]
    with pytest.raises(ConfigError, match=r"keeps its activations \(device\.recompute on\)"):
        check_stackable(configs)
    told: list[str] = []
    cells = [Cell(config) for config in configs]
    found = stacks(cells, lambda cell: tmp_path / cell.title, choice=2, workers=1, note=told.append)
    assert [len(group) for group in found] == [1, 1]
    assert len(told) == 1 and "keeps its activations (device.recompute on)" in told[0]
