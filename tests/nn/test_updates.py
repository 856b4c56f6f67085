"""Optimizers of methods against their papers' formulas, written out in float64 with numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.fft
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ngptlab import methods
from ngptlab.config import OptimConfig
from ngptlab.methods import demo_optimizer, muonh, normuon
from ngptlab.nn import updates
from ngptlab.nn.hyperball import USUAL_STD
from ngptlab.nn.roles import Role
from ngptlab.nn.updates import NEWTON_SCHULZ, POLAR_EXPRESS, Iteration, adam_direction, orthogonalize

Matrix = NDArray[np.float64]
Literal = Callable[[Matrix, Sequence[Matrix], Sequence[float]], list[Matrix]]

DECAY = 0.3
CONFIG = OptimConfig(lr=0.1, betas=(0.8, 0.9), eps=1e-3, weight_decay=DECAY)  # an epsilon that shows
LRS = [0.1, 0.07, 0.02, 0.05, 0.03]
SHAPES = [(8, 6), (6, 8)]
FULL = {"soap": (7, 7)}
"""Where a gradient must have full rank, because any axes do for what it lacks."""


def norm(x: Matrix) -> float:
    return float(np.sqrt((x * x).sum()))


def problem(shape: tuple[int, int]) -> tuple[Matrix, list[Matrix]]:
    """A matrix, and gradients whose sizes differ between rows and from step to step."""
    draw = np.random.default_rng(3)
    scale = np.exp(draw.normal(size=(shape[0], 1)))
    return draw.normal(size=shape), [scale * draw.normal(size=shape) * (1 + i) for i in range(len(LRS))]


def stepped(
    method: str, start: Matrix, gradients: Sequence[Matrix], lrs: Sequence[float], **changed: Any
) -> list[Matrix]:
    """The matrix after each step of the method's optimizer, as it moves readers; learning rates come as a schedule's do."""
    record: Any = replace(methods.load(method).optimizer, **changed)  # type: ignore[type-var]
    weight = nn.Parameter(torch.tensor(start))
    optimizer = record.one(
        record.kind(Role.READER), [{"params": [weight], "lr": 1.0, "weight_decay": DECAY}], CONFIG
    )
    found = []
    for gradient, lr in zip(gradients, lrs, strict=True):
        optimizer.param_groups[0]["lr"] = lr
        weight.grad = torch.tensor(gradient)
        optimizer.step()
        found.append(weight.detach().numpy().copy())
    return found


def singular(matrix: Matrix, by: Iteration) -> Matrix:
    """The iteration, applied to singular values."""
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    s = s / (by.margin * np.sqrt((s * s).sum()) + by.floor)
    for a, b, c in by.steps:
        s = a * s + b * s**3 + c * s**5
    return np.asarray((u * s) @ vt)


def adam_of(gradients: Sequence[Matrix], betas: tuple[float, float], eps: float) -> Matrix:
    """Adam's direction after these gradients, as sums."""
    t = len(gradients)
    m = sum((1 - betas[0]) * betas[0] ** (t - 1 - i) * g for i, g in enumerate(gradients)) / (
        1 - betas[0] ** t
    )
    v = sum((1 - betas[1]) * betas[1] ** (t - 1 - i) * g * g for i, g in enumerate(gradients)) / (
        1 - betas[1] ** t
    )
    return np.asarray(m / (np.sqrt(v) + eps))


def muon_of(gradients: Sequence[Matrix]) -> Matrix:
    """Momentum of 0.95 after these gradients, with Nesterov's step."""
    m = np.zeros_like(gradients[0])
    for g in gradients:
        m = 0.95 * m + 0.05 * g
    return np.asarray(0.05 * gradients[-1] + 0.95 * m)


# --- the papers -------------------------------------------------------------------------------------------------------


def hyperball(direction: Callable[[Sequence[Matrix]], Matrix]) -> Literal:
    def literal(w: Matrix, gradients: Sequence[Matrix], lrs: Sequence[float]) -> list[Matrix]:
        radius, found = norm(w), []
        for t, lr in enumerate(lrs):
            u = direction(gradients[: t + 1])
            w = w - lr * radius * u / norm(u)
            w = radius * w / norm(w)
            found.append(w)
        return found

    return literal


