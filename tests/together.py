"""Trains runs in several processes: `python together.py SPEC`, a list of jobs, each with the number of processes that train it.

torch is imported once, and processes are forked for each number of them; each trains all jobs of that number, in stages where
one goes on with what another left. A job may be computed in float64, read its numbers late as on a GPU, be sent a signal or an
error in one process, have NaN there, find no room for a file of a checkpoint, and be broken on purpose, as `BROKEN` says. Beside
its run directory
it leaves `<run>.<rank>.error` or `.stopped`, where it ended so.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import socket
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ngptlab import experiment
from ngptlab.config import parse
from ngptlab.device import Device, Fetched
from ngptlab.errors import DataError, LabError
from ngptlab.measure.val import measure
from ngptlab.nn.decoder import Decoder
from ngptlab.train import checkpoint as checkpoint_module
from ngptlab.train import updates as update_module
from ngptlab.train.lending import Unit
from ngptlab.train.stop import Stopped
from ngptlab.train.trainer import Trainer
from ngptlab.train.updates import OwnUpdates, OwnWeights
from ngptlab.world.processes import Processes

Sum = Callable[[Processes, Iterable[nn.Parameter], Tensor, int | None], Tensor]
SUM, ALIKE, MODEL = Processes.sum_gradients, Processes.check_alike, experiment.initial_model
AHEAD: Any = (Device.runs_ahead, Device.send, Device.fetch)
TOTAL, DEVICE, QUEUE = Processes.total, experiment.open_device, Trainer._queue
SPREAD, WHOLE, OWNERS = Processes.spread_parts, OwnUpdates.whole, update_module.owners
DIVIDES, LENDS = experiment.check_divides, experiment.check_lends
ACCUMULATE = Trainer._accumulate
WRITE: Any = checkpoint_module._write
SUM_PARTS, CLIP, FORGET, AFTER = Processes.sum_parts, OwnWeights.clip, Unit.forget, Decoder.after_step


def main(spec: Path) -> int:
    jobs = json.loads(spec.read_text())
    torch.set_num_threads(1)
    failed = 0
    for stage, size in sorted({(job.get("stage", 0), job["processes"]) for job in jobs}):
        ours = [job for job in jobs if (job.get("stage", 0), job["processes"]) == (stage, size)]
        failed += together(size, lambda ours=ours: train_all(ours))
    return failed


def together(size: int, work: Callable[[], None]) -> int:
    """Do `work` in so many processes, each with the environment that torchrun gives; returns how many failed."""
    children = []
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    for rank in range(size):
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # of threads, which this process has none of its own
            child = os.fork()
        if child:
            children.append(child)
            continue
        names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        os.environ |= dict(zip(names, map(str, (rank, rank, size, size, "127.0.0.1", port)), strict=True))
        try:
            work()
            os._exit(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(1)
    return sum(os.waitpid(child, 0)[1] != 0 for child in children)


def train_all(jobs: list[dict[str, Any]]) -> None:
    for job in jobs:
        out = Path(job["out"])
        prepare(job)
        try:
            experiment.train(parse(job["config"], origin="a test"), out, profile_steps=job.get("profile", 0))
        except (LabError, Stopped) as error:
            if dist.is_initialized():
                dist.destroy_process_group()
            kind = "stopped" if isinstance(error, Stopped) else "error"
            with out.with_name(f"{out.name}.{os.environ['RANK']}.{kind}").open("a") as file:
                file.write(f"{error}\n")


def prepare(job: dict[str, Any]) -> None:
    """Put back what an earlier job changed, and change what this one asks for."""
    experiment.initial_model, experiment.open_device = MODEL, DEVICE
    Processes.sum_gradients, Processes.check_alike = SUM, ALIKE  # type: ignore[method-assign]
    Processes.total, Trainer._queue = TOTAL, QUEUE  # type: ignore[method-assign]
    Processes.spread_parts, OwnUpdates.whole = SPREAD, WHOLE  # type: ignore[method-assign]
    update_module.owners = OWNERS
    experiment.check_divides, experiment.check_lends = DIVIDES, LENDS
    Trainer._accumulate = ACCUMULATE  # type: ignore[method-assign]
    checkpoint_module._write = WRITE
    Processes.sum_parts, OwnWeights.clip = SUM_PARTS, CLIP  # type: ignore[method-assign]
    Unit.forget, Decoder.after_step = FORGET, AFTER  # type: ignore[method-assign]
    Device.runs_ahead, Device.send, Device.fetch = AHEAD  # type: ignore[method-assign]
    if job.get("late"):
        read_late()
    if job.get("float64"):
        experiment.initial_model = lambda config: MODEL(config).double()
        experiment.open_device = lambda *settings: in_float64(DEVICE(*settings))
    # Windows of a validation are read a few at a time, so that processes have some each, and not equally many.
    measure.BATCH_TOKENS = 3 * job["config"]["train"]["context"]
    if job.get("broken"):
        (BROKEN | BROKEN_SHARDS | BROKEN_LENDING)[job["broken"]]()
    if "room" in job:
        no_room(job["room"])
    if bad := job.get("not_finite"):
        not_finite(**bad)
    if job.get("held"):
        tell_held(Path(job["out"]))
    if happening := job.get("happens"):
        happens(**happening)


def read_late() -> None:
    """As on a GPU, which has the next update queued before the last one's loss is read."""
    Device.runs_ahead = True  # type: ignore[method-assign, assignment]
    Device.send = lambda self, array: torch.from_numpy(array)  # type: ignore[method-assign]
    Device.fetch = lambda self, values: Fetched(values, None)  # type: ignore[method-assign]


