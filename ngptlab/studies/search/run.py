"""A search over several fields for several methods: coordinate descent, with equally many runs for each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ngptlab.config import RunConfig
from ngptlab.errors import ConfigError
from ngptlab.jobs.cell import Cell
from ngptlab.jobs.executor import Executor
from ngptlab.jobs.local import studying
from ngptlab.ledger.book import Ledger
from ngptlab.overrides import Overrides, apply
from ngptlab.recipes import Recipe
from ngptlab.stats.cells import CellRow
from ngptlab.stats.estimates import mean
from ngptlab.stats.search import Search, Tried, fixed_of, made, settings_of
from ngptlab.studies.search import descent
from ngptlab.studies.search.descent import Point
from ngptlab.studies.search.files import write_search
from ngptlab.studies.sweep.plan import Resolve, check_free, check_parts
from ngptlab.studies.sweep.run import LOCAL, Fitting
from ngptlab.studies.sweep.table import rows

HOW = (
    "Coordinate descent: one field after the other to a neighbour with a lower loss until no neighbour is lower; methods whose "
    "descent ended earlier tried diagonal neighbours of their best, until all had as many runs."
)
SEARCH_SETS = {"method": "--methods", "seed": "--seeds", "data.seed": "--seeds", "optim.lr_grid": "--grid"}


@dataclass
class Arm:
    """A method in a search: the values of each field that it can have, its cells and their losses."""

    config: RunConfig
    space: dict[str, list[str]]
    start: Point
    """Start of the descent: the recipe's own values where they are among those given, else the first ones given."""
    cells: dict[Point, list[Cell]] = field(default_factory=dict)
    losses: dict[Point, float] = field(default_factory=dict)

    @property
    def sizes(self) -> list[int]:
        """Number of values of each field."""
        return [len(values) for values in self.space.values()]

    def settings(self, point: Point) -> dict[str, str]:
        """The values at a point, by path."""
        return {path: values[i] for (path, values), i in zip(self.space.items(), point, strict=True)}


