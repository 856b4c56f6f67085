"""What scales.json of a run holds."""

from __future__ import annotations

from typing_extensions import TypedDict

from ngptlab.measure.spread import Spread


class LearnedScale(Spread):
    """A learned scale: where it is, and the spread of its effective values over its channels."""

    name: str
    layer: int | None
    """None outside of the blocks."""
    place: str
    kind: str | None
    """What it scales, as `nn.roles.ScaleKind` has it; None where that has no kind for its name."""
    negative: float
    """Share of the values below zero, before a rate's are made absolute."""


class Learned(TypedDict):
    """All scales of a model."""

    eval: str
    step: int
    scales: list[LearnedScale]