def happens(what: int | str, rank: int, step: int) -> None:
    """In one process, before the update of this number: a signal, or an error with this text."""

    def queued(self: Trainer, number: int) -> Any:
        if number == step and self.world.rank == rank:
            if isinstance(what, str):
                raise DataError(what)
            os.kill(os.getpid(), what)
        return QUEUE(self, number)

    Trainer._queue = queued  # type: ignore[method-assign]


def no_room(files: int) -> None:
    """The disk is full after so many files of checkpoints."""
    written = [0]

    def writing(*given: Any, **named: Any) -> Any:
        written[0] += 1
        if written[0] > files:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return WRITE(*given, **named)

    checkpoint_module._write = writing


def tell_held(out: Path) -> None:
    """After each update, the bytes of weights, gradients and state that a process has, to `<run>.<rank>.held`."""

    def queued(self: Trainer, number: int) -> Any:
        step = self.optimizer.step
        grads: list[int] = []

        def stepped() -> None:
            grads.append(bytes_of(gradients_of(self.model.parameters())))
            step()

        self.optimizer.step = stepped  # type: ignore[method-assign, assignment]
        found = QUEUE(self, number)
        self.optimizer.step = step  # type: ignore[method-assign]
        gc.collect()
        shapes = {p.shape for p in self.model.parameters() if p.dim() > 1}
        alive = [t for t in gc.get_objects() if type(t) in (Tensor, nn.Parameter) and t.shape in shapes]
        held = {
            "weights": bytes_of(p for p in self.model.parameters() if not p.is_meta),
            "gradients": grads[0],
            "moments": bytes_of(
                t for state in self.optimizer.state.values() for t in state.values() if t.dim()
            ),
            "alive": bytes_of(alive),
        }
        with out.with_name(f"{out.name}.{self.world.rank}.held").open("a") as file:
            file.write(json.dumps(held) + "\n")
        return found

    Trainer._queue = queued  # type: ignore[method-assign]


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Bytes of their storages, each counted once."""
    storages = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors if not t.is_meta}
    return sum(storages.values())


def not_finite(where: str, rank: int, step: int) -> None:
    """In one process, NaN as its loss, or in one element of its gradient, in the update of this number."""
    now: list[int] = []

    def queued(self: Trainer, number: int) -> Any:
        now.append(number)
        return QUEUE(self, number)

    def accumulated(self: Trainer, *batch: Tensor) -> Tensor:
        loss = ACCUMULATE(self, *batch)
        if now[-1] == step and self.world.rank == rank:
            if where == "loss":
                return torch.full_like(loss, torch.nan)
            gradient = gradients_of(self.model.parameters())[0]
            gradient[(0,) * gradient.dim()] = torch.nan
        return loss

    Trainer._queue, Trainer._accumulate = queued, accumulated  # type: ignore[method-assign]


def in_float64(device: Device) -> Device:
    return replace(device, compute_dtype=torch.float64)


# --- broken on purpose --------------------------------------------------------------------------------------------------


def gradients_of(parameters: Iterable[nn.Parameter]) -> list[Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def left_out() -> None:
    """The second process's gradient does not enter the sum."""

    def summed(
        world: Processes, parameters: Iterable[nn.Parameter], loss: Tensor, stop: int | None
    ) -> Tensor:
        parameters = list(parameters)
        if world.rank == 1:
            for gradient in gradients_of(parameters):
                gradient.zero_()
        return SUM(world, parameters, loss, stop)

    Processes.sum_gradients = summed  # type: ignore[method-assign]


def doubled() -> None:
    """Each process takes its rows for the whole batch."""

    def summed(
        world: Processes, parameters: Iterable[nn.Parameter], loss: Tensor, stop: int | None
    ) -> Tensor:
        parameters = list(parameters)
        for gradient in gradients_of(parameters):
            gradient.mul_(world.size)
        return SUM(world, parameters, loss, stop)

    Processes.sum_gradients = summed  # type: ignore[method-assign]


