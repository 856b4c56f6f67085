"""A cell's progress, from the ends of its run's files, which are cheap enough to be read ten times a second."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ngptlab import disk
from ngptlab.streams import NUMBER, Fields, record_of

TAIL_BYTES = 4096


@dataclass(frozen=True)
class Progress:
    """A cell's step, last training loss, and seconds of a recent step; None where there is no value yet."""

    step: int
    steps: int
    loss_nats: float | None = None
    step_seconds: float | None = None


def read_progress(run_path: Path, steps: int) -> Progress:
    """Progress of the run at this path."""
    metrics = _tail(run_path / "metrics.jsonl", {"step": int, "loss_nats": NUMBER})
    timing = _tail(run_path / "timing.jsonl", {"step": int, "step_seconds": NUMBER})
    recent = [record["step_seconds"] for record in timing]
    return Progress(
        # A batch that made no update may have no line of metrics.
        step=max((record["step"] for record in (*metrics[-1:], *timing[-1:])), default=0),
        steps=steps,
        loss_nats=metrics[-1]["loss_nats"] if metrics else None,
        step_seconds=sum(recent) / len(recent) if recent else None,
    )


def eta_seconds(cells: Iterable[tuple[int, Progress]], workers: int) -> float | None:
    """Time left for (width, progress) of every cell that will be trained; None while no step was timed.

    A width without a timed step is estimated from the nearest timed one, in proportion to width.
    """
    everything = list(cells)
    seconds: dict[int, list[float]] = {}
    for width, progress in everything:
        if progress.step_seconds is not None:
            seconds.setdefault(width, []).append(progress.step_seconds)
    if not seconds:
        return None
    known = {width: sum(values) / len(values) for width, values in seconds.items()}

    def step_seconds(width: int) -> float:
        near = min(known, key=lambda other: abs(other - width))
        return known[near] * width / near

    left = sum((p.steps - p.step) * (p.step_seconds or step_seconds(width)) for width, p in everything)
    return left / workers


def _tail(path: Path, fields: Fields) -> list[dict[str, Any]]:
    """The last whole records of a JSON-lines file; none where one of them lacks its fields."""
    try:
        with disk.open_regular(path) as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            lines = file.read().split(b"\n")
    except OSError:
        return []
    whole = lines[:-1] if size <= TAIL_BYTES else lines[1:-1]
    try:
        return [record_of(line, fields) for line in whole]
    except ValueError:  # damaged: the worker that opens the run reports it
        return []
