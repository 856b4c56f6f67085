"""A worker: the process that trains a cell, or several cells as one stack, wherever that is. Imports no torch.

It is started as a command, so that a crash, a signal or a leak stays in its cell.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ngptlab import config as configs
from ngptlab.disk import create, write_text
from ngptlab.folders import own, refuse_link
from ngptlab.jobs.cell import Cell, log_of, run_of
from ngptlab.method_files import copies
from ngptlab.method_files.running import trusting

SAVE_SECONDS = 120.0
"""Longest wait for a worker to save and stop."""


@dataclass(frozen=True)
class Worker:
    """A process that trains a cell, or several cells as one stack."""

    cells: tuple[Cell, ...]
    process: subprocess.Popen[bytes]
    log: Path
    begun: float
    """By the monotonic clock."""


def start(
    cells: tuple[Cell, ...], out: Path, threads: int, environment: Mapping[str, str] | None = None
) -> Worker:
    """Begin to train cells in their `run_of(out, cell)`, each process on `threads` where its config names none.

    Args:
        environment: variables that the process has besides those of this one.

    Raises:
        OSError: a file can't be written, or a link stands in its place.
    """
    arguments = []
    for cell in cells:
        path, own_threads = put_config(cell, out, threads)
        arguments += [str(path), str(run_of(out, cell))]
    log_path = log_of(out, cells[0])
    if len(cells) > 1:
        log_path = log_path.with_stem(f"{log_path.stem}+{len(cells) - 1}")
    with create(log_path) as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ngptlab.jobs.worker", *arguments],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={
                **os.environ,
                **trusting(),
                **(environment or {}),
                "OMP_NUM_THREADS": str(own_threads),
            },
            # Ctrl-C signals a terminal's whole group. Only the sweep must get it, and then signal its workers once.
            start_new_session=True,
        )
    return Worker(cells, process, log_path, time.monotonic())


def put_config(cell: Cell, out: Path, threads: int) -> tuple[Path, int]:
    """Write a cell's config where its worker reads it, and make the folders that it needs; returns its path and its threads.

    Raises:
        OSError: a file can't be written, or a link stands in its place.
    """
    for folder in ("configs", "logs", "runs"):
        own(out / folder)
    refuse_link(run_of(out, cell))
    device = cell.config.device.model_copy(update={"threads": cell.config.device.threads or threads})
    config = cell.config.model_copy(update={"device": device})
    path = out / "configs" / f"{config.run_name}.json"
    copies.keep(path.parent, config)
    write_text(path, configs.dump(config))
    return path, device.threads


def hang_up(worker: Worker) -> None:
    """End the worker's standard input, so that it saves and stops, although nobody waits for it."""
    assert worker.process.stdin is not None
    worker.process.stdin.close()
