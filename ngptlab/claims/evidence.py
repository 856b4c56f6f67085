"""Recorded measurements, in the forms that rules use.

Numbers are kept by seed, because a verdict depends on their scatter over seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ngptlab.stats.cells import CellRow
from ngptlab.stats.doubts import Doubt
from ngptlab.stats.speedup import Bounded


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The scale of a measurement, and its file. None or empty: not recorded."""

    origin: str
    """File or folder, under a name that a reader can look up."""
    params: int | None = None
    vocabulary_params: int = 0
    """Number of `params` in the embedding and the unembedding; 0 where that is not recorded."""
    tokens: int | None = None
    context: int | None = None
    data: str = ""

    @property
    def size(self) -> int:
        """Parameters times tokens, a measure of what a run costs; 0 where either is not recorded.

        Embedding and unembedding don't count, because a step uses only a few of their rows. With GPT-2's vocabulary they are
        91% of a model of 7M parameters.
        """
        return ((self.params or 0) - self.vocabulary_params) * (self.tokens or 0)

    @property
    def text(self) -> str:
        """The scale in words: '0.49M parameters, 2.46M tokens, context 128, stdlib'. Missing numbers are named as such."""
        parts = {
            "size": "" if self.params is None else f"{millions(self.params)} parameters",
            "tokens": "" if self.tokens is None else f"{millions(self.tokens)} tokens",
            "context": "" if self.context is None else f"context {self.context:,}",
            "data": self.data,
        }
        missing = [name for name, part in parts.items() if not part]
        known = [part for part in parts.values() if part]
        return ", ".join([*known, *([f"not recorded: {', '.join(missing)}"] if missing else [])])


def millions(number: int) -> str:
    """A number in short form: 491712 as 0.49M, 400 billion as 400B."""
    for unit, size in (("B", 10**9), ("M", 10**6)):
        if number >= size or (unit == "M" and number >= 10**5):
            return f"{number / size:.3g}{unit}"
    return f"{number:,}"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over pairs of seeds, with the half-width of its 95% interval; None under two pairs."""

    mean: float
    half: float | None
    pairs: int


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Base of records of a measurement."""

    setting: Setting
    doubts: tuple[Doubt, ...] = ()
    """Doubts about its arms, and about others that these may be compared with."""


@dataclass(frozen=True, kw_only=True)
class Between(Recorded):
    """Base of records of a method against a baseline."""

    method: str
    baseline: str


@dataclass(frozen=True, kw_only=True)
class Scheduled(Recorded):
    """Base of records of a measurement at the end of a run."""

    frac: float | None = None
    """Cooldown fraction; 0 for a constant learning rate. None: another schedule, or not recorded."""
    shape: str = ""

    @property
    def schedule(self) -> str:
        """The schedule in words: 'cooldown 0.3 linear'; empty where it is not recorded."""
        if self.frac is None:
            return self.shape
        return f"cooldown {self.frac:g} {self.shape}" if self.frac else "no cooldown"

    def near(self, frac: float) -> tuple[float, bool]:
        """Sort key for how near the schedule is to a linear cooldown of this fraction; greater is nearer."""
        return (0.0 if self.frac is None else -abs(self.frac - frac)), self.shape == "linear"


@dataclass(frozen=True, kw_only=True)
class Ends(Scheduled):
    """Final losses of one arm. Arms with the same `group` may be compared."""

    group: tuple[object, ...]
    method: str
    losses: Mapping[str, float]
    """Final losses by seed."""
    hashes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Turn(Scheduled, Between):
    """The gap between two arms where a cooldown begins, and at its end. Below zero, `method` has the lower loss."""

    frac: float
    """Cooldown fraction."""
    before: Estimate
    after: Estimate
    hashes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Factor:
    """The factor of tokens that the baseline needs to reach the method's loss, at one length of training."""

    tokens: int
    by_seed: tuple[Bounded, ...]
    """One factor for each seed, from its own curves; empty where that is not recorded."""


@dataclass(frozen=True, kw_only=True)
class Savings(Between):
    """The speed-up of a method over a baseline, from the final losses of runs of several lengths."""

    how: str
    factors: tuple[Factor, ...]
    """One for each length, the shortest first."""
    hashes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Step(Recorded):
    """The change of the loss by one step of a ladder."""

    base: str
    target: str
    mode: str
    """`cumulative`: the step is added. `leave-one-out`: the step is taken back."""
    seams: tuple[str, ...]
    adds: Estimate
    tuned: bool
    """Whether the learning rates of both rungs come from a search for them."""
    rungs: tuple[str, ...] = ()
    """Names of both rungs, as in doubts."""
    hashes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Grid(Recorded):
    """The cells of a sweep."""

    cells: tuple[CellRow, ...]


@dataclass(frozen=True, kw_only=True)
class OfRun(Scheduled):
    """Base of records of a measurement of one model."""

    method: str
    seed: str
    """Label of the seed; empty where it is not recorded."""
    hash: str
    group: tuple[object, ...]
    """Models of one group may be compared, because they have equal settings and equal measurements."""


@dataclass(frozen=True, kw_only=True)
class Positions(OfRun):
    """Loss by position in long documents."""

    bins: tuple[tuple[int, int, float], ...]
    """(from, to, mean loss)."""

    def loss(self, start: int, stop: int) -> float | None:
        """Mean loss at start <= position < stop; None where the bins don't cover that range exactly."""
        inside = [(b - a, loss) for a, b, loss in self.bins if start <= a and b <= stop]
        width = sum(size for size, _ in inside)
        return sum(size * loss for size, loss in inside) / width if width == stop - start else None


@dataclass(frozen=True, kw_only=True)
class Conditions(OfRun):
    """Median condition number of each kind of stored matrix, over blocks, and in attention over heads too."""

    medians: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Scales(OfRun):
    """Mean of every learned scale."""

    means: Mapping[str, tuple[float, ...]]
    """Means by place in the block, one for each block from the first on."""
    mean_squares: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Means of the squares, in the same form. A place is missing where its spread is not recorded."""


@dataclass(frozen=True, kw_only=True)
class Accuracy(OfRun):
    """Average accuracy over downstream tasks."""

    tasks: tuple[str, ...]
    average: float


@dataclass(frozen=True, kw_only=True)
class StepTime(Between):
    """Time of a training step divided by the baseline's, from interleaved turns of one process."""

    size: str
    machine: str = ""
    gpu: bool = False
    turns: int
    median: float
    low: float
    """Lower quartile; `high` is the upper one."""
    high: float


@dataclass
class Evidence:
    """All evidence that was read."""

    ends: list[Ends] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    savings: list[Savings] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    grids: list[Grid] = field(default_factory=list)
    positions: list[Positions] = field(default_factory=list)
    conditions: list[Conditions] = field(default_factory=list)
    scales: list[Scales] = field(default_factory=list)
    accuracies: list[Accuracy] = field(default_factory=list)
    step_times: list[StepTime] = field(default_factory=list)

    def add(self, other: Evidence) -> None:
        """Add the evidence of another reader."""
        for each in fields(self):
            getattr(self, each.name).extend(getattr(other, each.name))

    def where(self, fits: Callable[[Setting], bool]) -> Evidence:
        """The evidence from settings that fit."""
        kept: dict[str, list[Any]] = {
            each.name: [item for item in getattr(self, each.name) if fits(item.setting)]
            for each in fields(self)
        }
        return Evidence(**kept)
