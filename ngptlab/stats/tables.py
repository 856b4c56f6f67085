"""Common parts of the analyses' tables: rows as CSV, <name>.csv beside <name>.json, a value with its error."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from ngptlab.disk import write_json, write_text
from ngptlab.errors import ConfigError
from ngptlab.terminal import cell

Row = dict[str, Any]


def flat(record: Mapping[str, Any], prefix: str = "") -> Row:
    """A record as one row: {'norms': {'mean': 1}} gives {'norms_mean': 1}. Lists are left out; a run's own file has them."""
    row: Row = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            row |= flat(value, f"{prefix}{key}_")
        elif not isinstance(value, list):
            row[f"{prefix}{key}"] = value
    return row


def as_csv(rows: Sequence[Row]) -> str:
    """One line for each row, under the names of all columns. A missing number is an empty cell."""
    return as_text(list(dict.fromkeys(key for row in rows for key in row)), rows)


def as_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as CSV whose texts steer no terminal and no spreadsheet.

    Keys without a column are left out; None or a missing key is an empty cell.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writerow({column: cell(column) for column in columns})
    writer.writerows(
        {key: cell(value) if isinstance(value, str) else value for key, value in row.items()} for row in rows
    )
    return text.getvalue()


def of_records(kind: type[Any], records: Iterable[Any]) -> str:
    """Records as CSV: one line for each, a column for each field of their dataclass."""
    return as_text([field.name for field in fields(kind)], map(vars, records))


def write_table(out: Path, name: str, rows: Sequence[Row]) -> None:
    """Write <name>.csv and <name>.json into `out`."""
    write_text(out / f"{name}.csv", as_csv(rows))
    write_json(out / f"{name}.json", list(rows))


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Make the folder `out` for the block to write into.

    Raises:
        ConfigError: it can't be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        where = error.filename or out
        raise ConfigError(f"{where}: can't be written ({error.strerror}); give another --out") from None


def with_error(value: str, error: float | None) -> str:
    """'1.0000 ± 0.1000', or the value alone. `error` is the half-width of a 95% interval, which the table's title says."""
    return value if error is None else f"{value} ± {error:.4f}"


def over_seeds(counts: Iterable[int], of: str = "seeds") -> str:
    """The meaning of ± in a table over so many seeds: '± 95% over 3 seeds (Student's t)', or that there is one seed."""
    several = sorted({count for count in counts if count > 1})
    return f"± 95% over {' or '.join(map(str, several))} {of} (Student's t)" if several else "one seed: no ±"
