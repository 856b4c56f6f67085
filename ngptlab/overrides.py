"""`--section.field value` on a command line, for any field of a RunConfig. Imports no torch.

Values are handed to the config's own types as they were typed, so an ill-typed one gets the same one-line error as a
wrong line in a file, and an unknown field is answered with the nearest one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ngptlab.config import Dims, Frozen, RunConfig, flatten, parse
from ngptlab.errors import ConfigError, nearest

Overrides = Mapping[str, Any]
"""'train.steps' -> '60', 'optim.betas' -> ['0.9', '0.95']."""


def split(arguments: Sequence[str], config: RunConfig) -> tuple[Overrides, list[str]]:
    """Take the fields of `config` out of a command line; returns them and what is left.

    `--a.b_c 1`, `--a.b-c 1` and `--a.b-c=1` mean the same. A tuple takes all values up to the next option.
    Raises:
        ConfigError: a dotted option names no field, or a value is missing.
    """
    fields = dict(flatten(config))
    overrides: dict[str, Any] = {}
    rest: list[str] = []
    queue = list(arguments)
    while queue:
        argument = queue.pop(0)
        option, equals, inline = argument.partition("=")
        path = option.removeprefix("--").replace("-", "_")
        if not option.startswith("--") or ("." not in path and path not in fields):
            rest.append(argument)
            continue
        if path not in fields:
            raise ConfigError(
                f"{option}: no such field; {nearest(path, fields)} (`ngptlab train --help` lists them)"
            )
        values = [inline] if equals else _values(queue, several=isinstance(fields[path], list))
        if not values:
            raise ConfigError(f"{option}: given no value; its default is {fields[path]}")
        overrides[path] = values if isinstance(fields[path], list) else values[0]
    return overrides, rest


def _values(queue: list[str], *, several: bool) -> list[str]:
    values: list[str] = []
    while queue and not queue[0].startswith("--") and (several or not values):
        values.append(queue.pop(0))
    return values


def apply(config: RunConfig, overrides: Overrides) -> RunConfig:
    """The config with some fields replaced.

    Raises:
        ConfigError: a value is ill-typed or out of range, or the result contradicts itself.
    """
    fields = config.model_dump()
    # A derived width follows the one it derives from, unless it is given too.
    if config.model.d_ff == Dims.default_d_ff(config.model.d_model):
        fields["model"]["d_ff"] = 0
    for path, value in overrides.items():
        *sections, leaf = path.split(".")
        record = fields
        for section in sections:
            record = record[section]
        record[leaf] = None if value in ("none", "None") else value
    return parse(fields, origin="options" if overrides else config.name)


def field_help(record: Frozen, prefix: str = "") -> list[tuple[str, str, str]]:
    """('--train.steps', '600', 'Optimizer steps.') for every field, for a help page."""
    rows = []
    for name, info in type(record).model_fields.items():
        value = getattr(record, name)
        if isinstance(value, Frozen):
            rows += field_help(value, f"{prefix}{name}.")
        else:
            shown = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
            rows.append((f"--{prefix}{name}".replace("_", "-"), shown, info.description or ""))
    return rows
