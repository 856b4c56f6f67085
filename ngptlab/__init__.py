"""ngptlab: controlled language-model pretraining experiments.

    from ngptlab import build_model, Dims
    model = build_model("<method>", Dims(vocab_size=257, num_layers=4, num_heads=4, d_model=128), seed=0)
    loss_nats = model.loss(tokens_BT, targets_BT)

Names are loaded when they are first used, so that importing the package (and `ngptlab --help`) costs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

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
    "train": "ngptlab.experiment",
    "compare": "ngptlab.compare",
}

__all__ = list(_HOMES)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ngptlab' has no attribute {name!r}; it has {', '.join(_HOMES)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
