"""Weights & Biases: online as its settings say, or `WANDB_MODE=offline`, whose files `wandb sync` sends later."""

from __future__ import annotations

import os
from typing import Any

import wandb

from ngptlab import disk
from ngptlab.folders import own
from ngptlab.runs import Run, ending_of
from ngptlab.tracking.names import PROJECT, Numbers, identity, shown_name, tags

CURSOR = "mirrored.json"


class WandbSink:
    """A run of wandb. The server says where to go on; offline, a note beside wandb's own files in the run directory does."""

    def __init__(self, run: Run) -> None:
        config = run.config
        self._cursor = own(run.path / "wandb") / CURSOR
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=identity(run),
            resume="allow",
            name=shown_name(run),
            group=config.name,
            tags=tags(run),
            config={"hash": config.hash, **config.model_dump(mode="json")},
            dir=run.path,
            # Only the run's numbers: neither this process's output and load nor the checkout.
            settings=wandb.Settings(console="off", x_disable_stats=True, disable_git=True, disable_code=True),
        )
        self._last = self._run.starting_step - 1 if self._run.resumed else -1
        if self._run.offline:
            self._last = self._noted()

    def _noted(self) -> int:
        try:
            return int(disk.read_json(self._cursor)["step"])
        except (OSError, ValueError, KeyError, TypeError):
            return -1

    def last_step(self) -> int:
        return self._last

    def log(self, step: int, numbers: Numbers) -> None:
        self._run.log(numbers, step=step, commit=True)
        self._last = step

    def flush(self) -> None:
        if self._run.offline and self._last >= 0:
            disk.write_json(self._cursor, {"step": self._last})

    def finish(self, summary: dict[str, Any]) -> None:
        self._run.summary.update(summary)
        self._run.finish(exit_code=1 if ending_of(summary).status in ("failed", "diverged") else 0)
