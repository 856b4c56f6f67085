"""What the measurements share. No test here looks at a clock."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from benchmarks.machine import Spread, describe, ratios, table, write
from benchmarks.sizes import SIZES, check
from ngptlab.errors import ConfigError


def test_ratios_are_taken_turn_by_turn() -> None:
    # The second turn is ten times slower for both: medians of the columns would say 5.5, the turns say 1.5.
    seconds = np.array([[1.0, 1.5], [10.0, 15.0], [2.0, 3.0]])
    assert ratios(seconds) == [Spread(1.0, 1.0, 1.0), Spread(1.5, 1.5, 1.5)]
    assert ratios(seconds, baseline=1)[0].median == pytest.approx(2 / 3, rel=1e-4)  # rounded to five digits


def test_spread_has_quartiles_around_the_median() -> None:
    assert Spread.of([4, 1, 2, 3, 5]) == Spread(3.0, 2.0, 4.0)
    assert str(Spread(1.0, 0.5, 2.0)) == "1.000 (0.500..2.000)"


def test_the_machine_is_described_without_its_name(tmp_path: Path) -> None:
    described = describe()
    assert {"torch", "platform", "cpu", "threads"} <= set(described)
    node = platform.node()
    assert not node or node not in described.values()
    assert str(Path.home()) not in json.dumps(described)


def test_written_rows_come_back(tmp_path: Path) -> None:
    @dataclass
    class Row:
        name: str
        value: Spread

    write(tmp_path / "deep" / "rows.json", [Row("a", Spread(1, 0, 2)), {"name": "b"}], limits={"x": 1})
    record = json.loads((tmp_path / "deep" / "rows.json").read_text())
    assert record["rows"] == [{"name": "a", "value": {"median": 1, "low": 0, "high": 2}}, {"name": "b"}]
    assert record["limits"] == {"x": 1} and record["machine"] == describe()


def test_table_is_aligned() -> None:
    assert table(("who", "n"), [("a", 10), ("bcde", 5)]) == "who    n\na     10\nbcde   5"


def test_sizes_for_a_gpu_are_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    check([name for name, size in SIZES.items() if not size.cuda])
    with pytest.raises(ConfigError, match="needs a CUDA device"):
        check(["162m"])
    with pytest.raises(ConfigError, match="runs of their own"):
        check(["demo", "162m"])
