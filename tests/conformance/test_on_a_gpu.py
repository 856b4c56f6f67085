"""Every method on CUDA, compiled and in bfloat16 as real runs are, against float64 on the CPU. `make gpu` runs these."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ngptlab import Decoder, Dims, build_model, experiment, methods
from ngptlab.config import OptimConfig, RunConfig
from ngptlab.device import Device
from ngptlab.nn import loss as loss_module
from ngptlab.nn.functions import linear, mean_loss, scaled_units
from ngptlab.nn.parts import Logits, UnitWeights
from ngptlab.nn.roles import D_MODEL_AXIS, role
from ngptlab.nn.rope import rope_tables
from ngptlab.nn.situations import plain_formulas
from ngptlab.optim.groups import make_optimizer
from ngptlab.train.gradients import Gradients, Replayed
from ngptlab.train.program import program
from ngptlab.train.trainer import Queued, Trainer

pytestmark = pytest.mark.gpu
every_method = pytest.mark.parametrize("method", methods.names())

DIMS = Dims(vocab_size=256, num_layers=2, num_heads=2, d_model=128)
ROUNDINGS = {torch.float32: 2.0**-24, torch.bfloat16: 2.0**-9}
"""Largest relative error of one rounding."""


def sample(count: int, length: int) -> tuple[Tensor, Tensor]:
    tokens = torch.randint(DIMS.vocab_size, (count, length + 1), generator=torch.Generator().manual_seed(0))
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


def distance(one: Tensor, other: Tensor) -> float:
    """||one - other|| / ||other||."""
    return float((one.double().cpu() - other.double().cpu()).norm() / other.double().norm())


def results(model: Decoder, compute: Gradients, place: str) -> dict[str, Tensor]:
    """The loss and every gradient."""
    inputs, targets = sample(4, 128)
    model.zero_grad()
    value = compute(inputs.to(place), targets.to(place))
    gradients = {name: p.grad.detach() for name, p in model.named_parameters() if p.grad is not None}
    return {"loss": value, **gradients}


@every_method
@pytest.mark.parametrize(
    ("dtype", "compiled"), [(torch.float32, False), (torch.bfloat16, False), (torch.bfloat16, True)]
)
def test_loss_and_gradients(method: str, dtype: torch.dtype, compiled: bool) -> None:
    """Some thirty roundings lie between a gradient and the loss here; on a CPU up to 13 of bfloat16 are left of them.

    float32 is held against float32, whose formulas on the CPU have tests of their own: with float64's epsilon, a norm of
    small values is another function.
    """
    exact_model = build_model(method, DIMS, seed=0)
    if dtype == torch.bfloat16:
        exact_model.double()
    with plain_formulas():
        exact = results(exact_model, Gradients(exact_model.loss), "cpu")
    model = build_model(method, DIMS, seed=0).cuda()
    model.compute_dtype = dtype
    runs = program(model, Device(torch.device("cuda"), dtype, compiled))
    found = results(model, runs.gradients, "cuda")
    assert found.keys() == exact.keys()
    distances = {name: distance(found[name], exact[name]) / ROUNDINGS[dtype] for name in exact}
    assert distances.pop("loss") < 8
    wrong = {name: roundings for name, roundings in distances.items() if not roundings < 60}
    assert not wrong


@every_method
def test_constraint(method: str) -> None:
    """Compiled, it does what it does eagerly, and leaves the unit norms of methods that have them."""
    one, other = (build_model(method, DIMS, seed=0).cuda() for _ in range(2))
    with torch.no_grad():
        for model in (one, other):
            for number, weight in enumerate(model.parameters()):
                weight.mul_(1 + 0.1 * number)
    program(one, Device(torch.device("cuda"), torch.bfloat16, True)).after_step()
    other.after_step()
    for (name, weight), twin in zip(one.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(weight, twin, rtol=1e-6, atol=0)
        axis = D_MODEL_AXIS.get(role(name))
        if axis is not None and methods.load(method).after_step == UnitWeights():
            assert (weight.norm(dim=axis) - 1).abs().max() < 1e-6


@pytest.mark.parametrize("dtype", ROUNDINGS)
def test_compiled_loss_in_chunks(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of equal size and one that is not; logits so far apart that probabilities vanish."""
    generator = torch.Generator().manual_seed(0)
    h, rows = (torch.randn(n, 64, generator=generator) for n in (300, 1000))
    h[:100] *= 8
    targets = torch.randint(1000, (300,), generator=generator)
    narrow = [x.to("cuda", dtype).requires_grad_() for x in (h, rows)]
    exact = [x.detach().double().cpu().requires_grad_() for x in narrow]
    torch.nn.functional.cross_entropy(exact[0] @ exact[1].T, targets).backward()
    monkeypatch.setitem(loss_module.CHUNK_VALUES, "cuda", 128 * 1000)
    compute = torch.compile(lambda h, rows, targets: mean_loss(h, rows, targets, Logits()), fullgraph=True)
    compute(*narrow, targets.cuda()).backward()
    for ours, theirs in zip(narrow, exact, strict=True):
        assert ours.grad is not None and theirs.grad is not None
        # Logits, their gradient, products and the result are rounded; a logit of 64 to 64 such roundings.
        assert distance(ours.grad, theirs.grad) < 100 * ROUNDINGS[dtype]


