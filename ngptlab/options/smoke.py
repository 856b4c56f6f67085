"""The option `--smoke` of verbs that train a recipe."""

from __future__ import annotations

import argparse

from ngptlab.recipes import Recipe
from ngptlab.terminal import remark


def add(parser: argparse.ArgumentParser) -> None:
    """Give a verb's parser the option."""
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="20 steps of the recipe on made-up shards on the CPU: does all of it work here?",
    )


def conclude(options: argparse.Namespace) -> None:
    """The last line of a smoke test: what it was good for."""
    if options.smoke:
        remark("smoke test: all of it works here; the losses above mean nothing")


def apply(recipe: Recipe, options: argparse.Namespace) -> Recipe:
    """The recipe, shrunk where asked for; then a line says what that changed."""
    if not options.smoke:
        return recipe
    from ngptlab.smoke import changed, smoke

    shrunk = smoke(recipe)
    model = "the model is whole" if shrunk.config.model == recipe.config.model else "the model is smaller"
    changes = ", ".join(changed(recipe.config, shrunk.config))
    remark(f"smoke test, its losses mean nothing; {model}; {changes}")
    return shrunk
