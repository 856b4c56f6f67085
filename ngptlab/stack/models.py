"""Models of one method and one shape as one: a leading axis M on every parameter, and one batched program for all.

The program is `Decoder.loss` of one of them under `torch.func.vmap`, so no method knows of it. Besides initial
values, rules of parametrization set factors on scales and the divisor before the head. These may differ between models:
they become factors on the parameters that the program is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ngptlab.nn.decoder import Decoder
from ngptlab.nn.parts import Scale
from ngptlab.nn.roles import Role, roles
from ngptlab.nn.situations import stacked_models

Stacked = dict[str, Tensor]
"""Name of a parameter -> [M, ...]."""


class Stack:
    """Models that are trained together. Each stays a `Decoder` of its own, whose parameters are views of `params`."""

    params: Stacked

    def __init__(self, models: Sequence[Decoder], *, compiled: bool = False) -> None:
        alike = {(model.dims, model.parts, model.compute_dtype, model.stored_dtype) for model in models}
        assert len(alike) == 1, "of one shape"
        self.models = list(models)
        self._compiled = compiled
        self._hold(
            {
                name: torch.stack([model.get_parameter(name).detach() for model in self.models])
                for name, _ in self.models[0].named_parameters()
            }
        )

    def losses(self, tokens_MBT: Tensor, targets_MBT: Tensor) -> Tensor:
        """Mean loss of each model on its own batch in nats, [M]. The gradient of their sum holds each model's own."""
        with stacked_models():
            return self._program(
                {name: self._factored(name, value) for name, value in self.params.items()},
                tokens_MBT,
                targets_MBT,
            )

    def gradients(self) -> Stacked:
        """The gradients that backward left, by name."""
        return {name: value.grad for name, value in self.params.items() if value.grad is not None}

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for value in self.params.values():
            value.grad = None

    @torch.no_grad()
    def after_step(self) -> None:
        """Restore the method's constraint on the weights of every model, in place."""
        with stacked_models():
            vmap(self._constrained)({name: value.detach() for name, value in self.params.items()})

    @torch.no_grad()
    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these models alone. The others keep the weights they have."""
        self.models = [self.models[row] for row in rows]
        self._hold({name: value[list(rows)] for name, value in self.params.items()})

    def _hold(self, values: Stacked) -> None:
        self.params = {name: value.detach().requires_grad_() for name, value in values.items()}
        for row, model in enumerate(self.models):
            for name, parameter in model.named_parameters():
                parameter.data = self.params[name].detach()[row]
        first = self.models[0]
        self._factors = _factors(self.models, like=first.E_in)
        self._loss, self._constraint = _Call(first, first.loss), _Call(first, first.after_step)
        self._program: Callable[[Stacked, Tensor, Tensor], Tensor] = vmap(self._one_loss)
        if self._compiled:
            # All stacks share one code object. The compiler would make a second stack's sizes variables, and fail in torch 2.11.
            self._program = torch.compile(self._program, dynamic=False)

    def _factored(self, name: str, value: Tensor) -> Tensor:
        factor_M = self._factors.get(name)
        return value if factor_M is None else value * factor_M.view(-1, *[1] * (value.dim() - 1))

    def _one_loss(self, params: Stacked, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        return functional_call(self._loss, _below(params), (tokens_BT, targets_BT))  # type: ignore[no-any-return]

    def _constrained(self, params: Stacked) -> Stacked:
        functional_call(self._constraint, _below(params), ())
        return params


class _Call(nn.Module):
    """One function of a model as the `forward` that `functional_call` calls."""

    def __init__(self, model: Decoder, function: Callable[..., Tensor | None]) -> None:
        super().__init__()
        self.model, self.function = model, function

    def forward(self, *args: Tensor) -> Tensor | None:
        return self.function(*args)


def _below(params: Stacked) -> Stacked:
    return {f"model.{name}": value for name, value in params.items()}


def _factors(models: Sequence[Decoder], *, like: Tensor) -> Stacked:
    """Factors on each model's parameters, [M], with which the first model computes what that model would.

    An effective scale is stored * init / scale. Dividing the hidden state before the head is dividing E_out.
    """
    ratios: dict[str, list[float]] = {}
    for name, module in models[0].named_modules():
        if isinstance(module, Scale):
            scales = [model.get_submodule(name) for model in models]
            speeds = [scale.speed for scale in scales if isinstance(scale, Scale)]
            ratios[f"{name}.stored"] = [speed / speeds[0] for speed in speeds]
    for name, kind in roles(models[0]).items():
        if kind is Role.UNEMBEDDING:
            ratios[name] = [models[0].hidden_divisor / model.hidden_divisor for model in models]
    return {name: like.new_tensor(values) for name, values in ratios.items() if set(values) != {1.0}}
