"""Parts that are found by folder: a study is a folder of studies/, an evaluation is one of measure/, and no list names them."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from types import ModuleType


def modules(package: str, name: str) -> dict[str, ModuleType]:
    """The module of this name in each folder of a package that has one, by folder, in the alphabet's order.

    Folders are those of the package's `__path__`, so that a plug-in or a test may add a place.
    """
    folders = sorted(found.name for found in iter_modules(import_module(package).__path__) if found.ispkg)
    return {
        folder: import_module(f"{package}.{folder}.{name}")
        for folder in folders
        if find_spec(f"{package}.{folder}.{name}")
    }
