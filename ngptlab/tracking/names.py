"""What a run is called in a tracker."""

from __future__ import annotations

from ngptlab.runs import Run
from ngptlab.tracking.limits import NAME, TAG, within

Numbers = dict[str, float]
"""What is logged at a step, by name."""

PROJECT = "ngptlab"
"""The tracker's project, where its own environment variable names none."""


def tags(run: Run) -> list[str]:
    """Words to filter runs by. The arm's is cut to a tag's length, because an arm that is lent many seams is longer."""
    return [within(run.config.arm, TAG), f"seed {run.config.seed}"]


def shown_name(run: Run) -> str:
    """The tracked run's name: that of its directory."""
    return within(run.path.name, NAME)


def identity(run: Run) -> str:
    """The tracked run's id: the config's hash, and when this directory was begun.

    The hash alone would let a run that was removed and trained anew meet its predecessor, which has all steps already.
    """
    began = "".join(char for char in str(run.env.get("started", "")) if char.isdigit())
    return f"{run.config.hash}-{began[:14]}" if began else run.config.hash
