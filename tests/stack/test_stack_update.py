"""A stack's update, recorded and replayed: operation by operation without CUDA; as a CUDA graph in a test marked gpu."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ngptlab import Dims, build_model
from ngptlab.config import OptimConfig
from ngptlab.optim.groups import make_optimizer
from ngptlab.stack import update as update_module
from ngptlab.stack.models import Stack
from ngptlab.stack.optim import StackedAdamW
from ngptlab.stack.update import StackUpdate

DIMS = Dims(vocab_size=17, num_layers=2, num_heads=2, d_model=16)
WAITING = {"_local_scalar_dense", "lift_fresh", "nonzero", "masked_select", "_unique2"}
"""Operations that a graph can't hold: they bring values from the device or to it."""


class Operations(TorchDispatchMode):
    """All operations that are called inside, with the tensors that they read and write."""

    def __init__(self) -> None:
        super().__init__()
        self.called: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        self.called.append((function, args, kwargs or {}, result))
        return result


class RecordedOperations:
    """As a graph: Python runs once, then the same operations read and write the same tensors."""

    made = 0
    state: Callable[[], list[Tensor]]

    def __init__(self, compute: Callable[..., Tensor], inputs: Sequence[Tensor]) -> None:
        RecordedOperations.made += 1
        self.inputs = [x.clone() for x in inputs]
        state = RecordedOperations.state()
        before = [x.detach().clone() for x in state]
        with Operations() as operations:
            self.result = compute(*self.inputs)
        with torch.no_grad():
            for x, value in zip(state, before, strict=True):
                x.copy_(value)  # a graph computes nothing while it is recorded
        self.operations = operations.called
        assert not WAITING & {call[0].overloadpacket.__name__ for call in self.operations}

    @torch.no_grad()
    def replay(self, *inputs: Tensor) -> Tensor:
        for held, given in zip(self.inputs, inputs, strict=True):
            held.copy_(given)
        for function, args, kwargs, results in self.operations:
            again = function(*args, **kwargs)
            for place, value in zip(tree_leaves(results), tree_leaves(again), strict=True):
                if isinstance(place, Tensor) and place.data_ptr() != value.data_ptr():
                    place.detach().copy_(value)
        return self.result.clone()


def updates(graph: bool, micro_batch: int, place: str = "cpu") -> StackUpdate:
    models = [build_model("ngpt", DIMS, seed=seed).to(place) for seed in range(3)]
    optimizers = [make_optimizer(model, OptimConfig(weight_decay=0.1)) for model in models]
    stack = Stack(models)
    adamw = StackedAdamW(stack, optimizers, steps=0)
    return StackUpdate(stack, adamw, grad_clip=0.3, micro_batch=micro_batch, graph=graph)


def state(update: StackUpdate) -> list[Tensor]:
    adamw = update.adamw
    return [*update.stack.params.values(), *adamw._means.values(), *adamw._squares.values()]


def steps(*both: StackUpdate, place: str = "cpu") -> list[list[Tensor]]:
    """Losses and norms of each over changing rates and batches; a model is dropped midway, which makes another program."""
    results = []
    for step in range(10):
        if step == 5:
            for update in both:
                update.keep([0, 2])
        rows = len(both[0].stack.models)
        tokens = torch.randint(17, (rows, 4, 9), generator=torch.Generator().manual_seed(step)).to(place)
        batch = tokens[:, :, :-1].contiguous(), tokens[:, :, 1:].contiguous()
        results.append([update(*batch, 1 / (1 + step)) for update in both])
    return results


@pytest.mark.parametrize("micro_batch", [0, 2])
def test_replayed_updates_are_the_same(
    micro_batch: int, as_on_a_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit."""
    monkeypatch.setattr(update_module, "Recorded", RecordedOperations)
    RecordedOperations.made = 0
    plain, replayed = updates(False, micro_batch), updates(True, micro_batch)
    RecordedOperations.state = lambda: state(replayed)
    for one, other in steps(plain, replayed):
        assert torch.equal(one, other)
    assert RecordedOperations.made == 2
    for one, other in zip(state(plain), state(replayed), strict=True):
        assert torch.equal(one, other)
    assert replayed.adamw.steps == 10


@pytest.mark.gpu
@pytest.mark.parametrize("micro_batch", [0, 2])
def test_on_a_gpu(micro_batch: int) -> None:
    """The embedding's gradient is summed in no fixed order there, and Adam makes more of that, to a thousandth at most."""
    plain, replayed = updates(False, micro_batch, "cuda"), updates(True, micro_batch, "cuda")
    for one, other in steps(plain, replayed, place="cuda"):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=0)
    assert replayed._recorded is not None
    for name, value in plain.stack.params.items():
        assert (replayed.stack.params[name] - value).norm() < 1e-3 * value.norm()
