"""The content of a run's length.json."""

from __future__ import annotations

from typing_extensions import TypedDict

from ngptlab.stats.records import LengthBin


class UpTo(TypedDict):
    """Mean loss of all tokens before a position; the standard error is over the documents."""

    to: int
    loss_nats: float
    stderr_nats: float


class Length(TypedDict):
    """Loss by position, far beyond the training context."""

    eval: str
    step: int
    context: int
    documents: int
    documents_sha256: str
    window: int | None
    rope_base: float | None
    rope_scale: float | None
    octaves: list[LengthBin]
    bins: list[LengthBin]
    up_to: list[UpTo]
    """One value for each end of `bins`."""
