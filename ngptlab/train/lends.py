"""Whether a method trains with weights that it is lent (`device.shard on`): tried on a toy model, bit for bit.

Whoever reads a weight outside of its unit finds a shape and no values, which is an error (`nn.elsewhere`). Gradients and
constrained weights are compared, too, because there may be ways that nobody has thought of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from ngptlab.errors import ConfigError
from ngptlab.nn.decoder import Decoder, Parts
from ngptlab.train.divided import PROCESSES, One
from ngptlab.train.lending import Lending, Member, Unit
from ngptlab.train.twice import DIMS, LENGTH, SEQUENCES
from ngptlab.train.updates import EVERYWHERE, owners
from ngptlab.world.world import World


def check_lends(parts: Parts, name: str, *, recompute: bool) -> None:
    """Hold gradients and constrained weights of each of two processes against those of a whole model.

    Raises:
        ConfigError: they differ, because a part looks at weights that it isn't lent.
    """
    with torch.random.fork_rng(devices=[]):
        try:
            model = _toy(parts)
        except ConfigError:
            return  # the method takes no model of these sizes, so the run itself has to tell
        values = {each: weight.detach().clone() for each, weight in model.named_parameters()}
        grads = _gradients(model)
        model.after_step()
        constrained = {each: weight.detach() for each, weight in model.named_parameters()}
        for number in range(PROCESSES):
            try:
                found, moved = _as_one(parts, number, values, recompute=recompute)
            # Torch's own, of tensors without values.
            except (RuntimeError, TypeError, ValueError, AttributeError) as error:
                line = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise _refused(name, f"a part reads weights that it isn't lent ({line})") from None
            _compare(name, "is given another gradient", grads, found)
            _compare(name, "is constrained otherwise", constrained, moved)
            if missing := grads.keys() - found.keys():
                raise _refused(name, f"{min(missing)} is given no gradient")


def _compare(name: str, what: str, whole: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    for parameter, values in found.items():
        if parameter not in whole or not torch.equal(values, whole[parameter]):
            raise _refused(name, f"{parameter} {what}")


def _as_one(
    parts: Parts, number: int, values: Mapping[str, Tensor], *, recompute: bool
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Gradients that a process gives to all owners and to itself, and the weights that it has after the constraint."""
    model, grads = _toy(parts), dict[str, Tensor]()
    model.recompute = recompute
    owner = owners(model, PROCESSES, whole=EVERYWHERE)
    unit = partial(_FromWhole, values, grads)
    model.lender = Lending(model, owner, One(number), torch.device("cpu"), unit)
    grads |= _gradients(model)
    model.after_step()
    return grads, {name: weight.detach() for name, weight in model.named_parameters() if not weight.is_meta}


class _FromWhole(Unit):
    """Has what others own from a whole model, and gives gradients to nobody."""

    def __init__(
        self,
        values: Mapping[str, Tensor],
        grads: dict[str, Tensor],
        members: Sequence[Member],
        world: World,
        place: torch.device,
    ) -> None:
        super().__init__(members, world, place)
        self._values, self._grads = values, grads

    def gather(self) -> list[Tensor]:
        return [self._values[member.name].clone() for member in self.members]

    def take(self, grads: Sequence[Tensor | None]) -> None:
        self.forget()
        for member, grad in zip(self.members, grads, strict=True):
            if grad is not None:
                self._grads[member.name] = grad.clone()


def _toy(parts: Parts) -> Decoder:
    """A model whose weights need their constraint, and no two of which are alike."""
    model = Decoder(DIMS, parts)
    model.reset(0)
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=draws))
    return model


def _gradients(model: Decoder) -> dict[str, Tensor]:
    torch.manual_seed(0)
    tokens_BT = torch.randint(DIMS.vocab_size, (SEQUENCES, LENGTH + 1))
    model.loss(tokens_BT[:, :-1], tokens_BT[:, 1:]).backward()  # type: ignore[no-untyped-call]
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def _refused(name: str, why: str) -> ConfigError:
    return ConfigError(
        f"device.shard on: {name} does not work with it, because {why}; give --device.shard optimizer, or leave it out"
    )
