"""Activations by block, against a forward pass written out and plain float64 formulas."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import Tensor

from distinct import MODELS
from ngptlab import methods
from ngptlab.config import Dims
from ngptlab.measure.activations import measure as activations_module
from ngptlab.measure.activations.measure import QUANTITIES, activations, angles
from ngptlab.nn.decoder import Decoder, Parts
from ngptlab.nn.parts import Scale
from ngptlab.nn.roles import Role, roles
from ngptlab.nn.rope import rope_tables
from ngptlab.nn.shared import Shared


def zeros_of(method: str) -> list[str]:
    """Matrices that the method starts at zero, where there is no angle to see."""
    model = methods.build_model(method, DIMS, seed=1)
    return [name for name, weight in model.named_parameters() if not weight.any() and weight.ndim == 2]


DIMS = Dims(vocab_size=19, num_layers=3, num_heads=2, d_model=12, d_ff=20)
TOKENS = np.random.default_rng(0).integers(0, 19, (5, 7))


def built(method: str, dtype: torch.dtype = torch.float64) -> Decoder:
    """With weights ten times the usual, so that blocks turn the hidden state, and scales that differ."""
    model = methods.build_model(method, DIMS, seed=1).to(dtype)
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, Scale):
                module.stored.mul_(1 + 0.5 * torch.randn(module.stored.shape, generator=draw))
        for name, kind in roles(model).items():
            if kind is Role.WRITER:
                model.get_parameter(name).mul_(10)
    return model.requires_grad_(False)


def degrees(a: np.ndarray, b: np.ndarray) -> float:
    """The textbook's formula."""
    return math.degrees(math.acos(float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))))


def entropy(q_TK: np.ndarray, k_TK: np.ndarray, t: int, scale: float) -> float:
    weights = np.exp(scale * k_TK[: t + 1] @ q_TK[t])
    weights /= weights.sum()
    return -float(sum(w * math.log(w) for w in weights))


def written_out(model: Decoder) -> dict[tuple[int, str], list[float]]:
    """Every quantity at every position: the decoder's own parts, one call after the other, and a loop over vectors."""
    found = defaultdict(list)
    h = model.E_in[torch.from_numpy(TOKENS)]
    rope = rope_tables(7, 2, 6, like=h)
    found[-1, "norm"] = [float(np.sqrt(x @ x)) for x in rows(h)]
    for layer, block in enumerate(model.blocks):
        x = block.attn_norm(h)
        attn = block.attn(x, Shared(torch.from_numpy(TOKENS), h, rope))
        between = block.attn_residual(h, attn)
        mlp = block.mlp(block.mlp_norm(between))
        after = block.mlp_residual(between, mlp)
        q, k = block.attn.qk(
            (x @ block.attn.W_q.T).view(5, 7, 2, 6), (x @ block.attn.W_k.T).view(5, 7, 2, 6), rope
        )
        for name, a, branch, b in (("attn", h, attn, between), ("mlp", between, mlp, after)):
            for u, v, w in zip(rows(a), rows(branch), rows(b), strict=True):
                found[layer, f"{name}_angle_degrees"].append(degrees(u, w))
                found[layer, f"{name}_branch_norm"].append(math.sqrt(v @ v))
                found[layer, f"{name}_update"].append(math.sqrt((w - u) @ (w - u)) / math.sqrt(u @ u))
        for u, w in zip(rows(h), rows(after), strict=True):
            found[layer, "block_angle_degrees"].append(degrees(u, w))
            found[layer, "block_cosine"].append(math.cos(math.radians(degrees(u, w))))
            found[layer, "hidden_norm"].append(math.sqrt(w @ w))
        for sequence in range(5):
            for t in range(7):
                of_heads = [
                    entropy(q[sequence, :, n].numpy(), k[sequence, :, n].numpy(), t, block.attn.scale)
                    for n in (0, 1)
                ]
                found[layer, "attn_entropy_nats"].append(sum(of_heads) / 2)
        h = after
    return found


def rows(h_BTD: Tensor) -> np.ndarray:
    return h_BTD.flatten(0, 1).numpy()


