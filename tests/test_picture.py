"""The README's numbers and its picture are those of the recorded runs."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

import ngptlab
from ngptlab.stats.estimates import half95, mean
from ngptlab.stats.tables import as_csv

ROOT = Path(ngptlab.__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
INTERVAL = re.compile(r"([+-]?\d+\.\d+) \(([+-]?\d+\.\d+) to ([+-]?\d+\.\d+)\)")
ROWS = {
    "validation loss at the end": ("step", 600),
    "before the cooldown": ("step", 400),
    "at 8 times": ("position", 992.0),
}
"""How a row of the README's table begins, and which point of the picture it is."""


@pytest.fixture(scope="module")
def picture() -> ModuleType:
    spec = importlib.util.spec_from_file_location("picture", ROOT / "docs" / "site" / "picture.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_s_numbers_are_those_of_the_runs(picture: ModuleType) -> None:
    assert as_csv(picture.numbers(picture.records())) == (ROOT / "results" / "demo-result.csv").read_text()
    assert "(results/demo-result.svg)" in README


def test_the_table_s_numbers_are_those_of_the_runs(picture: ModuleType) -> None:
    runs = picture.records()
    losses = {
        (row["panel"], row["x"], row["method"]): [*map(float, str(row["by_seed"]).split())]
        for row in picture.numbers(runs)
    }
    for begin, (panel, x) in ROWS.items():
        line = next(line for line in README.splitlines() if line.startswith(f"| {begin}"))
        gpt, ngpt = losses[panel, x, "gpt"], losses[panel, x, "ngpt"]
        for values, told in zip((gpt, ngpt, differences(ngpt, gpt)), INTERVAL.findall(line), strict=True):
            digits = len(told[0].partition(".")[2])
            half = half95(values)
            assert half is not None
            exact = (mean(values), mean(values) - half, mean(values) + half)
            assert told == tuple(
                f"{value:{'+z' if told[0][0] in '+-' else 'z'}.{digits}f}" for value in exact
            )
        assert line.endswith(f"| {len(gpt)} |")


def differences(ours: list[float], theirs: list[float]) -> list[float]:
    return [our - their for our, their in zip(ours, theirs, strict=True)]


def test_the_claims_are_counted() -> None:
    rows = [row for group in json.loads((ROOT / "docs" / "claims.json").read_text()) for row in group["rows"]]
    holds, does_not = (
        sum(row["verdict"] == verdict for row in rows) for verdict in ("holds", "does not hold")
    )
    assert f"Of {len(rows)}, {holds} hold at our scale, {does_not} do not" in " ".join(README.split())
