"""Activations of a decoder by kind, read through hooks on its modules: the same kinds for every method."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ngptlab.nn.blocks import FeedForward
from ngptlab.nn.decoder import Decoder

STREAM = ("embedding", "attn out", "mlp out", "stream", "head input")
"""Kinds with d_model channels."""
KINDS = (*STREAM[:1], "scores", "attn out", "gate v", "mlp out", "stream", "head input", "logits")

Activations = dict[str, list[Tensor]]
"""Kind -> a tensor for each block, or one."""


@torch.no_grad()
def activations(model: Decoder, tokens_BT: Tensor) -> Activations:
    """Activations of one forward pass: `scores` go to the softmax of attention, `gate v` to the MLP's nonlinearity,
    `stream` leaves a block, `head input` is the last norm's result before any divisor.
    """
    found: Activations = {kind: [] for kind in KINDS}
    with _hooked(model, found):
        logits_BTV = model(tokens_BT)
    found["embedding"].append(model.E_in[tokens_BT])
    found["logits"].append(logits_BTV)
    return found


@contextmanager
def _hooked(model: Decoder, found: Activations) -> Iterator[None]:
    def result(kind: str) -> Any:
        return lambda module, inputs, output: found[kind].append(output)

    def scores(scale: float) -> Any:
        return lambda module, inputs, output: found["scores"].append(_scores(output[0], output[1], scale))

    def gate(module: Any, inputs: tuple[Tensor, Tensor]) -> None:
        found["gate v"].append(inputs[1][..., : model.dims.d_ff])  # without the channels of padding

    handles = [model.norm.register_forward_hook(result("head input"))]
    blocks: Any = model.blocks
    for block in blocks:
        handles += [
            block.register_forward_hook(result("stream")),
            block.attn.register_forward_hook(result("attn out")),
            block.mlp.register_forward_hook(result("mlp out")),
            block.attn.qk.register_forward_hook(scores(block.attn.scale)),
        ]
        if isinstance(block.mlp, FeedForward):
            handles.append(block.mlp.gate.register_forward_pre_hook(gate))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _scores(q_BTHK: Tensor, k_BTHK: Tensor, scale: float) -> Tensor:
    """Scores of every query against the keys up to its own, as one vector."""
    T = q_BTHK.shape[1]
    scores_BHTT = torch.einsum("bthk,bshk->bhts", q_BTHK, k_BTHK) * scale
    return scores_BHTT[..., torch.ones(T, T, dtype=torch.bool).tril()]


def unit_stream(found: Activations, tolerance: float = 1e-3) -> bool:
    """Whether measured hidden states have unit norm, so that their entries have the size d_model^-0.5 by construction."""
    return all(bool(((h.norm(dim=-1) - 1).abs() < tolerance).all()) for h in found["stream"])
