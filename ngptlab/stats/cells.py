"""The lines of a sweep's table. Units are in the names; losses are nats per token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal

from typing_extensions import TypedDict

from ngptlab.runs import End
from ngptlab.stats.tables import as_text

Status = Literal[End, "waiting", "not applicable"]


@dataclass(frozen=True, kw_only=True)
class CellRow:
    """How one cell of a sweep ended. None: there is no such number."""

    method: str
    param: str
    width: int
    lr: float
    seed: int
    hash: str
    status: Status
    final_loss_nats: float | None = None
    """Validation loss after the last step."""
    final_loss_stderr: float | None = None
    """Standard error of the final loss over the documents of the validation text."""
    train_loss_last50_nats: float | None = None
    """Mean training loss of the last 50 steps."""
    steps: int = 0
    """Finished steps."""
    params: int | None = None
    seconds: float = 0.0
    """Time in training steps; the only column that a repetition changes."""
    reason: str = ""
    """Why the cell is not done; for a cell that is done, what makes it doubtful."""
    settings: str = ""
    """Other fields that the grid crosses, such as 'optim.init=fan_in optim.weight_decay=0.1'."""

    @property
    def over(self) -> bool:
        """Whether the cell says something about its settings: it is done, or it diverged."""
        return self.status in ("done", "diverged")

    @property
    def loss_nats(self) -> float | None:
        """Final loss, infinite where the cell diverged; None where it is neither done nor diverged."""
        if self.status == "diverged":
            return math.inf
        return self.final_loss_nats if self.status == "done" else None


class Sweep(TypedDict):
    """The part of sweep.json that is read."""

    cells: list[CellRow]


def as_csv(table: Sequence[CellRow]) -> str:
    """One line for each cell."""
    return as_text([field.name for field in fields(CellRow)], map(asdict, table))
