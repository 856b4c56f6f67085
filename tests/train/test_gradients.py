"""When a CUDA graph is recorded and replayed, with a recording that needs no CUDA. The real one: tests marked gpu."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from ngptlab.train import gradients as gradients_module
from ngptlab.train.gradients import CALLS_BEFORE, Replayed

RECORDED: list[FakeRecorded] = []


class FakeRecorded:
    """As a graph does: gradients stay in the tensors of the recording, and are set or added to as they were then."""

    parameters: Sequence[Tensor]

    def __init__(
        self, compute: Callable[..., Tensor], inputs: Sequence[Tensor], beside: FakeRecorded | None
    ) -> None:
        assert beside is (RECORDED[0] if RECORDED else None)
        self.compute = compute
        self.sets = all(p.grad is None for p in self.parameters)
        for parameter in self.parameters:
            if self.sets:
                parameter.grad = torch.full_like(parameter, 99.0)  # nothing is computed yet
        self.gradients = [p.grad for p in self.parameters]
        self.replays = 0
        RECORDED.append(self)

    def replay(self, *inputs: Tensor) -> Tensor:
        self.replays += 1
        for parameter, grad in zip(self.parameters, self.gradients, strict=True):
            assert grad is not None
            parameter.grad = grad.zero_() if self.sets else grad
        losses = self.compute(*inputs)
        for parameter in self.parameters:
            parameter.grad = None  # a graph writes to memory, it gives no parameter a gradient
        if not self.sets:
            for parameter, grad in zip(self.parameters, self.gradients, strict=True):
                parameter.grad = grad
        return losses


@pytest.fixture(autouse=True)
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    RECORDED.clear()
    monkeypatch.setattr(gradients_module, "Recorded", FakeRecorded)


def pair() -> tuple[Tensor, Replayed]:
    weight = torch.ones(3, requires_grad=True)
    FakeRecorded.parameters = [weight]
    return weight, Replayed(lambda x, y: (x * weight).sum() + y.sum(), [weight])


@pytest.mark.parametrize("micro_batches", [1, 2, 3])
def test_gradients_are_those_of_the_batch(micro_batches: int) -> None:
    weight, replayed = pair()
    for turn in range(6):
        weight.grad = None
        expected = torch.zeros(3)
        for part in range(micro_batches):
            x = torch.tensor([1.0, 2.0, 3.0]) * (1 + turn + 10 * part)
            loss = replayed(x, x, 0.5)
            assert float(loss) == float(x.sum())
            assert not loss.requires_grad
            expected += 0.5 * x
            assert weight.grad is not None and torch.equal(weight.grad, expected)
    assert [recording.sets for recording in RECORDED] == [True, False][: min(micro_batches, 2)]


def test_one_recording_for_all_steps() -> None:
    weight, replayed = pair()
    for _ in range(10):
        weight.grad = None
        replayed(torch.ones(3), torch.ones(3))
    (recording,) = RECORDED
    assert recording.replays == 10 - CALLS_BEFORE


def test_another_shape_or_share_is_computed_one_by_one() -> None:
    weight, replayed = pair()
    for turn in range(8):
        weight.grad = None
        odd = turn in (4, 5)
        x = torch.ones(2, 3) if turn == 4 else torch.ones(3)
        replayed(x, x, 0.25 if odd else 1.0)
        replayed(torch.ones(3), torch.ones(3))  # adds, after a recorded one and after one that is not
        assert weight.grad is not None
        assert weight.grad.tolist() == [{4: 1.5, 5: 1.25}.get(turn, 2.0)] * 3


def test_after_release_it_goes_on() -> None:
    weight, replayed = pair()
    for turn in range(8):
        weight.grad = None
        if turn == 5:
            replayed.release()
            RECORDED.clear()
        replayed(torch.ones(3), torch.ones(3))
        assert weight.grad is not None and weight.grad.tolist() == [1.0] * 3
    assert [recording.replays for recording in RECORDED] == [3]


def test_plain() -> None:
    weight, replayed = pair()
    for _ in range(5):
        weight.grad = None
        replayed.plain(torch.ones(3), torch.ones(3))
    assert not RECORDED
