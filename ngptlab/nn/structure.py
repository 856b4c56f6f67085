"""What the seams of structure hold. For each there is the plain decoder's part, which is the default and costs nothing.

A seam's part says what its module is called with; `nn.blocks.Parts` has the table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from ngptlab.config import Dims
from ngptlab.nn.functions import mean_loss
from ngptlab.nn.loss import LogitsMap
from ngptlab.nn.roles import Role
from ngptlab.nn.shared import Shared

# --- init: how matrices are drawn -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AsConfigured:
    """Every matrix is drawn as `optim.init` says. Other parts build (name, role, std) -> std, from the std of `optim.init`."""

    def build(self, dims: Dims) -> Callable[[str, Role, float], float]:
        return _as_configured


def _as_configured(name: str, role: Role, std: float) -> float:
    return std


@dataclass(frozen=True)
class ZeroWriters:
    """Both output matrices of a block start at zero, so that at first a block changes nothing."""

    def build(self, dims: Dims) -> Callable[[str, Role, float], float]:
        return _zero_writers


def _zero_writers(name: str, role: Role, std: float) -> float:
    return 0.0 if role is Role.WRITER else std


# --- embed: how tokens become the stream ------------------------------------------------------------------------------


class Embed(nn.Module):
    """What the seam `embed` builds: (h, shared) -> h after the lookup in E_in, and learned positions before every text."""

    prefix = 0
    """Positions before the first token. Every token attends to them, and no loss is taken there."""

    def before(self) -> Tensor:
        """The learned rows at these positions, [prefix, D]."""
        raise NotImplementedError

    def forward(self, h_BTD: Tensor, shared: Shared) -> Tensor:
        return h_BTD


@dataclass(frozen=True)
class Lookup:
    """A row of E_in for each token, and no more."""

    def build(self, dims: Dims) -> Embed:
        return Embed()


# --- stream: how blocks are chained -----------------------------------------------------------------------------------


class Chain(nn.Module):
    """What the seam `stream` builds: (h, blocks, shared) -> h. Each block is called once: (h, shared) -> h."""

    def forward(
        self, h_BTD: Tensor, blocks: Sequence[Callable[[Tensor, Shared], Tensor]], shared: Shared
    ) -> Tensor:
        for block in blocks:
            h_BTD = block(h_BTD, shared)
        return h_BTD


@dataclass(frozen=True)
class OneAfterAnother:
    """Each block gets what the one before it gives."""

    def build(self, dims: Dims) -> Chain:
        return Chain()


# --- value, mask, attn_out: inside attention --------------------------------------------------------------------------


@dataclass(frozen=True)
class OwnValues:
    """Values as projected. Other parts build a module: (v, h, shared) -> v, [B, T, H, K]; `h` is what attention reads."""

    def build(self, dims: Dims) -> None:
        return None


@dataclass(frozen=True)
class AllBefore:
    """Every token attends to all before it. Other parts build the number of positions it attends to, its own included."""

    def build(self, dims: Dims) -> int | None:
        return None


@dataclass(frozen=True)
class AllHeads:
    """W_o gets attention's output. Others build a module: (o, v, h) -> o; `v` are the values, `h` is what attention reads."""

    def build(self, dims: Dims) -> None:
        return None


# --- head and loss ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OwnHead:
    """E_out is a matrix of its own."""

    def build(self, dims: Dims) -> bool:
        return True


@dataclass(frozen=True)
class TiedHead:
    """E_out is E_in (arXiv:1608.05859). It is drawn and trained as an embedding."""

    def build(self, dims: Dims) -> bool:
        return False


class Loss(nn.Module):
    """What the seam `loss` builds: the training loss. Validation always takes the loss of the next token.

    `forward` takes the head's input [B, T, D], the head's rows [V, D] in the same dtype, the next tokens [B, T], and the
    method's map of logits. It gives nats, a scalar.
    """

    def forward(self, h_BTD: Tensor, rows_VD: Tensor, targets_BT: Tensor, logits_map: LogitsMap) -> Tensor:
        return mean_loss(h_BTD.flatten(0, 1), rows_VD, targets_BT.flatten(), logits_map)


@dataclass(frozen=True)
class NextToken:
    """Mean loss of the next token."""

    def build(self, dims: Dims) -> Loss:
        return Loss()


# --- context: how long the sequences of an update are -----------------------------------------------------------------


@dataclass(frozen=True)
class WholeContext:
    """Sequences are as long as `train.context`. Others build (step, steps, context) -> tokens, a divisor of `context`.

    Each sequence of the batch is cut into pieces of that length, so that every update is made from the same tokens.
    """

    def build(self, dims: Dims) -> Callable[[int, int, int], int] | None:
        return None


# --- schedule and average: what changes from update to update, and what is kept of the weights ------------------------


@dataclass(frozen=True)
class When:
    """An update of a training."""

    step: int
    """Its number, 0 .. steps - 1."""
    steps: int
    warmup_steps: int
    batch: float
    """Its sequences over `train.batch_size`; 1 unless the batch grows."""


class Schedule:
    """What the seam `schedule` builds: factors on the learning rate and on the decay of an update, pure functions of it."""

    own_shape = False
    """Whether `lr` is the whole shape, warm-up included. `schedule.shape` of the config then says `method`, and no other shape
    may be asked for. Else the shape is the config's, and `lr` a factor on it."""

    def lr(self, when: When) -> float:
        """Factor on the peak learning rate where the shape is the method's own, else on what the config's section gives."""
        return 1.0

    def decay(self, when: When) -> float:
        """Factor on the weight decay, which a step multiplies by the learning rate."""
        return 1.0


@dataclass(frozen=True)
class AsScheduled:
    """The learning rate as the config's section `schedule` says, and a decay that stays."""

    def build(self, dims: Dims) -> Schedule:
        return Schedule()


@dataclass(frozen=True)
class LastWeights:
    """No mean of the weights is kept. Others build (updates) -> how much of the mean stays when an update is added to it.

    The mean is measured beside the weights themselves, and takes as much memory. Nothing that is trained depends on it.
    """

    def build(self, dims: Dims) -> Callable[[int], float] | None:
        return None
