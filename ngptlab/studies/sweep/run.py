"""A sweep from its recipe to its table, figure and verdicts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ngptlab import methods as all_methods
from ngptlab.config import Dims, RunConfig
from ngptlab.errors import ConfigError
from ngptlab.initial_model import initial_model
from ngptlab.jobs.executor import Executor
from ngptlab.jobs.local import Local, SweepStopped, studying
from ngptlab.ledger.book import Ledger
from ngptlab.recipes import Recipe
from ngptlab.stats.cells import CellRow
from ngptlab.stats.transfer import Finding, transfer
from ngptlab.studies.sweep.files import write_sweep
from ngptlab.studies.sweep.plan import Grid, plan
from ngptlab.studies.sweep.table import rows

LOCAL = Local(stack=None)


def sweep(
    recipe: Recipe,
    grid: Grid,
    out: Path,
    *,
    executor: Executor = LOCAL,
    ledger: Ledger | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> tuple[list[CellRow], list[Finding]]:
    """Train every cell of the grid that is missing, under out/runs; write sweep.csv, .json, .png and .svg into `out`.

    Raises:
        LabError: wrong settings or data. A failure of one cell is no error; it stands in the cell's row.
        SweepStopped: a signal asked for it; cells under way were saved, and the table holds what is known.
    """
    cells = plan(recipe, grid, resolve=Fitting())
    try:
        with studying(cells, out, executor=executor, ledger=ledger, tell=tell) as request:
            failures = executor.train(cells, out, request)
    except SweepStopped:
        write_sweep(rows(cells, out, {}), (), out)
        raise
    table = rows(cells, out, failures)
    findings = transfer(table)
    write_sweep(table, findings, out, title=recipe.config.name)
    return table, findings


class Fitting:
    """Resolves a config. Builds a model once for each method, rules, size and start of alpha, because these can be refused."""

    def __init__(self) -> None:
        self._refusals: dict[tuple[str, str, int, Dims, float | None], str] = {}

    def __call__(self, config: RunConfig) -> RunConfig:
        resolved = all_methods.resolve(config)
        param = config.param
        key = (config.method, param.rules, param.base_width, config.model, config.optim.alpha_init)
        if key not in self._refusals:
            try:
                initial_model(resolved)
                self._refusals[key] = ""
            except ConfigError as error:
                self._refusals[key] = str(error)
        if self._refusals[key]:
            raise ConfigError(self._refusals[key])
        return resolved
