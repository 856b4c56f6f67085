"""The option `--tuned` of verbs that compare methods: the settings that a search found best, and the link to it."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ngptlab import disk
from ngptlab.errors import DataError
from ngptlab.folders import make, own
from ngptlab.recipes import Recipe, Tuned
from ngptlab.terminal import remark

if TYPE_CHECKING:
    from ngptlab.stats.search import Search


def add(parser: argparse.ArgumentParser) -> None:
    """Give a verb's parser the option."""
    parser.add_argument(
        "--tuned",
        type=Path,
        metavar="SEARCH",
        help="search.json of `sweep --search`: every method gets what was best for it; seeds begin after those that chose",
    )


def apply(recipe: Recipe, options: argparse.Namespace) -> Recipe:
    """The recipe with the settings of the search, where one is given.

    Raises:
        DataError: the file is no search, or a method named on the command line has no result in it.
    """
    if options.tuned is None:
        return recipe
    from ngptlab.stats.search import read

    found = read(options.tuned)
    named: list[str] = list(getattr(options, "methods", ()))
    methods = named or [name for name in found.fixed if found.best(name)]
    compared = [options.base, options.target] if hasattr(options, "base") else named or recipe.methods
    if lacking := [name for name in compared if name not in methods]:
        remark(f"search {found.search} lacks {', '.join(lacking)}: the recipe's settings hold there, untuned")
    return replace(
        recipe, tuned={**recipe.tuned, **{name: tuned_by(found, name, recipe) for name in methods}}
    )


def tuned_by(found: Search, method: str, recipe: Recipe) -> Tuned:
    """A method's best in a search. Fields that the recipe sets and the search did not vary have what they had there.

    Raises:
        DataError: it has no result there.
    """
    best = found.best(method)
    if best is None:
        raise DataError(
            f"search {found.search} has no result for {method}; it tried {', '.join(found.fixed)}"
        )
    settings = dict(best[0])
    lr = settings.pop("optim.lr", None)
    if not isinstance(lr, float):
        raise DataError(
            f"search {found.search}: no learning rate among what it searched; give one with --lrs"
        )
    set_there = recipe.tuned[method].settings if method in recipe.tuned else {}
    fixed = found.fixed[method]
    there = {path: fixed[path] for path in set_there if fixed.get(path, "None") != "None"}
    return Tuned(lr=lr, settings={**there, **settings}, search=found.search, first_seed=max(found.seeds) + 1)


def keep(options: argparse.Namespace, out: Path) -> None:
    """Put the search beside the runs that link it, where reports look for it.

    Raises:
        OSError: it can't be written.
    """
    if options.tuned is None:
        return
    from ngptlab.stats.search import FOLDER, plain, read

    found = read(options.tuned)
    make(out)
    disk.write_json(own(out / FOLDER) / f"{found.search}.json", plain(found))