def own_norm() -> None:
    """Each process clips what it has, before the sum."""

    def summed(
        world: Processes, parameters: Iterable[nn.Parameter], loss: Tensor, stop: int | None
    ) -> Tensor:
        parameters = list(parameters)
        nn.utils.clip_grad_norm_(parameters, 0.3)
        return SUM(world, parameters, loss, stop)

    Processes.sum_gradients = summed  # type: ignore[method-assign]


def own_windows() -> None:
    """Each process takes the losses that it has computed for all losses."""
    Processes.total = lambda self, values: values  # type: ignore[method-assign]


def own_weights() -> None:
    """The second process begins with other weights."""
    build = experiment.initial_model

    def built(config: Any) -> Any:
        other = config.model_copy(update={"seed": config.seed + int(os.environ["RANK"])})
        return build(other)

    experiment.initial_model = built


def own_weights_unchecked() -> None:
    own_weights()
    Processes.check_alike = lambda self, when, facts: None  # type: ignore[method-assign]


def drift() -> None:
    """The second process's weights lose one bit in the fifth update."""

    def queued(self: Trainer, step: int) -> Any:
        if step == 4 and self.world.rank == 1:
            with torch.no_grad():
                weight = self.model.E_in
                weight.view(-1)[3] = torch.nextafter(weight.view(-1)[3], torch.tensor(torch.inf))
        return QUEUE(self, step)

    Trainer._queue = queued  # type: ignore[method-assign]


BROKEN = {
    act.__name__: act
    for act in (left_out, doubled, own_norm, own_windows, own_weights, own_weights_unchecked, drift)
}

# Broken where each process owns some parameters.


def stale_owner() -> None:
    """The second process keeps its old weights instead of those that it receives."""

    def spread(world: Processes, parts: Sequence[Sequence[Tensor]]) -> None:
        before = [tensor.clone() for tensor in parts[0]]
        SPREAD(world, parts)
        if world.rank == 1:
            for tensor, old in zip(parts[0], before, strict=True):
                tensor.copy_(old)

    Processes.spread_parts = spread  # type: ignore[method-assign]


def nobody_owns() -> None:
    """The head has an owner that is no process. What is asked before a run would notice, so it isn't."""
    experiment.check_divides = lambda parts, name: None
    update_module.owners = lambda model, processes: {**OWNERS(model, processes), "E_out": processes}


def own_part_norm() -> None:
    """Each process clips by the norm of the gradients that it owns."""

    def summed(
        world: Processes, parameters: Iterable[nn.Parameter], loss: Tensor, stop: int | None
    ) -> Tensor:
        parameters = list(parameters)
        told = SUM(world, parameters, loss, stop)
        nn.utils.clip_grad_norm_(parameters[world.rank :: world.size], 0.3)
        return told

    Processes.sum_gradients = summed  # type: ignore[method-assign]


def state_left_behind() -> None:
    """The first process saves the state that it has itself."""
    OwnUpdates.whole = lambda self: contextlib.nullcontext()  # type: ignore[method-assign, assignment, return-value]


BROKEN_SHARDS = {act.__name__: act for act in (stale_owner, nobody_owns, own_part_norm, state_left_behind)}

# Broken where each process has some weights only.


def unsummed() -> None:
    """Owners keep the gradients of their own rows for blocks, which are lent several matrices at once."""

    def summed(world: Processes, parts: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        own = [tensor.clone() for tensor in parts[world.rank]]
        sums = SUM_PARTS(world, parts)
        return own if sum(map(len, parts)) > 1 else sums

    Processes.sum_parts = summed  # type: ignore[method-assign]


def held_norm() -> None:
    """Each process clips by the norm of the gradients that it holds."""

    def clipped(self: OwnWeights, most: float) -> Tensor:
        CLIP(self, float("inf"))
        return nn.utils.clip_grad_norm_(self.held, most)

    OwnWeights.clip = clipped  # type: ignore[method-assign]


def held_over() -> None:
    """What was gathered for a backward pass is there in all later ones."""
    Unit.forget = lambda self: None  # type: ignore[method-assign]


def half_constrained() -> None:
    """The constraint reaches what the first process owns."""
    experiment.check_lends = lambda parts, name, recompute: None

    def constrained(self: Decoder) -> None:
        if self.lender is None or os.environ["RANK"] == "0":
            AFTER(self)

    Decoder.after_step = constrained  # type: ignore[method-assign]


BROKEN_LENDING = {act.__name__: act for act in (unsummed, held_norm, held_over, half_constrained)}

if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
