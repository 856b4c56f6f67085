"""Every method with weights of any dtype and under autocast: what float32 gives, up to the dtype's own rounding."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from torch import Tensor

from distinct import MODELS
from ngptlab import Decoder, Dims, build_model, methods
from ngptlab.config import OptimConfig
from ngptlab.nn.cache import Cache
from ngptlab.nn.folded import folded
from ngptlab.nn.parts import UnitWeights
from ngptlab.nn.roles import D_MODEL_AXIS, Role, roles
from ngptlab.nn.structure import NextToken
from ngptlab.optim.groups import make_optimizer

DIMS = Dims(vocab_size=37, num_layers=2, num_heads=2, d_model=32, d_ff=42)
TOKENS = (torch.arange(2 * 25) * 7 % 37).view(2, 25)
INPUTS, TARGETS = TOKENS[:, :-1], TOKENS[:, 1:]

# bfloat16 keeps 8 bits, so a rounding is off by 2^-9 in the root of the mean square. Some 8 of them on each of 4 branches,
# and one of every weight, add up as a random walk to about 6 * 2^-9 = 1%, and a rate near 1, as perturbed ones are, doubles
# that where a hidden state and its target cancel. 4% is beyond that, and below any wrong computation. float16 keeps 3 bits
# more. In float64 it is float32's own rounding, and the epsilon of RMS norm, which is the dtype's.
LOGITS = {"bfloat16": 0.04, "float16": 0.005, "float64": 5e-5}
# Gradients pass every rounding twice, once in each direction.
GRADIENTS = {dtype: 2 * tolerance for dtype, tolerance in LOGITS.items()}

CASES = {
    "bfloat16": ("bfloat16", False),
    "float16": ("float16", False),
    "float64": ("float64", False),
    "autocast to bfloat16": ("bfloat16", True),
    "autocast to float16": ("float16", True),
}
every_method = pytest.mark.parametrize("method", methods.names())
every_model = pytest.mark.parametrize("method", MODELS)
every_case = pytest.mark.parametrize("case", CASES)
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
every_device = pytest.mark.parametrize("device", DEVICES)


def perturbed(method: str, device: str = "cpu") -> Decoder:
    """Every scale off by a third of its value: at equal values the order of operations would not show."""
    model, generator = build_model(method, DIMS, seed=1), torch.Generator().manual_seed(5)
    kinds = roles(model)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            weight.mul_(torch.exp(0.3 * noise)) if kinds[name] is Role.SCALE else weight.add_(0.1 * noise)
    model.after_step()
    return model.to(device)


def made(method: str, case: str, device: str = "cpu") -> tuple[Decoder, AbstractContextManager[None]]:
    """The model in the dtype of the case, and what to run it in."""
    dtype, is_autocast = getattr(torch, CASES[case][0]), CASES[case][1]
    model = perturbed(method, device)
    if is_autocast:
        return model, torch.autocast(device, dtype=dtype)
    return model.to(dtype), nullcontext()


def off(found: Tensor, exact: Tensor) -> float:
    assert found.isfinite().all()
    return ((found.double() - exact.double()).norm() / exact.double().norm()).item()


def gradient(model: Decoder) -> Tensor:
    return torch.cat(
        [weight.grad.double().flatten() for weight in model.parameters() if weight.grad is not None]
    )


@every_device
@every_case
@every_method
def test_logits_loss_and_gradients_are_those_of_float32(method: str, case: str, device: str) -> None:
    inputs, targets = INPUTS.to(device), TARGETS.to(device)
    exact, (model, within) = perturbed(method, device), made(method, case, device)
    logits, loss = exact(inputs), exact.loss(inputs, targets)
    loss.backward()
    dtype = CASES[case][0]
    with within:
        found = model(inputs)
        through_logits = torch.nn.functional.cross_entropy(found.flatten(0, 1), targets.flatten())
        of_its_own = model.loss(inputs, targets)
        losses = model.token_losses(inputs, targets)
    assert found.dtype == (torch.float64 if dtype == "float64" else torch.float32)
    assert 0 < off(found, logits) < LOGITS[dtype]
    assert off(losses.mean(), exact.token_losses(inputs, targets).mean()) < LOGITS[dtype]
    trains_on_the_next_token = methods.load(method).loss == NextToken()
    for own in (through_logits, of_its_own) if trains_on_the_next_token else (of_its_own,):
        model.zero_grad()
        own.backward()
        assert off(own, loss) < LOGITS[dtype]
        assert all(w.grad is not None and w.grad.dtype == w.dtype for w in model.parameters())
        assert off(gradient(model), gradient(exact)) < GRADIENTS[dtype]


@every_case
@every_model
@torch.no_grad()
def test_token_by_token_and_folded_as_at_once(method: str, case: str) -> None:
    exact, (model, within) = perturbed(method)(INPUTS), made(method, case)
    with within:
        cache = Cache(DIMS)
        read = [model(INPUTS[:, :7], cache), *(model(INPUTS[:, i : i + 1], cache) for i in range(7, 24))]
        assert off(torch.cat(read, 1), exact) < LOGITS[CASES[case][0]]
        assert off(folded(model)(INPUTS), exact) < LOGITS[CASES[case][0]]


SLOWER = {"tokenformer": 2**-9}
"""Learning rates where 2^-7 makes the loss jump in float32, too, so that any rounding grows."""


@pytest.mark.parametrize("case", ["bfloat16", "autocast to bfloat16"])
@every_method
def test_training_goes_as_in_float32(method: str, case: str) -> None:
    def losses(model: Decoder, within: AbstractContextManager[None]) -> list[float]:
        lr = SLOWER.get(method, 2**-7)
        optimizer = make_optimizer(model, OptimConfig(lr=lr, weight_decay=model.parts.weight_decay))
        found = []
        for _ in range(6):
            with within:
                loss = model.loss(INPUTS, TARGETS)
            loss.backward()
            optimizer.step()
            model.after_step()
            optimizer.zero_grad()
            found.append(loss.item())
        return found

    # bfloat16 rounds updates too; a wrong gradient would leave the loss where it was, 0.2 nats or more away.
    exact = losses(perturbed(method), nullcontext())
    assert exact[-1] < exact[0] - 0.2
    assert losses(*made(method, case)) == pytest.approx(exact, abs=0.05)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "method", [name for name in methods.names() if methods.load(name).after_step == UnitWeights()]
)
@torch.no_grad()
def test_the_constraint_leaves_rows_of_unit_norm(method: str, dtype: torch.dtype) -> None:
    model = perturbed(method).to(dtype)
    for weight in model.parameters():
        weight.mul_(1.3)
    model.after_step()
    kinds = roles(model)
    for name, weight in model.named_parameters():
        axis = D_MODEL_AXIS.get(kinds[name])
        if axis is not None:
            # A unit of rounding for each of 32 entries, of random sign: 2^-9 / sqrt(32) of bfloat16's norm, four times that
            # at most. A norm that is rounded itself puts rows off by up to 2^-9.
            limit = 4 * torch.finfo(dtype).eps / 2 / 32**0.5
            assert (weight.float().norm(dim=axis) - 1).abs().max() < limit, name


@every_method
@torch.no_grad()
def test_narrow_weights_compute_in_a_wider_dtype_too(method: str) -> None:
    model = perturbed(method).bfloat16()
    wide = Decoder(DIMS, methods.load(method))
    wide.load_state_dict({name: weight.float() for name, weight in model.state_dict().items()})
    model.compute_dtype = torch.float32
    # Equal weights and dtypes of computation: what differs is the order of sums at most.
    assert off(model(INPUTS), wide(INPUTS)) < 1e-6


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # inductor's own
@pytest.mark.parametrize("case", ["bfloat16", "float16", "autocast to bfloat16"])
@every_model
def test_compiled_as_eagerly(method: str, case: str) -> None:
    exact, (model, within) = perturbed(method), made(method, case)
    loss = exact.loss(INPUTS, TARGETS)
    loss.backward()
    torch.compiler.reset()
    with within:
        found = torch.compile(model.loss, dynamic=False)(INPUTS, TARGETS)
    found.backward()
    torch.compiler.reset()
    assert off(found, loss) < LOGITS[CASES[case][0]]
    assert off(gradient(model), gradient(exact)) < GRADIENTS[CASES[case][0]]


@pytest.mark.slow
@pytest.mark.parametrize("case", ["bfloat16", "autocast to bfloat16"])
@every_model
def test_traced_as_eagerly(method: str, case: str) -> None:
    """As compiled, but for the code that a compiler would make, which takes it seconds."""
    exact, (model, within) = perturbed(method), made(method, case)
    logits = exact(INPUTS)
    torch.compiler.reset()
    with within:
        found = torch.compile(model, dynamic=False, backend="aot_eager")(INPUTS)
    assert off(found, logits) < LOGITS[CASES[case][0]]
    found.square().sum().backward()
    logits.square().sum().backward()
    torch.compiler.reset()
    assert off(gradient(model), gradient(exact)) < GRADIENTS[CASES[case][0]]
