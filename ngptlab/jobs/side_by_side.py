"""Runs of a comparison side by side, each in a process of its own, where that is faster than one after the other.

A small model gains little from a second core, because its threads wait for each other at each operation. What is gained, imports
included, is in docs/speed-log.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ngptlab.config import RunConfig
from ngptlab.device import on_cuda
from ngptlab.errors import ConfigError, DivergedError, LabError
from ngptlab.flops import token_flops
from ngptlab.jobs.cell import Cell, run_of
from ngptlab.jobs.local import Local, cores, studying
from ngptlab.jobs.outcome import outcome
from ngptlab.ledger.book import Ledger
from ngptlab.plan.memory import step_memory
from ngptlab.runs import Run
from ngptlab.sizes import host_bytes

WORTH_FLOPS = 5e11
"""Least work of a run for a process of its own, some ten seconds of a core, because importing torch takes it three to five."""

MEMORY_SHARE = 0.8
"""Share of the machine's memory that runs at once may take, by plan. The rest is for texts, pages and whoever else is there."""
FLOAT32_BYTES = 4


def at_once(configs: Sequence[RunConfig], out: Path, workers: int) -> int:
    """Number of runs to train at once: `workers`, or with 0 as many as cores and memory have room for.

    With 0 it is 1 on a GPU, because only the user knows whether two runs fit into its memory, and where the work is small.
    Runs that diverged count, so that the others are trained whether or not one of them diverged in an earlier try.

    Raises:
        ConfigError: the number is negative.
    """
    if workers < 0:
        raise ConfigError(f"--workers: given {workers}; give at least 1, or 0 for one a core")
    left = [c for c in configs if outcome(Cell(c), out).status != "done"]
    if workers or not left:
        return min(workers, len(left)) or 1
    if any(on_cuda(c.device) or _flops(c) < WORTH_FLOPS for c in left):
        return 1
    threads = max(c.device.threads for c in left) or 1
    taken = max(step_memory(c, place="cpu", value_bytes=FLOAT32_BYTES).total for c in left)
    return max(1, min(len(left), cores() // threads, int(MEMORY_SHARE * host_bytes() / taken)))


def train_side_by_side(
    configs: Sequence[RunConfig],
    out: Path,
    *,
    workers: int,
    ledger: Ledger | None = None,
    tell: Callable[[str], None] = lambda line: None,
    quiet: bool = False,
) -> list[Run]:
    """The finished runs of these configs below out/runs, so many at once on equal parts of the cores; logs are in out/logs.

    Raises:
        LabError: wrong settings or data, or a run failed or diverged; the others were trained to their ends.
        SweepStopped: a signal asked for it; the runs under way were saved.
    """
    cells, executor = [Cell(config) for config in configs], Local(workers=workers, quiet=quiet)
    each = max(configs[0].device.threads or cores() // workers, 1)
    with studying(cells, out, executor=executor, ledger=ledger, tell=tell) as request:
        if not all(outcome(cell, out).over for cell in cells):  # the ledger may have had them
            tell(
                f"{workers} runs at once, {each} thread{'s' * (each > 1)} each; `ngptlab watch {out}` shows more, and "
                "--workers 1 trains one after the other"
            )
        failures = executor.train(cells, out, request)
    for cell in cells:
        ended = outcome(cell, out, failures)
        if ended.status == "diverged":
            raise DivergedError(f"{cell.title}: {ended.reason}")
        if ended.status != "done":
            raise LabError(f"{cell.title}: {ended.reason}")
    return [Run(run_of(out, cell)) for cell in cells]


def _flops(config: RunConfig) -> float:
    return float(config.train.tokens * token_flops(config.model, config.train.context).total)
