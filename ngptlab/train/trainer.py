"""The training loop: batch, loss, backward, clip, step, constraint, whatever is due, one line of metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ngptlab.config import RunConfig
from ngptlab.config.due import checkpoint_due, validation_due
from ngptlab.device import Device, Fetched
from ngptlab.nn.cost import mean_token_flops
from ngptlab.nn.decoder import Decoder
from ngptlab.optim.groups import make_optimizer
from ngptlab.optim.pace import pace, set_pace
from ngptlab.optim.table import text
from ngptlab.param.rules import rules
from ngptlab.runs import Run
from ngptlab.streams import SKIPPED
from ngptlab.train.average import EVAL, Average
from ngptlab.train.background import Background
from ngptlab.train.non_finite import diverged, keep_state
from ngptlab.train.policies import Policies, Verdict, place, recorded
from ngptlab.train.program import program
from ngptlab.train.progress import WARNING, Reporter
from ngptlab.train.saves import Saves
from ngptlab.train.speed import Meter
from ngptlab.train.stop import Stopped, StopRequest
from ngptlab.train.updates import divides_weights, updates
from ngptlab.world.world import ALONE, World

TokenArray = NDArray[np.int64]


class StepBatches(Protocol):
    """Training data: the batch of a step, a pure function of it. Inputs and targets, each [B, T]."""

    num_windows: int

    def at(self, step: int) -> tuple[TokenArray, TokenArray]: ...

    def whole(self, step: int) -> tuple[TokenArray, TokenArray]:
        """All rows of the batch, of which `at` may give some."""

    def windows(self, step: int) -> NDArray[np.uint64]:
        """Numbers of the windows of the batch in the order of its rows."""


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
    background: Background = field(default_factory=Background)
    """Writes checkpoints beside the training. Whoever gives it has to wait for it before the run's folder is let go of."""

    def __post_init__(self) -> None:
        if not divides_weights(self.config.device, self.world):  # else a process moves what it keeps of it
            self.model.to(self.device.place)
        self.model.compute_dtype = self.device.compute_dtype
        self.model.recompute = self.config.device.recompute == "on"
        train = self.config.train
        self._rules = rules(self.config.param, self.config.model, tokens=train.tokens)
        self.optimizer = make_optimizer(self.model, self.config.optim, self._rules)
        parts, dims = self.model.parts, self.config.model
        self._schedule, stays = parts.schedule.build(dims), parts.average.build(dims)
        where = self.world, self.device.place
        self._updates = updates(self.config.device, self.model, self.optimizer, *where)
        share = self._updates.share_weights
        self._average = Average(self.model, self.optimizer, stays, share) if stays else None
        self._program = program(self.model, self.device)
        self._policies = Policies(self.config)
        self._knows_before = self._policies.decide_before or not self.device.runs_ahead
        self.runs_ahead = not self._knows_before
        self._saves = Saves(
            self.config,
            self.run,
            self.model,
            self.optimizer,
            self._updates,
            has_scales=lambda: bool(self.scales()),
            tell=self.reporter.note,
            world=self.world,
            background=self.background,
        )
        self._finished_at = 0.0
        self._told: list[float] = []
        self.token_flops = mean_token_flops(self.config.model, self.model.parts, train)
        self.meter = Meter(
            sequence_tokens=train.context,
            sequence_flops=train.context * self.token_flops,
            peak_flops=self.device.peak_flops,
            devices=self.world.size,
            on_cpu=self.device.place.type == "cpu" and self.world.size == 1,  # processes wait for each other
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
        saved = self._saves.resume()
        if saved:
            self._recall()
        self._saves.check_alike(saved)
        self._saves.check_room(saved)
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
    def skipped(self) -> int:
        """Batches so far that made no update."""
        return len(self._policies.skipped)

    @property
    def _stop(self) -> int | None:
        """The signal that asks for a stop. Several processes hear of one with the numbers of an update, at the same step."""
        return self.world.agreed_stop(self._told, self.request.signal_number)

    def _due(self, done: int) -> bool:
        return validation_due(self.config, done) or checkpoint_due(self.config, done)

    def record_step(self, record: dict[str, Any] | None, timing: dict[str, Any]) -> None:
        """Write down a finished step, its numbers where it has some, and measure the model where that is due.

        Raises:
            DivergedError: the validation loss is not finite.
            CheckpointError: the checkpoint that was being written meanwhile can't be.
        """
        self._saves.look()
        done = timing["step"]
        if record:
            self.run.append("metrics", record)
        self.run.append("timing", timing)
        if record:
            self._report(done, record)
        if validation_due(self.config, done):
            self._evaluate(done)

    def save_step(self, done: int, *, stop: int | None) -> None:
        """Save where that is due after a recorded step; with a signal's number as `stop`, save in any case and stop.

        Raises:
            Stopped, DivergedError, CheckpointError: as `fit`.
        """
        if self.saves_after(done, stop):
            self._saves.save(done, last=stop is not None or done == self.config.train.steps)
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
        replicas = self._updates.replicas.values()
        told = self.world.sum_gradients(replicas, loss, self.request.signal_number)
        norm = self._updates.clip(self.config.optim.grad_clip)
        numbers = self.device.fetch(torch.cat((told, norm.to(told.dtype).unsqueeze(0))))
        if not self._knows_before or self._verdict(step, numbers).act == "update":
            self._updates.step()
            self._program.after_step()
            if self._average:
                self._average.add(step + 1)
        self.optimizer.zero_grad(set_to_none=True)
        return Queued(step, start, data_seconds, numbers)

    def _verdict(self, step: int, numbers: Fetched) -> Verdict:
        loss_nats, *_, grad_norm = numbers.wait()
        return self._policies.verdict(step, loss_nats, grad_norm)

    def _finish(self, queued: Queued) -> None:
        *self._told, grad_norm = queued.numbers.wait()
        loss_nats, step = self._told[0], queued.step
        now = time.perf_counter()
        seconds = now - max(queued.start, self._finished_at)
        self._finished_at = now
        verdict = self._policies.verdict(step, loss_nats, grad_norm)
        timing = self.time(step, step_seconds=seconds, data_seconds=queued.data_seconds)
        if verdict.act == "rewind":
            self._go_back(step)
        if verdict.act in ("rewind", "skip"):
            self._record_skipped(self._policies.line(step, verdict))
        has_numbers = verdict.act in ("update", "stop") or verdict.kind == "spike"
        updated = not self._knows_before
        record = self.record(step, loss_nats, grad_norm, updated=updated) if has_numbers else None
        self.record_step(record, timing)

    def _go_back(self, step: int) -> None:
        """Take up the checkpoint before update number `step` again; the batches between them make no update."""
        back_to = self._policies.back_to(step)
        left_out = self._policies.lines_since(back_to, step)
        self._saves.go_back(back_to)
        self._recall()
        for line in left_out:
            self._record_skipped(line)
            if validation_due(self.config, line["step"]):
                self._evaluate(line["step"])

    def _recall(self) -> None:
        """Have the policies know what is recorded, which the first process alone can read."""
        numbers = self.world.ask(lambda: recorded(self.run.read("metrics")))
        self._policies.recall(numbers, self.world.ask(lambda: self.run.read(SKIPPED)))

    def _record_skipped(self, line: dict[str, Any]) -> None:
        self.run.append(SKIPPED, line)
        self._policies.skipped.append(line)
        if line["kind"] != "rewound":
            where = f"; goes back to step {line['back_to']}" if "back_to" in line else ""
            self.reporter.note(f"step {line['step']} makes no update: {line['why']}{where}")

    def _keep_state(self, step: int, why: str, *, updated: bool) -> None:
        """Leave the batch of update number `step` to look at, with the weights that met it where they are still there."""
        inputs_BT, targets_BT = self.batches.whole(step)
        facts = {
            "step": step + 1,
            "why": why,
            "place": place(self.config, step),
            "windows": self.batches.windows(step).tolist(),
            "weights": "after the update, so not kept" if updated else "before the update",
        }
        weights = {} if updated else dict(self.model.named_parameters())
        try:
            keep_state(self.run.path, facts, {"inputs": inputs_BT, "targets": targets_BT}, weights)
        except OSError as error:
            self.reporter.note(f"what led to it can't be kept: {error}")

    def record(
        self, step: int, loss_nats: float, grad_norm: float, *, updated: bool = True
    ) -> dict[str, Any]:
        """The line of `metrics.jsonl` for update number `step`.

        Args:
            updated: whether the update is made already, so that the weights before it are gone.

        Raises:
            DivergedError: the loss or the norm is not finite; what this update makes of the model must not be kept.
        """
        done = step + 1
        if not np.isfinite(loss_nats) or not np.isfinite(grad_norm):
            why = self._policies.verdict(step, loss_nats, grad_norm).why
            with self._updates.whole_weights():
                self.world.once(lambda: self._keep_state(step, why, updated=updated))
            raise diverged(f"step {done}: {why}, at {place(self.config, step)}", self.config)
        if why := self._policies.warning(loss_nats):
            self.reporter.note(f"{WARNING}step {done}: {why}; {place(self.config, step)}")
        self._policies.measured(loss_nats, grad_norm)
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

    def _evaluate(self, step: int) -> None:
        result = self.evaluate()
        if not np.isfinite(result["loss_nats"]):
            raise diverged(
                f"step {step}: validation loss {result['loss_nats']}", self.config, at_start=step == 0
            )
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
