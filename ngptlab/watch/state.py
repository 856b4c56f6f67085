"""What one run is doing, from its files: read again and again, each time only what was added.

A run holds `.lock` while a process trains it, and has a `summary.json` once it ended. So one with neither is waiting, or its
process was killed. Asking for the lock would keep a trainer out for that moment; Linux lists who holds which lock, and
where that list can't tell (another system, another machine's process), the age of the newest line does.
"""

from __future__ import annotations

import math
import re
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ngptlab import disk
from ngptlab.runs import End, Run, ending_of
from ngptlab.streams import SKIPPED
from ngptlab.tail import Tail
from ngptlab.whole import glance

State = Literal[End, "running", "stale", "waiting"]

TAIL_BYTES = 64 * 1024
"""Bytes read of each file at each look: some 500 steps."""
RECENT_LOSSES = 512
RECENT_STEPS = 50
"""Steps over which the pace is taken, as in a run's own line of progress."""
QUIET_SECONDS = 60.0
QUIET_STEPS = 20
"""A run without a process that has written nothing for so long, in seconds and in steps of its own, is stale."""
LOCKS = Path("/proc/locks")


@dataclass(frozen=True, kw_only=True)
class View:
    """A run as it was seen last. None where nothing is known."""

    path: Path
    arm: str
    seed: int
    state: State
    reason: str
    """Why it failed or was stopped; empty otherwise."""
    step: int
    steps: int
    skipped: int = 0
    """Batches that made no update."""
    losses: tuple[float, ...]
    """Recent training losses in nats, the newest last."""
    val_nats: float | None
    tokens_per_second: float | None
    eta_seconds: float | None
    """Time that is left, while it runs."""


class Watched:
    """One run, followed.

    Raises:
        ConfigError: on opening, if its config can't be read.
    """

    def __init__(self, path: Path) -> None:
        self.run = Run(path)
        self._metrics, self._timing, self._evals = (
            Tail(path / f"{stream}.jsonl", last_bytes=TAIL_BYTES) for stream in ("metrics", "timing", "evals")
        )
        self._left_out = Tail(path / f"{SKIPPED}.jsonl")
        self._skipped = 0
        self._losses: deque[float] = deque(maxlen=RECENT_LOSSES)
        self._timed: deque[tuple[float, float]] = deque(maxlen=RECENT_STEPS)
        self._measured_step = self._timed_step = 0
        self._val: float | None = None

    def look(self, locked: set[int] | None) -> View:
        """Read what is new. `locked` is what `locked_inodes` gave."""
        self._follow()
        config, step_seconds, speed = self.run.config, self._step_seconds(), self._tokens_per_second()
        state, reason = self._state(locked, step_seconds or 0.0)
        eta = None
        if state == "running" and speed:
            tokens_before = config.train.tokens_before
            eta = (tokens_before(config.train.steps) - tokens_before(self._step)) / speed * self._shared()
        return View(
            path=self.run.path,
            arm=config.arm,
            seed=config.seed,
            state=state,
            reason=reason,
            step=self._step,
            steps=config.train.steps,
            skipped=self._skipped,
            losses=tuple(self._losses),
            val_nats=self._val,
            tokens_per_second=speed,
            eta_seconds=eta,
        )

    def _follow(self) -> None:
        metrics, timing, evals = self._metrics.read(), self._timing.read(), self._evals.read()
        if self._metrics.fresh:
            self._losses.clear()
            self._measured_step = 0
        if self._timing.fresh:
            self._timed.clear()
            self._timed_step = 0
        if self._evals.fresh:
            self._val = None
        left_out = self._left_out.read()
        self._skipped = len(left_out) + (0 if self._left_out.fresh else self._skipped)
        for record in metrics:
            self._measured_step = int(_number(record, "step") or self._measured_step)
            if (loss := _number(record, "loss_nats")) is not None:
                self._losses.append(loss)
        for record in timing:
            self._timed_step = int(_number(record, "step") or self._timed_step)
            if seconds := _number(record, "step_seconds"):
                self._timed.append((self._tokens(record), seconds))
        for record in evals:
            if record.get("eval") == "val":
                self._val = _number(record, "loss_nats")

    @property
    def _step(self) -> int:
        """The last finished step. A batch that made no update may have no line of metrics, and a run that went back to a
        checkpoint has fewer of them again."""
        return max(self._measured_step, self._timed_step)

    def _step_seconds(self) -> float | None:
        return sum(seconds for _, seconds in self._timed) / len(self._timed) if self._timed else None

    def _tokens_per_second(self) -> float | None:
        if not self._timed:
            return None
        return sum(tokens for tokens, _ in self._timed) / sum(seconds for _, seconds in self._timed)

    def _tokens(self, timing: dict[str, Any]) -> float:
        """Tokens of a timed step; the mean of a step where the line doesn't say which of the run's steps it is."""
        train, step = self.run.config.train, int(_number(timing, "step") or 0)
        return train.sequences(step - 1) * train.context if 0 < step <= train.steps else train.step_tokens

    def _shared(self) -> float:
        """The number of cells that are trained as one program with it. Each records its share of a step's time as its own."""
        return _number(_json(self.run.path / "env.json"), "stacked") or 1.0

    def _state(self, locked: set[int] | None, step_seconds: float) -> tuple[State, str]:
        summary = _json(self.run.path / "summary.json")
        ending = ending_of(summary)
        if ending.done:
            damage = glance(self.run, summary)
            return ("failed", damage) if damage else ("done", "")
        if ending.status:
            return ending.status, ending.reason
        try:
            lock = (self.run.path / ".lock").stat()
        except OSError:
            return "waiting", ""
        if locked is not None and lock.st_ino in locked:
            return "running", ""
        age = time.time() - max(lock.st_mtime, self._written())
        return ("running" if age < max(QUIET_SECONDS, QUIET_STEPS * step_seconds) else "stale"), ""

    def _written(self) -> float:
        """When the newest line came."""
        times = [0.0]
        for tail in (self._metrics, self._evals):
            try:
                times.append(tail.path.stat().st_mtime)
            except OSError:
                continue
        return max(times)


def locked_inodes() -> set[int] | None:
    """Inodes of the files that processes of this machine hold locked; None where the system doesn't say."""
    try:
        text = disk.read_text(LOCKS)
    except (OSError, UnicodeDecodeError):
        return None
    return {int(inode) for inode in re.findall(r"FLOCK .*:(\d+) ", text)}


def _number(record: dict[str, Any], name: str) -> float | None:
    value = record.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return float(value)


def _json(path: Path) -> dict[str, Any]:
    """A small JSON file; empty where it is missing or damaged, which is not for a spectator to judge."""
    try:
        value = disk.read_json(path)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
