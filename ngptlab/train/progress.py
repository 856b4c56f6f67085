"""What a person sees of a run: a bar on a terminal, plain lines elsewhere (logs, Slurm, CI, NO_COLOR)."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol, Self

from rich.cells import cell_len
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ngptlab.console import Console
from ngptlab.output import unfailing_stderr
from ngptlab.terminal import one_line
from ngptlab.train.speed import Speed

WARNING = "warning: "
"""How a note begins that a person should see though the run goes on."""
AROUND_FACTS = 20
"""Columns of a terminal's line that a short bar, the time since the start and the gaps take."""
WAITING_SHARE = 0.01
"""Share of the time spent waiting for data above which it is told."""
STARVED = 0.7
"""Cores below which it is told that the machine is busy, because even one thread has 1 where nothing disturbs it."""


def clock(seconds: float) -> str:
    """75 -> '1:15', 3700 -> '1:01:40'."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def pace(speed: Speed) -> str:
    """Tokens a second, then MFU or else operations a second, then a wait for data or for cores where it is worth a word.

    The MFU of several devices is that of each, because all wait for each other.
    """
    words = [f"{speed.tokens_per_second:,.0f} tok/s"]
    if speed.devices > 1:
        words.append(f"({speed.tokens_per_second / speed.devices:,.0f} on each of {speed.devices})")
    if speed.mfu is not None:
        words.append(f"MFU {speed.mfu:.1%}")
    elif speed.flops_per_second < 1e12:
        words.append(f"{speed.flops_per_second / 1e9:,.1f} GFLOP/s")
    else:
        words.append(f"{speed.flops_per_second / 1e12:,.1f} TFLOP/s")
    if speed.data_share > WAITING_SHARE:
        words.append(f"waiting for data {speed.data_share:.0%}")
    elif speed.cores is not None and speed.cores < STARVED:
        words.append(f"has {speed.cores:.1f} of a core: the machine is busy")
    return "  ".join(words)


class Reporter(Protocol):
    """What the training loop tells."""

    def note(self, text: str) -> None:
        """A line of its own: a resume, a fallback, a validation loss."""

    def step(self, step: int, *, loss_nats: float, lr: float, speed: Speed, eta_seconds: float) -> None:
        """One finished update."""


class Silent:
    """Tells nothing."""

    def note(self, text: str) -> None:
        pass

    def step(self, step: int, *, loss_nats: float, lr: float, speed: Speed, eta_seconds: float) -> None:
        pass


class ConsoleReporter:
    """A bar where stderr is a terminal; otherwise a line every few seconds and at the last step."""

    def __init__(self, title: str, steps: int, *, every_seconds: float = 10.0) -> None:
        self.title, self.steps, self.every_seconds = one_line(title), steps, every_seconds
        self.console = Console(file=unfailing_stderr(), soft_wrap=True)
        self._printed = -float("inf")
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(None),
                MofNCompleteColumn(),
                TimeElapsedColumn(),  # moves before the first step does
                TextColumn("{task.fields[facts]}", markup=False),
            )
            self._bar = Progress(*columns, console=self.console)
            self._task = self._bar.add_task(self.title, total=self.steps, facts="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def note(self, text: str) -> None:
        self.console.print(f"{self.title}: {text}")

    def step(self, step: int, *, loss_nats: float, lr: float, speed: Speed, eta_seconds: float) -> None:
        loss, eta = f"loss {loss_nats:.3f}", f"ETA {clock(eta_seconds)}"
        whole = [loss, f"lr {lr:.2e}", pace(speed), eta]
        if self._bar:
            # A number that is cut says another. What has no room is left out.
            shorter = [loss, pace(speed).partition("  ")[0], eta]
            room = self.console.width - cell_len(self.title) - 2 * len(str(self.steps)) - AROUND_FACTS
            kept = next((each for each in (whole, shorter) if cell_len("  ".join(each)) <= room), [loss, eta])
            self._bar.update(self._task, completed=step, facts="  ".join(kept))
            return
        now = time.monotonic()
        if step == self.steps or now - self._printed >= self.every_seconds:
            self._printed = now
            self.note(f"step {step}/{self.steps}  {'  '.join(whole)}")
