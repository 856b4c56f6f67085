"""After which updates a run is measured and saved, as pure functions of the step."""

from __future__ import annotations

from ngptlab.config.records import RunConfig


def validation_due(config: RunConfig, step: int) -> bool:
    """Whether the validation loss is measured after this many updates."""
    due = config.eval
    return step in (0, config.train.steps, *due.at) or step % due.every == 0


def validations(config: RunConfig, *, after: int = 0) -> int:
    """How many validations a run makes in all; of one that has its first `after` updates from another run, after these."""
    due, steps = config.eval, config.train.steps
    at = {0, *range(0, steps, due.every), *due.at, steps}
    return sum(step > after or after == 0 for step in at)


def checkpoint_due(config: RunConfig, step: int) -> bool:
    """Whether a checkpoint is saved after this many updates."""
    due = config.checkpoint
    return step in (config.train.steps, *due.at) or step % due.every == 0


def newest_due(config: RunConfig, step: int) -> int:
    """The last update, of the first `step`, after which a checkpoint is due by the settings; 0: none."""
    due = config.checkpoint
    return max([step // due.every * due.every, *(at for at in due.at if at <= step)])


def next_due(config: RunConfig, step: int) -> int:
    """The first update after the first `step`, of those that are left, after which a checkpoint is due."""
    due = config.checkpoint
    return min([(step // due.every + 1) * due.every, config.train.steps, *(at for at in due.at if at > step)])


def most_checkpoints(config: RunConfig) -> int:
    """The most checkpoints that a run has at once: one is written before another is removed."""
    due, steps = config.checkpoint, config.train.steps
    saved = steps // due.every + len({step for step in (*due.at, steps) if step % due.every})
    every = steps // due.keep_every if due.keep_every else 0
    lasting = len(due.at) + every + (due.keep_best == "on") + (config.train.non_finite == "rewind")
    return min(saved, due.keep + 1 + lasting)