# Float64 throughout; an arc cosine near 0 or 180 degrees loses half the digits of the formula that is compared with.
TOLERANCE = 1e-7


SEAMS = ("embed", "stream", "block", "attention", "value", "mask", "attn_out")
OF_STRUCTURE = {f.name: f.default for f in fields(Parts) if f.name in SEAMS}
PLAIN = [
    name
    for name in MODELS
    if all(getattr(methods.load(name), seam) == part for seam, part in OF_STRUCTURE.items())
    and not any("W_o" in zero for zero in zeros_of(name))
]


@pytest.mark.parametrize("method", [name for name in MODELS if name not in PLAIN])
def test_every_quantity_is_there_at_every_token_whatever_the_structure(method: str) -> None:
    found = activations(built(method), TOKENS)
    assert (found["tokens"], [block["layer"] for block in found["blocks"]]) == (35, [0, 1, 2])
    for block in found["blocks"]:
        assert set(block) == {"layer", *QUANTITIES}
        assert all(math.isfinite(number) for quantity in QUANTITIES for number in block[quantity].values())


@pytest.mark.parametrize("method", PLAIN)
def test_against_a_forward_pass_written_out(method: str) -> None:
    model = built(method)
    found, plain = activations(model, TOKENS), written_out(model)
    assert (found["windows"], found["tokens"]) == (5, 35)
    assert found["embedding_norm"]["mean"] == pytest.approx(np.mean(plain[-1, "norm"]), rel=TOLERANCE)
    assert found["uniform_entropy_nats"] == pytest.approx(math.log(math.factorial(7)) / 7)
    assert [block["layer"] for block in found["blocks"]] == [0, 1, 2]
    for block in found["blocks"]:
        assert set(block) == {"layer", *QUANTITIES}
        for quantity in QUANTITIES:
            values = np.array(plain[block["layer"], quantity])
            assert len(values) == 35
            for name, value in (
                ("mean", values.mean()),
                ("std", values.std()),
                ("min", values.min()),
                ("q25", np.percentile(values, 25)),
                ("max", values.max()),
            ):
                assert block[quantity][name] == pytest.approx(value, rel=TOLERANCE, abs=1e-9), (
                    quantity,
                    name,
                )
        assert min(block[f"{branch}_angle_degrees"]["mean"] for branch in ("attn", "mlp")) > 0.01, (
            "else this shows little"
        )
        assert block["attn_angle_degrees"]["mean"] != pytest.approx(
            block["mlp_angle_degrees"]["mean"], rel=0.01
        )


@pytest.mark.parametrize("radians", [0.0, 1e-12, 1e-9, 1e-4, 1.0, math.pi / 2, 3.0, math.pi - 1e-9, math.pi])
def test_angles_small_and_large(radians: float) -> None:
    """Where cos rounds to 1 (below 1e-8) an arc cosine says 0."""
    a = torch.tensor([[5.0, 0.0, 0.0]]).double()
    b = 0.01 * torch.tensor([[math.cos(radians), 0.6 * math.sin(radians), 0.8 * math.sin(radians)]]).double()
    assert angles(a, b).item() == pytest.approx(math.degrees(radians), rel=1e-6, abs=1e-20)


def test_zero_vectors_have_no_angle_and_no_error() -> None:
    assert bool(angles(torch.zeros(2, 3).double(), torch.ones(2, 3).double()).isfinite().all())


@pytest.mark.parametrize("budget", [1, 14, 1000])
def test_the_size_of_a_forward_pass_changes_nothing(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = built("ngpt")
    whole = activations(model, TOKENS)
    monkeypatch.setattr(activations_module, "BATCH_TOKENS", budget)
    monkeypatch.setattr(activations_module, "QUERIES_AT_ONCE", 3)
    parts = activations(model, TOKENS)
    for a, b in zip(whole["blocks"], parts["blocks"], strict=True):
        for quantity in QUANTITIES:
            assert b[quantity] == pytest.approx(a[quantity], rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("method", MODELS)
def test_no_hook_stays(method: str) -> None:
    model = built(method, torch.float32)
    before = model(torch.from_numpy(TOKENS))
    activations(model, TOKENS)
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(model(torch.from_numpy(TOKENS)), before)
