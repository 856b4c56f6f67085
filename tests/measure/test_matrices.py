"""Which matrices are measured: heads as the forward pass has them, scales folded in, the axis from the role."""

from __future__ import annotations

import json
import re
from dataclasses import fields

import pytest
import torch
from torch import Tensor

from distinct import MODELS
from ngptlab import methods
from ngptlab.config import Dims
from ngptlab.measure import matrices as matrices_module
from ngptlab.measure.matrices import Matrix, matrix_names, under_views
from ngptlab.measure.spectra.measure import spectra
from ngptlab.measure.spectra.spectrum import singular_values
from ngptlab.nn.blocks import GatedMlp
from ngptlab.nn.decoder import Decoder, Parts
from ngptlab.nn.functions import causal_attention
from ngptlab.nn.parts import Scale, SwiGLU, UnitWeights
from ngptlab.nn.roles import Role, d_model_axes, roles
from ngptlab.nn.rope import rope_tables
from ngptlab.nn.shared import Shared
from ngptlab.nn.structure import OwnHead

DIMS = Dims(vocab_size=19, num_layers=2, num_heads=2, d_model=12, d_ff=20)
every_method = pytest.mark.parametrize("method", MODELS)

# Float64 throughout, sums of at most 20 products of order 1.
TOLERANCE = {"rtol": 1e-12, "atol": 1e-13}


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def built(method: str) -> Decoder:
    """In float64, with scales that differ from channel to channel, some of them negative."""
    model = methods.build_model(method, DIMS, seed=1).double()
    with torch.no_grad():
        for number, module in enumerate(model.modules()):
            if isinstance(module, Scale):
                module.stored.mul_(1 + 0.8 * draw(*module.stored.shape, seed=number))
    return model.requires_grad_(False)


def one(model: Decoder, name: str, view: str = "stored") -> Matrix:
    (found,) = under_views(model, name, [view])  # type: ignore[list-item]
    return found


PLAIN = {f.name: f.default for f in fields(Parts) if f.name in ("attention", "value", "mask", "attn_out")}


@pytest.mark.parametrize(
    "method",
    [m for m in MODELS if all(getattr(methods.load(m), seam) == part for seam, part in PLAIN.items())],
)
def test_attention_is_the_sum_of_its_heads(method: str) -> None:
    """Each head computed from what `heads()` says is its own gives attention, so the cut is the forward pass's."""
    model = built(method)
    h_BTD, rope = draw(2, 5, 12), rope_tables(5, 2, 6, like=draw(1))
    attn = model.blocks[1].attn
    W_q, W_k, W_v, W_o = (
        one(model, f"blocks.1.attn.{leaf}").heads() for leaf in ("W_q", "W_k", "W_v", "W_o")
    )
    q_BTHK, k_BTHK, v_BTHK = (torch.stack([h_BTD @ W.T for W in heads], dim=2) for heads in (W_q, W_k, W_v))
    o_BTHK = causal_attention(*attn.qk(q_BTHK, k_BTHK, rope), v_BTHK, attn.scale)
    total_BTD = sum(o_BTHK[:, :, head] @ W_o[head].T for head in range(2))
    torch.testing.assert_close(total_BTD, attn(h_BTD, Shared(torch.zeros(2, 5), h_BTD, rope)), **TOLERANCE)


@pytest.mark.parametrize("leaf", ["W_q", "W_k", "W_v", "W_o"])
def test_heads_set_by_hand(leaf: str) -> None:
    """Head 0 holds an isometry, head 1 three times another one. Along the wrong axis the values would mix."""
    model = methods.build_model("gpt", DIMS)
    first, second = (torch.linalg.qr(draw(12, 6, seed=seed)).Q for seed in (3, 4))
    columns = torch.cat((first, 3 * second), dim=1)
    with torch.no_grad():
        model.get_parameter(f"blocks.0.attn.{leaf}").copy_(columns if leaf == "W_o" else columns.T)
    matrix = one(model, f"blocks.0.attn.{leaf}")
    # Stored in float32: entries below 3 are rounded by 1.2e-7 at most, and singular values move by less than 12 of that.
    for values, known in zip(matrix.heads(), (1.0, 3.0), strict=True):
        assert singular_values(values) == pytest.approx([known] * 6, abs=1.5e-6)
    wrong = Matrix(matrix.name, "stored", matrix.values, 1 - matrix.d_model_axis, 2)
    assert all(
        max(abs(singular_values(values) - known)) > 0.1
        for values, known in zip(wrong.heads(), (1.0, 3.0), strict=True)
    )
    records = [r for r in spectra(model, views=["stored"])["matrices"] if r["name"] == matrix.name]
    assert [r["head"] for r in records] == [None, 0, 1]
    assert [r["condition"] for r in records[1:]] == pytest.approx([1, 1], abs=3e-6)
    assert records[0]["condition"] > 3.5, "the heads overlap, so the whole matrix is worse than its heads"


