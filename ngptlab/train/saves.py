"""The checkpoints of one run: written where nothing in them is wrong, kept as the settings say, and gone back to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ngptlab.config import RunConfig
from ngptlab.errors import CheckpointError
from ngptlab.nn.decoder import Decoder
from ngptlab.nn.roles import roles
from ngptlab.runs import Run
from ngptlab.train.background import Background
from ngptlab.train.checkpoint import (
    Content,
    checkpoint_path,
    content_of,
    copy_of,
    read_checkpoint,
    remove_later,
    resume,
    size_in_bytes,
    write_checkpoint,
)
from ngptlab.train.heap import give_back
from ngptlab.train.non_finite import diverged
from ngptlab.train.replicas import checksums
from ngptlab.train.retention import check_room, lasting
from ngptlab.train.updates import Updates
from ngptlab.whole import sizes_up_to
from ngptlab.world.world import World

GIVE_BACK_SECONDS = 60.0
"""Least time between two saves after which freed memory goes back to the system."""
LONG_SECONDS = 2.0
"""A save that waits longer for the one before it says so, once a run."""


@dataclass(eq=False)
class Saves:
    """Saves a model and its optimizer in `run`, and takes them from there again. Called alike in all processes of a run."""

    config: RunConfig
    run: Run
    model: Decoder
    optimizer: torch.optim.Optimizer
    updates: Updates
    """Who makes them, and so has what the optimizer keeps."""
    has_scales: Callable[[], bool]
    """Whether the run records scales at each validation."""
    tell: Callable[[str], None]
    world: World
    background: Background
    """Writes while the training goes on (checkpoint.asynchronous). It has work in the first process only, one save at a time."""
    _told_of_waiting: bool = False
    _gave_back: float = field(default_factory=time.monotonic)

    @property
    def folder(self) -> Path:
        """Where they are."""
        return self.run.path / "checkpoints"

    def resume(self) -> int:
        """Go on from the newest sound checkpoint; its step, 0 where there is none. Forgets what was recorded after it.

        Raises:
            CheckpointError: there are some, and none to go on from.
        """
        step = self.world.ask(lambda: self._resume(falls_back=self.config.checkpoint.damaged == "fall_back"))
        if step:
            self.updates.share_state()
            self.tell(f"goes on after step {step}")
        return step

    def go_back(self, step: int) -> None:
        """As `resume`, from the checkpoint of this very step; later ones are removed. Times stay, because they were spent.

        Raises:
            CheckpointError: it is not there, or damaged; or a later one can't be removed.
        """
        self.world.ask(lambda: self._go_back(step))
        self.updates.share_state()

    def look(self) -> None:
        """Raise what a save has ended with that was written meanwhile. Between any two steps; it waits for nothing.

        Raises:
            CheckpointError: the save can't be written.
        """
        self.background.look()

    def save(self, step: int, *, last: bool = False) -> None:
        """Save the step, if all of it is finite. Where a save is written meanwhile, only the `last` is there when this returns.

        Raises:
            DivergedError: it is not.
            CheckpointError: it can't be written, or the one before it can't.
            WorldError: the processes don't have equal weights.
        """
        # Another process may have what is not finite, and all must end here.
        wrong = [
            sum(not _finite(t) for t in values) for values in (self.updates.held, self._kept_by_optimizer())
        ]
        weights, kept = self.world.total(torch.tensor(wrong)).tolist()
        if weights:
            raise diverged(f"step {step}: weights are not finite", self.config)
        if kept:
            raise diverged(f"step {step}: what the optimizer keeps is not finite", self.config)
        self.check_alike(step)
        if self.config.checkpoint.asynchronous == "on":
            # Before what other processes have is gathered beside its copy.
            self.world.once(lambda: self._wait(step))
        with self.updates.whole():
            self.world.once(lambda: self._save(step, last=last))
        if time.monotonic() - self._gave_back >= GIVE_BACK_SECONDS:
            give_back()
            self._gave_back = time.monotonic()

    def check_alike(self, step: int) -> None:
        """Find out whether the processes still have one model. Each has made the same updates, on hardware that may differ."""
        if self.world.size > 1 and (replicas := self.updates.replicas):
            self.world.check_alike(f"step {step}", checksums(replicas))

    def check_room(self, done: int) -> None:
        """Find out whether the disk has room for the checkpoints after so many steps, and warn where it hasn't for all.

        Raises:
            CheckpointError: there is no room for one.
        """
        self.world.once(
            lambda: check_room(self.folder, self.config, done=done, size=self._size(), tell=self.tell)
        )

    def _size(self) -> int:
        """Bytes of a checkpoint. What the optimizer keeps follows from its kind, because it has nothing before its first step."""
        parts, kinds = self.model.parts, roles(self.model)
        kept = self.model.optimizers.state_values
        values = sum(kept(kinds[name], weight.shape) for name, weight in self.model.named_parameters())
        averages = parts.average.build(self.config.model) is not None
        return size_in_bytes(self.model, values + averages * self.model.num_params())

    def _kept_by_optimizer(self) -> Iterator[Tensor]:
        for state in self.optimizer.state.values():
            yield from (value for value in state.values() if isinstance(value, Tensor))

    def _go_back(self, step: int) -> int:
        """Look at the checkpoint before anything is removed: the later ones are all that is left where it is not sound."""
        self.background.wait()  # it may be that very checkpoint
        path = checkpoint_path(self.folder, step)
        try:
            if not path.exists():
                raise CheckpointError(f"{path}: not there")
            manifest, _ = read_checkpoint(path)
            self._sizes_up_to(manifest)
        except CheckpointError as error:
            raise CheckpointError(
                f"{error}, and the run goes back to it (train.non_finite rewind); restore it, or remove the run to train it "
                "anew"
            ) from None
        remove_later(self.folder, step)
        return self._resume(falls_back=False, keep_times=True)

    def _sizes_up_to(self, manifest: dict[str, Any]) -> dict[str, int]:
        """Bytes of each stream up to a checkpoint.

        Raises:
            CheckpointError: its records are not those of the run.
        """
        return sizes_up_to(self.run, manifest["step"], manifest.get("streams"), scales=self.has_scales())

    def _resume(self, *, falls_back: bool, keep_times: bool = False) -> int:
        kept: dict[str, int] = {}

        def check_records(manifest: dict[str, Any]) -> None:
            kept.update(self._sizes_up_to(manifest))

        step = resume(
            self.folder,
            config_hash=self.config.hash,
            model=self.model,
            optimizer=self.optimizer,
            take_weights=self.updates.take_weights,
            take_state=self.updates.take_state,
            warn=self.tell,
            check_records=check_records,
            falls_back=falls_back,
        )
        if keep_times:
            kept["timing"] = len(self.run.content("timing"))
        self.run.rewind(kept)
        return step

    def _losses(self) -> dict[int, float]:
        """Validation losses by step."""
        return {e["step"]: e["loss_nats"] for e in self.run.read("evals") if e["eval"] == "val"}

    def _save(self, step: int, *, last: bool) -> None:
        """Write the step, or have it written. What is said of the records is that of this step in either case."""
        losses = self._losses() if self.config.checkpoint.keep_best == "on" else {}
        content, streams = content_of(self.model, self.optimizer), self.run.digests()
        if last or self.config.checkpoint.asynchronous == "off":
            self._write(step, content, streams, losses)
        else:
            self.background.begin(partial(self._write, step, copy_of(content), streams, losses))

    def _wait(self, step: int) -> None:
        """Wait for the save before that of `step`: two at once would need two copies, and could end in any order."""
        if not self.background.wait(LONG_SECONDS) and not self._told_of_waiting:
            self._told_of_waiting = True
            self.tell(
                f"step {step} waits for the checkpoint before it, which is still being written; raise --checkpoint.every where "
                "the disk is that slow"
            )
        self.background.wait()

    def _write(
        self, step: int, content: Content, streams: Mapping[str, Any], losses: Mapping[int, float]
    ) -> None:
        """Write a checkpoint, once the records that it names are on the disk. May be done by another thread."""
        self.run.sync()
        write_checkpoint(
            self.folder,
            content,
            step=step,
            config_hash=self.config.hash,
            keep=self.config.checkpoint.keep,
            lasting=lambda steps: lasting(self.config, steps, losses),
            streams=streams,
            between=self.background.check_wanted,
        )


def _finite(values: Tensor) -> bool:
    """Whether all are. Of numbers of a byte torch can't tell, and every float32 of one is what it was."""
    if values.is_floating_point() and values.element_size() == 1:
        values = values.float()
    return bool(values.isfinite().all())
