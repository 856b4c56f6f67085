"""Triton kernels without a GPU: interpreted on the CPU, each against its plain formula.

What compiled code computes, and how fast, only a GPU shows: tests marked gpu. Triton interprets where TRITON_INTERPRET=1 was set
before its first import, as `make test-extras` does.
"""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor, library

from distinct import MODELS
from ngptlab import Dims, build_model
from ngptlab.conformance.models import noisy
from ngptlab.nn.fast import call as call_module
from ngptlab.nn.fast import queries_keys as queries_keys_module
from ngptlab.nn.fast import sphere as sphere_module
from ngptlab.nn.fast.kernels import cross_entropy, launch, queries_keys, sphere
from ngptlab.nn.forms import FORMS
from ngptlab.nn.functions import scaled_units, sphere_step, unit_norm
from ngptlab.nn.precision import NORM_FLOOR
from ngptlab.nn.rope import rope_tables
from ngptlab.nn.situations import Situation, plain_formulas

pytestmark = [
    pytest.mark.extra,
    pytest.mark.skipif(launch.triton is None, reason="kernels are written in Triton"),
    pytest.mark.skipif(
        os.environ.get("TRITON_INTERPRET") != "1",
        reason="needs TRITON_INTERPRET=1, which `make test-extras` sets",
    ),
    # Triton 3.6 interprets with what numpy has given up since.
    pytest.mark.filterwarnings("ignore:Conversion of an array:DeprecationWarning"),
]
FLOOR = NORM_FLOOR**2
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2.0**-7}
"""Of the largest value: sums of a hundred products in another order, or two roundings."""
no_number = pytest.mark.filterwarnings("ignore:invalid value encountered in subtract")
"""Of -inf - -inf, which is thrown away after, a GPU says nothing."""
every_method = pytest.mark.parametrize("method", MODELS)
both_dtypes = pytest.mark.parametrize("dtype", TOLERANCE)


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def assert_close(found: Tensor, exact: Tensor | None, dtype: torch.dtype) -> None:
    assert exact is not None and found.shape == exact.shape
    assert (found - exact).abs().max() <= TOLERANCE[dtype] * exact.abs().max()


def use_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that CUDA has in the table, here too."""
    for name in ("sphere_step", "scaled_units"):
        for here in (Situation.CPU_EAGER, Situation.CPU_COMPILED):
            monkeypatch.setitem(FORMS[name], here, FORMS[name][Situation.CUDA])
    monkeypatch.setattr(call_module, "HAS_TRITON", True)


def exact(*tensors: Tensor) -> list[Tensor]:
    return [x.double().requires_grad_() for x in tensors]


@both_dtypes
@pytest.mark.parametrize(("rows", "width"), [(1, 1), (17, 64), (150, 96), (20, 1000), (19, 1500)])
def test_sphere_step(rows: int, width: int, dtype: torch.dtype) -> None:
    h_ND = unit_norm(noise(rows, width)).to(dtype)
    branch_ND, dy_ND = noise(rows, width, seed=1, dtype=dtype), noise(rows, width, seed=2, dtype=dtype)
    rate_D = noise(width, seed=3).abs() / 3
    inputs = exact(h_ND, branch_ND, rate_D)
    with plain_formulas():
        y_ND = sphere_step(*inputs)
    y_ND.backward(dy_ND.double())
    assert_close(sphere.sphere_step(h_ND, branch_ND, rate_D, FLOOR), y_ND, dtype)
    gradients = sphere.sphere_step_backward(dy_ND, h_ND, branch_ND, rate_D, FLOOR)
    if width == 1:
        # On a line nothing turns: gradients are zero but for the floor, and rounding is all there is.
        assert max(float(gradient.abs().max()) for gradient in gradients) < 1e-3
        return
    for found, given in zip(gradients, inputs, strict=True):
        assert_close(found, given.grad, dtype)


@both_dtypes
@pytest.mark.parametrize(
    "shape", [(2, 37, 3, 8), (1, 5, 2, 6), (3, 40, 1, 64), (2, 1, 2, 2), (1, 300, 2, 128)]
)
def test_queries_keys(shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    q, k, dy_q, dy_k = (noise(*shape, seed=seed, dtype=dtype) for seed in range(4))
    s_HK = 1 + noise(*shape[2:], seed=4)
    _, T, _, K = shape
    rope = tuple(table_THK[:, :1].contiguous() for table_THK in rope_tables(T, 1, K, like=s_HK))
    inputs = exact(q, k, s_HK)
    with plain_formulas():
        y_q, y_k = scaled_units(inputs[0], inputs[1], (rope[0].double(), rope[1].double()), inputs[2])
    torch.autograd.backward([y_q, y_k], [dy_q.double(), dy_k.double()])
    for found, formula in zip(
        queries_keys.queries_keys(q, k, *rope, s_HK, floor=FLOOR), (y_q, y_k), strict=True
    ):
        assert_close(found, formula, dtype)
    gradients = queries_keys.queries_keys_backward(dy_q, dy_k, q, k, *rope, s_HK, floor=FLOOR)
    for found, given in zip(gradients, inputs, strict=True):
        assert_close(found, given.grad, dtype)


def test_vectors_of_zeros_stay() -> None:
    zero = torch.zeros(1, 4, 1, 8)
    rope = rope_tables(4, 1, 8, like=zero)
    for found in queries_keys.queries_keys(zero, zero, *rope, torch.ones(1, 8), floor=FLOOR):
        assert torch.equal(found, zero)
    step = sphere.sphere_step(zero[0, :, 0], zero[0, :, 0], torch.ones(8), FLOOR)
    assert torch.equal(step, zero[0, :, 0])


@no_number
@both_dtypes
@pytest.mark.parametrize("vocab", [1, 300, 9000])
def test_cross_entropy(vocab: int, dtype: torch.dtype) -> None:
    """9000 logits are three blocks."""
    rows = 5
    z_CV = (4 * noise(rows, vocab)).to(dtype)
    targets_C = torch.randint(vocab, (rows,), generator=torch.Generator().manual_seed(1))
    (wide_CV,) = exact(z_CV)
    losses_C = torch.nn.functional.cross_entropy(wide_CV, targets_C, reduction="none")
    losses_C.sum().backward()
    padded_CV = torch.full((rows, vocab + 8), 99.0, dtype=dtype)
    padded_CV[:, :vocab] = z_CV
    found_C = cross_entropy.cross_entropy_in_place(padded_CV[:, :vocab], targets_C)
    torch.testing.assert_close(found_C.double(), losses_C.detach(), rtol=1e-5, atol=1e-5)
    gradient_CV = padded_CV[:, :vocab]
    assert wide_CV.grad is not None
    assert (gradient_CV - wide_CV.grad).abs().max() <= TOLERANCE[dtype]
    assert (padded_CV[:, vocab:] == 99.0).all(), "what lies beside the logits is left alone"


@no_number
@pytest.mark.parametrize("target", [-100, 300])
def test_a_target_that_is_none(target: int) -> None:
    targets_C = torch.tensor([1, target])
    losses_C = cross_entropy.cross_entropy_in_place(noise(2, 300), targets_C)
    assert losses_C.isnan().tolist() == [False, True]


@pytest.mark.parametrize(("rows", "width"), [(1, 1), (300, 40), (130, 16)])
def test_column_sums(rows: int, width: int) -> None:
    x_ND = noise(rows, width)
    torch.testing.assert_close(launch.column_sums(x_ND), x_ND.sum(0), rtol=0, atol=1e-4)


@every_method
def test_a_model(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss and gradients through all kernels that a method has, where nothing but the choice of path is patched."""
    dims = Dims(vocab_size=17, num_layers=2, num_heads=2, d_model=16)
    plain, other = (noisy(build_model(method, dims, seed=0), 1, scales=0.5, weights=0.3) for _ in range(2))
    tokens = torch.randint(17, (3, 9), generator=torch.Generator().manual_seed(0))
    with plain_formulas():
        exact_loss = plain.loss(tokens[:, :-1], tokens[:, 1:])
    exact_loss.backward()
    use_kernels(monkeypatch)
    loss = other.loss(tokens[:, :-1], tokens[:, 1:])
    loss.backward()
    assert_close(loss.detach(), exact_loss.detach(), torch.float32)
    gradients = [weight.grad for weight in plain.parameters() if weight.grad is not None]
    whole = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    for mine, theirs in zip(other.parameters(), gradients, strict=True):
        assert mine.grad is not None
        # The gradient of one number is a sum over all positions whose terms may cancel; their rounding does not.
        cancelled = 2.0**-22 * whole if theirs.numel() == 1 else 0.0
        assert (mine.grad - theirs).norm() < 2e-5 * theirs.norm() + cancelled


