"""A run begun where another one stands: the same batches, settings and learning rates so far, another schedule from there.

Since a batch and a learning rate are pure functions of the step, two runs whose schedules agree for the first k updates are
one run for these updates. So the directory made here is that of the new run, interrupted after a checkpoint: its own
config, the records up to there, the checkpoint. Training goes on in it as in any other, and ends with the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ngptlab.config import RunConfig, differences
from ngptlab.config.due import validation_due
from ngptlab.disk import write_json
from ngptlab.errors import CheckpointError, ConfigError
from ngptlab.folders import filling
from ngptlab.optim.schedule import lr_factor
from ngptlab.param.rules import Rules, rules
from ngptlab.runs import Run
from ngptlab.streams import ALL_STREAMS
from ngptlab.train.average import EVAL
from ngptlab.train.checkpoint import copy_checkpoint, list_checkpoints, read_checkpoint, step_of
from ngptlab.whole import sizes_up_to

MAY_DIFFER = ("name", "schedule.", "train.steps")
WITH_VALIDATION = ("evals", "scales")
"""Streams that get their records where the validation loss is measured."""


def fork(
    source: Path, config: RunConfig, path: Path, *, warn: Callable[[str], None] = lambda text: None
) -> int:
    """Make `path` the directory of `config`'s run, begun at the latest checkpoint of `source` that belongs to both.

    Both configs are resolved. Returns the checkpoint's step; 0 where there is none, and then nothing is made: the run
    starts from its beginning, which costs time and changes nothing.

    Raises:
        ConfigError: the configs differ in more than length and schedule, or `path` is there.
        CheckpointError: `path` can't be written.
    """
    run = Run(source)
    if fields := [line for line in differences(run.config, config) if not line.startswith(MAY_DIFFER)]:
        raise ConfigError(f"{path}: can't branch off {source}, because they differ in {'; '.join(fields)}")
    if path.exists() or path.is_symlink():
        raise ConfigError(f"{path}: is there already; give another --out")
    last = min(_common_updates(run.config, config), _measured(run, config))
    for checkpoint in reversed(list_checkpoints(source / "checkpoints")):
        if step_of(checkpoint) > last:
            continue
        try:
            manifest, _ = read_checkpoint(checkpoint)
            if manifest["config_hash"] != run.config.hash:
                raise CheckpointError(
                    f"{checkpoint}: belongs to run {manifest['config_hash']}, not {run.config.hash}"
                )
            sizes_up_to(run, step_of(checkpoint), manifest.get("streams"), scales=None)
        except CheckpointError as error:
            warn(f"{error}; branches off at the one before")
            continue
        try:
            _make(run, checkpoint, manifest, config, path)
        except OSError as error:
            raise CheckpointError(
                f"{path}: can't be written ({error.strerror}); give another --out"
            ) from None
        return step_of(checkpoint)
    return 0


def _common_updates(a: RunConfig, b: RunConfig) -> int:
    """How many first updates have the same learning rates in both, to the last bit, and the same batches."""
    if _rules(a) != _rules(b):
        return 0  # the rule over the horizon: peak learning rates follow from the length
    if "method" in (a.schedule.shape, b.schedule.shape):
        return 0  # only the method knows them
    shorter = min(a.train.steps, b.train.steps)

    def update(config: RunConfig, step: int) -> tuple[float, int, int]:
        met = config.train.sequences_before
        return lr_factor(config, step), met(step), met(step + 1)

    return next((step for step in range(shorter) if update(a, step) != update(b, step)), shorter)


def _rules(config: RunConfig) -> Rules:
    """The run's rules. A factor of the horizon follows from the whole run, so it holds from the first update."""
    return rules(config.param, config.model, tokens=config.train.tokens)


def _measured(run: Run, config: RunConfig) -> int:
    """The last step up to which the run has every validation that `config` asks for; -1 where even the first is missing."""
    there = {record["step"] for record in run.read("evals") if record["eval"] == "val"}
    due = (step for step in range(config.train.steps + 1) if validation_due(config, step))
    return next((step - 1 for step in due if step not in there), config.train.steps)


def _make(run: Run, checkpoint: Path, manifest: dict[str, Any], config: RunConfig, path: Path) -> None:
    """Make everything in a folder beside, then rename that once: a kill leaves no half of a run behind."""
    step = step_of(checkpoint)
    with filling(path) as temporary:
        made = Run.open(temporary, config)
        for stream in ALL_STREAMS:
            records = [r for r in run.read(stream) if r["step"] <= step and _belongs(config, stream, r)]
            if records:
                made.replace(stream, records)
        copy_checkpoint(
            checkpoint,
            manifest,
            temporary / "checkpoints",
            config_hash=config.hash,
            streams=made.digests(),
        )
        write_json(temporary / "env.json", run.env)
        write_json(temporary / "fork.json", {"run": run.path.name, "hash": run.config.hash, "step": step})
        made.sync()


def _belongs(config: RunConfig, stream: str, record: dict[str, Any]) -> bool:
    """Whether the new run would have this record too: the source may measure at other steps, and more at its own end."""
    if stream in WITH_VALIDATION and not validation_due(config, record["step"]):
        return False
    return stream != "evals" or record["eval"] in ("val", EVAL)
