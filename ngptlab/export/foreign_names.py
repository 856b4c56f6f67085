"""State dicts of the two public implementations of nGPT, under our names and in our layout.

`modded-nanogpt` is alxndrTL/modded-nanogpt (train_gpt2.py, train_ngpt2.py), `nvidia-ngpt` is NVIDIA's (model.py).
Their RoPE rotates other pairs of channels than ours does, or rotates them in the other direction. The same permutation or
negation of rows in W_q and W_k compensates for that. It leaves scores unchanged, because they are products of queries and
keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

State = dict[str, Tensor]

MODDED_NANOGPT = {
    "transformer.wte.weight": "E_in",
    "lm_head.weight": "E_out",
    "logits_scaler.scale": "logits_map.s_z.stored",
    "attn.c_q.weight": "attn.W_q",
    "attn.c_k.weight": "attn.W_k",
    "attn.c_v.weight": "attn.W_v",
    "attn.c_proj.weight": "attn.W_o",
    "attn.qk_scaler.scale": "attn.qk.s_qk.stored",
    "attn_scaler.scale": "attn_residual.alpha.stored",
    "mlp.c_fc.weight": "mlp.W_u",
    "mlp.c_fc2.weight": "mlp.W_v",
    "mlp.c_proj.weight": "mlp.W_o",
    "mlp.u_scaler.scale": "mlp.gate.s_u.stored",
    "mlp.v_scaler.scale": "mlp.gate.s_v.stored",
    "mlp_scaler.scale": "mlp_residual.alpha.stored",
}
"""Its names outside of blocks and within a block, to ours."""

NVIDIA = {
    "transformer.wte.weight": "E_in",
    "lm_head.weight": "E_out",
    "sz": "logits_map.s_z.stored",
    "query.weight": "attn.W_q",
    "key.weight": "attn.W_k",
    "value.weight": "attn.W_v",
    "att_c_proj.weight": "attn.W_o",
    "sqk": "attn.qk.s_qk.stored",
    "attn_alpha": "attn_residual.alpha.stored",
    "mlp_c_proj.weight": "mlp.W_o",
    "mlp_alpha": "mlp_residual.alpha.stored",
}
NVIDIA_SCALED = ("sz", "sqk", "attn_alpha", "mlp_alpha")
"""Endings of names of scales whose initial value is stored as `base_scale`. That of `suv` is stored as 1."""
NVIDIA_GAINS = {"rmsnorm_att.weight": ("query", "key", "value"), "rmsnorm_mlp.weight": ("c_fc",)}
"""A norm's gain in a block, and the matrices that read the norm's output."""


def from_modded_nanogpt(state: Mapping[str, Tensor], num_heads: int) -> State:
    """The replication's weights. It rotates pairs (j, j + K/2) as we do, but by minus the angle, so the second is negated."""
    return {
        name: _rows(name, tensor, num_heads, _second_negated)
        for name, tensor in _named(state, MODDED_NANOGPT).items()
    }


def from_nvidia(state: Mapping[str, Tensor], num_heads: int) -> State:
    """NVIDIA's weights. Its gate has one matrix, u first, which is split. A norm's gains go into the matrices that read it.

    Pairs (2j, 2j + 1) become (j, j + K/2), for the rows of W_q and W_k and for s_qk.
    """
    folded = _without_gains(state)
    split: State = {}
    for name, tensor in folded.items():
        block = re.fullmatch(r"transformer\.h\.(\d+)\.(c_fc\.weight|suv)", name)
        if block:
            kinds = ("W_u", "W_v") if block[2] == "c_fc.weight" else ("gate.s_u.stored", "gate.s_v.stored")
            split |= {
                f"blocks.{block[1]}.mlp.{kind}": half
                for kind, half in zip(kinds, tensor.chunk(2), strict=True)
            }
    rest = {name: tensor for name, tensor in folded.items() if not name.endswith((".c_fc.weight", ".suv"))}
    named = {
        name: _rows(name, tensor, num_heads, _evens_first) for name, tensor in _named(rest, NVIDIA).items()
    }
    for name, tensor in named.items():
        if name.endswith("s_qk.stored"):
            named[name] = _evens_first(tensor.view(num_heads, -1))
    return named | split


def rescaled(state: Mapping[str, Tensor], ends: Sequence[str], ratio: float) -> State:
    """The tensors, with those whose names have these endings multiplied by `ratio`."""
    return {
        name: tensor * ratio if ratio != 1.0 and name.rpartition(".")[2] in ends else tensor
        for name, tensor in state.items()
    }


def _named(state: Mapping[str, Tensor], names: Mapping[str, str]) -> State:
    """The tensors under our names. An unknown name stays as it is, so that it fits no model."""
    found = {}
    for name, tensor in state.items():
        block = re.fullmatch(r"transformer\.h\.(\d+)\.(.+)", name)
        if block:
            found[f"blocks.{block[1]}.{names.get(block[2], block[2])}"] = tensor
        else:
            found[names.get(name, name)] = tensor
    return found


def _rows(name: str, tensor: Tensor, num_heads: int, change: Callable[[Tensor], Tensor]) -> Tensor:
    """The tensors with the channels of each head changed in W_q and W_k, and all others as they are."""
    if not name.endswith(("attn.W_q", "attn.W_k")):
        return tensor
    by_head_HDK = tensor.reshape(num_heads, -1, tensor.shape[-1]).mT
    return change(by_head_HDK).mT.flatten(0, 1).contiguous()


def _second_negated(x_K: Tensor) -> Tensor:
    half = x_K.shape[-1] // 2
    changed = x_K.clone()
    changed[..., half:].neg_()
    return changed


def _evens_first(x_K: Tensor) -> Tensor:
    return torch.cat((x_K[..., 0::2], x_K[..., 1::2]), dim=-1)


def _without_gains(state: Mapping[str, Tensor]) -> State:
    """The tensors of the same function, with every gain multiplied into the columns of the matrices after it."""
    left = dict(state)
    for name, gain_D in state.items():
        prefix, _, leaf = name.rpartition("rmsnorm_")
        readers = NVIDIA_GAINS.get(f"rmsnorm_{leaf}", ())
        if name == "rmsnorm_f.weight":
            prefix, readers = "", ("lm_head",)
        for reader in readers:
            matrix = f"{prefix}{reader}.weight"
            if matrix in left:
                left[matrix] = left[matrix] * gain_D
        if readers:
            del left[name]
    return left
