"""Models out of packages from PyPI, in the shape of ours: `make bench-peers` installs them in an environment of their own.

What differs beside the shape:
- nGPT-pytorch: the vector that scales queries and keys is one, on the queries; no value residual (switched off, for ours has
  none). By default it normalizes weights in every forward; "manual" only after the step, as ours does. Its d_ff is
  int(dim expand 2/3), so `expand` is chosen to give ours. Its classes compare equal by shape and have no hash, which
  `Module.modules()` needs: they get the one of `object`.
- x-transformers: a decoder of blocks with RMSNorm before each branch, SwiGLU and rotary positions over the whole head. One
  product makes both halves of the gated MLP, whose input projection has a bias.
- transformers: Llama, untied head, cross-entropy of its logits.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.single_file import autocast, fused_adamw
from benchmarks.sizes import Size
from benchmarks.steps import Stepper, compiled_or_not
from ngptlab.device import Device
from ngptlab.train.gradients import Gradients


def _ngpt_pytorch(size: Size, *, manual: bool) -> nn.Module:
    package, dims = import_module("nGPT_pytorch.nGPT"), size.dims
    for value in vars(package).values():
        if isinstance(value, type) and value.__hash__ is None:
            value.__hash__ = object.__hash__
    model = package.nGPT(
        num_tokens=dims.vocab_size,
        dim=dims.d_model,
        depth=dims.num_layers,
        dim_head=dims.d_head,
        heads=dims.num_heads,
        ff_expand_factor=1.5 * (dims.d_ff + 0.5) / dims.d_model,
        add_value_residual=False,
        manual_norm_weights=manual,
    )
    return model  # type: ignore[no-any-return]


def _x_transformers(size: Size) -> nn.Module:
    package, dims = import_module("x_transformers"), size.dims
    layers = package.Decoder(
        dim=dims.d_model,
        depth=dims.num_layers,
        heads=dims.num_heads,
        attn_dim_head=dims.d_head,
        attn_flash=True,
        ff_mult=(dims.d_ff + 0.5) / dims.d_model,
        ff_glu=True,
        ff_swish=True,
        ff_no_bias=True,
        use_rmsnorm=True,
        rotary_pos_emb=True,
        rotary_emb_dim=dims.d_head,
        verbose=False,
    )
    model = package.TransformerWrapper(
        num_tokens=dims.vocab_size, max_seq_len=size.context, use_abs_pos_emb=False, attn_layers=layers
    )
    return model  # type: ignore[no-any-return]


def _llama(size: Size) -> nn.Module:
    package, dims = import_module("transformers"), size.dims
    config = package.LlamaConfig(
        vocab_size=dims.vocab_size,
        hidden_size=dims.d_model,
        intermediate_size=dims.d_ff,
        num_hidden_layers=dims.num_layers,
        num_attention_heads=dims.num_heads,
        num_key_value_heads=dims.num_heads,
        max_position_embeddings=size.context,
        tie_word_embeddings=False,
        use_cache=False,
    )
    return package.LlamaForCausalLM(config)  # type: ignore[no-any-return]


def _cross_entropy(result: Any, targets: Tensor) -> Tensor:
    return F.cross_entropy(result.flatten(0, 1).float(), targets.flatten())


def _llama_loss(result: Any, targets: Tensor) -> Tensor:
    return _cross_entropy(result.logits, targets)


Build = Callable[[Size], nn.Module]
Finish = Callable[[Any, Tensor], Tensor]

PEERS: dict[str, tuple[Build, Finish]] = {
    "nGPT-pytorch": (lambda size: _ngpt_pytorch(size, manual=False), _cross_entropy),
    "nGPT-pytorch-manual": (lambda size: _ngpt_pytorch(size, manual=True), _cross_entropy),
    "x-transformers": (_x_transformers, _cross_entropy),
    "transformers-llama": (_llama, _llama_loss),
}


def stepper(label: str, size: Size, device: Device) -> Stepper:
    """A package's model as a contestant.

    Raises:
        ImportError: the package is not installed.
    """
    build, finish = PEERS[label]
    torch.manual_seed(0)
    model = build(size).to(device.place)
    model.train()
    # Some keep a table from their first call, and would be compiled twice.
    with torch.no_grad(), autocast(device):
        model(size.sample(device.place)[0][:1])

    def plain(tokens: Tensor, targets: Tensor) -> Tensor:
        with autocast(device):
            return finish(model(tokens), targets)

    constraint = getattr(model, "norm_weights_", lambda: None)
    gradients = Gradients(compiled_or_not(plain, device))
    return Stepper(label, model, gradients, fused_adamw(model), constraint, device)
