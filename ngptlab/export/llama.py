"""The decoder under the names of `transformers`' Llama, where its parts compute the same function as Llama."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

import torch
from torch import Tensor

from ngptlab.errors import CheckpointError, ConfigError
from ngptlab.nn.decoder import Decoder, Parts
from ngptlab.nn.parts import Add, BlockPart, HeadWidthPower, PlainLogits, RMSNorm, Rotate, SwiGLU
from ngptlab.nn.rope import BASE

SEAMS: dict[str, BlockPart] = {
    "norm": RMSNorm(),
    "residual": Add(),
    "attn_scale": HeadWidthPower(-0.5),
    "qk": Rotate(),
    "gate": SwiGLU(),
    "logits": PlainLogits(),
}
"""Llama's parts in the seams that a trained model's logits depend on."""

TRAINING = ("init", "loss", "context", "batch_stages", "schedule", "average")
"""Seams that a trained model's logits don't depend on."""
STRUCTURE: dict[str, Any] = {
    seam.name: seam.default
    for seam in fields(Parts)
    if seam.default is not MISSING and seam.name not in TRAINING
}
"""All other seams, in which Llama has the default."""

NAMES = {
    "E_in": "model.embed_tokens.weight",
    "E_out": "lm_head.weight",
    "attn.W_q": "self_attn.q_proj.weight",
    "attn.W_k": "self_attn.k_proj.weight",
    "attn.W_v": "self_attn.v_proj.weight",
    "attn.W_o": "self_attn.o_proj.weight",
    # SiLU acts on v, which Llama calls the gate.
    "mlp.W_v": "mlp.gate_proj.weight",
    "mlp.W_u": "mlp.up_proj.weight",
    "mlp.W_o": "mlp.down_proj.weight",
}
"""Our names of matrices, to Llama's. A block's matrices have their names within the block."""
GAINS = ("input_layernorm.weight", "post_attention_layernorm.weight")
LAST_GAIN = "model.norm.weight"


def check_parts(parts: Parts) -> None:
    """Compare a seam table with Llama's.

    Raises:
        ConfigError: a seam holds another part than Llama's.
    """
    others = [
        f"{seam} is {getattr(parts, seam)}, Llama's is {part}"
        for seam, part in {**SEAMS, **STRUCTURE}.items()
        if getattr(parts, seam) != part
    ]
    if others:
        raise ConfigError(f"this model is no Llama: {'; '.join(others)}; export it without --as llama")


def llama_config(model: Decoder, context: int) -> dict[str, Any]:
    """The fields of `config.json` for a model that passed `check_parts`."""
    dims = model.dims
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": dims.vocab_size,
        "hidden_size": dims.d_model,
        "intermediate_size": dims.d_ff,
        "num_hidden_layers": dims.num_layers,
        "num_attention_heads": dims.num_heads,
        "num_key_value_heads": dims.num_heads,
        "head_dim": dims.d_head,
        "hidden_act": "silu",
        "max_position_embeddings": context,
        "rms_norm_eps": torch.finfo(torch.float32).eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": BASE},
        "tie_word_embeddings": False,
        "attention_bias": False,
        "mlp_bias": False,
    }


def llama_weights(model: Decoder) -> dict[str, Tensor]:
    """The weights under Llama's names. All gains are 1, except for the last, which is 1 / `hidden_divisor`."""
    tensors = {_llama_name(name): weight.detach() for name, weight in model.named_parameters()}
    gain_D = torch.ones(model.dims.d_model)
    for layer in range(model.dims.num_layers):
        tensors |= {f"model.layers.{layer}.{name}": gain_D.clone() for name in GAINS}
    return tensors | {LAST_GAIN: gain_D / model.hidden_divisor}


def own_weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights that `llama_weights` was given, by our names. Gains are left out, because they follow from the model."""
    own = {theirs: ours for ours, theirs in NAMES.items()}
    found = {}
    for name, tensor in tensors.items():
        block = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", name)
        if block and block[2] in own:
            found[f"blocks.{block[1]}.{own[block[2]]}"] = tensor
        elif name in own:
            found[own[name]] = tensor
    return found


def check_gains(model: Decoder, tensors: Mapping[str, Tensor], where: str) -> None:
    """Compare the gains, which `own_weights` leaves out, with those that `llama_weights` writes for the model.

    Raises:
        CheckpointError: a gain has another value, or a tensor belongs to no Llama that was exported.
    """
    written = llama_weights(model)
    for name, tensor in tensors.items():
        if name not in written or not written[name].equal(tensor):
            raise CheckpointError(
                f"{where}: {name} is not what was exported, and no model here has such a tensor; export the run again"
            )


def _llama_name(name: str) -> str:
    block = re.fullmatch(r"blocks\.(\d+)\.(.+)", name)
    return f"model.layers.{block[1]}.{NAMES[block[2]]}" if block else NAMES[name]
