"""Along which sizes a step is measured, and what it should cost there. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from ngptlab.config import Dims
from ngptlab.flops import token_flops

NUM_HEADS = 4
"""At every width, so that the width of a head grows with it."""


@dataclass(frozen=True)
class Point:
    """A model and a batch."""

    dims: Dims
    context: int
    batch: int

    @property
    def flops(self) -> int:
        """Operations of a training step."""
        return self.batch * self.context * token_flops(self.dims, self.context).total


@dataclass(frozen=True)
class Grid:
    """Where to measure: along each axis the others stay at their base."""

    base: dict[str, int]
    along: dict[str, tuple[int, ...]]
    turns: int

    def points(self, axis: str) -> list[Point]:
        """The points of an axis, smallest first."""
        return [_point(**{**self.base, axis: size}) for size in self.along[axis]]


def _point(*, width: int, depth: int, context: int, vocabulary: int, batch: int) -> Point:
    dims = Dims(vocab_size=vocabulary, num_layers=depth, num_heads=NUM_HEADS, d_model=width)
    return Point(dims=dims, context=context, batch=batch)


FULL = Grid(
    base={"width": 128, "depth": 2, "context": 128, "vocabulary": 256, "batch": 8},
    along={
        "width": (64, 96, 128, 192, 256, 384, 512),
        "depth": (1, 2, 3, 4, 6, 8, 12, 16),
        "context": (64, 96, 128, 192, 256, 384, 512, 768),
        "vocabulary": (256, 512, 1024, 2048, 4096, 8192, 16384, 32768),
        "batch": (1, 2, 4, 8, 16, 32, 64),
    },
    turns=10,
)

# Too small for costs to be those of the matrix products: shows that the machinery works.
QUICK = Grid(
    base={"width": 32, "depth": 1, "context": 32, "vocabulary": 256, "batch": 4},
    along={
        "width": (16, 32, 64, 128, 256),
        "depth": (1, 2, 3, 4, 6),
        "context": (32, 64, 128, 256, 512),
        "vocabulary": (256, 512, 1024, 2048, 4096),
        "batch": (2, 4, 8, 16, 32),
    },
    turns=3,
)

AXES = tuple(FULL.along)
