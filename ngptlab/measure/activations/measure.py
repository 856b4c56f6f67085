"""What blocks do to the hidden state on real text: its norm and rotation, the size of branches, entropy of attention.

Values are read through hooks on the residual seams and on `qk`, which every method has, so training needs no code for it.
In names: N counts positions of all windows.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngptlab.measure.matrices import unit_vectors
from ngptlab.measure.spread import spread
from ngptlab.nn.blocks import Block
from ngptlab.nn.decoder import Decoder
from ngptlab.nn.functions import heads_for
from ngptlab.nn.precision import NORM_FLOOR, wide

BATCH_TOKENS = 4096
"""Tokens in one forward pass."""
QUERIES_AT_ONCE = 256
"""Queries whose scores against all keys are in memory at once."""

QUANTITIES = (
    "hidden_norm",
    "block_cosine",
    "block_angle_degrees",
    "attn_angle_degrees",
    "mlp_angle_degrees",
    "attn_update",
    "mlp_update",
    "attn_branch_norm",
    "mlp_branch_norm",
    "attn_entropy_nats",
)
"""Quantities measured at every position, in every block.

    hidden_norm       norm of the hidden state that leaves the block
    block_cosine      cosine of the hidden states before and after the block
    block_angle       angle between these states; attn_angle, mlp_angle: the same over one branch and its residual
    attn_update       norm of the change by the branch's residual, over the norm before; mlp_update likewise
    attn_branch_norm  norm of the branch's output, before the residual; mlp_branch_norm likewise
    attn_entropy      entropy of attention's weights, mean over heads
"""

Values = dict[tuple[int, str], list[Tensor]]
"""(block, quantity) -> values of each batch, [N] in float64."""


def angles(a_ND: Tensor, b_ND: Tensor) -> Tensor:
    """Angles between rows in degrees, [N]; exact for small ones too, where the arc cosine is not (Kahan, 2006)."""
    a_ND, b_ND = unit_vectors(a_ND, -1), unit_vectors(b_ND, -1)
    apart, together = (torch.linalg.vector_norm(x, dim=-1) for x in (a_ND - b_ND, a_ND + b_ND))
    return 2 * torch.rad2deg(torch.atan2(apart, together))


def entropies(q_BTHK: Tensor, k_BTHK: Tensor, scale: float, window: int | None = None) -> Tensor:
    """Entropy in nats of causal attention's weights, mean over heads, [B * T]. Takes some queries at a time to bound memory.

    With a window W, each query attends to the last W keys, its own among them.
    """
    T = q_BTHK.shape[1]
    position_T = torch.arange(T, device=q_BTHK.device)
    found = []
    for q_THK, k_THK in zip(wide(q_BTHK), wide(k_BTHK), strict=True):
        for queries_C in torch.split(position_T, QUERIES_AT_ONCE):
            unmet_CT = position_T > queries_C.unsqueeze(1)
            if window is not None:
                unmet_CT |= position_T <= queries_C.unsqueeze(1) - window
            scores_HCT = torch.einsum("chk,thk->hct", q_THK[queries_C], k_THK) * scale
            logs_HCT = scores_HCT.masked_fill(unmet_CT, -torch.inf).log_softmax(-1)
            found.append(-(logs_HCT.exp() * logs_HCT.masked_fill(unmet_CT, 0)).sum(-1).mean(0))
    return torch.cat(found).double()


@torch.no_grad()
def activations(model: Decoder, inputs_NT: NDArray[np.int64]) -> dict[str, Any]:
    """Spread of each quantity over all positions of these windows, for every block.

    `embedding_norm` is the norm of the hidden state that enters the first block. `uniform_entropy_nats` is the entropy of
    equal weights, mean over positions, and so the upper limit of `attn_entropy_nats`.
    """
    device = next(model.parameters()).device
    batch = max(1, BATCH_TOKENS // inputs_NT.shape[1])
    found: Values = defaultdict(list)
    with _hooked(model, found):
        for first in range(0, len(inputs_NT), batch):
            model.hidden(torch.from_numpy(inputs_NT[first : first + batch]).to(device))
    spreads = {key: spread(torch.cat(values).cpu().numpy()) for key, values in found.items()}
    return {
        "windows": len(inputs_NT),
        "tokens": inputs_NT.size,
        "uniform_entropy_nats": sum(math.log(t) for t in range(1, inputs_NT.shape[1] + 1))
        / inputs_NT.shape[1],
        "embedding_norm": spreads.pop((0, "embedding_norm")),
        "blocks": [
            {"layer": layer, **{quantity: spreads[layer, quantity] for quantity in QUANTITIES}}
            for layer in range(len(model.blocks))
        ],
    }


@contextmanager
def _hooked(model: Decoder, found: Values) -> Iterator[None]:
    handles: list[Any] = []
    for layer, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        handles += _hook(block, layer, found, model.embed.prefix)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hook(block: Block, layer: int, found: Values, prefix: int) -> list[Any]:
    """Hooks on one block. Positions that a method puts before every text are left out."""
    entered: list[Tensor] = []
    attn: Any = block.attn

    def keep(quantity: str, values: Tensor) -> None:
        found[layer, quantity].append(values)

    def moved(branch: str, h_ND: Tensor, output_ND: Tensor, after_ND: Tensor) -> None:
        keep(f"{branch}_angle_degrees", angles(h_ND, after_ND))
        norm = torch.linalg.vector_norm(h_ND, dim=-1).clamp_min(NORM_FLOOR)
        keep(f"{branch}_update", torch.linalg.vector_norm(after_ND - h_ND, dim=-1) / norm)
        keep(f"{branch}_branch_norm", torch.linalg.vector_norm(output_ND, dim=-1))

    def after_attn(module: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        h_ND, branch_ND, after_ND = _rows(prefix, *inputs, output)
        moved("attn", h_ND, branch_ND, after_ND)
        entered[:] = [h_ND]
        if layer == 0:
            keep("embedding_norm", torch.linalg.vector_norm(h_ND, dim=-1))

    def after_mlp(module: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        h_ND, branch_ND, after_ND = _rows(prefix, *inputs, output)
        moved("mlp", h_ND, branch_ND, after_ND)
        keep("hidden_norm", torch.linalg.vector_norm(after_ND, dim=-1))
        keep("block_cosine", torch.cosine_similarity(entered[0], after_ND, dim=-1))
        keep("block_angle_degrees", angles(entered.pop(), after_ND))

    def after_qk(module: Any, inputs: Any, output: tuple[Tensor, Tensor]) -> None:
        q_BTHK, k_BTHK = output
        k_BTHK = heads_for(q_BTHK, k_BTHK)
        found_BT = entropies(q_BTHK, k_BTHK, attn.scale, attn.window).view(q_BTHK.shape[:2])
        keep("attn_entropy_nats", found_BT[:, prefix:].flatten())

    return [
        block.attn_residual.register_forward_hook(after_attn),
        block.mlp_residual.register_forward_hook(after_mlp),
        attn.qk.register_forward_hook(after_qk),
    ]


def _rows(prefix: int, *states_BTD: Tensor) -> tuple[Tensor, ...]:
    return tuple(h_BTD[:, prefix:].double().flatten(0, 1) for h_BTD in states_BTD)
