"""Turn a grid into a list of cells, each the config of one run. Imports no torch: the caller passes `resolve`.

Cells with the same hash are one cell, and nothing else makes them one. At the base width the rules of muP change nothing, but
a muP run has another hash than SP's. Both are trained, and should give equal results. That is a check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from ngptlab.config import Dims, RunConfig
from ngptlab.errors import ConfigError
from ngptlab.jobs.cell import Cell
from ngptlab.overrides import Overrides, apply
from ngptlab.recipes import Recipe

Resolve = Callable[[RunConfig], RunConfig]
"""Fills in the fields that the method decides, or raises a ConfigError where the settings don't fit the method."""

OF_RUNS = {"method": "--methods", "seed": "--seeds", "data.seed": "--seeds"}
"""Fields that any grid of runs decides, and the option that sets each."""
SET_BY = {
    **OF_RUNS,
    "optim.lr": "--lrs",
    "optim.lr_grid": "--lrs",
    "param.rules": "--params",
    "param.base_width": "--base-width",
}
"""Fields that the grid decides, and the option that sets each."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The factors that are crossed."""

    methods: tuple[str, ...]
    params: tuple[str, ...]
    widths: tuple[int, ...]
    lrs: tuple[float, ...]
    seeds: int
    base_width: int
    fields: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Values of any other fields, by path."""

    @property
    def settings(self) -> list[dict[str, str]]:
        """Every combination of values of `fields`; one empty combination where there are no fields."""
        paths = [path for path, _ in self.fields]
        return [dict(zip(paths, values, strict=True)) for values in product(*(v for _, v in self.fields))]


def changed(recipe: Recipe, overrides: Overrides) -> Recipe:
    """The recipe with fields replaced, and without learning rates tuned for single methods, because the grid has its own.

    Raises:
        ConfigError: a field is one that the grid sets, or a value is wrong.
    """
    check_free("sweep", SET_BY, overrides)
    return replace(recipe, config=apply(recipe.config, overrides), tuned={})


def check_free(verb: str, set_by: Mapping[str, str], overrides: Iterable[str]) -> None:
    """Raise ConfigError where a field is overridden that the verb decides."""
    for field in overrides:
        if field in set_by:
            raise ConfigError(f"--{field.replace('_', '-')}: {verb} sets it; give {set_by[field]}")


def check_parts(parts: Mapping[str, Sequence[object]], seeds: int) -> None:
    """Raise ConfigError where an option's part of a grid names something twice, or where there is no seed."""
    for option, given in parts.items():
        if len(set(given)) < len(given):
            raise ConfigError(f"--{option}: given {' '.join(map(str, given))}; name each once")
    if seeds < 1:
        raise ConfigError(f"--seeds: given {seeds}; give at least 1, and at least 3 for a claim")


def grid_of(
    recipe: Recipe,
    *,
    methods: Sequence[str] = (),
    params: Sequence[str] = (),
    widths: Sequence[int] = (),
    lrs: Sequence[float] = (),
    seeds: int = 1,
    base_width: int = 0,
    fields: Mapping[str, Sequence[str]] | None = None,
) -> Grid:
    """The requested grid. Parts that are not given come from the recipe.

    `fields` are crossed with the rest: any field of the config by its path, and the values that it is given.

    Raises:
        ConfigError: a part is given nowhere, names something twice, or is out of range.
    """
    own = recipe.sweep
    if not lrs and own is None:
        raise ConfigError(
            f"--lrs: {recipe.config.name} has no grid of its own; give some, as --lrs 2^-9 2^-8 2^-7"
        )
    chosen_widths = tuple(widths) or (own.widths if own else (recipe.config.model.d_model,))
    chosen_base = base_width or (own.base_width if own and not widths else min(chosen_widths))
    grid = Grid(
        methods=tuple(methods) or recipe.methods,
        params=tuple(params) or (own.params if own else ("sp",)),
        widths=tuple(sorted(chosen_widths)),
        lrs=tuple(sorted(lrs or (own.lrs if own else ()))),
        seeds=seeds,
        base_width=chosen_base,
        fields=tuple((path, tuple(values)) for path, values in (fields or {}).items()),
    )
    check_free("sweep", SET_BY, fields or {})
    check_parts({f"grid {path}": values for path, values in grid.fields}, seeds)
    check_parts({option: getattr(grid, option) for option in ("methods", "params", "widths")}, seeds)
    return grid


def plan(recipe: Recipe, grid: Grid, *, resolve: Resolve) -> list[Cell]:
    """The cells of a grid, the cheapest widths first. Each hash occurs once.

    Raises:
        ConfigError: the recipe is wrong by itself, a width doesn't fit, or no cell is left to train.
    """
    # An error in the shared settings is reported to the user. Only values of the grid can make a cell "not applicable".
    arms = {method: recipe.arm(method) for method in grid.methods}
    for width in grid.widths:
        _whole_heads("--widths", width, recipe.config.model)
    _whole_heads("--base-width", grid.base_width, recipe.config.model)
    for arm in arms.values():
        resolve(arm)
    cells: dict[str, Cell] = {}
    for config, settings in _configs(arms, grid):
        cell = _cell(config, settings, resolve)
        cells.setdefault(cell.config.hash, cell)
    if all(cell.refusal for cell in cells.values()):
        raise ConfigError(f"no cell of the grid can be trained: {next(iter(cells.values())).refusal}")
    return list(cells.values())


def _cell(config: RunConfig, settings: str, resolve: Resolve) -> Cell:
    try:
        return Cell(resolve(config), settings=settings)
    except ConfigError as error:
        return Cell(config, refusal=str(error), settings=settings)


def _configs(arms: dict[str, RunConfig], grid: Grid) -> Iterator[tuple[RunConfig, str]]:
    for width, method, rules, given, lr, seed in product(
        grid.widths, grid.methods, grid.params, grid.settings, grid.lrs, range(grid.seeds)
    ):
        changes: Overrides = {
            "seed": seed,
            "data.seed": seed,
            "optim.lr": lr,
            "optim.lr_grid": (),
            "param.rules": rules,
            "param.base_width": 0 if rules == "sp" else grid.base_width,
            **given,
        }
        wide = arms[method].model_copy(update={"model": widened(arms[method].model, width)})
        yield apply(wide, changes), " ".join(f"{path}={value}" for path, value in given.items())


def widened(model: Dims, width: int) -> Dims:
    """The same model at another d_model: heads of the same width, more of them; the MLP in proportion.

    Raises:
        ConfigError: the MLP's width would not be whole.
    """
    own, usual = model.d_ff, Dims.default_d_ff(model.d_model)
    if own != usual and own * width % model.d_model:
        raise ConfigError(
            f"--widths: at {width}, model.d_ff {own} for d_model {model.d_model} is no whole number in proportion; "
            "give other widths, or leave model.d_ff at its default"
        )
    return Dims(
        vocab_size=model.vocab_size,
        num_layers=model.num_layers,
        num_heads=width // model.d_head,
        d_model=width,
        d_ff=0 if own == usual else own * width // model.d_model,
    )


def _whole_heads(what: str, width: int, model: Dims) -> None:
    if width <= 0 or width % model.d_head:
        raise ConfigError(
            f"{what}: given {width}; it must be a multiple of the head width {model.d_head} "
            f"(model.d_model {model.d_model} over model.num_heads {model.num_heads}), because a sweep widens a model by "
            "heads of one width"
        )
