"""When a stack's update is recorded and replayed, with a recording that needs no CUDA. The real one: tests marked gpu."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from ngptlab import Dims, build_model
from ngptlab.config import OptimConfig
from ngptlab.optim.groups import make_optimizer
from ngptlab.stack import update as update_module
from ngptlab.stack.models import Stack
from ngptlab.stack.optim import StackedAdamW
from ngptlab.stack.update import StackUpdate

DIMS = Dims(vocab_size=17, num_layers=1, num_heads=2, d_model=16)


class FakeRecorded:
    """As a graph does: nothing is computed before the first replay, and inputs have the places of the recorded ones."""

    made = 0

    def __init__(self, compute: Callable[..., Tensor], inputs: Sequence[Tensor]) -> None:
        FakeRecorded.made += 1
        self.compute, self.inputs = compute, [x.clone() for x in inputs]

    def replay(self, *inputs: Tensor) -> Tensor:
        for held, given in zip(self.inputs, inputs, strict=True):
            held.copy_(given)
        return self.compute(*self.inputs)


def updates(graph: bool, micro_batch: int | None) -> StackUpdate:
    models = [build_model("ngpt", DIMS, seed=seed) for seed in range(3)]
    optimizers = [make_optimizer(model, OptimConfig(weight_decay=0.1)) for model in models]
    stack = Stack(models)
    adamw = StackedAdamW(stack, optimizers, steps=0)
    return StackUpdate(stack, adamw, grad_clip=1.0, micro_batch=micro_batch, graph=graph)


@pytest.mark.parametrize("micro_batch", [None, 2])
def test_replayed_updates_are_the_same(micro_batch: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over changing rates and batches, and after a model is dropped, which is another program."""
    monkeypatch.setattr(update_module, "Recorded", FakeRecorded)
    FakeRecorded.made = 0
    plain, replayed = updates(False, micro_batch), updates(True, micro_batch)
    rows = 3
    for step in range(10):
        if step == 5:
            rows = 2
            for update in (plain, replayed):
                update.keep([0, 2])
        tokens = torch.randint(17, (rows, 4, 9), generator=torch.Generator().manual_seed(step))
        batch = tokens[:, :, :-1], tokens[:, :, 1:]
        assert torch.equal(replayed(*batch, 1 / (1 + step)), plain(*batch, 1 / (1 + step)))
    assert FakeRecorded.made == 2
    for name, value in plain.stack.params.items():
        assert torch.equal(value, replayed.stack.params[name])
    assert replayed.adamw.steps == 10
