"""Building blocks of methods' optimizers: a loop over parameters, moments, momentum, and matrices made orthogonal.

An optimizer here is `OneByOne` with an `update`, which reads like its paper. Its state is tensors by name, made at a parameter's
first update, so that checkpoints hold all of it. Everything is computed in float32 at least, whatever dtype the gradient has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ngptlab.nn.optimizers import Groups
from ngptlab.nn.precision import wide

State = dict[str, Tensor]
"""Optimizer state of one parameter, which is kept between steps."""
ADAMW_RMS = 0.2
"""Root mean square that AdamW's updates have in practice (arXiv:2502.16982, section 2.2)."""


class OneByOne(torch.optim.Optimizer):
    """An optimizer whose `update` moves one parameter. Beside learning rate and decay, groups hold constant `settings`."""

    def __init__(self, groups: Groups, **settings: Any) -> None:
        super().__init__(groups, {"weight_decay": 0.0, **settings})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient. There may be no closure, though torch's signature has one."""
        assert closure is None
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self.update(weight, wide(weight.grad), self.state[weight], group)

    def update(self, weight: Tensor, grad: Tensor, state: State, group: dict[str, Any]) -> None:
        """Move `weight` in place. `grad` is in float32 at least, and must not be changed."""
        raise NotImplementedError


def kept(state: State, name: str, like: Tensor) -> Tensor:
    """A tensor of the state, zeros at first; contiguous, as a checkpoint gives it back, so that sums keep their order."""
    if name not in state:
        state[name] = torch.zeros(like.shape, dtype=wide(like).dtype, device=like.device)
    return state[name]


def descend(weight: Tensor, direction: Tensor, group: dict[str, Any]) -> None:
    """W <- W - lr (direction + decay W), in place."""
    weight.mul_(1 - group["lr"] * group["weight_decay"]).sub_(group["lr"] * direction)


# --- Adam -------------------------------------------------------------------------------------------------------------


def moments(state: State, first: Tensor, second: Tensor, betas: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Running means of `first` and of `second` squared, both corrected for their start at zero."""
    if "step" not in state:
        state["step"] = torch.zeros((), dtype=torch.float32)  # on the CPU, where reading it waits for nothing
    state["step"] += 1
    step = state["step"].item()
    mean = kept(state, "exp_avg", first).lerp_(first, 1 - betas[0])
    square = kept(state, "exp_avg_sq", second).mul_(betas[1]).addcmul_(second, second, value=1 - betas[1])
    return mean / (1 - betas[0] ** step), square / (1 - betas[1] ** step)


def adam_direction(state: State, grad: Tensor, betas: tuple[float, float], eps: float) -> Tensor:
    """Adam's m / (sqrt(v) + eps) (arXiv:1412.6980). A gradient that is zero from the start gives zero."""
    mean, square = moments(state, grad, grad, betas)
    return mean / (square.sqrt() + eps)


# --- Muon -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Iteration:
    """Steps X <- a X + (b A + c A A) X with A = X X^T, which take singular values towards 1, from X / (margin |X|_F + floor)."""

    steps: tuple[tuple[float, float, float], ...]
    """a, b, c of each step."""
    margin: float = 1.0
    """Above 1, so that rounding takes no singular value beyond 1, where a step may diverge."""
    floor: float = 1e-7
    """Keeps a matrix of zeros at zero."""


NEWTON_SCHULZ = Iteration(5 * ((3.4445, -4.7750, 2.0315),))
"""The usual five steps (github.com/KellerJordan/Muon): singular values end between 0.7 and 1.2."""
POLAR_EXPRESS = Iteration(
    (
        (8.156554524902461, -22.48329292557795, 15.878769915207462),
        (4.042929935166739, -2.808917465908714, 0.5000178451051316),
        (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
        (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
        (2.3465413258596377, -1.7098828382687081, 0.42323551169305323),
    ),
    margin=1.02,
    floor=1e-6,
)
"""Five steps, each the best one for what the step before it left (arXiv:2505.16932; values as in KellerJordan/modded-nanogpt)."""


def orthogonalize(matrix: Tensor, by: Iteration, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Nearly the closest orthogonal matrix: U V^T where U S V^T is the singular value decomposition. Zeros stay zeros.

    Products are in `dtype`, for which the sources take bfloat16; the result has the matrix's own dtype.
    """
    norm = torch.linalg.matrix_norm(wide(matrix))
    x: Tensor = (matrix / (by.margin * norm + by.floor)).to(dtype)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x  # the smaller of X X^T and X^T X
    for a, b, c in by.steps:
        gram = x @ x.mT
        # addmm rounds a product with its sum once; rounded one by one they are off by twice as much.
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrix.dtype)


def nesterov(state: State, grad: Tensor, momentum: float) -> Tensor:
    """Nesterov's momentum: the running mean of gradients, moved once more towards the newest."""
    mean = kept(state, "momentum_buffer", grad).lerp_(grad, 1 - momentum)
    return grad.lerp(mean, momentum)


def size_of_adamw(matrix: Tensor) -> float:
    """Factor that gives an orthogonal matrix of this shape AdamW's root mean square, so that both take one learning rate."""
    return float(ADAMW_RMS * max(matrix.shape) ** 0.5)
