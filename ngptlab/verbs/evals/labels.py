"""Names of runs in a table or a figure over several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ngptlab.trained import Trained


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
