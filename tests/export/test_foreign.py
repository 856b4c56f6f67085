"""Checkpoints of the public implementations, against their forward passes written out here in our own words."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from ngptlab.cli import main
from ngptlab.export.foreign import IMPLEMENTATIONS
from ngptlab.trained import Trained, open_trained
from ngptlab.verbs import importing

V, L, H, D = 31, 3, 2, 16
K = D // H
TOKENS = torch.arange(2 * 12).view(2, 12) * 7 % V

# Float32 in two orders of summation, through six branches: some ten roundings of 6e-8 of logits of a few nats each.
CLOSE = {"rtol": 0.0, "atol": 2e-5}

State = dict[str, Tensor]


def draw(shapes: dict[str, tuple[int, ...]]) -> State:
    """Matrices of std 0.3, and vectors around 0.3, no two entries alike: their place matters."""
    generator = torch.Generator().manual_seed(3)
    return {
        name: 0.3 * torch.randn(shape, generator=generator)
        if len(shape) == 2
        else 0.3 * torch.exp(0.5 * torch.randn(shape, generator=generator))
        for name, shape in shapes.items()
    }


def turned(x_BTHK: Tensor, partners: str, sign: float) -> Tensor:
    """RoPE at base 10000 on pairs that are `neighbours` or `halves` of a head, by `sign` times the angle."""
    T = x_BTHK.shape[1]
    angle_TJ = torch.outer(torch.arange(T), 10000.0 ** (-torch.arange(0, K, 2) / K))[None, :, None]
    cos, sin = angle_TJ.cos(), sign * angle_TJ.sin()
    if partners == "halves":
        a, b = x_BTHK[..., : K // 2], x_BTHK[..., K // 2 :]
        return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)
    a, b = x_BTHK[..., 0::2], x_BTHK[..., 1::2]
    return torch.stack((a * cos - b * sin, b * cos + a * sin), dim=-1).flatten(-2)


def attend(q_BTHK: Tensor, k_BTHK: Tensor, v_BTHK: Tensor, scale: float) -> Tensor:
    scores = torch.einsum("bthk,bshk->bhts", q_BTHK, k_BTHK) * scale
    later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    weights = scores.masked_fill(later, -torch.inf).softmax(-1)
    return torch.einsum("bhts,bshk->bthk", weights, v_BTHK).flatten(2)


def heads(x_BTD: Tensor) -> Tensor:
    return x_BTD.unflatten(-1, (H, K))


def unit(x: Tensor) -> Tensor:
    return F.normalize(x, dim=-1)


# --- alxndrTL/modded-nanogpt --------------------------------------------------------------------------------------------


def replication_shapes(normalized: bool) -> dict[str, tuple[int, ...]]:
    F_ = int(8 / 3 * D)
    shapes: dict[str, tuple[int, ...]] = {"transformer.wte.weight": (V, D), "lm_head.weight": (V, D)}
    for n in range(L):
        block = f"transformer.h.{n}"
        shapes |= {f"{block}.attn.c_{m}.weight": (D, D) for m in ("q", "k", "v", "proj")}
        shapes |= {f"{block}.mlp.c_fc.weight": (F_, D), f"{block}.mlp.c_fc2.weight": (F_, D)}
        shapes[f"{block}.mlp.c_proj.weight"] = (D, F_)
        if normalized:
            shapes |= {f"{block}.attn.qk_scaler.scale": (K,), f"{block}.attn_scaler.scale": (D,)}
            shapes |= {f"{block}.mlp.{m}_scaler.scale": (F_,) for m in ("u", "v")}
            shapes[f"{block}.mlp_scaler.scale"] = (D,)
    return {**shapes, "logits_scaler.scale": (V,)} if normalized else shapes


def replication(state: State, normalized: bool, divisor: float = 1.0) -> Tensor:
    """Its forward pass, with RoPE's tables in float32. A scale's value is stored * init / scale."""
    root = math.sqrt(D)
    h = state["transformer.wte.weight"][TOKENS]
    for n in range(L):
        w = {name.removeprefix(f"transformer.h.{n}."): value for name, value in state.items()}
        x = h if normalized else F.rms_norm(h, (D,))
        q, k, v = (heads(x @ w[f"attn.c_{m}.weight"].T) for m in "qkv")
        if normalized:
            s_qk = w["attn.qk_scaler.scale"] * root
            q, k = s_qk * unit(q), s_qk * unit(k)
        q, k = turned(q, "halves", -1), turned(k, "halves", -1)
        o = attend(q, k, v, math.sqrt(K) if normalized else 1 / math.sqrt(K)) @ w["attn.c_proj.weight"].T
        h = unit(h + (w["attn_scaler.scale"] / L * root).abs() * (unit(o) - h)) if normalized else h + o
        x = h if normalized else F.rms_norm(h, (D,))
        a, b = x @ w["mlp.c_fc.weight"].T, x @ w["mlp.c_fc2.weight"].T
        if normalized:
            a, b = w["mlp.u_scaler.scale"] * a, root * w["mlp.v_scaler.scale"] * b
        o = (a * F.silu(b)) @ w["mlp.c_proj.weight"].T
        h = unit(h + (w["mlp_scaler.scale"] / L * root).abs() * (unit(o) - h)) if normalized else h + o
    h = (h if normalized else F.rms_norm(h, (D,))) / divisor
    z = h @ state["lm_head.weight"].T
    return state["logits_scaler.scale"] * root * z if normalized else z


# --- NVIDIA's -----------------------------------------------------------------------------------------------------------


def nvidia_shapes(normalized: bool) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"transformer.wte.weight": (V, D), "lm_head.weight": (V, D)}
    for n in range(L):
        block = f"transformer.h.{n}"
        shapes |= {f"{block}.{m}.weight": (D, D) for m in ("key", "query", "value", "att_c_proj")}
        shapes |= {f"{block}.c_fc.weight": (8 * D, D), f"{block}.mlp_c_proj.weight": (D, 4 * D)}
        if normalized:
            shapes |= {f"{block}.{m}": (D,) for m in ("attn_alpha", "mlp_alpha", "sqk")}
            shapes[f"{block}.suv"] = (8 * D,)
        else:
            shapes |= {f"{block}.rmsnorm_{m}.weight": (D,) for m in ("att", "mlp")}
    return {**shapes, "sz": (V,)} if normalized else {**shapes, "rmsnorm_f.weight": (D,)}


def no_rotation(x_BTHK: Tensor) -> Tensor:
    """The public code's RoPE: the table's columns alternate between sine and cosine, and are then cut in the middle."""
    T = x_BTHK.shape[1]
    angle_TJ = torch.outer(torch.arange(T), 10000.0 ** (-torch.arange(0, K, 2) / K))
    table_TK = torch.stack((angle_TJ.sin(), angle_TJ.cos()), dim=-1).flatten(1)
    first, second = table_TK[None, :, None, : K // 2], table_TK[None, :, None, K // 2 :]
    return torch.stack((-x_BTHK[..., 1::2] * second, x_BTHK[..., 0::2] * first), dim=-1).flatten(-2)


def nvidia(state: State, normalized: bool, rope: Callable[[Tensor], Tensor]) -> Tensor:
    """Its forward pass in float32, with a RoPE of the caller's."""
    root = math.sqrt(D)

    def norm(x: Tensor, gain: Tensor | None) -> Tensor:
        # The public code's epsilon is 1e-6, ours the smallest of float32; hidden states here are of size 1.
        return x if gain is None else x * (x.square().mean(-1, keepdim=True) + 1.2e-7).rsqrt() * gain

    h = state["transformer.wte.weight"][TOKENS]
    for n in range(L):
        w = {name.removeprefix(f"transformer.h.{n}."): value for name, value in state.items()}
        x = norm(h, w.get("rmsnorm_att.weight"))
        q, k, v = (heads(x @ w[f"{m}.weight"].T) for m in ("query", "key", "value"))
        q, k = rope(q), rope(k)
        if normalized:
            s_qk = (w["sqk"] * root).view(H, K)
            q, k = s_qk * unit(q), s_qk * unit(k)
        o = attend(q, k, v, math.sqrt(K) if normalized else 1 / math.sqrt(K)) @ w["att_c_proj.weight"].T
        h = (
            unit(unit(h) + (w["attn_alpha"] * 0.05 * root).abs() * (unit(o) - unit(h)))
            if normalized
            else h + o
        )
        uv = norm(h, w.get("rmsnorm_mlp.weight")) @ w["c_fc.weight"].T
        a, b = (w["suv"] * root * uv if normalized else uv).chunk(2, dim=-1)
        o = (a * F.silu(b)) @ w["mlp_c_proj.weight"].T
        h = (
            unit(unit(h) + (w["mlp_alpha"] * 0.05 * root).abs() * (unit(o) - unit(h)))
            if normalized
            else h + o
        )
    z = norm(h, state.get("rmsnorm_f.weight")) @ state["lm_head.weight"].T
    return state["sz"] * root * z if normalized else z


