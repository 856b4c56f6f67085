"""Experiments as Python functions: one file a recipe, found by its name, each defining `recipe() -> Recipe`.

A recipe is a base config, the methods it compares, and what was tuned for each of them, with the grid. Imports no torch.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from ngptlab.config import RunConfig
from ngptlab.errors import ConfigError, nearest, shown
from ngptlab.method_files.copies import load_config
from ngptlab.method_files.stages import with_method
from ngptlab.overrides import apply, complete_vocabulary


@dataclass(frozen=True)
class Tuned:
    """What a search gave for one method."""

    lr: float
    lr_grid: tuple[float, ...] = ()
    """Learning rates among which it was chosen by hand, where there is no search to link."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of `optim` and `schedule` by path, such as `optim.init`."""
    search: str = ""
    """Hash of the search, whose file is in `recipes/searches/`: what makes the arm tuned."""
    first_seed: int = 0
    """The first seed after those that chose; a comparison begins with it."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The grid that `ngptlab sweep` trains where the command line gives no other. Methods are the recipe's."""

    widths: tuple[int, ...]
    """d_model of each model; the head width stays the recipe's."""
    lrs: tuple[float, ...]
    params: tuple[str, ...]
    """Rules of parametrization, by their names in `ParamConfig`."""
    base_width: int
    """The width at which all rules agree."""


@dataclass(frozen=True)
class Recipe:
    """A controlled comparison: all arms share `config` except the method, what it implies, and its own learning rate."""

    config: RunConfig
    methods: tuple[str, ...]
    tuned: Mapping[str, Tuned]
    sweep: Sweep | None = None
    warmup_steps: Mapping[str, int] = field(default_factory=dict)
    """Warm-up of methods where the source has another one than the method itself."""

    def arm(self, method: str) -> RunConfig:
        """The config of one arm. A method that was not tuned here gets the base learning rate, and no grid."""
        optim = self.config.optim
        if method in self.tuned:
            found = self.tuned[method]
            optim = optim.model_copy(
                update={"lr": found.lr, "lr_grid": found.lr_grid, "search": found.search}
            )
        schedule = self.config.schedule
        if method in self.warmup_steps:
            schedule = schedule.model_copy(update={"warmup_steps": self.warmup_steps[method]})
        arm = with_method(self.config, method).model_copy(update={"optim": optim, "schedule": schedule})
        settings = self.tuned[method].settings if method in self.tuned else {}
        return apply(arm, settings) if settings else arm

    @property
    def first_seed(self) -> int:
        """The first seed of a comparison: none that chose an arm's settings."""
        return max((each.first_seed for each in self.tuned.values()), default=0)


def names() -> list[str]:
    """Every recipe there is: the files of this package. Folders in it hold none."""
    return sorted(
        module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__) if not module.ispkg
    )


def recipe(name: str) -> Recipe:
    """A recipe by its name, or by the path of a config file, which compares the one method it names.

    Raises:
        ConfigError: there is no such recipe or file, or the file is not a config.
    """
    if name.endswith((".json", ".yaml", ".yml")):
        config = load_config(Path(name), complete_vocabulary)
        return Recipe(config=config, methods=(config.method,), tuned={})
    if name not in names():
        hint = nearest(name, names())
        raise ConfigError(
            f"recipe: given {shown(name)}; {hint} (or give the path of a .json or .yaml config)"
        )
    found: Recipe = import_module(f"{__name__}.{name.replace('-', '_')}").recipe()
    return found


def claim(name: str) -> str:
    """The first sentence of a recipe's docstring."""
    doc = import_module(f"{__name__}.{name.replace('-', '_')}").__doc__ or ""
    return doc.strip().partition("\n")[0]
