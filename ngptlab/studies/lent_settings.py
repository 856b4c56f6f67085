"""Settings that a recipe tuned for one method, lent to another one."""

from __future__ import annotations

from ngptlab import methods
from ngptlab.errors import ConfigError
from ngptlab.initial_model import initial_model
from ngptlab.recipes import Recipe


def has_own(path: str, method: str, lender: str) -> bool:
    """Whether a field is a seam's number that the two methods set differently. Such a field is not lent.

    Raises:
        ConfigError: there is no such method.
    """
    ours, theirs, seam = methods.load(method), methods.load(lender), path.rpartition(".")[2]
    return hasattr(ours, seam) and bool(getattr(ours, seam) != getattr(theirs, seam))


def fits(recipe: Recipe, method: str) -> bool:
    """Whether a method can be built with the recipe's present settings."""
    try:
        initial_model(methods.resolve(recipe.arm(method)))
    except ConfigError:
        return False
    return True
