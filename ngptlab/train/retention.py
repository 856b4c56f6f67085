"""Which checkpoints outlive newer ones, and whether the disk has room for all that are kept."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from ngptlab.config import RunConfig
from ngptlab.config.due import most_checkpoints, newest_due, next_due
from ngptlab.errors import CheckpointError
from ngptlab.sizes import in_bytes
from ngptlab.train.checkpoint import checkpoint_path
from ngptlab.train.progress import WARNING


def lasting(config: RunConfig, steps: Collection[int], losses: Mapping[int, float]) -> set[int]:
    """Of checkpoints of these steps, those that are kept whatever comes after them.

    Args:
        losses: the validation loss by step, where it was measured.
    """
    due = config.checkpoint
    found = {step for step in steps if step in due.at or (due.keep_every and step % due.keep_every == 0)}
    if due.keep_best == "on" and (measured := [step for step in steps if step in losses]):
        found.add(min(measured, key=lambda step: (losses[step], step)))
    if config.train.non_finite == "rewind":
        # Signals save too, and so could push out the one that the run goes back to.
        found.add(newest_due(config, max(steps)))
    return found & set(steps)


def check_room(folder: Path, config: RunConfig, *, done: int, size: int, tell: Callable[[str], None]) -> None:
    """Hold what a run's checkpoints take at most against the disk, before anything more is trained.

    Args:
        done: finished updates.
        size: bytes of one checkpoint.
        tell: is given a line where not all of them have room.

    Raises:
        CheckpointError: there is no room for a single one more, and the run has one to write.
    """
    if done >= config.train.steps:
        return
    place = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(place).free
    there = 0
    with contextlib.suppress(OSError):
        there = sum(file.stat().st_size for file in folder.glob("step_*/*"))
    number = most_checkpoints(config)
    if free < size:
        raise CheckpointError(
            f"{checkpoint_path(folder, next_due(config, done))}: can't be saved (No space left on device ({size} bytes to "
            f"write, {free} free)); free space or give another --out, then run again"
        )
    if free + there < number * size:
        tell(
            f"{WARNING}{folder}: up to {number} checkpoints of {in_bytes(size)} take {in_bytes(number * size)}, "
            f"{in_bytes(free + there)} are free for them; free space, or keep fewer (--checkpoint.keep, .keep-every, .at)"
        )
