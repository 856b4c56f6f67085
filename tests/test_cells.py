"""Cells of a CSV file: no spreadsheet computes what a stranger wrote, and what was written is read again."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngptlab.stats.tables import as_csv
from ngptlab.terminal import cell, printable, text_of_cell

FORMULAS = [
    '=HYPERLINK("https://example.org/?"&A1,"a run")',
    "=1+1",
    "=cmd|' /C calc'!A0",
    "+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "+ SUM(A1)",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "\t=1+1",
    "'=1+1",
]
PLAIN = ["-0.5", "+0.2 ± 0.1", "+ norm", "- qk", "gpt", "a=b", "train.steps=8", "", "'s", "–", "1e-3"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_a_text(text: str) -> None:
    assert cell(text) == f"'{text}" and text_of_cell(cell(text)) == text
    header, row = csv.reader(io.StringIO(as_csv([{text: text}])))
    assert header == row == [f"'{text}"]


@pytest.mark.parametrize("text", PLAIN)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert cell(text) == text and text_of_cell(text) == text


@given(st.text("=+-@'|(!\"ab \t0", max_size=8) | st.text(max_size=8))
def test_what_is_written_is_read_again(text: str) -> None:
    assert text_of_cell(cell(text)) == printable(text)
    assert cell(text)[:1] not in ("=", "@", "\t", "\r")
