"""The training loop: batch, loss, backward, clip, step, constraint, whatever is due, one line of metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngptlab.config import RunConfig
from ngptlab.config.due import checkpoint_due, validation_due
from ngptlab.device import Device, Fetched
from ngptlab.errors import DivergedError
from ngptlab.nn.cost import mean_token_flops
from ngptlab.nn.decoder import Decoder
from ngptlab.optim.groups import make_optimizer
from ngptlab.optim.pace import pace, set_pace
from ngptlab.optim.table import text
from ngptlab.param.rules import rules
from ngptlab.runs import Run
from ngptlab.train.average import EVAL, Average
from ngptlab.train.checkpoint import resume, save_checkpoint
from ngptlab.train.program import program
from ngptlab.train.progress import Reporter
from ngptlab.train.replicas import checksums
from ngptlab.train.speed import Meter
from ngptlab.train.stop import Stopped, StopRequest
from ngptlab.train.updates import updates
from ngptlab.whole import sizes_up_to
from ngptlab.world.world import ALONE, World

TokenArray = NDArray[np.int64]


class StepBatches(Protocol):
    """Training data: the batch of a step, a pure function of it. Inputs and targets, each [B, T]."""

    num_windows: int

    def at(self, step: int) -> tuple[TokenArray, TokenArray]: ...


@dataclass(frozen=True)
class Queued:
    """An update that the device was told to make, and may not have made yet."""

    step: int
    start: float
    data_seconds: float
    numbers: Fetched
    """The loss, what the processes told each other, the gradient's norm."""


