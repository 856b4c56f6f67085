"""What is measured: whole updates, methods and sizes taking turns, memory to the byte."""

from __future__ import annotations

import pytest
import torch

from ngptlab.bench import measure as measuring
from ngptlab.bench.axes import Point
from ngptlab.bench.measure import WARMUP_STEPS, Stepper, measure, most_allocated
from ngptlab.config import Dims
from ngptlab.device import Device

CPU = Device(torch.device("cpu"), torch.float32, compile=False)
SMALL = Point(Dims(vocab_size=64, num_layers=1, num_heads=2, d_model=16), context=16, batch=2)
LARGE = Point(Dims(vocab_size=64, num_layers=2, num_heads=2, d_model=16), context=16, batch=2)


def test_most_allocated() -> None:
    """4 MB, freed; then 2 MB and 1 MB together: the highest is 4 MB, the sum 7, the last 3."""

    def work() -> None:
        torch.empty(10**6)
        a, b = torch.empty(500_000), torch.empty(250_000)
        del a, b

    assert most_allocated(work, CPU) == 4_000_000
    held = torch.empty(10**6)
    assert most_allocated(lambda: None, CPU) == 0, f"what was there before ({held.numel()}) does not count"
    assert most_allocated(lambda: (torch.empty(10**6), torch.empty(10**6)), CPU) == 8_000_000


@pytest.mark.parametrize("method", ["gpt", "ngpt"])
def test_a_step_is_an_update(method: str) -> None:
    stepper = Stepper(method, SMALL, CPU)
    before = {name: p.detach().clone() for name, p in stepper.model.named_parameters()}
    stepper()
    assert all(not torch.equal(p, before[name]) for name, p in stepper.model.named_parameters())
    assert all(p.grad is None for p in stepper.model.parameters())
    norms_V = stepper.model.E_out.norm(dim=1)
    # The constraint was restored: norms of 16 float32 values are 1 to some roundings.
    assert (method == "ngpt") == torch.allclose(norms_V, torch.ones(64), atol=1e-6)


def test_held_bytes() -> None:
    """Weights and two moments in float32, a step count for each parameter, 2 x 17 tokens of 8 bytes."""
    stepper = Stepper("gpt", SMALL, CPU)
    tensors = len(list(stepper.model.parameters()))
    assert stepper.held_bytes() == 4 * stepper.model.num_params() + 8 * 34
    stepper()
    assert stepper.held_bytes() == 4 * (3 * stepper.model.num_params() + tensors) + 8 * 34


def test_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each turn meets every method at every size; seconds are those of the method and size."""
    called: list[tuple[str, int]] = []
    clock = [0.0]
    make, step = Stepper.__init__, Stepper.__call__

    def made(self: Stepper, method: str, point: Point, device: Device) -> None:
        make(self, method, point, device)
        self.tag = method, point.dims.num_layers  # type: ignore[attr-defined]

    def stepped(self: Stepper) -> None:
        step(self)
        called.append(self.tag)  # type: ignore[attr-defined]
        clock[0] += {"gpt": 1.0, "ngpt": 10.0}[self.tag[0]] * self.tag[1]  # type: ignore[attr-defined]

    monkeypatch.setattr(Stepper, "__init__", made)
    monkeypatch.setattr(Stepper, "__call__", stepped)
    monkeypatch.setattr(measuring.time, "perf_counter", lambda: clock[0])
    told: list[str] = []
    costs = measure(["gpt", "ngpt"], [SMALL, LARGE], turns=3, device=CPU, tell=told.append)
    everyone = [("gpt", 1), ("ngpt", 1), ("gpt", 2), ("ngpt", 2)]
    warmup = WARMUP_STEPS * len(everyone)
    assert called[warmup : warmup + 12] == 3 * everyone
    assert {m: [cost.seconds for cost in own] for m, own in costs.items()} == {
        "gpt": [(1.0,) * 3, (2.0,) * 3],
        "ngpt": [(10.0,) * 3, (20.0,) * 3],
    }
    assert told == ["turn 1 of 3", "turn 2 of 3", "turn 3 of 3"]


def test_memory_is_the_same_every_time() -> None:
    """And holds at least weights, moments and gradients of the right model."""

    def peaks() -> list[int]:
        costs = measure(["gpt", "ngpt"], [SMALL, LARGE], turns=1, device=CPU, tell=lambda text: None)
        return [cost.peak_bytes for own in costs.values() for cost in own]

    first = peaks()
    assert first == peaks()
    for peak, (method, point) in zip(
        first, [("gpt", SMALL), ("gpt", LARGE), ("ngpt", SMALL), ("ngpt", LARGE)], strict=True
    ):
        weights = 4 * Stepper(method, point, CPU).model.num_params()
        assert 4 * weights < peak < 30 * weights
