"""How fast a run is: what each step adds to `timing.jsonl`, and the recent mean that a person sees."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

RECENT_STEPS = 50


@dataclass(frozen=True)
class Speed:
    """Means over the latest steps."""

    step_seconds: float
    tokens_per_second: float
    flops_per_second: float
    mfu: float | None
    """Share of the devices' peak that the counted operations reach; None where the peak is unknown."""
    data_share: float
    """Share of the time spent waiting for data."""
    devices: int = 1
    """How many of them work together; the numbers are those of all."""
    cores: float | None = None
    """Cores that this process had, on average; None on a GPU, or with other processes. One thread that nothing disturbs has 1."""


class Meter:
    """Turns the seconds of steps into speeds. The peak is that of one device. Steps may have batches of several sizes."""

    def __init__(
        self,
        *,
        sequence_tokens: int,
        sequence_flops: int,
        peak_flops: float | None,
        devices: int = 1,
        on_cpu: bool = False,
    ) -> None:
        self.sequence_tokens, self.sequence_flops, self.devices = sequence_tokens, sequence_flops, devices
        self.peak_flops = None if peak_flops is None else peak_flops * devices
        self._recent: deque[tuple[int, float, float]] = deque(maxlen=RECENT_STEPS)
        self._on_cpu = on_cpu
        self._last = (time.perf_counter(), time.process_time())
        self._cores: deque[tuple[float, float]] = deque(maxlen=RECENT_STEPS)
        """Of steps with nothing between them, seconds by a clock on the wall and those that cores spent on this process."""

    def record(
        self, step: int, *, sequences: int, step_seconds: float, data_seconds: float
    ) -> dict[str, Any]:
        """Take in a finished step of so many sequences; returns its line of `timing.jsonl`."""
        self._recent.append((sequences, step_seconds, data_seconds))
        self._note_cores(step_seconds)
        flops_per_second = sequences * self.sequence_flops / step_seconds
        line = {
            "step": step,
            "step_seconds": round(step_seconds, 6),
            "data_seconds": round(data_seconds, 6),
            "flops_per_second": round(flops_per_second),
        }
        return (
            line if self.peak_flops is None else {**line, "mfu": round(flops_per_second / self.peak_flops, 5)}
        )

    def mean(self) -> Speed:
        """The speed of the latest steps together."""
        seconds = sum(step for _, step, _ in self._recent)
        sequences = sum(count for count, _, _ in self._recent)
        flops_per_second = self.sequence_flops * sequences / seconds
        return Speed(
            step_seconds=seconds / len(self._recent),
            tokens_per_second=self.sequence_tokens * sequences / seconds,
            flops_per_second=flops_per_second,
            mfu=None if self.peak_flops is None else flops_per_second / self.peak_flops,
            data_share=sum(data for *_, data in self._recent) / seconds,
            devices=self.devices,
            cores=self._mean_cores() if self._on_cpu else None,
        )

    def _note_cores(self, step_seconds: float) -> None:
        now = time.perf_counter(), time.process_time()
        passed, worked = now[0] - self._last[0], now[1] - self._last[1]
        self._last = now
        # A save or a validation between two steps waits for a disk, or works on more than a step does.
        if passed < 1.5 * step_seconds:
            self._cores.append((passed, worked))

    def _mean_cores(self) -> float | None:
        passed = sum(seconds for seconds, _ in self._cores)
        return sum(worked for _, worked in self._cores) / passed if passed else None
