"""Seam tables as plain values and back, which is the form of a model's parts in an exported `config.json`.

Values come from a file that anybody may have written. So a part is looked up by name among the known ones, and each of its
fields must be a number, a word or a truth value, as the part declares. Nothing in the file is code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar

from ngptlab.errors import ConfigError
from ngptlab.nn.decoder import Parts

Record = TypeVar("Record")

KINDS: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}
"""Types of a value by the annotation of its field. Under any other annotation every plain value is allowed."""
PLAIN = (int, float, str, bool, type(None))


def name_of(part: type) -> str:
    """The name of a kind of part in `config.json`."""
    return f"{part.__module__}.{part.__qualname__}"


def records_in(record: Any) -> Iterator[Any]:
    """Every record in the fields of another, at any depth."""
    for field in fields(record):
        value = getattr(record, field.name)
        for item in value if isinstance(value, tuple) else (value,):
            if is_dataclass(item):
                yield item
                yield from records_in(item)


def plain(value: Any) -> Any:
    """A record, or the value of its field, as plain values for JSON.

    Raises:
        ConfigError: a field holds something that is neither a plain value nor a record.
    """
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {"part": name_of(type(value)), **_fields(value)}
    if not isinstance(value, PLAIN):
        raise ConfigError(
            f"a part holds {value!r}, which is neither a plain value nor a record: it can't be exported"
        )
    return value


def plain_parts(parts: Parts) -> dict[str, Any]:
    """A seam table as plain values, by seam."""
    return _fields(parts)


def _fields(record: Any) -> dict[str, Any]:
    return {field.name: plain(getattr(record, field.name)) for field in fields(record)}


def parts_from(values: Any, kinds: Mapping[str, type]) -> Parts:
    """The seam table that `plain_parts` wrote. `kinds` are the known parts, by name.

    Raises:
        ConfigError: a seam is missing or unknown, a part unknown, or a value of the wrong kind.
    """
    return _record(Parts, values, kinds, "parts")


def checked(record: type[Record], values: Mapping[str, Any], where: str) -> Record:
    """A record of plain values, each of the type that its field declares.

    Raises:
        ConfigError: a field is missing or unknown, or its value of the wrong kind.
    """
    declared = record.__annotations__
    if unknown := sorted(set(values) - set(declared)):
        raise ConfigError(f"{where}: {unknown[0]!r} is not a field; it has {', '.join(declared)}")
    for name, value in values.items():
        _check(value, declared[name], f"{where}.{name}")
    try:
        return record(**values)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {' '.join(str(error).split())}") from None


def _record(record: type[Record], values: Any, kinds: Mapping[str, type], where: str) -> Record:
    declared = {field.name: field for field in fields(record)}  # type: ignore[arg-type]
    if not isinstance(values, Mapping) or set(values) - set(declared):
        raise ConfigError(f"{where}: given {values!r}, it has the fields {', '.join(declared) or '(none)'}")
    for name, field in declared.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise ConfigError(f"{where}: {name} is missing")
    return record(
        **{
            name: _value(value, _annotation(declared[name].type), kinds, f"{where}.{name}")
            for name, value in values.items()
        }
    )


def _value(value: Any, annotation: str, kinds: Mapping[str, type], where: str) -> Any:
    if isinstance(value, list):
        return tuple(_value(item, "", kinds, where) for item in value)
    if not isinstance(value, Mapping):
        _check(value, annotation, where)
        return value
    name = value.get("part")
    if not isinstance(name, str) or name not in kinds:
        raise ConfigError(f"{where}: no part is named {name!r}; known are {', '.join(sorted(kinds))}")
    return _record(kinds[name], {key: item for key, item in value.items() if key != "part"}, kinds, where)


def _annotation(declared: Any) -> str:
    return declared if isinstance(declared, str) else getattr(declared, "__name__", "")


def _check(value: Any, annotation: str, where: str) -> None:
    allowed = KINDS.get(annotation, PLAIN)
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        raise ConfigError(
            f"{where}: given {value!r}, give a value of the kind {annotation or 'number or word'}"
        )
