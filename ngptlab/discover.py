"""Parts that are found by folder: a study is a folder of studies/, an evaluation is one of measure/, and no list names them.

Folders are those of the package's `__path__`, so that a plug-in or a test may add a place.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from types import ModuleType

from ngptlab.errors import ConfigError


def folders(package: str, name: str = "") -> list[str]:
    """The folders of a package that hold a module of this name, or all; by name. Imports none of these modules."""
    found = sorted(each.name for each in iter_modules(import_module(package).__path__) if each.ispkg)
    return [folder for folder in found if not name or find_spec(f"{package}.{folder}.{name}")]


def modules(package: str, name: str) -> dict[str, ModuleType]:
    """These modules, by folder.

    Raises:
        ConfigError: one is broken.
    """
    return {folder: _imported(f"{package}.{folder}.{name}") for folder in folders(package, name)}


def _imported(module: str) -> ModuleType:
    try:
        return import_module(module)
    except (ImportError, SyntaxError) as error:
        raise ConfigError(
            f"{module}: can't be imported ({error}); mend it, or take its folder away"
        ) from error
