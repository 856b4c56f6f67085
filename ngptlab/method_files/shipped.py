"""The names of the methods that come with the package, found without importing one of them, because they bring torch."""

from __future__ import annotations

import importlib.util
import pkgutil
import sys

PACKAGE = "ngptlab.methods"


def method_names() -> list[str]:
    """Every method there is, as `methods.names` has them."""
    if PACKAGE in sys.modules:
        places = list(sys.modules[PACKAGE].__path__)
    else:
        spec = importlib.util.find_spec(PACKAGE)
        assert spec is not None
        places = list(spec.submodule_search_locations or ())
    return sorted(module.name for module in pkgutil.iter_modules(places))
