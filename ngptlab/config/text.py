"""Reads, writes and compares configs, and says in one line what is wrong with one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ngptlab.config.frozen import Frozen
from ngptlab.config.loading import read_fields
from ngptlab.config.records import Dims, RunConfig
from ngptlab.config.words import nearest_field
from ngptlab.errors import ConfigError, shown

MAX_FINDINGS = 5
"""The most findings that one message repeats."""


def flatten(record: Frozen | dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield ('train.steps', 600) for every leaf of a record."""
    fields = record if isinstance(record, dict) else record.model_dump(mode="json")
    for key, value in fields.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from flatten(value, f"{path}.")
        else:
            yield path, value


def blank() -> RunConfig:
    """The smallest config there is, for code that asks which fields exist."""
    dims = {"vocab_size": 1, "num_layers": 1, "num_heads": 1, "d_model": 2}
    return RunConfig.model_validate({"name": "x", "method": "x", "model": dims})


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
    """One line for pydantic's findings, the first few of many, with the nearest field for an unknown one."""
    blank = RunConfig(name="x", method="x", model=Dims(vocab_size=1, num_layers=1, num_heads=1, d_model=2))
    known = [path for path, _ in flatten(blank)]
    found = error.errors(include_url=False)
    lines = []
    for item in found[:MAX_FINDINGS]:
        path = shown(".".join(str(part) for part in item["loc"]), quoted=False)
        if item["type"] == "extra_forbidden":
            lines.append(f"{path or repr(path)} is not a field; {_nearest(path, known)}")
        elif item["type"] == "missing":
            lines.append(f"{path} is missing")
        elif item["type"] == "value_error":
            lines.append(item["msg"].removeprefix("Value error, "))
        else:
            lines.append(
                f"{path or 'the record'}: given {shown(item['input'])}; {item['msg'][0].lower()}{item['msg'][1:]}"
            )
    more = len(found) - len(lines)
    return "; ".join([*lines, f"and {more} more"] if more else lines)


def _nearest(path: str, known: list[str]) -> str:
    """The nearest field of all; where none is near, those of the same section."""
    hint = nearest_field(path, known)
    section = path.rpartition(".")[0]
    own = f"{section}." if any(field.startswith(f"{section}.") for field in known) else ""
    fields = {field.removeprefix(own).partition(".")[0] for field in known if field.startswith(own)}
    return f"allowed: {', '.join(sorted(fields))}" if hint.startswith("allowed") else hint


def load(path: Path, complete: Callable[[dict[str, Any]], None] | None = None) -> RunConfig:
    """Read a config from JSON or YAML; `complete` may put fields in that the file leaves to others.

    Raises:
        ConfigError: the file can't be read or parsed, or a field is wrong.
    """
    fields = read_fields(path)
    if complete:
        complete(fields)
    return parse(fields, origin=str(path))


def dump(config: RunConfig) -> str:
    """The text of `config.json`."""
    return config.model_dump_json(indent=2) + "\n"
