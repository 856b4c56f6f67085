"""One file a method, found by its name; each defines METHOD, a `Parts`. There is no registry to add it to."""

from __future__ import annotations

import math
import pkgutil
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import torch

from ngptlab import disk
from ngptlab.config import SEEDS, Dims, OptimConfig, ParamConfig, RunConfig, parse
from ngptlab.errors import ConfigError, nearest, shown
from ngptlab.nn.decoder import Decoder, Parts
from ngptlab.param.apply import apply
from ngptlab.param.rules import rules
from ngptlab.sizes import check_model

WARMUP_SHARE = 0.05
"""A method's own warm-up is never a larger share of a run than this; a warm-up that the user sets is never changed."""


def names() -> list[str]:
    """Every method there is: the files of this package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def path(name: str) -> Path:
    """The file of a method.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in names():
        raise ConfigError(
            f"method: given {name!r}; {nearest(name, names())} (a method is a file in ngptlab/methods/)"
        )
    return Path(__path__[0]) / f"{name}.py"


def load(name: str, lent: Mapping[str, str] | None = None) -> Parts:
    """The seam table of a method; `lent` names other methods whose parts fill some of its seams.

    Raises:
        ConfigError: there is no such method.
    """
    path(name)
    method = import_module(f"{__name__}.{name}").METHOD
    assert isinstance(method, Parts), f"ngptlab/methods/{name}.py must define METHOD = Parts(...)"
    return replace(method, **{seam: getattr(load(lender), seam) for seam, lender in (lent or {}).items()})


def claim(name: str) -> str:
    """The first sentence of a method's docstring."""
    path(name)
    doc = import_module(f"{__name__}.{name}").__doc__ or ""
    return doc.strip().partition("\n")[0]


def counterpart(implementation: str, kind: str) -> str:
    """The method that a public implementation's `plain` or `normalized` model is an instance of (counterparts.json)."""
    table = disk.read_json(Path(__file__).parent / "counterparts.json")
    return str(table[implementation][kind])


def build_model(
    method: str | Parts,
    dims: Dims,
    *,
    seed: int = 0,
    param: ParamConfig | None = None,
    optim: OptimConfig | None = None,
    stored_dtype: torch.dtype | None = None,
) -> Decoder:
    """A decoder with initial weights by the rules of `param` and as `optim` says, constraint applied, on the CPU in float32.

    `stored_dtype`: digits that the blocks' matrices keep from step to step; None: all of float32.

    Raises:
        ConfigError: there is no such method, the rules don't fit it or its sizes, the machine has less memory, or the
            seed is none.
    """
    if not 0 <= seed < SEEDS:
        raise ConfigError(f"seed: given {shown(seed)}; give a whole number from 0 to {SEEDS - 1}")
    check_model(dims)
    model = Decoder(dims, load(method) if isinstance(method, str) else method)
    apply(model, rules(param or ParamConfig(), dims, tokens=None), optim)
    model.stored_dtype = stored_dtype
    model.reset(seed)
    return model


def resolve(config: RunConfig) -> RunConfig:
    """Put in what the config leaves to the method: its weight decay and its warm-up.

    A seam that is lent what its own method holds anyway is taken out, so that equal runs have equal hashes.

    Raises:
        ConfigError: there is no such method, or the result contradicts itself.
    """
    lent, own = config.seams.lenders, load(config.method)
    parts = load(config.method, lent)
    fields = config.model_dump()
    fields["seams"] = {s: lender for s, lender in lent.items() if getattr(parts, s) != getattr(own, s)}
    if config.optim.weight_decay is None:
        fields["optim"]["weight_decay"] = parts.weight_decay
    if config.schedule.warmup_steps is None:
        share = math.ceil(WARMUP_SHARE * config.train.steps)
        fields["schedule"]["warmup_steps"] = min(parts.warmup_steps, share)
    return parse(fields, origin=config.name)
