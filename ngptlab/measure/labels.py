"""Names of runs in a table or a figure of several, and the columns that identify a line's run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from typing_extensions import TypedDict

if TYPE_CHECKING:
    from ngptlab.measure.trained import Trained


def labels(models: Sequence[Trained]) -> list[str]:
    """The shortest name that tells the runs apart: the arm, with its seed, the folder's name, or the path as given."""
    for name in (
        lambda trained: trained.config.arm,
        lambda trained: f"{trained.config.arm} s{trained.config.seed}",
        lambda trained: trained.run.path.resolve().name,
    ):
        named = [name(trained) for trained in models]
        if len(set(named)) == len(models):
            return named
    return [str(trained.run.path) for trained in models]


class Identity(TypedDict):
    """The run and the scale of a measurement, which a claim from a table must know."""

    method: str
    seed: int
    data_seed: int
    hash: str
    params: int
    tokens: int
    context: int
    data: str


def identity(trained: Trained) -> Identity:
    """The identifying columns of a run."""
    config = trained.config
    return {
        "method": config.arm,
        "seed": config.seed,
        "data_seed": config.data.seed,
        "hash": config.hash,
        "params": sum(parameter.numel() for parameter in trained.model.parameters()),
        "tokens": config.train.tokens,
        "context": config.train.context,
        "data": config.data.source,
    }
