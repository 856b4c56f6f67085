"""A model and its optimizer as several processes have them, each the whole: made equal after a resume, and held to be equal."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ngptlab.train.checkpoint import load_optimizer, optimizer_tensors
from ngptlab.world.world import World

BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Whole numbers of as many bytes, as which the bits of a value are read."""


@torch.no_grad()
def checksums(model: nn.Module) -> dict[str, int]:
    """A number for each parameter, which a change of any one bit changes."""
    sums = [p.reshape(-1).view(BITS[p.element_size()]).sum(dtype=torch.int64) for p in model.parameters()]
    names = (name for name, _ in model.named_parameters())
    return dict(zip(names, torch.stack(sums).tolist(), strict=True))


def share_state(world: World, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Give every process the first one's weights and optimizer state, so that the others need no checkpoint's files."""
    if world.size == 1:
        return
    world.spread(parameter.detach() for parameter in model.parameters())
    state = optimizer_tensors(model, optimizer) if world.writes else {}
    layout = world.ask(lambda: {entry: (_dtype(t), list(t.shape)) for entry, t in state.items()})
    if not world.writes:
        state = {
            entry: torch.empty(shape, dtype=getattr(torch, kind)) for entry, (kind, shape) in layout.items()
        }
    world.spread(state.values())
    if not world.writes:
        load_optimizer(model, optimizer, state)


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
