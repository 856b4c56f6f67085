"""What a tracker is to the mirror, and which are there."""

from __future__ import annotations

from importlib import metadata
from typing import Any, Protocol

from ngptlab.errors import ConfigError
from ngptlab.runs import Run
from ngptlab.tracking.names import Numbers


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
