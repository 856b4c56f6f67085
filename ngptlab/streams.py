"""The streams of a run directory: its files with a line for each step or validation, and what a line holds. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ngptlab.json_text import parse_json

STREAMS = ("metrics", "timing", "evals", "scales")
SKIPPED = "skipped"
ALL_STREAMS = (*STREAMS, SKIPPED)
"""The last is known to few runs, so that no digest of it is kept where it is not there."""
Fields = Mapping[str, type | tuple[type, ...]]
NUMBER = (int, float)
FIELDS: dict[str, Fields] = {
    "metrics": {"step": int, "tokens": int, "loss_nats": NUMBER, "lr": NUMBER, "grad_norm": NUMBER},
    "timing": {"step": int, "step_seconds": NUMBER},
    "evals": {"step": int, "eval": str},
    "scales": {"step": int, "scales": list},
    SKIPPED: {"step": int, "kind": str, "why": str},
}
"""What every line of a stream holds."""


def record_of(line: bytes, fields: Fields) -> dict[str, Any]:
    """The record in a line of a stream, which holds at least these fields.

    Raises:
        ValueError: it is no such record; says why, in a few words.
    """
    try:
        record = parse_json(line)
    except ValueError as error:
        # The parser's own "line 1 column 7" would be taken for a line of the file.
        why = getattr(error, "msg", None) or error
        raise ValueError(
            "not in UTF-8" if isinstance(error, UnicodeDecodeError) else f"no JSON: {why}"
        ) from None
    if not isinstance(record, dict):
        raise ValueError(f"holds {type(record).__name__}, not an object")
    check_fields(record, fields)
    return record


def check_fields(record: Mapping[str, Any], fields: Fields) -> None:
    """Hold a record against the types of its fields.

    Raises:
        ValueError: one is missing, or of another type.
    """
    for name, kind in fields.items():
        value = record.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ValueError(f"{name} is {json.dumps(value)[:40]}" if name in record else f"no {name}")
