"""A file's content, checked against the record that its writer declares: one declaration serves who writes and who reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter
from pydantic_core import SchemaValidator

T = TypeVar("T")


def parsed(kind: type[T], content: Any, *, exact: bool = False) -> T:
    """The content as the TypedDict or dataclass that its writer declares, or as a list of such rows.

    Keys that are not declared are left out. A key may be missing, because earlier versions wrote fewer. A reader that needs it
    then raises a KeyError. Numbers may be texts, as in a CSV, but not infinite or NaN.

    Args:
        exact: the content is as this version writes it. Every key is there, a number is no text, and it may have no limit.

    Raises:
        ValidationError: a value is not as declared.
    """
    validator = _validator(cast(Any, kind), exact)
    # JSON is validated, because in strict mode pydantic makes a dataclass from nothing else.
    found = (
        validator.validate_json(json.dumps(content), strict=True)
        if exact
        else validator.validate_python(content)
    )
    return cast(T, found)


def plain(record: Any) -> Any:
    """A record as plain values for JSON, in the form that `parsed` takes: a dataclass as a dictionary, a tuple as a list."""
    if is_dataclass(record):
        return {field.name: plain(getattr(record, field.name)) for field in fields(record)}
    if isinstance(record, Mapping):
        return {key: plain(value) for key, value in record.items()}
    return [plain(value) for value in record] if isinstance(record, list | tuple) else record


@cache
def _validator(kind: Any, exact: bool) -> SchemaValidator:
    schema = TypeAdapter(kind).core_schema
    return SchemaValidator(schema if exact else _loose(schema))


def _loose(schema: Any) -> Any:
    """The same schema, but with optional keys and finite numbers."""
    if isinstance(schema, list):
        return [_loose(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {"typed-dict-field": {"required": False}, "float": {"allow_inf_nan": False}}
    kind = schema.get("type")
    return {key: _loose(part) for key, part in schema.items()} | (
        changed.get(kind, {}) if isinstance(kind, str) else {}
    )
