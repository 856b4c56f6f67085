"""Whether a method's updates may be divided among processes (`device.shard`): tried on a toy model, bit for bit."""

from __future__ import annotations

import torch
from torch import Tensor

from ngptlab.config import DeviceConfig, OptimConfig
from ngptlab.errors import ConfigError
from ngptlab.nn.decoder import Decoder, Parts
from ngptlab.optim.groups import make_optimizer
from ngptlab.train.twice import DIMS
from ngptlab.train.updates import owners, updates
from ngptlab.world.world import ALONE, World

PROCESSES, UPDATES = 2, 3
"""The first update of an optimizer may only begin its state."""


def check_divides(parts: Parts, name: str) -> None:
    """Hold what each of two processes makes of its parameters against what one makes of all. Nothing is sent.

    Raises:
        ConfigError: they differ, because the optimizer moves a parameter by more than its own gradient and state.
    """
    try:
        whole = _moved(parts, ALONE)
    except ConfigError:
        return  # the method takes no model of these sizes, so the run itself has to tell
    owner = owners(Decoder(DIMS, parts), PROCESSES)
    for number in range(PROCESSES):
        found = _moved(parts, One(number))
        for parameter, weight in found.items():
            if owner[parameter] in (None, number) and not torch.equal(weight, whole[parameter]):
                raise ConfigError(
                    f"device.shard: {name} does not work with it, because its optimizer moves {parameter} by more than its own "
                    "gradient and state; leave it out, or let `talks` of its record say so"
                )


class One(World):
    """One of so many processes, to whom the others say nothing."""

    size = PROCESSES

    def __init__(self, rank: int) -> None:
        self.rank = rank


def _moved(parts: Parts, world: World) -> dict[str, Tensor]:
    """The weights after a few updates by gradients that are drawn."""
    model = Decoder(DIMS, parts)
    model.reset(0)
    optimizer = make_optimizer(model, OptimConfig(weight_decay=0.1))
    made, draws = updates(DeviceConfig(shard="optimizer"), model, optimizer, world), torch.Generator()
    draws.manual_seed(0)
    for _ in range(UPDATES):
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=draws)
        made.step()
    return {name: parameter.detach() for name, parameter in model.named_parameters()}
