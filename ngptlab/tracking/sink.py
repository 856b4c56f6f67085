"""What a tracker is to the mirror, and which are there."""

from __future__ import annotations

from importlib import metadata
from typing import Any, Protocol

from ngptlab.errors import ConfigError
from ngptlab.runs import Run
from ngptlab.tracking.limits import NAME, TAG, within

Numbers = dict[str, float]


class Sink(Protocol):
    """One tracked run, begun or gone on with."""

    def last_step(self) -> int:
        """The newest step that the tracker has; -1 where it has none."""

    def log(self, step: int, numbers: Numbers) -> None:
        """All numbers of a step. Steps come in order, each once."""

    def flush(self) -> None:
        """When this returns, the tracker keeps what was logged, as far as it says so."""

    def finish(self, summary: dict[str, Any]) -> None:
        """The run is over, or rests."""


def check_installed(tracker: str) -> None:
    """Raises ConfigError where the tracker's package is missing; costs no import of it."""
    if tracker == "off":
        return
    try:
        metadata.version(tracker)
    except metadata.PackageNotFoundError:
        raise ConfigError(
            f"--track {tracker}: the package {tracker} is not installed; `pip install 'ngptlab[{tracker}]'` installs it, "
            "--track off does without"
        ) from None


def open_sink(tracker: str, run: Run) -> Sink:
    """Begin the tracked run, or go on with it. Whatever a tracker raises comes out as it is."""
    match tracker:
        case "tensorboard":
            from ngptlab.tracking.tensorboard import TensorboardSink

            return TensorboardSink(run)
        case "trackio":
            from ngptlab.tracking.trackio import TrackioSink

            return TrackioSink(run)
        case "wandb":
            from ngptlab.tracking.wandb import WandbSink

            return WandbSink(run)
    raise ConfigError(f"--track: given {tracker!r}; allowed: tensorboard, trackio, wandb")


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
