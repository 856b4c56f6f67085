"""Weights that processes divide (`device.shard on`): each has its own for good, and is lent the others' while they are used.

What is owned is a whole parameter. In other processes it has a shape and no values (`nn.elsewhere`), so that whoever reads it
without being lent it gets an error. Parameters that are lent together are a unit: those of a block, and each one
outside of blocks. A unit is lent

    for its part of the forward pass     each owner sends what it has; the others drop it afterwards
    for its part of the backward pass    as soon as an operation asks for a weight that it had kept

When all gradients of a unit are there, they are summed in their owners and dropped elsewhere. Autograd sees a function that gives
weights, of which no operation keeps any: hooks put their places in their stead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.autograd.graph import saved_tensors_hooks

from ngptlab.nn.decoder import Decoder
from ngptlab.nn.elsewhere import elsewhere
from ngptlab.nn.recompute import BlockCall
from ngptlab.world.world import World

Place = tuple[nn.Module, str]
"""A module, and what a parameter is called there."""


@dataclass(frozen=True, eq=False)
class Member:
    """A parameter that has an owner."""

    name: str
    owner: int
    parameter: nn.Parameter
    """With values in its owner, without elsewhere."""
    places: Sequence[Place]

    def put(self, weight: Tensor) -> None:
        """Have the model use this tensor in its stead."""
        for module, leaf in self.places:
            module._parameters[leaf] = weight  # type: ignore[assignment]


class Unit:
    """Parameters that are lent together."""

    def __init__(self, members: Sequence[Member], world: World, place: torch.device) -> None:
        self.members, self._world, self._place = members, world, place
        self.met: set[str] = set()
        """Names of those that have got a gradient, in whichever process."""
        self._held: list[Tensor] | None = None

    def gather(self) -> list[Tensor]:
        """The values of all. To be called by all processes alike."""
        weights = [
            member.parameter.detach()
            if member.owner == self._world.rank
            else torch.empty(member.parameter.shape, dtype=member.parameter.dtype, device=self._place)
            for member in self.members
        ]
        self._world.spread_parts(self._by_owner(weights))
        return weights

    def weight(self, number: int) -> Tensor:
        """The values of one in the backward pass; all are held from then on."""
        if self._held is None:
            self._held = self.gather()
        return self._held[number]

    def forget(self) -> None:
        """Drop what is held."""
        self._held = None

    @torch.no_grad()
    def take(self, grads: Sequence[Tensor | None]) -> None:
        """Add the gradients of this process's rows, summed over all processes, to those of the owners."""
        self.forget()
        there = [(member, grad) for member, grad in zip(self.members, grads, strict=True) if grad is not None]
        self.met.update(member.name for member, _ in there)
        sums = self._world.sum_parts(self._by_owner([grad for _, grad in there], [m for m, _ in there]))
        own = [member.parameter for member, _ in there if member.owner == self._world.rank]
        for parameter, total in zip(own, sums, strict=True):
            parameter.grad = total if parameter.grad is None else parameter.grad.add_(total)

    def _by_owner(self, tensors: Sequence[Tensor], of: Sequence[Member] | None = None) -> list[list[Tensor]]:
        pairs = list(zip(of or self.members, tensors, strict=True))
        return [[t for m, t in pairs if m.owner == number] for number in range(self._world.size)]