def cautious(w: Matrix, gradients: Sequence[Matrix], lrs: Sequence[float]) -> list[Matrix]:
    found = []
    for t, lr in enumerate(lrs):
        u = adam_of(gradients[: t + 1], (0.8, 0.9), 1e-3)
        w = w.copy()
        for place in np.ndindex(w.shape):
            decays = u[place] * w[place] > 0
            w[place] -= lr * (u[place] + (DECAY * w[place] if decays else 0.0))
        found.append(w)
    return found


def normed_rows(w: Matrix, gradients: Sequence[Matrix], lrs: Sequence[float]) -> list[Matrix]:
    rows, found = np.zeros(w.shape[0]), []
    for t, lr in enumerate(lrs):
        u = singular(muon_of(gradients[: t + 1]), POLAR_EXPRESS)
        rows = 0.95 * rows + 0.05 * (u * u).mean(axis=1)
        even = u / np.sqrt(rows)[:, None]
        even = even * norm(u) / norm(even)
        w = w - lr * (0.2 * np.sqrt(max(w.shape)) * even + DECAY * w)
        found.append(w)
    return found


def corrected(w: Matrix, gradients: Sequence[Matrix], lrs: Sequence[float]) -> list[Matrix]:
    before, seen, found = np.zeros_like(w), [], []
    for g, lr in zip(gradients, lrs, strict=True):
        c = g + 0.025 * 0.95 / 0.05 * (g - before)
        seen.append(c / norm(c) if norm(c) > 1 else c)
        before = g
        w = w - lr * (adam_of(seen, (0.95, 0.99), 1e-3) + DECAY * w)
        found.append(w)
    return found


def shampoo_axes(w: Matrix, gradients: Sequence[Matrix], lrs: Sequence[float]) -> list[Matrix]:
    """Algorithm 3 with a refresh every other step; axes are sorted by their lengths before each decomposition."""
    g, b = gradients[0], 0.95
    factors = [(1 - b) * g @ g.T, (1 - b) * g.T @ g]
    axes = [np.linalg.eigh(factor)[1] for factor in factors]
    m, v, found = np.zeros_like(w), np.zeros_like(w), [w]
    for t, (g, lr) in enumerate(zip(gradients[1:], lrs[1:], strict=True), start=1):
        q_l, q_r = axes
        m = b * m + (1 - b) * g
        turned = q_l.T @ g @ q_r
        v = b * v + (1 - b) * turned**2
        n = (q_l.T @ m @ q_r / (1 - b**t)) / (np.sqrt(v / (1 - b**t)) + 1e-3)
        w = w - lr * (q_l @ n @ q_r.T + DECAY * w)
        found.append(w)
        factors = [b * factors[0] + (1 - b) * g @ g.T, b * factors[1] + (1 - b) * g.T @ g]
        if t % 2 == 0:
            for side in (0, 1):
                lengths = [a @ factors[side] @ a for a in axes[side].T]
                order = np.argsort(lengths)[::-1]
                v = v.take(order, axis=side)
                axes[side] = np.linalg.qr(factors[side] @ axes[side][:, order])[0]
    return found


def largest_cosines(w: Matrix, gradients: Sequence[Matrix], lrs: Sequence[float]) -> list[Matrix]:
    """Chunks of 4 x 3 or 3 x 4, the largest divisors up to 4; the 5 largest coefficients of each."""
    rows, cols = (4 if size % 4 == 0 else 3 for size in w.shape)
    m, found = np.zeros_like(w), []
    for g, lr in zip(gradients, lrs, strict=True):
        m, q = 0.999 * m + lr * g, np.zeros_like(w)
        for i in range(0, w.shape[0], rows):
            for j in range(0, w.shape[1], cols):
                place = slice(i, i + rows), slice(j, j + cols)
                z = scipy.fft.dctn(m[place], norm="ortho")
                z[np.abs(z) < np.sort(np.abs(z), axis=None)[-5]] = 0
                q[place] = scipy.fft.idctn(z, norm="ortho")
        m = m - q
        w = w - lr * (np.sign(q) + DECAY * w)
        found.append(w)
    return found


def signs(w: Matrix, gradients: Sequence[Matrix], lrs: Sequence[float]) -> list[Matrix]:
    m, found = np.zeros_like(w), []
    for g, lr in zip(gradients, lrs, strict=True):
        w = w - lr * (np.sign(0.9 * m + 0.1 * g) + DECAY * w)
        m = 0.99 * m + 0.01 * g
        found.append(w)
    return found


