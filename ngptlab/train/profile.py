"""A profile of a few updates of a run: a trace for a viewer, and a table of what took longest.

    profile/trace.json   every operation on a time line; opens in Perfetto or chrome://tracing
    profile/top.txt      operations by self time, what they took without what they called

Observes only: the run's numbers and its hash are those of a run without it. Profiled steps take longer, so their lines
in `timing.jsonl` do too; on CUDA so do those that follow, because the profiler stays and each launch costs more. A CUDA graph
shows its kernels alone; `--device.graphs off` shows what launches them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from torch.profiler import ProfilerActivity, profile, record_function

from ngptlab.device import quiet_profiler
from ngptlab.disk import take_name, temporary_beside, write_text
from ngptlab.errors import CheckpointError
from ngptlab.folders import own
from ngptlab.train.trainer import Trainer

WARMUP_STEPS = 3
"""Updates before the first profiled one: the first of a process pay for memory, caches and compilation."""
TOP = 30
TOLD_LINES = 12
STEP = "training step"
"""Label of a whole update. Its own self time is Python's, between operations."""


def fit_profiled(trainer: Trainer, count: int) -> None:
    """Train to the last step, `count` of the updates under the profiler.

    Raises:
        CheckpointError: the profile can't be written; and whatever `Trainer.fit` raises.
    """
    folder, on_cuda = trainer.run.path / "profile", trainer.device.place.type == "cuda"
    steps, tell = trainer.config.train.steps, trainer.reporter.note
    with StepProfiler(folder, count, steps=steps, on_cuda=on_cuda, tell=tell) as profiler:
        trainer.around_step = profiler
        trainer.runs_ahead = False  # or the kernels of one update would be counted with the next
        trainer.fit()


class StepProfiler:
    """Profiles `count` updates of a run that ends after update `steps`; fewer where fewer are left.

    To be entered around the run, and around each update by calling it with the update's number. An evaluation or a
    checkpoint that is due between two profiled updates is in the trace as well.
    Raises:
        CheckpointError: the folder can't be written.
    """

    def __init__(
        self, folder: Path, count: int, *, steps: int, on_cuda: bool, tell: Callable[[str], None]
    ) -> None:
        self.folder, self.count, self.steps, self.on_cuda, self.tell = folder, count, steps, on_cuda, tell
        self._window: range | None = None
        self._profile: profile | None = None
        self._done = 0
        try:
            own(folder)
            for name in ("trace.json", "top.txt"):
                write_text(folder / name, "")  # now, so that a folder that can't be written costs no training
        except OSError as error:
            raise self._unwritable(error.strerror) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._profile:
            self._finish()
        elif not self._done:
            self.tell(f"{self.folder}: no update was profiled")

    @contextmanager
    def __call__(self, step: int) -> Iterator[None]:
        if self._window is None:
            left = self.steps - step
            first = step + min(WARMUP_STEPS, max(0, left - self.count))
            self._window = range(first, min(first + self.count, self.steps))
        if step not in self._window:
            yield
            return
        if self._profile is None:
            self._start()
        with record_function(STEP):
            yield
        self._done += 1
        if step == self._window[-1]:
            self._finish()

    def _start(self) -> None:
        quiet_profiler()
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self.on_cuda else [])]
        self._profile = profile(activities=activities)
        self._profile.start()

    def _finish(self) -> None:
        assert self._profile is not None
        finished, self._profile = self._profile, None
        finished.stop()
        table = top(finished.key_averages(), steps=max(1, self._done))
        try:
            write_text(self.folder / "top.txt", table)
            temporary = temporary_beside(self.folder / "trace.json")
            finished.export_chrome_trace(str(temporary))
            if not temporary.exists() or not temporary.stat().st_size:
                raise self._unwritable("trace.json stayed empty")  # the writer itself tells only its log
            take_name(temporary, self.folder / "trace.json")
        except OSError as error:
            raise self._unwritable(error.strerror) from None
        told = "\n".join(table.splitlines()[:TOLD_LINES])
        self.tell(f"profile of {self._done} steps in {self.folder}\n{told}")

    def _unwritable(self, why: str | None) -> CheckpointError:
        return CheckpointError(f"{self.folder}: can't be written ({why}); mend that, or leave out --profile")


def top(averages: Any, *, steps: int) -> str:
    """The operations with the most self time, the device's own before those of the CPU that feeds it."""
    on_device = [(e.self_device_time_total, e) for e in averages if e.device_type.name == "CUDA"]
    on_cpu = [(e.self_cpu_time_total, e) for e in averages if e.device_type.name == "CPU"]
    # A label spans its kernels on the device too, and would count them a second time.
    on_device = [(time, e) for time, e in on_device if not e.is_user_annotation]
    return "\n".join(_section(*part, steps) for part in (("CUDA", on_device), ("CPU", on_cpu)) if part[1])


def _section(place: str, rows: list[tuple[float, Any]], steps: int) -> str:
    rows = sorted(rows, key=lambda row: (-row[0], row[1].key))
    total = sum(microseconds for microseconds, _ in rows) or 1.0
    lines = [f"{place + ' self ms/step':>18}  {'share':>6}  {'calls/step':>10}  operation"]
    for microseconds, event in rows[:TOP]:
        calls = f"{event.count / steps:.10g}" if event.count % steps == 0 else f"{event.count / steps:.1f}"
        lines.append(
            f"{microseconds / 1e3 / steps:18.3f}  {microseconds / total:6.1%}  {calls:>10}  {event.key}"
        )
    return "\n".join(lines) + "\n"
