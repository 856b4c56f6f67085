"""What a foreign checkpoint says beside its weights: every field is used, refused, or named as without effect.

A field that is dropped silently is the worst of all: the import ends well and the model computes something else.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ngptlab.errors import CheckpointError
from ngptlab.export.foreign_state import MODEL
from ngptlab.export.pickled import Record, shown

ARGUMENTS, CONFIG = "model_args", "config"
"""Where trainers keep what the model was made with; `config` may hold the training's settings instead, or besides."""
STEPS = ("step", "iter_num")
EFFECTLESS = (
    "optimizer",
    "optimizers",
    "code",
    "best_val_loss",
    "rng_state_pytorch_bytes",
    "rng_state_numpy",
)
"""Keys that training needs to go on, and a trained model does not need."""
MOST_STEPS = 2**53
MOST_NAMED = 20

WHOLE, POSITIVE, SHARE, TRUTH = (
    "a whole number from 1 on", "a number above 0", "a number from 0 to 1", "true or false",
)  # fmt: skip
ALLOWED = {
    "vocab_size": WHOLE,
    "n_layer": WHOLE,
    "n_head": WHOLE,
    "n_embd": WHOLE,
    "block_size": WHOLE,
    "base_scale": POSITIVE,
    "mup_width_mult": POSITIVE,
    "use_nGPT": TRUTH,
    "bias": TRUTH,
    "dropout": SHARE,
}
"""The fields of all `GPTConfig`s, and what each may be."""
IN_TRAINING = ("dropout",)
"""Those of them that a trained model's logits do not depend on."""


@dataclass
class CheckpointFields:
    """A checkpoint's fields; `places` says where each of `values` stands in it."""

    step: int = 1
    used: list[str] = field(default_factory=list)
    """What was used besides `values`."""
    values: dict[str, Any] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    effectless: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        """What became of the fields: those used, those without effect and those left out, in a sentence each."""
        values = [(name, value) for name, value in self.values.items() if name not in self.effectless]
        fates = (
            ("used: ", [f"{name} {shown(value)}" for name, value in values] + self.used),
            ("without effect on the logits: ", self.effectless),
            ("not known here and left out: ", self.unknown),
        )
        return [head + _listed(names) for head, names in fates if names]


def read_fields(found: Mapping[Any, Any], source: Path, known: Collection[str]) -> CheckpointFields:
    """All that a checkpoint says; `known` are the fields that the implementation's `GPTConfig` has.

    Raises:
        CheckpointError: a field has a wrong value, is not known where only the model's fields stand, or is said twice and
            not alike.
    """
    said = CheckpointFields()
    if MODEL not in found:  # a state dict alone
        return said
    steps = {key: _whole_step(key, found[key], source) for key in STEPS if key in found}
    if len(set(steps.values())) > 1:
        raise CheckpointError(
            f"{source}: contradicts itself: {_listed([f'{k} is {v}' for k, v in steps.items()])}"
        )
    said.step = max([1, *steps.values()])
    said.used = [f"{key} {step}" for key, step in steps.items()]
    for key in found:
        if key not in (MODEL, ARGUMENTS, CONFIG, *STEPS):
            (said.effectless if key in EFFECTLESS else said.unknown).append(shown(key))
    for place in (ARGUMENTS, CONFIG):
        if place in found:
            _read_place(said, place, found[place], source, known)
    return said


def _read_place(said: CheckpointFields, place: str, value: Any, source: Path, known: Collection[str]) -> None:
    fields = value.fields if isinstance(value, Record) else value
    if not isinstance(fields, dict) or (isinstance(value, Record) and value.unnamed):
        raise CheckpointError(f"{source}: {place} is {shown(value)}, not fields by name; save it as a dict")
    of_model = place == ARGUMENTS or (
        isinstance(value, Record) and value.origin.rpartition(".")[2] == "GPTConfig"
    )
    if (
        not of_model and said.values
    ):  # the training's settings, which a resumed training need not have kept to
        said.effectless.append(f"{place} (the training's settings)")
        return
    for name, given in dict.items(fields):
        if name in known:
            _take(said, name, given, f"{place}.{name}", source)
        elif of_model:
            raise CheckpointError(
                f"{source}: {place}.{shown(name)} is {shown(given)}, and what it does to the model is not known here; known "
                f"are {', '.join(known)}. If it does nothing, save the state dict alone and give the rest by options"
            )
        else:
            said.unknown.append(f"{place}.{shown(name)}")


def _take(said: CheckpointFields, name: str, given: Any, place: str, source: Path) -> None:
    value = given.item() if isinstance(given, np.generic) else given
    if not _is(value, ALLOWED[name]):
        raise CheckpointError(f"{source}: {place} is {shown(value)}; allowed is {ALLOWED[name]}")
    if name in said.values and said.values[name] != value:
        raise CheckpointError(
            f"{source}: contradicts itself: {place} is {shown(value)}, {said.places[name]} is {shown(said.values[name])}"
        )
    said.values[name], said.places[name] = value, place
    if name in IN_TRAINING and name not in said.effectless:
        said.effectless.append(name)


def _is(value: Any, allowed: str) -> bool:
    if allowed == TRUTH:
        return isinstance(value, bool | int) and value in (0, 1)
    if isinstance(value, bool) or not isinstance(value, int if allowed == WHOLE else int | float):
        return False
    limits = {WHOLE: 1 <= value < 2**31, POSITIVE: 0 < value < math.inf, SHARE: 0 <= value <= 1}
    return limits[allowed]


def _whole_step(key: str, given: Any, source: Path) -> int:
    value = given.item() if isinstance(given, np.generic) else given
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < MOST_STEPS:
        raise CheckpointError(f"{source}: {key} is {shown(value)}; allowed is a whole number from 0 on")
    return value


def check_tensors(said: CheckpointFields, tensors: Mapping[str, object], source: Path) -> None:
    """Hold fields against what the tensors themselves say; `tensors` are those facts by the fields' names.

    Raises:
        CheckpointError: one differs.
    """
    for name, value in tensors.items():
        if name in said.values and said.values[name] != value:
            raise CheckpointError(
                f"{source}: contradicts itself: {said.places[name]} is {shown(said.values[name])}, its tensors say "
                f"{shown(value)}"
            )


def _listed(names: list[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f", and {more} more" if more > 0 else "")