def search(
    recipe: Recipe,
    *,
    out: Path,
    fields: Mapping[str, Sequence[str]],
    methods: Sequence[str] = (),
    seeds: int = 1,
    points: int | None = None,
    executor: Executor = LOCAL,
    ledger: Ledger | None = None,
    overrides: Overrides | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> tuple[Search, list[CellRow]]:
    """Descend for every method; train what is missing under out/runs; write search.json, .csv, .png and .svg into `out`.

    `points` is the most settings of a method; None: until no neighbour is lower. A value that a method refuses is left out for
    it. A run that diverges has an infinite loss.

    Raises:
        LabError: wrong settings or data, or a run that failed, because the search can't go on without its loss.
        SweepStopped: a signal asked for it; the same command goes on.
    """
    names = tuple(methods) or recipe.methods
    check_free("sweep --search", SEARCH_SETS, [*(overrides or {}), *fields])
    if points is not None and points < 1:
        raise ConfigError(f"--points: given {points}; give at least 1")
    check_parts({"methods": names, **{f"grid {path}": values for path, values in fields.items()}}, seeds)
    fitting = Fitting()
    arms = {name: _arm(recipe, name, fields, overrides or {}, fitting, tell) for name in names}
    while True:
        wanted = descent.next_points(
            {name: arm.sizes for name, arm in arms.items()},
            {name: arm.start for name, arm in arms.items()},
            {name: arm.losses for name, arm in arms.items()},
            budget=points,
        )
        cells = [cell for name, arm in arms.items() for cell in _cells(arm, wanted[name], seeds, fitting)]
        every = [cell for arm in arms.values() for point in arm.cells.values() for cell in point]
        if not any(wanted.values()):
            break
        if not cells:
            continue
        with studying(cells, out, executor=executor, ledger=ledger, tell=tell) as request:
            failures = executor.train(cells, out, request)
        table = rows(every, out, failures)
        _add_losses(arms, {row.hash: row for row in table})
    table = rows(every, out, {})
    found = _search_of(recipe, arms, fields, {row.hash: row for row in table}, points)
    write_search(found, out)
    return found, table


def _arm(
    recipe: Recipe,
    name: str,
    fields: Mapping[str, Sequence[str]],
    overrides: Overrides,
    fitting: Resolve,
    tell: Callable[[str], None],
) -> Arm:
    config = fitting(apply(recipe.arm(name), overrides))
    optim = config.optim.model_copy(update={"lr_grid": (), "search": ""})
    config = config.model_copy(update={"optim": optim})
    space: dict[str, list[str]] = {}
    start = []
    for path, values in fields.items():
        taken = _values(config, path, values, fitting, tell)
        if taken:
            own = str(settings_of(config, [path])[path])
            space[path] = list(taken.values())
            start.append(list(taken).index(own) if own in taken else 0)
    if not space:
        raise ConfigError(f"{name}: no value of --grid fits it")
    return Arm(config, space, tuple(start))


def _values(
    config: RunConfig, path: str, values: Sequence[str], fitting: Resolve, tell: Callable[[str], None]
) -> dict[str, str]:
    """The values that a method accepts: as resolved -> as given. '0.1' and '1e-1' are one value, because they are one run.

    Raises:
        ConfigError: a value is one that no config can have.
    """
    taken: dict[str, str] = {}
    for value in values:
        changed = apply(config, {path: value})
        try:
            found = str(settings_of(fitting(changed), [path])[path])
            refused = f"the same as {taken[found]}" if found in taken else ""
        except ConfigError as error:
            refused = str(error)
        if refused:
            tell(f"{config.method} without {path} {value}: {refused}")
        else:
            taken[found] = value
    return taken


def _cells(arm: Arm, points: Sequence[Point], seeds: int, fitting: Resolve) -> list[Cell]:
    """The cells of these points, which are added to the arm where they are new."""
    for point in points:
        if point not in arm.cells:
            settings = arm.settings(point)
            text = " ".join(f"{path}={value}" for path, value in settings.items() if path != "optim.lr")
            try:
                arm.cells[point] = [
                    Cell(
                        fitting(apply(arm.config, {**settings, "seed": seed, "data.seed": seed})),
                        settings=text,
                    )
                    for seed in range(seeds)
                ]
            # Each value is accepted alone, but not together. The point counts like a run that diverged.
            except ConfigError:
                arm.cells[point], arm.losses[point] = [], math.inf
    return [cell for point in points for cell in arm.cells[point]]


def _add_losses(arms: Mapping[str, Arm], table: Mapping[str, CellRow]) -> None:
    for arm in arms.values():
        for point, cells in arm.cells.items():
            ended = [table[cell.config.hash] for cell in cells]
            if failed := [row for row in ended if not row.over]:
                row = failed[0]
                raise ConfigError(
                    f"{row.method} {row.settings} lr {row.lr:g} seed {row.seed}: {row.status} ({row.reason}); mend that and "
                    "give the same command again"
                )
            if ended:
                arm.losses[point] = mean([_loss(row) for row in ended])


def _loss(row: CellRow) -> float:
    return math.inf if row.final_loss_nats is None else row.final_loss_nats


def _search_of(
    recipe: Recipe,
    arms: Mapping[str, Arm],
    fields: Mapping[str, Sequence[str]],
    table: Mapping[str, CellRow],
    points: int | None,
) -> Search:
    tried = []
    for arm in arms.values():
        for cells in arm.cells.values():
            for cell in cells:
                tried.append(tried_of(cell, table[cell.config.hash], arm.space))
    return made(
        recipe=recipe.config.name,
        how=HOW if points is None else f"{HOW} It was stopped at {points} settings each.",
        space={path: list(values) for path, values in fields.items()},
        fixed={name: fixed_of(arm.config, arm.space) for name, arm in arms.items()},
        cells=tried,
    )


def tried_of(cell: Cell, row: CellRow, space: Iterable[str]) -> Tried:
    """A cell that is over, as a record of a search. `space` holds the paths of the searched fields."""
    return Tried(
        hash=row.hash,
        method=cell.config.method,
        seed=row.seed,
        settings=settings_of(cell.config, space),
        status="done" if row.status == "done" else "diverged",
        loss_nats=row.final_loss_nats,
    )