@every_method
def test_a_run(method: str, make_config: Callable[..., RunConfig], tmp_path: Path) -> None:
    """Trains, measures, saves; and loses what the same run on the CPU loses, within what bfloat16 leaves of it."""
    losses = [
        [
            row["loss_nats"]
            for row in experiment.train(make_config(method, device=device), tmp_path / name).read("metrics")
        ]
        for name, device in (("gpu", {"kind": "cuda", "compile": "on"}), ("cpu", {"kind": "cpu"}))
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


@pytest.mark.parametrize("target", [-100, 1000])
def test_a_target_that_is_none(target: int) -> None:
    """Not a finite loss of whatever lies in memory there."""
    h, rows = (torch.randn(n, 64, device="cuda", dtype=torch.bfloat16) for n in (20, 1000))
    targets = torch.full((20,), target, device="cuda")
    assert mean_loss(h.requires_grad_(), rows, targets, Logits()).isnan()


@pytest.mark.parametrize("compile", ["off", "on"])
def test_an_update_is_queued_without_waiting(
    compile: str, make_config: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Trainer._queue

    def strict(self: Trainer, step: int) -> Queued:
        if step < 3:  # the first allocate, compile, and record
            return queue(self, step)
        torch.cuda.set_sync_debug_mode("error")
        try:
            return queue(self, step)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Trainer, "_queue", strict)
    experiment.train(make_config("ngpt", device={"kind": "cuda", "compile": compile}), tmp_path / "run")


@pytest.mark.parametrize(("method", "micro_batches"), [("ngpt", 1), ("ngpt", 2), ("ngpt_muon", 3)])
def test_replayed_as_one_graph(method: str, micro_batches: int) -> None:
    """Update after update, with micro-batches and between others of another shape, as it is kernel by kernel.

    The same kernels at work: only the embedding's gradient is summed in no fixed order. So each update starts from equal weights.
    """
    one, other = (build_model(method, DIMS, seed=0).cuda() for _ in range(2))
    one.compute_dtype = other.compute_dtype = torch.bfloat16
    replayed = Replayed(torch.compile(one.loss), list(one.parameters()))
    plain = Gradients(torch.compile(other.loss))
    optimizer = make_optimizer(one, OptimConfig(lr=2**-8, weight_decay=0.1))
    for turn in range(6):
        batches = [batch(3 if turn == 4 and part == 0 else 2) for part in range(micro_batches)]
        other.load_state_dict(one.state_dict())
        other.zero_grad()
        share = 1 / micro_batches
        assert [float(replayed(*b, share)) for b in batches] == [float(plain(*b, share)) for b in batches]
        for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
            assert mine.grad is not None and theirs.grad is not None
            assert distance(mine.grad, theirs.grad) < 1e-6
        torch.nn.utils.clip_grad_norm_(one.parameters(), 0.1)
        optimizer.step()
        one.after_step()
        optimizer.zero_grad(set_to_none=True)
    assert replayed._sets and (replayed._adds or micro_batches == 1)


def batch(count: int) -> tuple[Tensor, Tensor]:
    tokens = torch.randint(DIMS.vocab_size, (count, 33)).cuda()
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


@pytest.mark.parametrize("compiled", [False, True])
def test_the_gradient_of_a_weight_is_not_rounded(compiled: bool) -> None:
    """2^-9 would be the error of a rounding to bfloat16; 600 float32 additions of products that are exact leave far less."""
    x_NI = torch.randn(600, 64, device="cuda").bfloat16().requires_grad_()
    weight_OI = torch.randn(32, 64, device="cuda", requires_grad=True)
    call = torch.compile(linear, fullgraph=True) if compiled else linear
    y_NO = call(x_NI, weight_OI)
    grad_NO = torch.randn_like(y_NO)
    y_NO.backward(grad_NO)
    assert weight_OI.grad is not None
    exact_OI = grad_NO.double().T @ x_NI.detach().double()
    assert (weight_OI.grad - exact_OI).abs().max() < 2.0**-18 * exact_OI.abs().max()


WAITING = """
import torch
from ngptlab.train.gradients import Replayed

weight = torch.ones(3, device="cuda", requires_grad=True)
replayed = Replayed(lambda inputs, targets: (inputs * weight).sum() * float(targets.sum()), [weight])
for _ in range(5):
    weight.grad = None
    replayed(torch.ones(3, device="cuda"), torch.ones(3, device="cuda"))
"""


def test_a_loss_that_waits_cannot_be_recorded() -> None:
    """In a process of its own: the failure leaves torch's random numbers unusable on the device."""
    done = subprocess.run([sys.executable, "-c", WAITING], capture_output=True, text=True)
    last = done.stderr.splitlines()[-1]
    assert done.returncode and "capturing" in last and "give --device.graphs off" in last


@pytest.mark.parametrize("dtype", ROUNDINGS)
@pytest.mark.parametrize("shape", [(3, 37, 2, 8), (2, 100, 3, 80), (1, 1, 1, 2), (16, 1024, 12, 64)])
def test_queries_keys(shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    """Tiles that are cut, programs with several tiles, and gradients as attention hands them over: heads first."""
    generator = torch.Generator().manual_seed(0)
    B, T, H, K = shape
    q, k, dq, dk = (torch.randn(B, H, T, K, generator=generator).cuda().to(dtype) for _ in range(4))
    s = 1 + torch.randn(H, K, generator=generator).cuda()
    rope = rope_tables(T, H, K, like=s)
    inputs = [x.requires_grad_() for x in (q.transpose(1, 2).contiguous(), k.transpose(1, 2).contiguous(), s)]
    exact = [x.detach().double().requires_grad_() for x in inputs]
    outgoing = [x.transpose(1, 2) for x in (dq, dk)]
    found = scaled_units(inputs[0], inputs[1], rope, inputs[2])
    with plain_formulas():
        wanted = scaled_units(exact[0], exact[1], (rope[0].double(), rope[1].double()), exact[2])
    torch.autograd.backward(found, outgoing)
    torch.autograd.backward(wanted, [x.double() for x in outgoing])
    for one, other in zip(found, wanted, strict=True):
        assert distance(one.detach(), other.detach().cpu()) < 8 * ROUNDINGS[dtype]
    for one, other in zip(inputs, exact, strict=True):
        assert one.grad is not None and other.grad is not None
        assert distance(one.grad, other.grad.cpu()) < 16 * ROUNDINGS[dtype]


@pytest.mark.parametrize(("rows", "width"), [(1, 1), (792, 768), (130, 100)])
def test_column_sums(rows: int, width: int) -> None:
    from ngptlab.nn.fast.kernels.launch import column_sums

    x_ND = torch.randn(rows, width, device="cuda")
    torch.testing.assert_close(column_sums(x_ND).double(), x_ND.double().sum(0), rtol=0, atol=1e-4)