class _Lent(Function):
    """A unit's weights as a function of nothing, whose backward gives their gradients to their owners."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, unit: Unit) -> tuple[Tensor, ...]:
        ctx.unit = unit
        ctx.set_materialize_grads(False)
        return tuple(unit.gather())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[None, None]:
        ctx.unit.take(grads)
        return None, None


@dataclass(frozen=True)
class Kept:
    """What an operation keeps of a weight for its backward: where it is found again."""

    unit: Unit
    number: int
    size: torch.Size
    stride: tuple[int, ...]
    offset: int | torch.SymInt


class Lending:
    """Divides a model among processes, and is its lender (`nn.lending`)."""

    def __init__(
        self,
        model: Decoder,
        owner: Mapping[str, int | None],
        world: World,
        place: torch.device,
        unit: Callable[[Sequence[Member], World, torch.device], Unit] = Unit,
    ) -> None:
        """Drop the values of what others own; the rest is moved to `place`.

        Args:
            owner: the process that owns each parameter; None where all have it, and keep it as it is.
            unit: makes the units.
        """
        self.place = place
        self.dtype = next(model.parameters()).dtype
        self.members = _divided(model, owner, world.rank)
        for tensor in [*model.parameters(), *model.buffers()]:
            if not tensor.is_meta:
                tensor.data = tensor.data.to(place)
        home = {id(module): id(block) for block in model.blocks for module in block.modules()}
        by_block: dict[int, list[Member]] = {id(block): [] for block in model.blocks}
        outside: list[Member] = []
        for member in self.members:
            homes = {home.get(id(module)) for module, _ in member.places}
            number = homes.pop()
            (outside if homes or number is None else by_block[number]).append(member)
        self._of_block = {n: unit(its, world, place) for n, its in by_block.items()}
        # Each for itself, because the head is done with before the backward of any block.
        self._outside = [unit([member], world, place) for member in outside]
        self._anchor = torch.zeros((), device=place, requires_grad=True)
        self._where: dict[int, tuple[Unit, int]] = {}

    @property
    def units(self) -> Iterable[Unit]:
        """All of them."""
        return [*self._outside, *self._of_block.values()]

    @contextmanager
    def outside(self) -> Iterator[None]:
        """As `nn.lending.Lender`."""
        with saved_tensors_hooks(self._keep, self._give), ExitStack() as lent:
            for unit in self._outside:
                lent.enter_context(self._lent(unit))
            yield

    def block(self, block: nn.Module) -> BlockCall:
        """As `nn.lending.Lender`."""
        unit = self._of_block[id(block)]

        def run(*inputs: Any) -> Tensor:
            with self._lent(unit):
                return block(*inputs)  # type: ignore[no-any-return]

        return run if unit.members else block

    def end_backward(self) -> set[str]:
        """Drop what an operation may have asked for late; returns the names of parameters that have got a gradient."""
        met: set[str] = set()
        for unit in self.units:
            unit.forget()
            met |= unit.met
            unit.met.clear()
        return met

    @contextmanager
    def _lent(self, unit: Unit) -> Iterator[None]:
        lend = torch.is_grad_enabled()
        weights = _Lent.apply(self._anchor, unit) if lend else unit.gather()  # type: ignore[no-untyped-call]
        places = {w.untyped_storage()._cdata: (unit, number) for number, w in enumerate(weights)}
        self._where |= places
        try:
            for member, weight in zip(unit.members, weights, strict=True):
                member.put(weight)
            yield
        finally:
            for member in unit.members:
                member.put(member.parameter)
            for storage in places:  # another tensor may get this place
                del self._where[storage]

    def _keep(self, tensor: Tensor) -> Tensor | Kept:
        found = self._where.get(tensor.untyped_storage()._cdata)
        if found is None or tensor.dtype != found[0].members[found[1]].parameter.dtype:
            return tensor
        return Kept(*found, tensor.size(), tensor.stride(), tensor.storage_offset())

    def _give(self, kept: Tensor | Kept) -> Tensor:
        if isinstance(kept, Tensor):
            return kept
        weight = kept.unit.weight(kept.number)
        # Torch's own code would not notice.
        assert not weight.is_meta, "a unit's weights are there in its backward"
        return weight.as_strided(kept.size, kept.stride, kept.offset)


def _divided(model: Decoder, owner: Mapping[str, int | None], rank: int) -> list[Member]:
    places: dict[int, list[Place]] = {}
    for module in model.modules():
        for leaf, parameter in module.named_parameters(recurse=False):
            places.setdefault(id(parameter), []).append((module, leaf))
    members = []
    for name, parameter in list(model.named_parameters()):
        if (number := owner[name]) is not None:
            there = parameter if number == rank else nn.Parameter(elsewhere(parameter))
            members.append(Member(name, number, there, places[id(parameter)]))
            members[-1].put(there)
    return members