LITERAL: dict[str, tuple[Literal, dict[str, Any]]] = {
    "adamh": (hyperball(lambda gradients: adam_of(gradients, (0.8, 0.9), 1e-3)), {}),
    "muonh": (hyperball(lambda gradients: singular(muon_of(gradients), NEWTON_SCHULZ)), {}),
    "cautious_decay": (cautious, {}),
    "normuon": (normed_rows, {}),
    "mars": (corrected, {}),
    "soap": (shampoo_axes, {"every": 2}),
    "demo_optimizer": (largest_cosines, {"chunk": 4, "largest": 5}),
    "lion": (signs, {}),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("method", LITERAL)
def test_steps_are_the_papers(method: str, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (muonh, normuon):  # products in bfloat16 would hide what is looked for
        monkeypatch.setattr(module, "orthogonalize", partial(orthogonalize, dtype=torch.float64))
    literal, changed = LITERAL[method]
    start, gradients = problem(FULL.get(method, shape))
    for step, (found, wanted) in enumerate(
        zip(stepped(method, start, gradients, LRS, **changed), literal(start, gradients, LRS), strict=True)
    ):
        # Sums of some ten float64 products, divided by norms: 1e-13. The floors of NorMuon's norms are 1e-10.
        np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-9, err_msg=f"step {step}")


def test_every_value_of_the_papers_counts() -> None:
    """No setting could be another one and the test above not see it."""
    start, gradients = problem((8, 6))
    others: list[tuple[str, dict[str, Any]]] = [
        ("muonh", {"momentum": 0.94}),
        ("normuon", {"momentum": 0.94}),
        ("normuon", {"beta2": 0.94}),
        ("mars", {"gamma": 0.026}),
        ("mars", {"betas": (0.95, 0.98)}),
        ("soap", {"every": 3}),
        ("soap", {"betas": (0.94, 0.95)}),
        ("soap", {"betas": (0.95, 0.94)}),
        ("demo_optimizer", {"momentum": 0.9}),
        ("demo_optimizer", {"chunk": 3}),
        ("demo_optimizer", {"largest": 4}),
        ("lion", {"betas": (0.5, 0.99)}),
        ("lion", {"betas": (0.9, 0.5)}),
    ]
    for method, changed in others:
        usual = LITERAL[method][1]
        one, other = (stepped(method, start, gradients, LRS, **x)[-1] for x in (usual, usual | changed))
        assert np.abs(one - other).max() > 1e-6, (method, changed)


# --- what they are made of --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [NEWTON_SCHULZ, POLAR_EXPRESS], ids=["newton-schulz", "polar express"])
@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (40, 64)])
def test_orthogonalize_moves_singular_values_alone(by: Iteration, shape: tuple[int, int]) -> None:
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    exact = orthogonalize(x, by, torch.float64)
    np.testing.assert_allclose(exact.numpy(), singular(x.numpy(), by), rtol=0, atol=1e-12)
    values = torch.linalg.svdvals(exact)
    assert values.min() > 0.6 and values.max() < 1.25
    rough = orthogonalize(x, by)
    # bfloat16 is off by 2^-9. The first step is as steep as 8, the next ones as 4, and small matrices average over little.
    assert rough.dtype == x.dtype and 0 < (rough - exact).norm() / exact.norm() < 0.08
    assert orthogonalize(torch.zeros(shape), by).eq(0).all()


def test_the_iterations_values_are_the_sources() -> None:
    assert Iteration(5 * ((3.4445, -4.7750, 2.0315),)) == NEWTON_SCHULZ
    given = [
        (8.1566, -22.4833, 15.8788),
        (4.0429, -2.8089, 0.5000),
        (3.8917, -2.7725, 0.5061),
        (3.2858, -2.3681, 0.4645),
        (2.3465, -1.7098, 0.4232),
    ]
    np.testing.assert_allclose(POLAR_EXPRESS.steps, given, rtol=0, atol=1e-4)
    assert (POLAR_EXPRESS.margin, POLAR_EXPRESS.floor) == (1.02, 1e-6)


