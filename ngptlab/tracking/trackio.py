"""Trackio: its local database, or the Space or server that its environment variables name."""

from __future__ import annotations

from typing import Any

import trackio

from ngptlab.runs import Run, ending_of
from ngptlab.tracking.names import PROJECT, Numbers, identity, shown_name, tags


class TrackioSink:
    """A run of trackio, which goes on under its name. It has no tags and no summary: they stand in the config and as numbers."""

    def __init__(self, run: Run) -> None:
        config = run.config
        self._run = trackio.init(
            project=PROJECT,
            name=f"{shown_name(run)} {identity(run)}",
            group=config.name,
            config={"hash": config.hash, "tags": tags(run), **config.model_dump(mode="json")},
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        # What trackio would number the next step, from its own store, wherever that is; it has no public name for it.
        self._last = int(self._run._next_step) - 1

    def last_step(self) -> int:
        return self._last

    def log(self, step: int, numbers: Numbers) -> None:
        self._run.log(numbers, step=step)
        self._last = step

    def flush(self) -> None:
        """Trackio writes from a thread of its own."""

    def finish(self, summary: dict[str, Any]) -> None:
        if ending_of(summary).done:
            numbers = {
                f"summary/{name}": value for name, value in summary.items() if name not in ("status", "step")
            }
            self._run.log(numbers, step=self._last)
        self._run.finish()