# --- checks -------------------------------------------------------------------------------------------------------------


def unit_rows(state: State) -> State:
    """Embeddings as a normalized model keeps them: its first hidden state is of unit length."""
    return {**state, "transformer.wte.weight": unit(state["transformer.wte.weight"])}


def imported(state: State, tmp_path: Path, source: str, *options: str, **others: Any) -> Trained:
    """Save as its trainer does, import by the command line, open."""
    path = tmp_path / "state.pt"
    torch.save({"model": {f"_orig_mod.{k}": v for k, v in state.items()}, **others}, path)
    arguments = ["import", str(path), str(tmp_path / "run"), "--from", source, "--allow-pickle", *options]
    assert main(arguments) == 0
    return open_trained(tmp_path / "run")


def test_the_replication_s_normalized_model(tmp_path: Path) -> None:
    state = unit_rows(draw(replication_shapes(True)))
    trained = imported(state, tmp_path, "modded-nanogpt", step=4768, code="print()", optimizer={"state": {}})
    assert (trained.config.method, trained.step) == ("ngpt_modded", 4768)
    assert trained.config.data.source == "text:unknown"
    assert main(["export", str(trained.run.path), str(tmp_path / "out")]) == 2, "31 tokens are no GPT-2's"
    expected = replication(state, True)
    torch.testing.assert_close(trained.model(TOKENS), expected, **CLOSE)
    assert expected.std() > 0.2


