"""AdamW and gradient clipping over stacked parameters: one step for all models, each with its own learning rates.

torch's AdamW has one learning rate for a tensor; here a tensor holds M models. The formula is torch's, in its order. Each
model's own `torch.optim.AdamW` stays beside it: its groups give learning rates and decay, and its state is views of the
moments here, so that checkpoints are those of a model trained alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ngptlab.stack.models import Stack, Stacked

CLIP_FLOOR = 1e-6
"""What torch's clip_grad_norm_ adds to a norm before it divides by it."""


class StackedAdamW:
    """AdamW over a stack; `optimizers` are its models' own AdamWs, after equally many steps, with equal betas and epsilon."""

    def __init__(self, stack: Stack, optimizers: Sequence[torch.optim.Optimizer], *, steps: int) -> None:
        self.stack, self.steps = stack, steps
        self._optimizers = list(optimizers)
        settings = {(group["betas"], group["eps"]) for o in optimizers for group in o.param_groups}
        ((self._beta1, self._beta2), self._eps) = settings.pop()
        assert not settings, "one pair of betas and one epsilon for all"
        self._means, self._squares = self._moments("exp_avg"), self._moments("exp_avg_sq")
        self._lend()

    def advance(self, factor: float) -> Tensor:
        """Count a step at `factor` times the peak learning rates. Returns the numbers that `step` needs for it, on the CPU.

        Shape: [3], float64: the factor, and the divisors of Adam's two moments, which correct for their start at zero. The second
        divisor is a root.
        """
        self.steps += 1
        corrections = 1 - self._beta1**self.steps, (1 - self._beta2**self.steps) ** 0.5
        return torch.tensor([factor, *corrections], dtype=torch.float64)

    @torch.no_grad()
    def step(self, numbers: Tensor) -> None:
        """One update of all models, with the numbers of its step on their device, so that a recording holds for all steps."""
        factor, correct1, root_correct2 = numbers
        names, grads = zip(*self.stack.gradients().items(), strict=True)
        params = [self.stack.params[name] for name in names]
        means, squares = [self._means[name] for name in names], [self._squares[name] for name in names]
        kept_PM = 1 - self._peaks_PM * factor * self._decays_PM
        rate_PM = self._peaks_PM * (factor / correct1)
        torch._foreach_mul_(params, self._by_name(kept_PM, names))
        torch._foreach_lerp_(means, grads, 1 - self._beta1)
        torch._foreach_mul_(squares, self._beta2)
        torch._foreach_addcmul_(squares, grads, grads, 1 - self._beta2)
        divisors = torch._foreach_sqrt(squares)
        torch._foreach_div_(divisors, root_correct2.to(params[0].dtype))
        torch._foreach_add_(divisors, self._eps)
        updates = torch._foreach_div(means, divisors)
        torch._foreach_mul_(updates, self._by_name(rate_PM, names))
        torch._foreach_sub_(params, updates)

    def count(self) -> None:
        """Tell the models' own optimizers how many steps there were. To be called before they are saved."""
        for optimizer in self._optimizers:
            for state in optimizer.state.values():
                state["step"].fill_(self.steps)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these models alone, as `Stack.keep`, which comes first."""
        self._optimizers = [self._optimizers[row] for row in rows]
        for moments in (self._means, self._squares):
            for name in moments:
                moments[name] = moments[name][list(rows)]
        self._lend()

    def _moments(self, key: str) -> Stacked:
        """One moment of every parameter, zero where an optimizer has made no step."""
        found = {}
        for name in self.stack.params:
            parameters = [model.get_parameter(name) for model in self.stack.models]
            states = [o.state.get(p, {}) for o, p in zip(self._optimizers, parameters, strict=True)]
            found[name] = torch.stack(
                [
                    state.get(key, torch.zeros_like(p.data))
                    for state, p in zip(states, parameters, strict=True)
                ]
            )
        return found

    def _lend(self) -> None:
        """Take learning rates and decay from the optimizers' groups, and put views of the moments into their state."""
        peaks_PM, decays_PM = [], []
        for name in self.stack.params:
            peaks, decays = [], []
            for row, (model, optimizer) in enumerate(zip(self.stack.models, self._optimizers, strict=True)):
                parameter = model.get_parameter(name)
                (group,) = (g for g in optimizer.param_groups if any(p is parameter for p in g["params"]))
                peaks.append(group["peak_lr"])
                decays.append(group["weight_decay"])
                optimizer.state[parameter] = {
                    "step": torch.tensor(float(self.steps), device=parameter.device),
                    "exp_avg": self._means[name][row],
                    "exp_avg_sq": self._squares[name][row],
                }
            peaks_PM.append(peaks)
            decays_PM.append(decays)
        place = next(iter(self.stack.params.values())).device
        # In float64, as torch has its learning rates, and rounded once.
        self._peaks_PM = torch.tensor(peaks_PM, dtype=torch.float64, device=place)
        self._decays_PM = torch.tensor(decays_PM, dtype=torch.float64, device=place)

    def _by_name(self, values_PM: Tensor, names: Sequence[str]) -> list[Tensor]:
        """One value for each model, shaped to be multiplied with each parameter."""
        found = {}
        rounded_PM = values_PM.to(next(iter(self.stack.params.values())).dtype)
        for (name, parameter), values_M in zip(self.stack.params.items(), rounded_PM, strict=True):
            found[name] = values_M.view(-1, *[1] * (parameter.dim() - 1))
        return [found[name] for name in names]


@torch.no_grad()
def clip(gradients: Stacked, limit: float) -> Tensor:
    """Scale each model's gradients to a norm of at most `limit`, in place; the norms before, [M]."""
    norms_PM = torch.stack([torch.linalg.vector_norm(grad.flatten(1), dim=1) for grad in gradients.values()])
    norms_M: Tensor = torch.linalg.vector_norm(norms_PM, dim=0)
    factors_M = (limit / (norms_M + CLIP_FLOOR)).clamp(max=1.0)
    for grad in gradients.values():
        grad.mul_(factors_M.view(-1, *[1] * (grad.dim() - 1)))
    return norms_M
