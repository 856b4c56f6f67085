"""The names of the methods that come with the package, found without importing one of them, because they bring torch."""

from __future__ import annotations

import importlib.util
import pkgutil
import sys
from pathlib import Path

PACKAGE = "ngptlab.methods"


def method_names() -> list[str]:
    """Every method there is, as `methods.names` has them."""
    return sorted(module.name for module in pkgutil.iter_modules(_places()))


def method_file(name: str) -> Path | None:
    """The file of a method that comes with the package; None where there is none of that name."""
    if name not in method_names():
        return None
    return next((path for place in _places() if (path := Path(place) / f"{name}.py").is_file()), None)


def _places() -> list[str]:
    if PACKAGE in sys.modules:
        return list(sys.modules[PACKAGE].__path__)
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    return list(spec.submodule_search_locations or ())
