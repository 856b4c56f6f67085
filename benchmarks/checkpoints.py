"""What saving costs a run: trainings that save never, wait for each checkpoint, or go on while it is written, in turns.

    python -m benchmarks.checkpoints [--recipe demo] [--method gpt] [--turns 12] [--every 200]

A turn is as many steps of each training as lie between two saves (the recipe's `checkpoint.every`). It begins half-way between
two, so that what is written beside the steps is done before the turn ends and another training has the machine. Overheads are
to the training that never saves, turn by turn. Beside them stands what one save keeps the steps waiting, which is steadier on a
shared machine: the share of a turn that it makes is the overhead but for what the thread takes from the steps. `memory` is what
a save adds at its peak, in a fresh process of a model of some 100 MB.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.machine import Floats, Spread, ratios, table, write
from benchmarks.memory import peak_bytes
from ngptlab import methods, recipes
from ngptlab.config import RunConfig
from ngptlab.device import Device
from ngptlab.errors import LabError
from ngptlab.experiment import begin, open_batches, open_setting, trainer_of
from ngptlab.initial_model import initial_model
from ngptlab.overrides import apply
from ngptlab.runs import Run
from ngptlab.train.background import Background
from ngptlab.train.checkpoint import content_of, copy_of, list_checkpoints, save_checkpoint, write_checkpoint
from ngptlab.train.progress import Silent
from ngptlab.train.stop import StopRequest
from ngptlab.train.trainer import Trainer

HOW = {"never": "off", "waiting": "off", "beside": "on"}
"""The trainings, and `checkpoint.asynchronous` of each."""
WIDTH, LAYERS = 1024, 25
"""Of the model whose save is looked at in memory: 25 matrices of 4 MB."""


@dataclass(frozen=True)
class Row:
    """One training."""

    label: str
    every: int
    turn_seconds: Spread
    overhead_percent: Spread
    """Of a turn, against the training that never saves, in the same turn."""
    waits_ms: Spread | None
    """What a save keeps the steps waiting; None where there is none."""
    waits_percent: float
    """Their median, as a share of the median turn."""
    checkpoint_bytes: int
    turns: int


@dataclass(frozen=True)
class Peak:
    """What one save adds to a process's memory at its peak."""

    label: str
    weights_bytes: int
    checkpoint_bytes: int
    peak_bytes: int


@dataclass
class Contestant:
    """A training that is advanced turn by turn."""

    label: str
    trainer: Trainer
    done: int
    waits: list[float] = field(default_factory=list)
    """Seconds of each save, as the steps see them."""

    def advance(self, steps: int) -> float:
        """Seconds of so many steps, and of the saves among them."""
        start = time.perf_counter()
        self.trainer.advance(self.done, self.done + steps)
        self.done += steps
        return time.perf_counter() - start


