"""Whether a method's models can be a stack: tried on two toy models, against each of them alone, in float64."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ngptlab.config import Dims
from ngptlab.nn.decoder import Decoder, Parts
from ngptlab.nn.parts import Scale
from ngptlab.nn.situations import plain_formulas
from ngptlab.stack.models import Stack

DIMS = Dims(vocab_size=17, num_layers=3, num_heads=2, d_model=16, d_ff=24)
TOLERANCE = 1e-9
"""Relative to the largest value; sums of some hundred float64 products in another order differ by 1e-14."""


@dataclass(frozen=True)
class _Numbers:
    """All that a stack must get right for one model: its loss, its gradients, and its weights after the constraint."""

    loss: Tensor
    values: dict[str, Tensor]


def refusal(parts: Parts) -> str:
    """Why models of these parts can't be trained as a stack; empty where they can."""
    if not parts.optimizer.build(DIMS).adam_only:
        return f"a stack has AdamW alone, and this method's optimizer is {parts.optimizer}"
    if parts.context.build(DIMS) is not None:
        return f"a stack has sequences of one length, and this method's context is {parts.context}"
    for name in ("batch_stages", "schedule", "average"):
        if getattr(parts, name) != getattr(Parts, name):
            return f"a stack has none of this method's {name}, {getattr(parts, name)}"
    models = [_toy(parts, number) for number in range(2)]
    tokens_MBT = torch.randint(17, (2, 3, 9), generator=torch.Generator().manual_seed(0))
    inputs_MBT, targets_MBT = tokens_MBT[:, :, :-1], tokens_MBT[:, :, 1:]
    alone = [_alone(*arguments) for arguments in zip(models, inputs_MBT, targets_MBT, strict=True)]
    try:
        together = _together(models, inputs_MBT, targets_MBT)
    except Exception as error:  # whatever a method does that torch.func can't follow
        first = (str(error).strip() or "no word").splitlines()[0]
        return f"torch.func.vmap can't run it ({type(error).__name__}: {first})"
    for number, (one, other) in enumerate(zip(alone, together, strict=True)):
        if not _close(one.loss, other.loss):
            return f"as a stack, toy model {number} has loss {other.loss:.6g} instead of {one.loss:.6g}"
        for what, value in one.values.items():
            if what not in other.values or not _close(value, other.values[what]):
                return f"as a stack, toy model {number} gets another {what}"
    return ""


def _toy(parts: Parts, number: int) -> Decoder:
    """Models that differ in all that may differ, with scales that are not constant."""
    model = Decoder(DIMS, parts)
    if parts.head.build(DIMS):  # rules that divide refuse a model without a head of its own
        model.hidden_divisor = 1.0 + number
    for module in model.modules():
        if isinstance(module, Scale):
            module.init *= 1.0 + 0.5 * number
    model.reset(number)
    generator = torch.Generator().manual_seed(number)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, Scale):
                module.stored.mul_(0.5 + torch.rand(module.stored.shape, generator=generator))
    return model.double()


def _alone(model: Decoder, inputs_BT: Tensor, targets_BT: Tensor) -> _Numbers:
    with plain_formulas():
        loss = model.loss(inputs_BT, targets_BT)
        loss.backward()  # type: ignore[no-untyped-call]
    values = {
        f"gradient of {name}": p.grad.clone() for name, p in model.named_parameters() if p.grad is not None
    }
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    _push(dict(model.named_parameters()))
    model.after_step()
    for name, p in model.named_parameters():
        values[f"constraint on {name}"] = p.detach().clone()
        p.grad = None
        p.data.copy_(before[name])
    return _Numbers(loss.detach(), values)


def _together(models: list[Decoder], inputs_MBT: Tensor, targets_MBT: Tensor) -> list[_Numbers]:
    stack = Stack(models)
    losses_M = stack.losses(inputs_MBT, targets_MBT)
    losses_M.sum().backward()  # type: ignore[no-untyped-call]
    gradients = stack.gradients()
    _push(stack.params)
    stack.after_step()
    return [
        _Numbers(
            loss.detach(),
            {
                **{f"gradient of {name}": grad[row] for name, grad in gradients.items()},
                **{f"constraint on {name}": p.detach()[row] for name, p in stack.params.items()},
            },
        )
        for row, loss in enumerate(losses_M)
    ]


def _push(params: dict[str, Tensor]) -> None:
    """Move the weights as an optimizer might: away from where the constraint holds."""
    with torch.no_grad():
        for parameter in params.values():
            parameter.mul_(1.25)


def _close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool((one - other).abs().max() <= TOLERANCE * one.abs().max())
