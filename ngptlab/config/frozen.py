"""Base classes of all records: immutable, without unknown fields, with checked numbers. Imports no torch."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from ngptlab.config.numbers import number_kind, plain_number


class Frozen(BaseModel):
    """Base of every record: immutable, no unknown field, no NaN, docstrings under fields become their help."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class Section(Frozen):
    """Base of a config's records. `numbers` says what counts as a number in them, whoever gives it."""

    @field_validator("*", mode="before")
    @classmethod
    def _numbers(cls, value: Any, info: ValidationInfo) -> Any:
        assert info.field_name is not None
        field = cls.model_fields[info.field_name]
        kind = number_kind(field.annotation)
        bounded = any(
            getattr(limit, name, None) is not None for limit in field.metadata for name in ("lt", "le")
        )
        return value if kind is None else plain_number(value, kind, bounded=bounded)
