"""A model and its optimizer as several processes have them: made equal after a resume, and held to be equal."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ngptlab.world.world import World

BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Whole numbers of as many bytes, as which the bits of a value are read."""


@torch.no_grad()
def checksums(named: Mapping[str, Tensor]) -> dict[str, int]:
    """A number for each of these tensors, which a change of any one bit changes."""
    sums = [t.reshape(-1).view(BITS[t.element_size()]).sum(dtype=torch.int64) for t in named.values()]
    return dict(zip(named, torch.stack(sums).tolist() if sums else (), strict=True))


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