def test_the_replication_s_baseline(tmp_path: Path) -> None:
    state = draw(replication_shapes(False))
    trained = imported(state, tmp_path, "modded-nanogpt", "--num-heads", str(H))
    assert trained.config.method == "gpt" and trained.config.model.d_ff == int(8 / 3 * D)
    torch.testing.assert_close(trained.model(TOKENS), replication(state, False), **CLOSE)


def test_the_replication_s_mup(tmp_path: Path) -> None:
    state = unit_rows(draw(replication_shapes(True)))
    trained = imported(state, tmp_path, "modded-nanogpt", "--base-width", "8", "--context", "256")
    assert trained.config.train.context == 256 and trained.config.param.rules == "mup"
    torch.testing.assert_close(trained.model(TOKENS), replication(state, True, divisor=2.0), **CLOSE)


@pytest.mark.parametrize("normalized", [True, False])
def test_nvidia_s_layout_with_a_rope_that_turns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], normalized: bool
) -> None:
    state = draw(nvidia_shapes(normalized))
    state = unit_rows(state) if normalized else state
    arguments = {"n_head": H, "n_embd": D, "use_nGPT": int(normalized)}
    others = {
        "model_args": arguments,
        "iter_num": 70,
        "rng_state_numpy": np.random.RandomState(0).get_state(),
    }
    # Blocks' matrices are stored in bfloat16 there.
    kept = {name: w.bfloat16() if ".h." in name and w.ndim == 2 else w for name, w in state.items()}
    stored = {name: w.float() for name, w in kept.items()}
    trained = imported(kept, tmp_path, "nvidia-ngpt", **others)
    said = capsys.readouterr().out
    assert "does NOT give the same logits" in said and "issue 10" in said
    assert trained.config.method == ("ngpt" if normalized else "gpt") and trained.step == 70
    ours = trained.model(TOKENS)
    torch.testing.assert_close(
        ours, nvidia(stored, normalized, lambda x: turned(x, "neighbours", 1)), **CLOSE
    )
    # What the note says: the public code's own RoPE is another function.
    assert (ours - nvidia(stored, normalized, no_rotation)).abs().max() > 0.02


