"""Who makes an update: every process all of it, or each the part that it owns (`device.shard`).

What is owned is a whole parameter. Its owner alone keeps what the optimizer keeps for it and moves it; the others receive it. So
an optimizer sees whole matrices, whatever it does with them, and its updates are the bits of one process. Gradients are summed
and clipped whole beforehand, and the method's constraint is applied to the whole model afterwards, in every process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ngptlab.config import DeviceConfig
from ngptlab.nn.decoder import Decoder
from ngptlab.nn.roles import roles
from ngptlab.train.checkpoint import load_optimizer, optimizer_tensors
from ngptlab.train.replicas import from_process
from ngptlab.world.world import World


class Updates:
    """Every process makes every update and has all of the optimizer's state."""

    def __init__(self, model: Decoder, optimizer: torch.optim.Optimizer, world: World) -> None:
        self._model, self._optimizer, self._world = model, optimizer, world
        self._read: dict[str, Tensor] = {}

    def step(self) -> None:
        """Move the weights by their gradients."""
        self._optimizer.step()

    def share_weights(self) -> None:
        """Give every process the weights that others own."""

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Inside, the first process has all of the optimizer's state."""
        yield

    def take_state(self, tensors: dict[str, Tensor]) -> None:
        """Take what a checkpoint has of the optimizer. In the first process, before `share_state`."""
        self._read = tensors

    def share_state(self) -> None:
        """Give every process the first one's weights, and what it keeps of the state that was taken there.

        Raises:
            CheckpointError: the state is of a parameter that the model lacks.
        """
        self._world.spread(parameter.detach() for parameter in self._model.parameters())
        read, self._read = self._read, {}
        kept = from_process(self._world, 0, lambda: read, self._keeps)
        load_optimizer(self._model, self._optimizer, kept)

    def _keeps(self, entry: str) -> bool:
        """Whether this process keeps a tensor of the optimizer's state, 'name:key'."""
        return True


class OwnUpdates(Updates):
    """Each process makes the updates of the parameters that it owns."""

    def __init__(self, model: Decoder, optimizer: torch.optim.Optimizer, world: World) -> None:
        super().__init__(model, optimizer, world)
        named = dict(model.named_parameters())
        self._owner = owners(model, world.size)
        self._parts = [
            [named[name].detach() for name, owner in self._owner.items() if owner == number]
            for number in range(world.size)
        ]
        self._others = [named[name] for name, owner in self._owner.items() if owner not in (None, world.rank)]

    def step(self) -> None:
        # No optimizer moves a parameter without a gradient, or keeps anything for it.
        for parameter in self._others:
            parameter.grad = None
        super().step()
        self.share_weights()

    def share_weights(self) -> None:
        self._world.spread_parts(self._parts)

    @contextmanager
    def whole(self) -> Iterator[None]:
        state, named = self._optimizer.state, dict(self._model.named_parameters())
        lent = []
        try:
            for number in range(1, self._world.size):
                found = from_process(self._world, number, self._own_state, lambda entry: self._world.writes)
                for entry, tensor in found.items():
                    name, _, key = entry.rpartition(":")
                    state[named[name]][key] = tensor
                    lent.append(named[name])
            yield
        finally:
            for parameter in lent:
                state.pop(parameter, None)

    def _own_state(self) -> dict[str, Tensor]:
        """What this process alone has of the optimizer's state."""
        found = optimizer_tensors(self._model, self._optimizer)
        return {entry: t for entry, t in found.items() if self._owner_of(entry) == self._world.rank}

    def _keeps(self, entry: str) -> bool:
        return self._owner_of(entry) in (None, self._world.rank)

    def _owner_of(self, entry: str) -> int | None:
        # A checkpoint may name a parameter that the model lacks; whoever loads it says so.
        return self._owner.get(entry.rpartition(":")[0])


def updates(device: DeviceConfig, model: Decoder, optimizer: torch.optim.Optimizer, world: World) -> Updates:
    """The updates of a run, divided where its settings say so and there is somebody to divide them with."""
    divided = device.shard == "optimizer" and world.size > 1
    return (OwnUpdates if divided else Updates)(model, optimizer, world)


def owners(model: Decoder, processes: int) -> dict[str, int | None]:
    """The number of the process that owns each parameter; None where all do, because its optimizer talks to the others.

    The largest are given away first, each to the process that has least, by what an update reads and writes: the weight, its
    gradient, and the optimizer's state.
    """
    sizes = update_values(model)
    found: dict[str, int | None] = dict.fromkeys(sizes)
    load = [0] * processes
    for name in sorted(sizes, key=lambda name: -(sizes[name] or 0)):
        if (size := sizes[name]) is not None:
            found[name] = number = load.index(min(load))
            load[number] += size
    return found


def update_values(model: Decoder) -> dict[str, int | None]:
    """Values that an update of each parameter reads or writes; None where every process has to make it."""
    optimizers, kinds = model.optimizers, roles(model)
    return {
        name: None
        if optimizers.talks(kinds[name])
        else 2 * weight.numel() + optimizers.state_values(kinds[name], weight.shape)
        for name, weight in model.named_parameters()
    }
