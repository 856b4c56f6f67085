"""Weights that a forward pass is lent, where a process does not have all of them for good."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import nn

from ngptlab.nn.recompute import BlockCall


class Lender(Protocol):
    """Puts weights into a decoder while they are used. Parameters that are not lent have shapes and no values."""

    place: torch.device
    """Where weights are lent."""

    def outside(self) -> AbstractContextManager[None]:
        """Around a whole pass: the weights outside of blocks."""

    def block(self, block: nn.Module) -> BlockCall:
        """A block that has its weights while it runs."""
