"""Runs of a board: one grid for every method, then fresh seeds of its best cell. Other tuned settings are held fixed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ngptlab import methods
from ngptlab.config.read_number import read_number
from ngptlab.errors import ConfigError
from ngptlab.jobs import in_turn
from ngptlab.jobs.cell import Cell
from ngptlab.options.tuned import tuned_by
from ngptlab.overrides import Overrides, apply
from ngptlab.recipes import Recipe, Tuned
from ngptlab.stats.cells import CellRow
from ngptlab.stats.search import Search, fixed_of, made
from ngptlab.studies.lent_settings import fits, has_own
from ngptlab.studies.search.run import tried_of
from ngptlab.studies.sweep import plan as sweep_plan
from ngptlab.studies.sweep.plan import OF_RUNS, Resolve, check_free, check_parts, grid_of

LR_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""The default learning rates, as multiples of the baseline's own in the recipe."""
DECAY_FACTORS = (0.5, 2.0)
"""The default weight decays, as multiples of the baseline's own, which lies between them."""
NO_DECAY = ("0.0", "0.1")
"""The default weight decays where the baseline has none."""
FRESH_FROM = 1
"""First seed that may be reported. Seed 0 selects the settings, so its losses are biased downwards."""
DECAY = "optim.weight_decay"
SET_BY = {**OF_RUNS, "optim.lr": "--lrs", "optim.lr_grid": "--lrs", DECAY: "--decays"}


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Settings shared by all methods of a board."""

    recipe: Recipe
    """The recipe with overrides applied; it still holds the settings tuned for single methods."""
    baseline: str
    lrs: tuple[float, ...]
    decays: tuple[str, ...]
    seeds: int
    """Number of fresh seeds."""
    overridden: frozenset[str]
    """Fields that the user set, which replace the recipe's tuned values."""

    @property
    def first_seed(self) -> int:
        """The first fresh seed, after all seeds that selected settings here or in the recipe."""
        return max(FRESH_FROM, self.recipe.first_seed)

    @property
    def space(self) -> dict[str, list[str]]:
        """The searched values by field, in the form of `Search.space`."""
        return {"optim.lr": [repr(lr) for lr in self.lrs], DECAY: list(self.decays)}


@dataclass(kw_only=True)
class Arm:
    """A method on the board, before any run."""

    method: str
    recipe: Recipe | None = None
    """The recipe with this method's fixed settings and without the searched ones; None where the method cannot run."""
    held: Mapping[str, str] = field(default_factory=dict)
    tuned_alone: bool = False
    """Whether the recipe has settings that were tuned for this method itself."""
    cells: Sequence[Cell] = ()
    """Cells of the method's grid, without those that its settings refuse."""
    refusal: str = ""
    """Why it cannot run on this recipe."""


def terms(
    recipe: Recipe,
    *,
    baseline: str,
    lrs: Sequence[float],
    decays: Sequence[str],
    seeds: int,
    overrides: Overrides,
) -> Terms:
    """Settings shared by all methods. Defaults of the grid lie around the baseline's own values.

    Raises:
        ConfigError: a field is set that the board decides, or a value is wrong.
    """
    check_free("board", SET_BY, overrides)
    for path in overrides:
        if path.startswith("seams."):
            raise ConfigError(
                f"--{path}: a board is of whole methods; write a file that has both, and give its path"
            )
    warmup = {} if "schedule.warmup_steps" in overrides else recipe.warmup_steps
    whole = replace(recipe, config=apply(recipe.config, overrides), warmup_steps=warmup)
    own = methods.resolve(whole.arm(baseline)).optim
    assert own.weight_decay is not None, "resolved"
    around = tuple(repr(factor * own.weight_decay) for factor in DECAY_FACTORS)
    found = Terms(
        recipe=whole,
        baseline=baseline,
        lrs=tuple(sorted(lrs or (factor * own.lr for factor in LR_FACTORS))),
        decays=tuple(_number(text) for text in decays) or (around if own.weight_decay else NO_DECAY),
        seeds=seeds,
        overridden=frozenset(overrides),
    )
    check_parts({"lrs": found.lrs, "decays": found.decays}, seeds)
    return found


def _number(text: str) -> str:
    """A weight decay in Python's spelling, because two spellings of one value would be two columns of the grid."""
    try:
        value = float(read_number(text))
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ConfigError(f"--decays: given {text!r}; give numbers from 0 on, as 0 0.1")
    return repr(value)


def arm_of(method: str, terms: Terms, resolve: Resolve) -> Arm:
    """A method with its grid.

    Raises:
        ConfigError: it does not fit the recipe.
    """
    bare = replace(terms.recipe, tuned={})
    wanted = _wanted(method, terms)
    alone = method in terms.recipe.tuned
    lr, held = min(terms.lrs), dict[str, Any]()
    for path, value in wanted.items():
        if alone:
            held[path] = value
            continue
        tried = replace(bare, tuned={method: Tuned(lr=lr, settings={**held, path: value})})
        if not has_own(path, method, terms.baseline) and fits(tried, method):
            held[path] = value
    recipe = replace(bare, tuned={method: Tuned(lr=lr, settings=held)})
    param = recipe.config.param
    grid = grid_of(
        recipe,
        methods=(method,),
        params=(param.rules,),
        widths=(recipe.config.model.d_model,),
        lrs=terms.lrs,
        base_width=param.base_width,
        fields={DECAY: terms.decays},
    )
    cells = sweep_plan.plan(recipe, grid, resolve=resolve)
    return Arm(
        method=method,
        recipe=recipe,
        held={path: str(value) for path, value in held.items()},
        tuned_alone=alone and bool(held),
        cells=[cell for cell in cells if not cell.refusal],
    )


def _wanted(method: str, terms: Terms) -> dict[str, Any]:
    """Settings that the recipe tuned for the method, else for the baseline, without those that the board searches."""
    tuned = terms.recipe.tuned.get(method) or terms.recipe.tuned.get(terms.baseline)
    settings = tuned.settings if tuned else {}
    return {path: v for path, v in settings.items() if path not in SET_BY and path not in terms.overridden}


def search_of(arm: Arm, table: Sequence[CellRow], terms: Terms) -> Search:
    """A method's grid as a search of its own, so that methods added later leave the linked hash as it is."""
    rows = {row.hash: row for row in table}
    return made(
        recipe=terms.recipe.config.name,
        how=f"A grid of {len(terms.lrs)} learning rates and {len(terms.decays)} weight decays, one seed.",
        space=terms.space,
        fixed={arm.method: fixed_of(arm.cells[0].config, terms.space)},
        cells=[tried_of(cell, rows[cell.config.hash], terms.space) for cell in arm.cells],
    )


def fresh(arm: Arm, search: Search, terms: Terms) -> list[Cell]:
    """The reported runs: the best cell of the grid, trained with seeds that took no part in selecting it.

    Raises:
        DataError: nothing ended in the grid.
    """
    assert arm.recipe is not None, "it runs"
    best = replace(tuned_by(search, arm.method, arm.recipe), first_seed=terms.first_seed)
    recipe = replace(arm.recipe, tuned={arm.method: best})
    configs = in_turn.plan(recipe, methods=(arm.method,), seeds=terms.seeds, overrides={})
    return [Cell(config) for config in configs]