def test_the_usual_steps_are_torchs() -> None:
    weight = nn.Parameter(torch.zeros(6, 10))
    gradient = torch.randn(6, 10, generator=torch.Generator().manual_seed(2))
    weight.grad = gradient.clone()
    torch.optim.Muon([weight], lr=1.0, weight_decay=0.0, adjust_lr_fn="match_rms_adamw").step()
    ours = orthogonalize(updates.nesterov({}, gradient, 0.95), NEWTON_SCHULZ) * updates.size_of_adamw(weight)
    assert (weight.detach() + ours).norm() / ours.norm() < 0.02  # bfloat16's rounding, of other sums


def test_adams_direction_is_torchs() -> None:
    weight, state = nn.Parameter(torch.zeros(4, 3, dtype=torch.float64)), {}
    optimizer = torch.optim.Adam([weight], lr=1.0, betas=(0.8, 0.9), eps=1e-3)
    sum_of_ours = torch.zeros_like(weight)
    for gradient in map(torch.tensor, problem((4, 3))[1]):
        weight.grad = gradient.clone()
        optimizer.step()
        sum_of_ours -= adam_direction(state, gradient, (0.8, 0.9), 1e-3)
        torch.testing.assert_close(weight.detach(), sum_of_ours.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", LITERAL)
def test_a_gradients_dtype_makes_no_difference(method: str) -> None:
    start, gradients = problem((8, 6))
    record: Any = methods.load(method).optimizer
    found = []
    for dtype in (torch.bfloat16, torch.float32):
        weight = nn.Parameter(torch.tensor(start, dtype=torch.float32))
        weight.grad_dtype = dtype
        optimizer = record.one(record.kind(Role.READER), [{"params": [weight], "lr": 0.1}], CONFIG)
        for gradient in gradients:
            weight.grad = torch.tensor(gradient, dtype=torch.bfloat16).to(dtype)
            optimizer.step()
        assert all(value.dtype == torch.float32 for value in optimizer.state[weight].values())
        found.append(weight.detach())
    assert found[0].equal(found[1]) and not found[0].equal(torch.tensor(start, dtype=torch.float32))


# --- zeros ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", LITERAL)
def test_no_gradient_moves_nothing_and_a_later_one_does(method: str) -> None:
    start, gradients = problem((8, 6))
    zero = np.zeros((8, 6))
    for begin in (start, zero):
        before, after = (
            stepped(method, begin, [zero] * 3 + later, [0.1] * n)[-1]
            for later, n in (([], 3), (gradients[:2], 5))
        )
        assert np.isfinite(after).all() and not np.allclose(after, begin)
        kept = (
            1
            if method in ("adamh", "muonh", "cautious_decay")
            else (1 - 0.1 * DECAY) ** (2 if method == "soap" else 3)
        )
        np.testing.assert_allclose(before, kept * begin, rtol=1e-12)


@pytest.mark.parametrize("method", ["adamh", "muonh"])
def test_hyperballs_keep_norms_but_not_those_of_zeros(method: str) -> None:
    start, gradients = problem((8, 6))
    assert norm(stepped(method, start, gradients, LRS)[-1]) == pytest.approx(norm(start), rel=1e-12)
    first, *_, last = stepped(method, np.zeros((8, 6)), gradients, LRS)
    assert norm(first) == pytest.approx(LRS[0] * USUAL_STD * 48**0.5, rel=1e-12)
    assert norm(last) > 1.2 * norm(first)


# --- several processes ------------------------------------------------------------------------------------------------


def test_processes_share_their_largest_cosines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean over those that sent a coefficient; 'all_gather' is called for places, then for values."""
    sent = [(Tensor([[2, 0]]).long(), Tensor([[5.0, 1.0]])), (Tensor([[2, 1]]).long(), Tensor([[3.0, -4.0]]))]
    asked = iter(zip(*sent, strict=True))

    def all_gather(into: list[Tensor], own: Tensor) -> None:
        for here, theirs in zip(into, next(asked), strict=True):
            here.copy_(theirs)

    fake = SimpleNamespace(is_initialized=lambda: True, get_world_size=lambda: 2, all_gather=all_gather)
    monkeypatch.setattr(demo_optimizer, "dist", fake)
    found = demo_optimizer._mean(torch.zeros(1, 4), *sent[0])
    assert found.tolist() == [[1.0, -4.0, 4.0, 0.0]]
