"""Every function with derivatives by hand gives what its plain formula gives, derivatives too.

In float64 to 1e-9; in float32 to a few roundings of the largest value that a sum goes through.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature

import pytest
import torch
from torch import Tensor, library

from ngptlab import Dims, build_model, methods
from ngptlab.nn import functions
from ngptlab.nn import loss as loss_module
from ngptlab.nn.fast import attention
from ngptlab.nn.fast import mean_loss as mean_loss_module
from ngptlab.nn.fast.gain import column_dot
from ngptlab.nn.forms import FORMS
from ngptlab.nn.functions import (
    causal_attention,
    gain,
    linear,
    mean_loss,
    rms_norm,
    rotate,
    sphere_step,
    swiglu,
    unit_norm,
)
from ngptlab.nn.loss import token_losses
from ngptlab.nn.matrices import pad
from ngptlab.nn.parts import Logits
from ngptlab.nn.rope import rope_tables
from ngptlab.nn.situations import Situation, plain_formulas, situation, stacked_models

Function = Callable[..., Tensor]
B, T, H, K = 2, 19, 3, 8

# Name, function, shapes of its arguments.
CASES: dict[str, tuple[Function, list[tuple[int, ...]]]] = {
    "unit_norm": (unit_norm, [(B, T, H, K)]),
    "rms_norm": (rms_norm, [(B, T, H * K)]),
    "rms_norm where its epsilon counts": (
        lambda x: rms_norm(x * torch.finfo(x.dtype).eps ** 0.5),
        [(B, T, H * K)],
    ),
    "rotate": (lambda x: rotate(x, rope_tables(T, H, K, like=x)), [(B, T, H, K)]),
    "gain a head": (gain, [(B, T, H, K), (H, K)]),
    "gain for all heads": (gain, [(B, T, H, K), (K,)]),
    "sphere_step": (sphere_step, [(B, T, H * K), (B, T, H * K), (H * K,)]),
    "swiglu": (swiglu, [(B, T, 21), (B, T, 21)]),
    "linear": (linear, [(B, T, 24), (21, 24)]),
    "attention, one block": (lambda q, k, v: causal_attention(q, k, v, 0.3), [(B, T, H, K)] * 3),
    "attention, last block short": (lambda q, k, v: causal_attention(q, k, v, 0.3), [(1, 150, 2, 4)] * 3),
    "attention, larger blocks": (lambda q, k, v: causal_attention(q, k, v, 0.3), [(1, 300, 2, 4)] * 3),
}
every_case = pytest.mark.parametrize("case", CASES)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def results(function: Function, inputs: list[Tensor], grad: Tensor | None = None) -> list[Tensor]:
    """The value and the gradient of every input, for an incoming gradient that is no view of anything."""
    inputs = [x.detach().requires_grad_() for x in inputs]
    value = function(*inputs)
    if grad is None:
        grad = noise(*value.shape, seed=9).to(value.dtype)
    return [value.detach(), *torch.autograd.grad(value, inputs, grad)]


def arguments(case: str, dtype: torch.dtype = torch.float64) -> tuple[Function, list[Tensor]]:
    function, shapes = CASES[case]
    return function, [noise(*shape, seed=i).to(dtype) for i, shape in enumerate(shapes)]


@every_case
def test_float64_agrees_with_the_plain_formula(case: str) -> None:
    function, inputs = arguments(case)
    fast = results(function, inputs)
    with plain_formulas():
        plain = results(function, inputs)
    for ours, theirs in zip(fast, plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@every_case
def test_float32_is_as_near_to_float64_as_the_plain_formula(case: str) -> None:
    function, inputs = arguments(case)
    with plain_formulas():
        exact = results(function, inputs)
    function, inputs = arguments(case, torch.float32)
    for ours, truth in zip(results(function, inputs), exact, strict=True):
        assert ours.dtype == torch.float32
        # Sums here have at most 300 terms: 64 units in the last place of the largest value are ample, and a wrong term
        # is off by 1e-3 of it at least.
        torch.testing.assert_close(ours.double(), truth, rtol=0, atol=64 * 2**-24 * largest(truth))


@every_case
def test_without_a_gradient_the_value_is_the_same(case: str) -> None:
    function, inputs = arguments(case, torch.float32)
    with torch.no_grad():
        value = function(*inputs)
    with torch.inference_mode():
        read_only = function(*inputs)
    # A product this small goes past oneDNN where nothing will be derived from it, and sums in another order.
    tolerance = {"rtol": 0.0, "atol": 64 * 2**-24 * largest(value) if case == "linear" else 0.0}
    for found in (value, read_only):
        assert not found.requires_grad
        torch.testing.assert_close(found, results(function, inputs)[0], **tolerance)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@every_case
def test_any_memory_layout(case: str, dtype: torch.dtype) -> None:
    """Inputs and gradients may come as transposed views or a broadcast scalar; what reads raw memory must not mind."""
    function, inputs = arguments(case, dtype)
    shape = function(*inputs).shape
    for grad in (torch.ones((), dtype=dtype).expand(shape), turned(noise(*shape, seed=3).to(dtype))):
        expected = results(function, inputs, grad.contiguous())
        for found in (results(function, inputs, grad), results(function, [turned(x) for x in inputs], grad)):
            for ours, theirs in zip(found, expected, strict=True):
                torch.testing.assert_close(
                    ours, theirs, rtol=0, atol=64 * torch.finfo(dtype).eps * largest(theirs)
                )


def turned(x: Tensor) -> Tensor:
    """The same values with the last axis outermost in memory."""
    axes = tuple(reversed(range(x.dim())))
    return x.permute(axes).contiguous().permute(axes)


def largest(x: Tensor) -> float:
    return float(x.abs().max())


@pytest.mark.parametrize("method", methods.names())
def test_a_model_s_loss_and_gradients(method: str) -> None:
    """682 channels at width 256 are padded; 13 are here."""
    model = build_model(method, Dims(vocab_size=31, num_layers=2, num_heads=2, d_model=12, d_ff=13), seed=0)
    model = model.double()
    for index, parameter in enumerate(model.parameters()):
        # Constant scales would hide a swapped pair.
        parameter.data.add_(0.05 * noise(*parameter.shape, seed=index))
    tokens = torch.arange(2 * 70).view(2, 70) ** 2 % 31
    collected = []
    for plain in (False, True):
        model.zero_grad()
        if plain:
            with plain_formulas():
                loss = model.loss(tokens[:, :-1], tokens[:, 1:])
        else:
            loss = model.loss(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        collected.append([loss.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    assert len(collected[0]) == len(list(model.parameters())) + 1
    for ours, theirs in zip(*collected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_by_hand_only_where_it_is_right() -> None:
    x = noise(3)
    assert situation(x) is situation(x.float()) is Situation.CPU_EAGER
    assert situation(x.bfloat16()) is Situation.ELSEWHERE
    assert situation(x.to("meta")) is Situation.SIZES
    with torch.autocast("cpu", torch.bfloat16):
        assert situation(x) is Situation.ELSEWHERE
    with plain_formulas():
        assert situation(x) is situation(x.bfloat16()) is Situation.PLAIN
    with stacked_models():
        assert situation(x) is Situation.CPU_STACKED and situation(x.bfloat16()) is Situation.PLAIN
    assert situation(x) is Situation.CPU_EAGER


@pytest.mark.parametrize("name", FORMS)
def test_forms_take_what_the_plain_function_takes(name: str) -> None:
    plain = list(signature(getattr(functions, name).__wrapped__).parameters)
    assert all(list(signature(form).parameters) == plain for form in FORMS[name].values())


@pytest.mark.parametrize("heads", [1, 3])
def test_attention_is_an_operator_that_the_compiler_may_trust(heads: int) -> None:
    """Schema, shapes without data, derivative and tracing agree; with one head, transposing copies nothing by itself."""
    q, k, v = (noise(2, 70, heads, 4, seed=i).requires_grad_() for i in range(3))
    library.opcheck(attention._in_blocks, (q, k, v, 0.3))
    o, *saved = attention._in_blocks(q, k, v, 0.3)
    library.opcheck(attention._in_blocks_backward, (o.detach(), *(x.detach() for x in saved), 0.3))


def test_column_dot() -> None:
    x, y = noise(4, 5, 6, seed=1), noise(4, 5, 6, seed=2)
    torch.testing.assert_close(column_dot(x, y), (x * y).sum((0, 1)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("axis", "shape"), [(0, (16, 5)), (1, (13, 16))])
def test_pad_adds_zeros_alone(axis: int, shape: tuple[int, int]) -> None:
    weight = noise(13, 5)
    padded = pad(weight, axis)
    assert padded.shape == shape
    assert torch.equal(padded[:13, :5], weight) and padded.abs().sum() == weight.abs().sum()
    assert pad(padded, axis) is padded


# ---- the head's loss, a few rows of logits at a time -----------------------------------------------------------------


def head(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    targets = torch.randint(97, (150,), generator=torch.Generator().manual_seed(seed))
    return noise(150, 6, seed=seed), noise(97, 6, seed=seed + 1), targets


@pytest.mark.parametrize("chunk_values", [1, 64 * 97, 128 * 97, 2**24])
@pytest.mark.parametrize("factor", [1.0, 40.0])
def test_mean_loss_in_chunks(monkeypatch: pytest.MonkeyPatch, chunk_values: int, factor: float) -> None:
    """Also with logits so far apart that a target's probability is no float32 number, though its loss is."""
    h, rows, targets = head()
    h = h * factor
    compute = lambda h, rows: mean_loss(h, rows, targets, Logits())  # noqa: E731
    with plain_formulas():
        plain = results(compute, [h, rows])
        each = token_losses(h, rows, targets, Logits())
    monkeypatch.setitem(loss_module.CHUNK_VALUES, "cpu", chunk_values)
    for ours, theirs in zip(results(compute, [h, rows]), plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(token_losses(h, rows, targets, Logits()), each, rtol=1e-9, atol=0)
    narrow = results(compute, [h.float(), rows.float()])
    assert torch.isfinite(narrow[0])
    torch.testing.assert_close(narrow[0].double(), plain[0], rtol=1e-5, atol=0)
    if factor == 40.0:
        assert each.max() > 104, "beyond -log of the smallest float32, or this shows nothing"


def test_bfloat16_sums_over_chunks_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bfloat16 a sum stops growing at 256 times its terms; over 256 chunks that shows."""
    generator = torch.Generator().manual_seed(0)
    h = (1 + 0.1 * torch.randn((4096, 6), generator=generator)).bfloat16()
    rows = torch.randn((97, 6), generator=generator).bfloat16()
    targets = torch.zeros(4096, dtype=torch.int64)
    exact = results(lambda h, rows: mean_loss(h, rows, targets, Logits()), [h.double(), rows.double()])
    monkeypatch.setitem(loss_module.CHUNK_VALUES, "cpu", 1)  # 16 rows at a time
    narrow = results(lambda h, rows: mean_loss(h, rows, targets, Logits()), [h, rows])
    assert narrow[1].dtype == narrow[2].dtype == torch.bfloat16
    # Logits, probabilities, each chunk's product and the result are rounded once, 2^-9 each, of the largest value.
    torch.testing.assert_close(narrow[2].double(), exact[2], rtol=0, atol=4 * 2**-9 * largest(exact[2]))


def test_a_map_that_is_no_scaling_of_rows() -> None:
    class SoftCap(Logits):
        def forward(self, z: Tensor) -> Tensor:
            return 5 * torch.tanh(z / 5)

    h, rows, targets = head()
    assert not SoftCap().scales_rows and Logits().scales_rows
    expected = torch.nn.functional.cross_entropy(5 * torch.tanh(h @ rows.T / 5), targets, reduction="none")
    torch.testing.assert_close(token_losses(h, rows, targets, SoftCap()), expected)
    value, *grads = results(lambda h, rows: mean_loss(h, rows, targets, SoftCap()), [h, rows])
    torch.testing.assert_close(value, expected.mean())
    assert all(g.abs().sum() > 0 for g in grads)


def test_a_loss_without_gradients_has_none() -> None:
    h, rows, targets = head()
    with torch.no_grad():
        loss = mean_loss(h.requires_grad_(), rows, targets, Logits())
    assert not loss.requires_grad
    torch.testing.assert_close(loss, mean_loss(h, rows, targets, Logits()).detach(), rtol=1e-12, atol=0)


def test_compiled_mean_loss_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """One operator in the graph, whatever the number of chunks; without it the compiler keeps all logits."""
    h, rows, targets = head()
    compute = lambda h, rows: mean_loss(h, rows, targets, Logits())  # noqa: E731
    with plain_formulas():
        plain = results(compute, [h, rows])
    monkeypatch.setitem(loss_module.CHUNK_VALUES, "cpu", 64 * 97)
    compiled = torch.compile(compute, backend="aot_eager", fullgraph=True)
    for ours, theirs in zip(results(compiled, [h, rows]), plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    loss = mean_loss_module._compiled_mean_loss(h.requires_grad_(), rows, targets)[0]
    (once,) = torch.autograd.grad(loss, h, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        torch.autograd.grad(once.square().sum(), h)
    narrow = [x.detach().to(torch.bfloat16).requires_grad_() for x in (h, rows)]
    library.opcheck(mean_loss_module._compiled_mean_loss, (*narrow, targets))


# ---- stacked models on CUDA ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", [(0, 0, 0), (0, None, 2), (None, 1, 4)])
def test_attention_of_many_models_is_that_of_each(axes: tuple[int | None, ...]) -> None:
    """With models on any axis, or one tensor for all of them."""
    inputs = [
        noise(B, T, H, K, seed=seed) if axis is None else noise(3, B, T, H, K, seed=seed).movedim(0, axis)
        for seed, axis in enumerate(axes)
    ]
    inputs = [x.contiguous().requires_grad_() for x in inputs]
    many = torch.vmap(lambda *qkv: attention._fused_of_many(*qkv, 0.3), in_dims=axes)

    def each(*qkv: Tensor) -> Tensor:
        of_models = [[x] * 3 if axis is None else x.unbind(axis) for x, axis in zip(qkv, axes, strict=True)]
        return torch.stack([attention._fused(*one, 0.3) for one in zip(*of_models, strict=True)])

    for ours, theirs in zip(results(many, inputs), results(each, inputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_attention_of_many_models_is_a_sound_operator() -> None:
    library.opcheck(attention._fused_of_many, (*(noise(B, T, H, K, seed=seed) for seed in range(3)), 0.3))
