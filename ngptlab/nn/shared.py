"""What flows beside the residual stream through one forward pass, and the memory that parts have of earlier tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ngptlab.nn.cache import Cache, Past
from ngptlab.nn.rope import Rope


@dataclass
class Shared:
    """The state of one forward pass. Parts may read all of it, and a block stores here what later blocks need."""

    tokens_BT: Tensor
    """The tokens that were given."""
    x0_BTD: Tensor
    """The stream as it enters the first block, positions before the text included."""
    rope: Rope
    cache: Cache | None = None
    """Cache of the tokens read before; None where the text begins here."""
    v1_BTHK: Tensor | None = None
    """Values of the first block as projected; None until that block has run."""

    def past(self, layer: int) -> Past | None:
        """Keys and values of a layer that were read before; None without a cache."""
        return None if self.cache is None else self.cache.layers[layer]

    @property
    def prefix(self) -> int:
        """Positions of the stream that stand before the tokens given."""
        return self.x0_BTD.shape[1] - self.tokens_BT.shape[1]

    def rows(self, table_VD: Tensor) -> Tensor:
        """The row of a table for each token, [B, T, D] in the stream's dtype; zeros at positions before the text."""
        rows_BTD = F.embedding(self.tokens_BT, table_VD).to(self.x0_BTD.dtype)
        return F.pad(rows_BTD, (0, 0, self.prefix, 0)) if self.prefix else rows_BTD


def previous(x_BT: Tensor, cache: Cache | None, name: str) -> Tensor:
    """`x_BT` from one position earlier, of the same shape [B, T, ...]; zeros before the first token.

    With a cache, the last position is kept there under `name` for the tokens to come.
    """
    before_B1 = torch.zeros_like(x_BT[:, :1])
    if cache is not None:
        before_B1 = cache.kept.get(name, before_B1)
        cache.kept[name] = x_BT[:, -1:]
    return torch.cat((before_B1, x_BT[:, :-1]), dim=1)
