"""A trained model and its run, which every evaluation is given."""

from __future__ import annotations

from dataclasses import dataclass

from ngptlab.config import RunConfig
from ngptlab.nn.decoder import Decoder
from ngptlab.runs import Run


@dataclass(frozen=True)
class Trained:
    """A run and its model after `step` updates, on its device, without gradients."""

    run: Run
    step: int
    model: Decoder

    @property
    def config(self) -> RunConfig:
        """The run's resolved config."""
        return self.run.config
