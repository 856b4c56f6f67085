"""Who makes an update: every process all of it, or each the part that it owns (`device.shard`).

What is owned is a whole parameter. Its owner alone keeps what the optimizer keeps for it and moves it; the others receive it. So
an optimizer sees whole matrices, whatever it does with them, and its updates are the bits of one process. Gradients are summed
and clipped whole beforehand, and the method's constraint is applied to the whole model afterwards, in every process.

With `device.shard on` the owner alone has the parameter and its gradient, too, and lends it (`train.lending`). Vectors stay whole
everywhere, because they are small and many look at them. The constraint is applied to what a process has; the rest are shapes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ngptlab.config import DeviceConfig
from ngptlab.errors import CheckpointError
from ngptlab.nn.decoder import Decoder
from ngptlab.nn.roles import Role, roles
from ngptlab.train.checkpoint import load_optimizer, load_weights, optimizer_tensors
from ngptlab.train.lending import Lending
from ngptlab.train.replicas import checksums, from_process
from ngptlab.world.world import World

CPU = torch.device("cpu")
EVERYWHERE = (Role.SCALE,)
"""Roles whose parameters stay whole in every process where weights are divided."""


class Updates:
    """Every process makes every update and has all of the optimizer's state."""

    def __init__(self, model: Decoder, optimizer: torch.optim.Optimizer, world: World) -> None:
        self._model, self._optimizer, self._world = model, optimizer, world
        self._read: dict[str, Tensor] = {}

    @property
    def held(self) -> Iterable[nn.Parameter]:
        """Parameters whose values are here for good."""
        return self._model.parameters()

    @property
    def replicas(self) -> dict[str, nn.Parameter]:
        """Parameters that every process has, by name: each has a gradient of its own rows, which is still to be summed."""
        return dict(self._model.named_parameters())

    def clip(self, most: float) -> Tensor:
        """Scale all gradients so that the norm of all of them together is at most so much; returns what it was."""
        return torch.nn.utils.clip_grad_norm_(self._model.parameters(), most)

    def step(self) -> None:
        """Move the weights by their gradients."""
        self._optimizer.step()

    def share_weights(self) -> None:
        """Give every process the weights that others own."""

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Inside, the first process has all weights, and all of the optimizer's state."""
        yield

    @contextmanager
    def whole_weights(self) -> Iterator[None]:
        """Inside, the first process has all weights."""
        yield

    def take_weights(self, tensors: dict[str, Tensor]) -> None:
        """Take the weights that a checkpoint has. In the first process, before `share_state`.

        Raises:
            CheckpointError: they don't fit the model.
        """
        load_weights(self._model, tensors)

    def take_state(self, tensors: dict[str, Tensor]) -> None:
        """Take what a checkpoint has of the optimizer. In the first process, before `share_state`."""
        self._read = tensors

    def share_state(self) -> None:
        """Give every process the first one's weights, and what it keeps of the state that was taken there.

        Raises:
            CheckpointError: the state is of a parameter that the model lacks.
        """
        self._share_read_weights()
        read, self._read = self._read, {}
        kept = from_process(self._world, 0, lambda: read, self._keeps)
        load_optimizer(self._model, self._optimizer, kept)

    def _share_read_weights(self) -> None:
        self._world.spread(parameter.detach() for parameter in self._model.parameters())

    def _keeps(self, entry: str) -> bool:
        """Whether this process keeps a tensor of the optimizer's state, 'name:key'."""
        return True


class OwnUpdates(Updates):
    """Each process makes the updates of the parameters that it owns."""

    def __init__(self, model: Decoder, optimizer: torch.optim.Optimizer, world: World) -> None:
        super().__init__(model, optimizer, world)
        self._owner = self._owners()
        self._divide()

    def _owners(self) -> dict[str, int | None]:
        return owners(self._model, self._world.size)

    def _divide(self) -> None:
        named, world = dict(self._model.named_parameters()), self._world
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


