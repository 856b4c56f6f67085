"""A record is declared once: what a writer puts into a file, a reader takes from it, and nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import ValidationError
from typing_extensions import TypedDict

from ngptlab.stats.declared import parsed, plain


@dataclass(frozen=True)
class Point:
    x: float
    name: str = ""


class Record(TypedDict):
    points: list[Point]
    ends: tuple[float, float] | None
    count: int


WHOLE: Record = {"points": [Point(1.5, "a"), Point(2.0)], "ends": (0.0, 1.0), "count": 2}


@pytest.mark.parametrize("exact", [True, False])
def test_what_is_written_is_read(exact: bool) -> None:
    written = plain(WHOLE)
    assert written == {
        "points": [{"x": 1.5, "name": "a"}, {"x": 2.0, "name": ""}],
        "ends": [0.0, 1.0],
        "count": 2,
    }
    assert parsed(Record, {**written, "new": 1}, exact=exact) == WHOLE, (
        "a key that is not declared is left out"
    )


@pytest.mark.parametrize("change", [{"count": "2"}, {"points": [{"x": "1.5"}]}])
def test_a_number_may_be_a_text_unless_the_file_is_of_this_version(change: dict[str, Any]) -> None:
    assert parsed(Record, {**plain(WHOLE), **change})
    with pytest.raises(ValidationError):
        parsed(Record, {**plain(WHOLE), **change}, exact=True)


def test_a_key_may_be_missing_unless_the_file_is_of_this_version() -> None:
    assert parsed(Record, {"count": 2}) == {"count": 2}
    with pytest.raises(ValidationError, match="points"):
        parsed(Record, {"count": 2, "ends": None}, exact=True)


def test_numbers_without_a_limit_are_for_files_of_this_version_only() -> None:
    endless = {**plain(WHOLE), "ends": [0.0, math.inf]}
    assert parsed(Record, endless, exact=True)["ends"] == (0.0, math.inf)
    with pytest.raises(ValidationError):
        parsed(Record, endless)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("change", [{"count": 2.5}, {"points": [3]}, {"ends": [1.0]}])
def test_other_values_are_refused(change: dict[str, Any], exact: bool) -> None:
    with pytest.raises(ValidationError):
        parsed(Record, {**plain(WHOLE), **change}, exact=exact)
