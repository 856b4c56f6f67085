"""The desk: what the driver of a cluster and its tasks tell each other. A Ray actor on the driver's machine; imports no torch.

A task learns of a stop by asking, because Ray can only interrupt or kill it, and the cell's worker must save first. Messages
are plain numbers, texts and bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ngptlab.errors import LabError
from ngptlab.jobs.travel import Files, pack


class Desk:
    """Where each cell is, by its hash, and whether all shall stop. Its calls come one after the other."""

    def __init__(self, runs: str) -> None:
        self._runs = Path(runs)
        self._stopping = False
        self._cells: dict[str, dict[str, Any]] = {}

    def begin(self, key: str, node: str) -> dict[str, Any]:
        """Said by a task first: {stop: whether to do nothing, tries: how often the cell was begun, this time included}."""
        if self._stopping:
            return {"stop": True, "tries": 0}
        tries = self._cells.get(key, {"tries": 0})["tries"] + 1
        self._cells[key] = {"tries": tries, "node": node}
        return {"stop": False, "tries": tries}

    def tell(self, key: str, progress: dict[str, Any]) -> bool:
        """Said by a task each second: {step, loss_nats, step_seconds}. Returns whether it shall save and stop."""
        self._cells.setdefault(key, {"tries": 1, "node": ""}).update(progress)
        return self._stopping

    def folder(self, name: str) -> tuple[str, Files]:
        """What a run has so far, for a task that doesn't see the driver's disk, and why it can't be had: '' where it can."""
        try:
            return "", pack(self._runs / name)
        except (LabError, OSError) as error:
            return str(error), {}

    def look(self) -> dict[str, dict[str, Any]]:
        """All that tasks said, by hash, for the driver."""
        return self._cells

    def stop(self) -> list[str]:
        """Have all tasks save and stop, and none begin. Returns the hashes of those that had begun."""
        self._stopping = True
        return list(self._cells)