@dataclass(eq=False)
class Trainer:
    """Trains `model` by `config` from the newest checkpoint in `run` to the last step."""

    config: RunConfig
    run: Run
    device: Device
    model: Decoder
    batches: StepBatches
    """This process's rows of each batch."""
    evaluate: Callable[[], dict[str, Any]]
    """Measures the model as it stands; its result goes to `evals.jsonl`."""
    reporter: Reporter
    request: StopRequest
    scales: Callable[[], Sequence[Mapping[str, Any]]] = tuple
    """What the model has learned beside its matrices; goes to `scales.jsonl` at each validation, unless it is nothing."""
    around_step: Callable[[int], AbstractContextManager[None]] = lambda step: nullcontext()
    """Entered around each update, whose number it is given."""
    world: World = ALONE
    """The processes that train this run, each with a model, an optimizer and rows of its own. The first has the run's files."""

    def __post_init__(self) -> None:
        self.model.to(self.device.place)
        self.model.compute_dtype = self.device.compute_dtype
        self.model.recompute = self.config.device.recompute == "on"
        train = self.config.train
        self._rules = rules(self.config.param, self.config.model, tokens=train.tokens)
        self.optimizer = make_optimizer(self.model, self.config.optim, self._rules)
        parts, dims = self.model.parts, self.config.model
        self._schedule, stays = parts.schedule.build(dims), parts.average.build(dims)
        self._updates = updates(self.config.device, self.model, self.optimizer, self.world)
        share = self._updates.share_weights
        self._average = Average(self.model, self.optimizer, stays, share) if stays else None
        self._program = program(self.model, self.device)
        self.runs_ahead = self.device.runs_ahead
        self._finished_at = 0.0
        self._told: list[float] = []
        self.token_flops = mean_token_flops(self.config.model, self.model.parts, train)
        self.meter = Meter(
            sequence_tokens=train.context,
            sequence_flops=train.context * self.token_flops,
            peak_flops=self.device.peak_flops,
            devices=self.world.size,
        )

    def fit(self) -> None:
        """Train to the last step.

        Raises:
            Stopped: a signal asked for it; the run was saved at the step it names.
            DivergedError: a loss or gradient is not finite; nothing non-finite was saved.
            CheckpointError: a checkpoint can't be written, or none can be read.
        """
        self.advance(self.begin(), self.config.train.steps)

    def begin(self) -> int:
        """Go back to the newest checkpoint, or measure the untrained model; returns the number of finished steps.

        Raises:
            DivergedError, CheckpointError: as `fit`.
            WorldError: the processes don't begin with equal weights.
        """
        if self.config.param.rules != "sp":
            table = text(self.model, self.config.optim, self._rules)
            self.reporter.note(f"{self.config.param.text}\n{table}")
        saved = self._resume()
        self._check_alike(saved)
        if saved == 0:
            self._evaluate(0)
        return saved

    def advance(self, start: int, end: int) -> None:
        """Train from `start` finished steps to `end`.

        Raises:
            Stopped, DivergedError, CheckpointError: as `fit`.
        """
        queued: Queued | None = None
        for step in range(start, end):
            with self.around_step(step):
                following = self._queue(step)
            if queued:
                self._finish(queued)
            queued, done = following, step + 1
            # A GPU gets the next update before this one's numbers are read, unless something comes between them.
            if not self.runs_ahead or self._stop is not None or done == end or self._due(done):
                self._finish(queued)
                queued = None
                # The signal is asked for after the evaluation, so that one during it stops at this step.
                self.save_step(done, stop=self._stop)
        self._program.gradients.release()  # what comes after training has the memory to itself

    @property
    def _stop(self) -> int | None:
        """The signal that asks for a stop. Several processes hear of one with the numbers of an update, at the same step."""
        return self.world.agreed_stop(self._told, self.request.signal_number)

    def _due(self, done: int) -> bool:
        return validation_due(self.config, done) or checkpoint_due(self.config, done)

    def record_step(self, record: dict[str, Any], timing: dict[str, Any]) -> None:
        """Write down a finished step, and measure the model where that is due.

        Raises:
            DivergedError: the validation loss is not finite.
        """
        done = record["step"]
        self.run.append("metrics", record)
        self.run.append("timing", timing)
        self._report(done, record)
        if validation_due(self.config, done):
            self._evaluate(done)

    def save_step(self, done: int, *, stop: int | None) -> None:
        """Save where that is due after a recorded step; with a signal's number as `stop`, save in any case and stop.

        Raises:
            Stopped, DivergedError, CheckpointError: as `fit`.
        """
        if self.saves_after(done, stop):
            self._save(done)
        if stop is not None and done < self.config.train.steps:
            raise Stopped(stop, done)

    def saves_after(self, done: int, stop: int | None) -> bool:
        """Whether a checkpoint is due after so many steps, or with a signal's number as `stop`."""
        return stop is not None or checkpoint_due(self.config, done)

    def _queue(self, step: int) -> Queued:
        start = time.perf_counter()
        inputs_BT, targets_BT = (self.device.send(array) for array in self.batches.at(step))
        data_seconds = time.perf_counter() - start
        set_pace(self.optimizer, *pace(self.config, self._schedule, step))
        loss = self._accumulate(inputs_BT, targets_BT)
        told = self.world.sum_gradients(self.model.parameters(), loss, self.request.signal_number)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optim.grad_clip)
        self._updates.step()
        self._program.after_step()
        if self._average:
            self._average.add(step + 1)
        self.optimizer.zero_grad(set_to_none=True)
        return Queued(
            step, start, data_seconds, self.device.fetch(torch.cat((told, norm.to(told.dtype).unsqueeze(0))))
        )

    def _finish(self, queued: Queued) -> None:
        *self._told, grad_norm = queued.numbers.wait()
        loss_nats = self._told[0]
        now = time.perf_counter()
        seconds = now - max(queued.start, self._finished_at)
        self._finished_at = now
        record = self.record(queued.step, loss_nats, grad_norm)
        timing = self.time(queued.step, step_seconds=seconds, data_seconds=queued.data_seconds)
        self.record_step(record, timing)

    def record(self, step: int, loss_nats: float, grad_norm: float) -> dict[str, Any]:
        """The line of `metrics.jsonl` for update number `step`.

        Raises:
            DivergedError: the loss or the norm is not finite; what this update makes of the model must not be kept.
        """
        done = step + 1
        if not np.isfinite(loss_nats) or not np.isfinite(grad_norm):
            raise self._diverged(f"step {done}: loss {loss_nats}, gradient norm {grad_norm}")
        return {
            "step": done,
            "tokens": self.config.train.tokens_before(done),
            "loss_nats": loss_nats,
            "lr": self.config.optim.lr * pace(self.config, self._schedule, step)[0],
            "grad_norm": grad_norm,
        }

    def time(self, step: int, *, step_seconds: float, data_seconds: float) -> dict[str, Any]:
        """The line of `timing.jsonl` for update number `step`."""
        sequences = self.config.train.sequences(step)
        return self.meter.record(
            step + 1, sequences=sequences, step_seconds=step_seconds, data_seconds=data_seconds
        )

    def _accumulate(self, inputs_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """What these rows add to the mean loss of the batch, a scalar; its gradient is in the parameters, summed likewise."""
        whole = len(inputs_BT) * self.world.size
        pieces = self.config.train.context // inputs_BT.shape[1]  # of a sequence, where the method cuts them
        size = self.config.device.micro_batch * pieces or len(inputs_BT)
        share = size / whole
        total = torch.zeros((), device=inputs_BT.device)
        for inputs, targets in zip(torch.split(inputs_BT, size), torch.split(targets_BT, size), strict=True):
            total += self._program.gradients(inputs, targets, share)
        return total

    def _resume(self) -> int:
        step = self.world.ask(self._resume_here)
        if step:
            self._updates.share_state()
        return step

    def _resume_here(self) -> int:
        kept: dict[str, int] = {}

        def check_records(manifest: dict[str, Any]) -> None:
            step, streams = manifest["step"], manifest.get("streams")
            kept.update(sizes_up_to(self.run, step, streams, scales=bool(self.scales())))

        step = resume(
            self._folder,
            config_hash=self.config.hash,
            model=self.model,
            optimizer=self.optimizer,
            take_state=self._updates.take_state,
            warn=self.reporter.note,
            check_records=check_records,
        )
        self.run.rewind(kept)
        if step:
            self.reporter.note(f"goes on after step {step}")
        return step

    def _evaluate(self, step: int) -> None:
        result = self.evaluate()
        if not np.isfinite(result["loss_nats"]):
            raise self._diverged(f"step {step}: validation loss {result['loss_nats']}", step)
        self.run.append("evals", {"step": step, **result})
        if scales := self.scales():
            self.run.append("scales", {"step": step, "scales": scales})
        self.reporter.note(
            f"step {step}  validation {result['loss_nats']:.4f} nats ± {result['stderr_nats']:.4f}"
        )
        if self._average and step:
            self._evaluate_average(self._average, step)

    def _evaluate_average(self, average: Average, step: int) -> None:
        """Beside the weights themselves, whose numbers are the run's."""
        with average.in_place():
            result = self.evaluate()
        self.run.append("evals", {"step": step, **result, "eval": EVAL})
        self.reporter.note(f"step {step}  the mean of the weights {result['loss_nats']:.4f} nats")

    def _save(self, step: int) -> None:
        if not all(bool(p.isfinite().all()) for p in self.model.parameters()):
            raise self._diverged(f"step {step}: weights are not finite")
        self._check_alike(step)
        with self._updates.whole():
            self.world.once(lambda: self._write(step))

    def _check_alike(self, step: int) -> None:
        """Find out whether the processes still have one model. Each has made the same updates, on hardware that may differ."""
        if self.world.size > 1:
            self.world.check_alike(f"step {step}", checksums(self.model))

    def _write(self, step: int) -> None:
        self.run.sync()
        checkpoint = self.config.checkpoint
        save_checkpoint(
            self._folder,
            step=step,
            config_hash=self.config.hash,
            model=self.model,
            optimizer=self.optimizer,
            keep=checkpoint.keep,
            forever=checkpoint.at,
            streams=self.run.digests(),
        )

    def _diverged(self, what: str, step: int = 1) -> DivergedError:
        if step == 0:  # no rate has moved anything yet
            return DivergedError(
                f"{what}; the method gives that at its initial weights: look for a division or a root of zero in its parts"
            )
        return DivergedError(f"{what}; lower --optim.lr (now {self.config.optim.lr:g})")

    @property
    def _folder(self) -> Path:
        return self.run.path / "checkpoints"

    def _report(self, done: int, record: dict[str, Any]) -> None:
        speed, train = self.meter.mean(), self.config.train
        self.reporter.step(
            done,
            loss_nats=record["loss_nats"],
            lr=record["lr"],
            speed=speed,
            eta_seconds=(train.tokens_before(train.steps) - train.tokens_before(done))
            / speed.tokens_per_second,
        )
