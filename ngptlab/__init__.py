"""ngptlab: controlled language-model pretraining experiments.

    import ngptlab
    run = ngptlab.train(ngptlab.recipe("demo").arm("<method>"), overrides={"train.steps": 60})
    ngptlab.load(run).generate("def ")

Names are loaded when they are first used, so that importing the package (and `ngptlab --help`) costs no torch. Their types stand
in `__init__.pyi`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

from ngptlab.threads import sleep_soon

_HOMES = {
    "RunConfig": "ngptlab.config",
    "Dims": "ngptlab.config",
    "LabError": "ngptlab.errors",
    "ConfigError": "ngptlab.errors",
    "DataError": "ngptlab.errors",
    "CheckpointError": "ngptlab.errors",
    "Run": "ngptlab.runs",
    "Parts": "ngptlab.nn.decoder",
    "Decoder": "ngptlab.nn.decoder",
    "build_model": "ngptlab.methods",
    "Batches": "ngptlab.data.batches",
    "open_corpus": "ngptlab.data.corpus",
    "recipe": "ngptlab.recipes",
    "train": "ngptlab.scripting",
    "compare": "ngptlab.scripting",
    "load": "ngptlab.scripting",
}

__all__ = list(_HOMES)
__version__ = "0.1.0"


class _Package(ModuleType):
    """Whose public names stay what they are when a submodule of the same name is imported, as `train` and `compare` are."""

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _HOMES or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ngptlab' has no attribute {name!r}; it has {', '.join(_HOMES)}")
    sleep_soon()  # before torch is imported
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
