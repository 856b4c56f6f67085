"""The fields of a foreign checkpoint beside its weights. Every field is used, refused, or named as without effect.

No field is dropped silently, because the import would then succeed with a model that computes something else.
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
"""Keys under which trainers keep the model's arguments; `config` may also hold, or only hold, the training's settings."""
STEPS = ("step", "iter_num")
EFFECTLESS = (
    "optimizer",
    "optimizers",
    "code",
    "best_val_loss",
    "rng_state_pytorch_bytes",
    "rng_state_numpy",
)
"""Keys that are needed to resume training, but not by a trained model."""
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
"""The fields of all `GPTConfig`s, with their allowed values."""
IN_TRAINING = ("dropout",)
"""Fields of `ALLOWED` on which a trained model's logits do not depend."""


@dataclass
class CheckpointFields:
    """A checkpoint's fields. `places` has the place of each of `values` in the checkpoint."""

    step: int = 1
    used: list[str] = field(default_factory=list)
    """Names that were used besides `values`."""
    values: dict[str, Any] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    effectless: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        """A sentence each on the fields that were used, those without effect, and those left out."""
        values = [(name, value) for name, value in self.values.items() if name not in self.effectless]
        fates = (
            ("used: ", [f"{name} {shown(value)}" for name, value in values] + self.used),
            ("without effect on the logits: ", self.effectless),
            ("not known here and left out: ", self.unknown),
        )
        return [head + _listed(names) for head, names in fates if names]


def read_fields(found: Mapping[Any, Any], source: Path, known: Collection[str]) -> CheckpointFields:
    """All fields of a checkpoint. `known` are the fields of the implementation's `GPTConfig`.

    Raises:
        CheckpointError: a field has a wrong value, is unknown among the model's arguments, or has two values that differ.
    """
    checkpoint = CheckpointFields()
    if MODEL not in found:  # the file is a state dict alone
        return checkpoint
    steps = {key: _whole_step(key, found[key], source) for key in STEPS if key in found}
    if len(set(steps.values())) > 1:
        raise CheckpointError(
            f"{source}: contradicts itself: {_listed([f'{k} is {v}' for k, v in steps.items()])}"
        )
    checkpoint.step = max([1, *steps.values()])
    checkpoint.used = [f"{key} {step}" for key, step in steps.items()]
    for key in found:
        if key not in (MODEL, ARGUMENTS, CONFIG, *STEPS):
            (checkpoint.effectless if key in EFFECTLESS else checkpoint.unknown).append(shown(key))
    for place in (ARGUMENTS, CONFIG):
        if place in found:
            _read_place(checkpoint, place, found[place], source, known)
    return checkpoint


def _read_place(
    checkpoint: CheckpointFields, place: str, value: Any, source: Path, known: Collection[str]
) -> None:
    fields = value.fields if isinstance(value, Record) else value
    if not isinstance(fields, dict) or (isinstance(value, Record) and value.unnamed):
        raise CheckpointError(f"{source}: {place} is {shown(value)}, not fields by name; save it as a dict")
    of_model = place == ARGUMENTS or (
        isinstance(value, Record) and value.origin.rpartition(".")[2] == "GPTConfig"
    )
    # Settings of the training may differ from the model's after training was resumed.
    if not of_model and checkpoint.values:
        checkpoint.effectless.append(f"{place} (the training's settings)")
        return
    for name, raw in dict.items(fields):
        if name in known:
            _set_field(checkpoint, name, raw, f"{place}.{name}", source)
        elif of_model:
            raise CheckpointError(
                f"{source}: {place}.{shown(name)} is {shown(raw)}, and what it does to the model is not known here; known "
                f"are {', '.join(known)}. If it does nothing, save the state dict alone and give the rest by options"
            )
        else:
            checkpoint.unknown.append(f"{place}.{shown(name)}")


def _set_field(checkpoint: CheckpointFields, name: str, raw: Any, place: str, source: Path) -> None:
    value = raw.item() if isinstance(raw, np.generic) else raw
    if not _is(value, ALLOWED[name]):
        raise CheckpointError(f"{source}: {place} is {shown(value)}; allowed is {ALLOWED[name]}")
    if name in checkpoint.values and checkpoint.values[name] != value:
        raise CheckpointError(
            f"{source}: contradicts itself: {place} is {shown(value)}, {checkpoint.places[name]} is "
            f"{shown(checkpoint.values[name])}"
        )
    checkpoint.values[name], checkpoint.places[name] = value, place
    if name in IN_TRAINING and name not in checkpoint.effectless:
        checkpoint.effectless.append(name)


def _is(value: Any, allowed: str) -> bool:
    if allowed == TRUTH:
        return isinstance(value, bool | int) and value in (0, 1)
    if isinstance(value, bool) or not isinstance(value, int if allowed == WHOLE else int | float):
        return False
    limits = {WHOLE: 1 <= value < 2**31, POSITIVE: 0 < value < math.inf, SHARE: 0 <= value <= 1}
    return limits[allowed]


def _whole_step(key: str, raw: Any, source: Path) -> int:
    value = raw.item() if isinstance(raw, np.generic) else raw
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < MOST_STEPS:
        raise CheckpointError(f"{source}: {key} is {shown(value)}; allowed is a whole number from 0 on")
    return value


def check_tensors(checkpoint: CheckpointFields, tensors: Mapping[str, object], source: Path) -> None:
    """Compare fields with the tensors; `tensors` holds the values read off the tensors, by the fields' names.

    Raises:
        CheckpointError: a field differs.
    """
    for name, value in tensors.items():
        if name in checkpoint.values and checkpoint.values[name] != value:
            raise CheckpointError(
                f"{source}: contradicts itself: {checkpoint.places[name]} is {shown(checkpoint.values[name])}, its tensors say "
                f"{shown(value)}"
            )


def _listed(names: list[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f", and {more} more" if more > 0 else "")
