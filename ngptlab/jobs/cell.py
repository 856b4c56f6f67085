"""A cell: one run of a study, as a config, and its run directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ngptlab.config import RunConfig
from ngptlab.config.method_name import stem
from ngptlab.stats.learning_rate import show_rate


@dataclass(frozen=True)
class Cell:
    """One run of a sweep. `refusal` is why its settings make no sense together; such a cell is shown and never trained."""

    config: RunConfig
    refusal: str = ""
    settings: str = ""
    """Its values of `Grid.fields`, in a line."""

    @property
    def title(self) -> str:
        """The cell's place in the grid, in words."""
        config = self.config
        rules, width = config.param.rules, config.model.d_model
        return " ".join(
            [
                f"{stem(config.method)} {rules} width {width} lr {show_rate(config.optim.lr)}",
                *self.settings.split(),
                f"seed {config.seed}",
            ]
        )


def run_of(out: Path, cell: Cell) -> Path:
    """The run directory of a cell."""
    return out / "runs" / cell.config.run_name


def log_of(out: Path, cell: Cell) -> Path:
    """The log of a cell's worker."""
    return out / "logs" / f"{cell.config.run_name}.log"