@pytest.mark.parametrize(
    "method",
    [m for m in MODELS if methods.load(m).mlp == GatedMlp() and methods.load(m).head == OwnHead()],
)
def test_effective_matrices_are_those_that_meet_the_hidden_state(method: str) -> None:
    model, h_ND = built(method), draw(7, 12)
    mlp = model.blocks[0].mlp
    effective = {
        name: next(iter(under_views(model, name, ["effective"])), one(model, name)).values
        for name in ("blocks.0.mlp.W_u", "blocks.0.mlp.W_v", "E_out")
    }
    hidden_NF = mlp.gate(h_ND @ effective["blocks.0.mlp.W_u"].T, h_ND @ effective["blocks.0.mlp.W_v"].T)
    torch.testing.assert_close(hidden_NF @ mlp.W_o.T, mlp(h_ND[None])[0], **TOLERANCE)
    tokens_BT = torch.arange(10).view(2, 5)
    logits_BTV = model.hidden(tokens_BT) @ effective["E_out"].T
    torch.testing.assert_close(model.logits_map(logits_BTV), model(tokens_BT), **TOLERANCE)


@every_method
def test_a_view_that_equals_the_stored_matrix_is_left_out(method: str) -> None:
    model = built(method)
    scaled = {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, Scale)}
    unit = model.parts.after_step == UnitWeights()
    for name in matrix_names(model):
        views = {matrix.view: matrix.values for matrix in under_views(model, name)}
        # On v there is a constant beside s_v, which stays where s_v is fixed.
        folded = ("W_u" in name and "s_u" in scaled) or ("mlp.W_v" in name and model.parts.gate != SwiGLU())
        assert ("effective" in views) == (folded or (name == "E_out" and "s_z" in scaled)), name
        if "effective" in views:
            assert not torch.allclose(views["effective"], views["stored"])
        assert ("unit" in views) != unit, name


def test_unit_vectors_run_along_d_model() -> None:
    """Rows of readers, columns of writers, though all of these matrices are square: shapes can't tell."""
    model = methods.build_model("gpt", Dims(vocab_size=12, num_layers=1, num_heads=2, d_model=12, d_ff=12))
    names = matrix_names(model)
    assert len(names) == 9
    for name in names:
        values = one(model, name, "unit").values
        axis = 0 if name.endswith("W_o") else 1
        torch.testing.assert_close(values.norm(dim=axis), torch.ones(12, dtype=torch.float64), **TOLERANCE)
        assert (values.norm(dim=1 - axis) - 1).abs().max() > 0.1, "the other axis is no unit vector"


def test_norms_along_d_model_see_a_wrong_axis(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: with the axes of the roles turned, unit weights no longer look like unit weights."""

    def worst() -> float:
        model = methods.build_model("ngpt", DIMS)
        along = [r["norms_along"] for r in spectra(model, views=["stored"])["matrices"] if r["head"] is None]
        return max(max(abs(norms["min"] - 1), abs(norms["max"] - 1)) for norms in along)

    assert worst() < 1e-6

    def turned(model: Decoder) -> dict[str, int]:
        return {name: 1 - axis for name, axis in d_model_axes(model).items()}

    monkeypatch.setattr(matrices_module, "d_model_axes", turned)
    assert worst() > 0.2


def heads_of(model: Decoder, name: str) -> int:
    """Heads of six channels that share a matrix of attention: rows of readers, columns of writers."""
    rows, columns = model.get_parameter(name).shape
    return (columns if name.endswith("W_o") else rows) // 6


@every_method
def test_spectra_cover_every_matrix(method: str) -> None:
    model = methods.build_model(method, DIMS)
    found = spectra(model)
    json.dumps(found, allow_nan=False)
    stored = [(r["name"], r["head"]) for r in found["matrices"] if r["view"] == "stored"]
    heads = [
        (name, head)
        for name in matrix_names(model)
        if re.fullmatch(r"blocks\.\d\.attn\.W_.", name) and (number := heads_of(model, name)) > 1
        for head in range(number)
    ]
    assert sorted(stored, key=str) == sorted([(name, None) for name in matrix_names(model)] + heads, key=str)
    tables = {name for name, kind in roles(model).items() if kind in (Role.EMBEDDING, Role.UNEMBEDDING)}
    assert {r["name"] for r in found["embeddings"]} == tables
    for record in found["matrices"]:
        in_block = re.match(r"blocks\.(\d)", record["name"])
        assert record["layer"] == (int(in_block[1]) if in_block else None)
        if not model.get_parameter(record["name"]).any():
            continue  # a matrix of zeros has no rank
        assert 1 <= record["stable_rank"] <= record["effective_rank"] <= record["full_rank"] + 1e-9