class OwnWeights(OwnUpdates):
    """Each process has the parameters that it owns, and lends them to a pass of the others."""

    def __init__(
        self, model: Decoder, optimizer: torch.optim.Optimizer, world: World, place: torch.device
    ) -> None:
        self._place = place
        self._read_weights: dict[str, Tensor] = {}
        super().__init__(model, optimizer, world)

    def _owners(self) -> dict[str, int | None]:
        return owners(self._model, self._world.size, whole=EVERYWHERE)

    def _divide(self) -> None:
        # They are compared while each process still has all that it has drawn.
        self._world.check_alike("step 0", checksums(dict(self._model.named_parameters())))
        self._lending = Lending(self._model, self._owner, self._world, self._place)
        self._model.lender = self._lending
        held = {id(parameter) for parameter in self.held}
        for group in self._optimizer.param_groups:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) in held]

    @property
    def held(self) -> Iterable[nn.Parameter]:
        return [parameter for parameter in self._model.parameters() if not parameter.is_meta]

    @property
    def replicas(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self._model.named_parameters() if self._owner[name] is None}

    @torch.no_grad()
    def clip(self, most: float) -> Tensor:
        """As `Updates`, whose norm is that of the norms of all gradients, in the model's order. Each has its owner's here."""
        met = self._lending.end_backward() | {name for name, p in self.replicas.items() if p.grad is not None}
        named = {name: parameter for name, parameter in self._model.named_parameters() if name in met}
        norms = torch.zeros(len(named), device=self._place, dtype=self._lending.dtype)
        for number, (name, parameter) in enumerate(named.items()):
            if parameter.grad is not None and (self._owner[name] or 0) == self._world.rank:
                norms[number] = torch.nn.utils.get_total_norm([parameter.grad])
        norm: Tensor = torch.linalg.vector_norm(self._world.total(norms))
        torch.nn.utils.clip_grads_with_norm_(self.held, most, norm)
        return norm

    def step(self) -> None:
        self._optimizer.step()

    def share_weights(self) -> None:
        """Nobody keeps a weight that another process owns."""

    @contextmanager
    def whole(self) -> Iterator[None]:
        with self.whole_weights(), super().whole():
            yield

    @contextmanager
    def whole_weights(self) -> Iterator[None]:
        members = {member.name: member for member in self._lending.members}

        def own() -> dict[str, Tensor]:
            mine = [member for member in members.values() if member.owner == self._world.rank]
            return {member.name: member.parameter.detach().cpu() for member in mine}

        try:
            for number in range(1, self._world.size):
                found = from_process(self._world, number, own, lambda name: self._world.writes)
                for name, tensor in found.items():
                    members[name].put(nn.Parameter(tensor, requires_grad=False))
            yield
        finally:
            for member in members.values():
                member.put(member.parameter)

    def take_weights(self, tensors: dict[str, Tensor]) -> None:
        named = dict(self._model.named_parameters())
        for name in [*named, *tensors]:
            here, there = (found[name].shape if name in found else None for found in (named, tensors))
            if here != there:
                raise CheckpointError(
                    f"the checkpoint does not fit the model ({name}: {_shape(there)}, in the model {_shape(here)})"
                )
        self._read_weights = tensors

    @torch.no_grad()
    def _share_read_weights(self) -> None:
        read, self._read_weights = self._read_weights, {}
        named = dict(self._model.named_parameters())
        kept = from_process(self._world, 0, lambda: read, lambda name: not named[name].is_meta)
        for name, tensor in kept.items():
            named[name].copy_(tensor)


def _shape(shape: torch.Size | None) -> str:
    return "missing" if shape is None else str(list(shape))


def updates(
    device: DeviceConfig,
    model: Decoder,
    optimizer: torch.optim.Optimizer,
    world: World,
    place: torch.device = CPU,
) -> Updates:
    """The updates of a run, divided where its settings say so and there is somebody to divide them with.

    Where weights are divided, too, the model is given to its processes and has values in parts only from then on; what a process
    keeps is moved to `place`.
    """
    if divides_weights(device, world):
        return OwnWeights(model, optimizer, world, place)
    divided = device.shard == "optimizer" and world.size > 1
    return (OwnUpdates if divided else Updates)(model, optimizer, world)


def divides_weights(device: DeviceConfig, world: World) -> bool:
    """Whether a process has some of the weights only."""
    return device.shard == "on" and world.size > 1


def owners(model: Decoder, processes: int, whole: Collection[Role] = ()) -> dict[str, int | None]:
    """The number of the process that owns each parameter; None where all do, because its optimizer talks to the others.

    Roles that stay `whole` have no owner, either. The largest are given away first, each to the process that has least, by what
    an update reads and writes: the weight, its gradient, and the optimizer's state.
    """
    kinds = roles(model)
    sizes = {name: None if kinds[name] in whole else size for name, size in update_values(model).items()}
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
