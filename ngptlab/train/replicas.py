"""A model and its optimizer as several processes have them: made equal after a resume, and held to be equal."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ngptlab.world.world import World

BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Whole numbers of as many bytes, as which the bits of a value are read."""


@torch.no_grad()
def checksums(model: nn.Module) -> dict[str, int]:
    """A number for each parameter, which a change of any one bit changes."""
    sums = [p.reshape(-1).view(BITS[p.element_size()]).sum(dtype=torch.int64) for p in model.parameters()]
    names = (name for name, _ in model.named_parameters())
    return dict(zip(names, torch.stack(sums).tolist(), strict=True))


@torch.no_grad()
def from_process(
    world: World, number: int, tensors: Callable[[], dict[str, Tensor]], keeps: Callable[[str], bool]
) -> dict[str, Tensor]:
    """What one process has, in all those that keep it: named tensors, on the CPU, sent one after another.

    Args:
        number: that process, which alone is asked for `tensors`.
        keeps: (name) -> whether this process keeps a tensor.
    """
    own = tensors() if world.rank == number else {}
    layout = world.ask(
        lambda: [(name, str(t.dtype).removeprefix("torch."), list(t.shape)) for name, t in own.items()],
        of=number,
    )
    found = {}
    for name, dtype, shape in layout:
        tensor = own[name] if name in own else torch.empty(shape, dtype=getattr(torch, dtype))
        world.spread([tensor], of=number)
        if keeps(name):
            found[name] = tensor
    return found