def test_safetensors_need_no_leave(tmp_path: Path) -> None:
    state = unit_rows(draw(replication_shapes(True)))
    save_file(state, tmp_path / "state.safetensors")
    arguments = [
        "import",
        str(tmp_path / "state.safetensors"),
        str(tmp_path / "run"),
        "--from",
        "modded-nanogpt",
    ]
    assert main(arguments) == 0
    torch.testing.assert_close(
        open_trained(tmp_path / "run").model(TOKENS), replication(state, True), **CLOSE
    )


class _Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main(["import", *map(str, arguments)]) == 2
    return capsys.readouterr().err


def test_a_pickle_is_read_by_leave_only_and_runs_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out, marker = tmp_path / "state.pt", tmp_path / "run", tmp_path / "marker"
    torch.save({"model": draw(replication_shapes(True)), "more": _Payload(marker)}, path)
    assert "--allow-pickle" in refused(capsys, path, out, "--from", "modded-nanogpt")
    said = refused(capsys, path, out, "--from", "modded-nanogpt", "--allow-pickle")
    assert "none of which was made" in said and said.count("\n") == 1
    assert not marker.exists() and not out.exists()
    torch.load(path, weights_only=False)
    assert marker.exists(), "the file does nothing at all, so the test showed nothing"


def test_wrong_files_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "state.pt", tmp_path / "run"

    def said(content: object, *options: str, source: str = "modded-nanogpt") -> str:
        torch.save(content, path)
        return refused(capsys, path, out, "--from", source, "--allow-pickle", *options)

    baseline, normal = draw(replication_shapes(False)), draw(replication_shapes(True))
    assert "give --num-heads" in said(baseline)
    assert "does not divide the width 16" in said(baseline, "--num-heads", "3")
    assert "the checkpoint has 2" in said(normal, "--num-heads", "4")
    assert "holds list" in said([1])
    assert "holds no state dict" in said({"model": {"a": 1}})
    assert "not a checkpoint of modded-nanogpt" in said({"a": torch.ones(2)})
    assert "not a checkpoint of nvidia-ngpt" in said(baseline, "--num-heads", "2", source="nvidia-ngpt")
    short = {**normal, "transformer.h.1.attn.c_q.weight": torch.ones(4)}
    assert "not a checkpoint of modded-nanogpt" in said(short)
    assert "not a checkpoint of modded-nanogpt" in said({**normal, "transformer.wte.weight": torch.ones(4)})
    assert "attn.extra" in said({**normal, "transformer.h.0.attn.extra": torch.ones(2)})
    path.write_bytes(b"nothing")
    assert "damaged" in refused(capsys, path, out, "--from", "modded-nanogpt", "--allow-pickle")
    assert "no such file" in refused(capsys, tmp_path / "none.pt", out, "--from", "modded-nanogpt")
    assert "give --from too" in refused(capsys, path, out, "--num-heads", "2")
    assert not out.exists()


def test_the_command_knows_every_implementation() -> None:
    assert set(importing.IMPLEMENTATIONS) == set(IMPLEMENTATIONS)
