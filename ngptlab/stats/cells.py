"""The lines of a sweep's table. Units are in the names; losses are nats per token."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from ngptlab.runs import End

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
    """The content of sweep.json."""

    cells: list[CellRow]
    transfer: NotRequired[list[dict[str, Any]]]
    """What the cells say, as `transfer.as_json` puts it. It is never read, because a reader computes it anew from the cells."""