@pytest.mark.filterwarnings(
    "ignore:.*should not be instantiated:DeprecationWarning"
)  # the compiler's own doing
def test_a_compiled_model_is_one_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over batches and lengths that change; a break would be an error."""
    use_kernels(monkeypatch)
    model = build_model("ngpt", Dims(vocab_size=17, num_layers=1, num_heads=2, d_model=16), seed=0)
    whole = torch.compile(model.loss, backend="aot_eager", fullgraph=True)
    for count, length in ((2, 8), (3, 8), (3, 11)):
        tokens = torch.randint(17, (count, length + 1))
        eager, traced = (loss(tokens[:, :-1], tokens[:, 1:]) for loss in (model.loss, whole))
        assert_close(traced.detach(), eager.detach(), torch.float32)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_scales_of_another_dtype(dtype: torch.dtype) -> None:
    """Where somebody has changed the dtype of all parameters; sums over rows are of float32 all the same."""
    x, s = noise(1, 40, 2, 8), noise(2, 8)
    rope = rope_tables(40, 1, 8, like=x)
    for call, given in (
        (lambda s: queries_keys.queries_keys_backward(x, x, x, x, *rope, s, floor=FLOOR)[2], s),
        (
            lambda s: sphere.sphere_step_backward(
                x.flatten(0, 2), x.flatten(0, 2), x.flatten(0, 2), s, FLOOR
            )[2],
            s[0],
        ),
    ):
        found, wanted = call(given.to(dtype)), call(given.to(dtype).float())
        assert found.dtype == dtype and torch.equal(found, wanted.to(dtype))


def test_operators_are_what_torch_expects() -> None:
    """Their shapes without values, which the compiler goes by, and their gradients."""
    h, s = noise(2, 5, 2, 8), noise(2, 8)
    cos, sin = rope_tables(5, 1, 8, like=h)
    q, k, s_qk = (x.clone().requires_grad_() for x in (h, h, s))
    library.opcheck(queries_keys_module._in_a_kernel, (q, k, cos, sin, s_qk))
    x, branch, rate = (x.clone().requires_grad_() for x in (h, h, s[0]))
    library.opcheck(sphere_module._in_a_kernel, (x, branch, rate))
