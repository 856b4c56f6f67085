"""Configs in and out: JSON and YAML, as leaves with their paths, and what is wrong with one in a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ngptlab import disk
from ngptlab.config.records import Dims, Frozen, RunConfig
from ngptlab.errors import ConfigError, nearest


def flatten(record: Frozen | dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield ('train.steps', 600) for every leaf of a record."""
    fields = record if isinstance(record, dict) else record.model_dump(mode="json")
    for key, value in fields.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from flatten(value, f"{path}.")
        else:
            yield path, value


def differences(a: RunConfig, b: RunConfig) -> list[str]:
    """Fields under the hash in which two configs differ, as 'train.steps: 600 -> 60'."""
    left, right = dict(flatten(a.science())), dict(flatten(b.science()))
    names = list(left | right)
    return [f"{k}: {left.get(k)} -> {right.get(k)}" for k in names if left.get(k) != right.get(k)]


def parse(fields: dict[str, Any], *, origin: str) -> RunConfig:
    """Validate plain values.

    Raises:
        ConfigError: one line naming every wrong field, what was given, and the nearest valid name for an unknown one.
    """
    try:
        return RunConfig.model_validate(fields)
    except ValidationError as error:
        raise ConfigError(f"{origin}: {explain(error)}") from None


def explain(error: ValidationError) -> str:
    """One line for all of pydantic's findings, with the nearest field for an unknown one."""
    blank = RunConfig(name="x", method="x", model=Dims(vocab_size=1, num_layers=1, num_heads=1, d_model=2))
    known = [path for path, _ in flatten(blank)]
    lines = []
    for item in error.errors():
        path = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            lines.append(f"{path} is not a field; {nearest(path, known)}")
        elif item["type"] == "value_error":
            lines.append(item["msg"].removeprefix("Value error, "))
        else:
            lines.append(
                f"{path or 'the record'}: given {item['input']!r}; {item['msg'][0].lower()}{item['msg'][1:]}"
            )
    return "; ".join(lines)


def load(path: Path) -> RunConfig:
    """Read a config from JSON or YAML.

    Raises:
        ConfigError: the file can't be read or parsed, or a field is wrong.
    """
    try:
        fields = yaml.safe_load(disk.read_text(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: can't be read ({error}); give a recipe's name or a .json or .yaml file"
        ) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid JSON or YAML ({' '.join(str(error).split())})") from None
    if not isinstance(fields, dict):
        raise ConfigError(f"{path}: holds {type(fields).__name__}, a config is a mapping of fields")
    return parse(fields, origin=str(path))


def dump(config: RunConfig) -> str:
    """The text of `config.json`."""
    return config.model_dump_json(indent=2) + "\n"
