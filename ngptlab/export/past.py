"""A decoder's past in a cache of `transformers`, which beam search can reorder; and the layout of padded batches.

Axis letter in names: S, positions in the cache, with the new ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ngptlab.config import Dims
from ngptlab.nn.cache import Cache, Past
from ngptlab.nn.functions import attention_to_past, causal_attention, heads_for
from ngptlab.nn.rope import Rope, rope_tables


@dataclass(frozen=True)
class Layout:
    """Positions of the new tokens of a padded batch, and the tokens that they attend to."""

    positions_BT: Tensor
    """Position of each token in its own text."""
    meets_BTS: Tensor
    """Whether a token attends to another. Each attends at least to itself, also padding, because it would be NaN otherwise."""


def padded_layout(mask_BS: Tensor, new: int, positions_BT: Tensor | None = None) -> Layout:
    """The layout of the last `new` of S tokens; the mask is 0 for padding."""
    B, S = mask_BS.shape
    if positions_BT is None:
        positions_BT = (mask_BS.long().cumsum(-1) - 1).clamp_min(0)[:, -new:]
    own_TS = torch.eye(S, dtype=torch.bool, device=mask_BS.device)[-new:]
    earlier_TS = torch.ones(S, S, dtype=torch.bool, device=mask_BS.device).tril_()[-new:]
    meets_BTS = (earlier_TS & mask_BS.bool()[:, None]) | own_TS
    return Layout(positions_BT.expand(B, new), meets_BTS)


class KeptPast(Past):
    """Keys and values of one layer in a cache of `transformers`, [B, H, S, K] there."""

    def __init__(self, kept: Any, number: int, layout: Layout | None, first: bool) -> None:
        self.kept, self.number, self.layout, self.first = kept, number, layout, first

    def attend(
        self, q_BTHK: Tensor, k_BTHK: Tensor, v_BTHK: Tensor, scale: float, window: int | None = None
    ) -> Tensor:
        """See `Past.attend`."""
        k_BHSK, v_BHSK = self.kept.update(k_BTHK.transpose(1, 2), v_BTHK.transpose(1, 2), self.number)
        if self.layout is not None:
            return self._padded(q_BTHK, k_BHSK, v_BHSK, scale, window)
        if self.first and window is None:
            return causal_attention(q_BTHK, heads_for(q_BTHK, k_BTHK), heads_for(q_BTHK, v_BTHK), scale)
        return attention_to_past(q_BTHK, k_BHSK, v_BHSK, scale, window)

    def _padded(
        self, q_BTHK: Tensor, k_BHSK: Tensor, v_BHSK: Tensor, scale: float, window: int | None
    ) -> Tensor:
        assert self.layout is not None
        meets_B1TS = self.layout.meets_BTS.unsqueeze(1)
        T, S = meets_B1TS.shape[-2:]
        if window is not None:
            meets_B1TS = meets_B1TS & torch.ones(T, S, dtype=torch.bool, device=q_BTHK.device).triu_(
                S - T - window + 1
            )
        q_BHTK, grouped = q_BTHK.transpose(1, 2), k_BHSK.shape[1] != q_BTHK.shape[2]
        o_BHTK = F.scaled_dot_product_attention(
            q_BHTK, k_BHSK, v_BHSK, attn_mask=meets_B1TS, scale=scale, enable_gqa=grouped
        )
        return o_BHTK.transpose(1, 2)


class KeptCache(Cache):
    """The pasts of all layers for one call of the decoder. `kept` lasts from call to call."""

    def __init__(self, dims: Dims, kept: Any, layout: Layout | None) -> None:
        super().__init__(dims)
        self.layout = layout
        self.length = kept.get_seq_length()
        self.layers = [KeptPast(kept, n, layout, self.length == 0) for n in range(dims.num_layers)]

    def rope(self, length: int, *, like: Tensor) -> Rope:
        """Tables [T, H, K], or [B, T, H, K] where each sequence has positions of its own."""
        if self.layout is None:
            return super().rope(length, like=like)
        positions_BT = self.layout.positions_BT
        last = int(positions_BT.max())
        cos_SHK, sin_SHK = rope_tables(last + 1, self.dims.num_heads, self.dims.d_head, like=like)
        return cos_SHK[positions_BT], sin_SHK[positions_BT]
