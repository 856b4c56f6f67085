"""What others claimed of the methods, a file a source, found by its name; each defines SOURCE, a `Source`.

A method that has claims of its own brings them in one file here. They can't stand in the method's file: an exported model
carries that, and must not carry rules and statistics.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from ngptlab.claims.claim import Source
from ngptlab.errors import ConfigError


def names() -> list[str]:
    """Every source there is: the files of this package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def sources() -> list[Source]:
    """All sources, by the names of their files.

    Raises:
        ConfigError: two claims have one id.
    """
    found = [import_module(f"{__name__}.{name}").SOURCE for name in names()]
    ids = [claim.id for source in found for claim in source.claims]
    for each in ids:
        if ids.count(each) > 1:
            raise ConfigError(
                f"claims: {each!r} stands twice in ngptlab/recipes/claims/; give each an id of its own"
            )
    return found