@contextmanager
def contestants(config: RunConfig, every: int, turns: int, folder: Path) -> Iterator[list[Contestant]]:
    """One training for each way to save, each in a folder of its own, half-way to its first save."""
    steps = every * (turns + 2)
    made = []
    with ExitStack() as held:
        for label, how in HOW.items():
            settings = {"every": 10 * steps if label == "never" else every, "asynchronous": how}
            fields: dict[str, Any] = {"train.steps": steps, "eval.every": 10 * steps}
            fields |= {f"checkpoint.{name}": value for name, value in settings.items()}
            own = methods.resolve(apply(config, fields))
            setting = open_setting(own)
            run = Run.open(folder / label, own)
            held.enter_context(run.lock())
            begin(run, setting, Silent())
            batches, model = open_batches(own, setting.corpus), initial_model(own)
            beside = held.enter_context(Background())
            trainer = trainer_of(own, run, setting, model, batches, Silent(), StopRequest(), beside)
            contestant = Contestant(label, trainer, trainer.begin())
            _time_saves(contestant)
            contestant.advance(every // 2)
            made.append(contestant)
        yield made


def _time_saves(contestant: Contestant) -> None:
    saves = contestant.trainer._saves
    save = saves.save

    def timed(step: int, *, last: bool = False) -> None:
        start = time.perf_counter()
        save(step, last=last)
        contestant.waits.append(time.perf_counter() - start)

    saves.save = timed  # type: ignore[method-assign]


def measure(config: RunConfig, every: int, turns: int, folder: Path) -> list[Row]:
    """All trainings, turn by turn; the one that begins changes. A first turn counts for nothing."""
    with contestants(config, every, turns, folder) as made:
        seconds = np.zeros((turns + 1, len(made)))
        for turn in range(turns + 1):
            for place in range(len(made)):
                which = (turn + place) % len(made)
                seconds[turn, which] = made[which].advance(every)
        return [
            _row(each, every, seconds[1:, column], folder, ratio)
            for column, (each, ratio) in enumerate(zip(made, ratios(seconds[1:]), strict=True))
        ]


def _row(each: Contestant, every: int, seconds: Floats, folder: Path, ratio: Spread) -> Row:
    saved = list_checkpoints(folder / each.label / "checkpoints")
    waits = Spread.of(np.array(each.waits[1:]) * 1e3) if each.waits[1:] else None
    turn = Spread.of(seconds)
    return Row(
        label=each.label,
        every=every,
        turn_seconds=turn,
        overhead_percent=Spread(*(100 * (value - 1) for value in (ratio.median, ratio.low, ratio.high))),
        waits_ms=waits,
        waits_percent=round(waits.median / 10 / turn.median, 4) if waits else 0.0,
        checkpoint_bytes=sum(path.stat().st_size for path in saved[-1].iterdir()) if saved else 0,
        turns=len(seconds),
    )


def one_peak(label: str, width: int = WIDTH, layers: int = LAYERS) -> Peak:
    """Measure in this process, which should have done nothing else."""
    device = Device(torch.device("cpu"), torch.float32, False)

    def saving(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Callable[[], object]:
        facts = {"step": 1, "config_hash": "0" * 8, "keep": 2}
        if label == "waiting":
            return lambda: save_checkpoint(folder, model=model, optimizer=optimizer, **facts)  # type: ignore[arg-type]
        return lambda: write_checkpoint(folder, copy_of(content_of(model, optimizer)), **facts)  # type: ignore[arg-type]

    with tempfile.TemporaryDirectory() as folder:
        saving(Path(folder) / "first", *_trained(8, 1))()  # libraries take memory when they are first used
        model, optimizer = _trained(width, layers)
        weights = sum(p.nbytes for p in model.parameters())
        peak = peak_bytes(saving(Path(folder) / "large", model, optimizer), device)
        size = sum(path.stat().st_size for path in (Path(folder) / "large").rglob("*.*"))
    return Peak(label, weights, size, peak)


def _trained(width: int, layers: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Matrices after a step of AdamW, so that its moments are there."""
    model = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(layers)))
    optimizer = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return model, optimizer


def peaks() -> list[Peak]:
    """Of both ways to save, each in a process of its own."""
    found = []
    for label in ("waiting", "beside"):
        command = [sys.executable, "-m", "benchmarks.checkpoints", "--peak", label]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
        found.append(Peak(**json.loads(done.stdout.splitlines()[-1])))
    return found


def show(rows: Sequence[Row], memory: Sequence[Peak]) -> str:
    """Both tables."""
    cells = [
        (
            row.label,
            row.every if row.waits_ms else "",
            f"{row.turn_seconds.median:.3f}",
            row.overhead_percent if row.waits_ms else "",
            row.waits_ms or "",
            f"{row.waits_percent:.3f}" if row.waits_ms else "",
            f"{row.checkpoint_bytes / 1e6:.2f}" if row.waits_ms else "",
        )
        for row in rows
    ]
    headings = "saves", "every", "s/turn", "overhead %", "a save waits, ms", "% of a turn", "checkpoint MB"
    sizes = [
        (p.label, *(f"{size / 1e6:.1f}" for size in (p.weights_bytes, p.checkpoint_bytes, p.peak_bytes)))
        for p in memory
    ]
    return f"{table(headings, cells)}\n\n{table(('saves', 'weights MB', 'checkpoint MB', 'adds at its peak, MB'), sizes)}"


def main() -> None:
    """Parse, measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="demo", choices=recipes.names())
    parser.add_argument("--method", help="default: the recipe's first")
    parser.add_argument(
        "--every", type=int, help="steps between saves, and of a turn (default: the recipe's)"
    )
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--out", type=Path, default=Path("out/bench/checkpoints.json"))
    parser.add_argument("--peak", choices=list(HOW), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print(json.dumps(vars(one_peak(options.peak))))
        return
    try:
        found = recipes.recipe(options.recipe)
        config = apply(found.arm(options.method or found.methods[0]), {"device.kind": "cpu"})
        every = options.every or config.checkpoint.every
        with tempfile.TemporaryDirectory() as folder:
            rows = measure(config, every, options.turns, Path(folder))
    except LabError as error:
        sys.exit(f"checkpoints: {error}")
    memory = peaks()
    print(show(rows, memory))
    write(options.out, rows, memory=[vars(peak) for peak in memory])


if __name__ == "__main__":
    main()
