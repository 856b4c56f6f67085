"""Tables of evaluations over several runs: <name>.csv and <name>.json with the same rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ngptlab.runs import write_json

Row = dict[str, Any]


def flat(record: Mapping[str, Any], prefix: str = "") -> Row:
    """A record as one row: {'norms': {'mean': 1}} gives {'norms_mean': 1}. Lists stay out; a run's own file has them."""
    row: Row = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            row |= flat(value, f"{prefix}{key}_")
        elif not isinstance(value, list):
            row[f"{prefix}{key}"] = value
    return row


def as_csv(rows: Sequence[Row]) -> str:
    """A line a row under the names of all columns. A number that is not there is an empty cell."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_table(out: Path, name: str, rows: Sequence[Row]) -> None:
    """Write both files into `out`."""
    (out / f"{name}.csv").write_text(as_csv(rows), encoding="utf-8")
    write_json(out / f"{name}.json", list(rows))
