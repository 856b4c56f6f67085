"""The content of a run's scales.json."""

from __future__ import annotations

from typing_extensions import TypedDict

from ngptlab.measure.spread import Spread


class LearnedScale(Spread):
    """A learned scale: its place, and the spread of its effective values over its channels."""

    name: str
    layer: int | None
    """Number of its block; None outside of the blocks."""
    place: str
    kind: str | None
    """A kind of `nn.roles.ScaleKind`; None where its name has no kind there."""
    negative: float
    """Fraction of the values below zero, before alphas are made absolute."""


class Learned(TypedDict):
    """All scales of a model."""

    eval: str
    step: int
    scales: list[LearnedScale]
