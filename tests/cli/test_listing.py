"""Tables at every width: what is in a cell stands there whole, and no line is longer than the terminal.

Every table that a verb prints is a `Listing` (tests/test_architecture.py), but for the two that are redrawn in place, where a row
is a line; these are here, too.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.progress import Progress as Bar
from rich.progress import TextColumn

from made_runs import config_of
from ngptlab.config import blank
from ngptlab.console import Console
from ngptlab.jobs.board import Board
from ngptlab.jobs.cell import Cell
from ngptlab.jobs.progress import Progress
from ngptlab.listing import Listing
from ngptlab.options.field_help import rows, sections
from ngptlab.train.progress import ConsoleReporter
from ngptlab.train.speed import Speed
from ngptlab.watch.state import View
from ngptlab.watch.table import render

WIDTHS = (60, 80, 120)


def shown(listing: Listing, width: int) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width).print(listing)
    return [line.rstrip() for line in stream.getvalue().split("\n")]


def listing_of(columns: list[tuple[str, str]], cells: list[list[str]], title: str = "") -> Listing:
    listing = Listing(title)
    for heading, kind in columns:
        listing.add_column(heading, kind)  # type: ignore[arg-type]
    for row in cells:
        listing.add_row(*row)
    return listing


COOLDOWN = listing_of(
    [
        ("method", "word"),
        ("steps", "number"),
        ("cooldown", "word"),
        ("seeds", "number"),
        *((name, "number") for name in ("final loss (nats)", "gap before", "gap after")),
    ],
    [
        [
            "ngpt_no_qk_norm",
            "12,600",
            "0.1 linear",
            "3",
            "1.3890 ± 0.0040",
            "-0.0335 ± 0.0041",
            "+0.0010 ± 0.0141",
        ]
    ],
    "Cooldowns; ± 95% over 3 seeds (Student's t)",
)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_number_is_never_cut(width: int) -> None:
    """At 80 columns this table had `0.1 line...` and `-0.0335 +- 0.00...`."""
    lines = shown(COOLDOWN, width)
    whole = " ".join(lines)
    for part in ("0.1 linear", "-0.0335", "± 0.0041", "+0.0010", "± 0.0141", "ngpt_no_qk_norm", "12,600"):
        assert part in whole
    assert all(len(line) <= width for line in lines)
    assert ("final loss (nats)  1.3890 ± 0.0040" in whole) == (width == 60), (
        "a row is a block where there is no room"
    )


WORDS = st.text("abc0123.,±-", min_size=1, max_size=12)
TEXTS = st.lists(WORDS, max_size=6).map(" ".join)
NUMBERS = st.sampled_from(["", "-0.0335 ± 0.0041", "1,234,567", "7", "12.5 to 13.75 (3 of 3)"])
KINDS = st.lists(st.sampled_from(["number", "word", "text"]), min_size=1, max_size=7)


@settings(deadline=None, max_examples=60)
@given(data=st.data(), kinds=KINDS, width=st.integers(40, 160))
def test_any_table_at_any_width(data: st.DataObject, kinds: list[str], width: int) -> None:
    """All characters of all cells are there, in order within their cell; blanks aside, at which a line may break."""
    headings = [data.draw(TEXTS.filter(str.strip)) for _ in kinds]
    headings = [heading[:30] for heading in headings]
    cells = [
        [data.draw(NUMBERS if kind == "number" else TEXTS) for kind in kinds]
        for _ in range(data.draw(st.integers(1, 4)))
    ]
    lines = shown(listing_of(list(zip(headings, kinds, strict=True)), cells), width)
    assert all(cell_len(line) <= width for line in lines), lines
    page = "".join(lines)
    for row in cells:
        for cell in row:
            for number in re.findall(r"[-\d.,]+", cell):
                assert number in page, (number, lines)
    assert "…" not in page
    given_letters = sorted("".join(["".join(row) for row in cells]).replace(" ", ""))
    letters = sorted("".join([*headings, page]).replace(" ", ""))
    for letter in set(given_letters):
        assert letters.count(letter) >= given_letters.count(letter)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_help_page_fits(width: int) -> None:
    for section, record in sections(blank()):
        listing = listing_of(
            [("field", "word"), ("value", "text"), ("meaning", "text")],
            [list(row) for row in rows(record, section)],
        )
        lines = shown(listing, width)
        assert all(cell_len(line) <= width for line in lines)
        for option, _, _ in rows(record, section):
            assert any(line.startswith(option) for line in lines)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_table_of_a_sweep_in_progress_cuts_names_alone(width: int) -> None:
    cell = Cell(config_of("ngpt_no_qk_norm", 12, steps=123_456))
    board = Board([cell], console=Console(file=io.StringIO(), width=width))
    board.set(cell, "running", Progress(step=120_000, steps=123_456, loss_nats=1.234, step_seconds=0.5))
    lines = [line.rstrip() for line in _printed(board._table("3 cells"), width)]
    (row,) = [line for line in lines if "running" in line]
    assert all(part in row for part in ("120000/123456", "1.234", "28:48")) and len(row) <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_the_table_of_watched_runs_cuts_names_alone(width: int) -> None:
    view = View(
        path=Path("out/demo/runs/fineweb-162m-ngpt_no_qk_norm-s12-0a1b2c3d"),
        arm="ngpt_no_qk_norm",
        seed=12,
        state="running",
        reason="",
        step=120_000,
        steps=123_456,
        losses=(3.0, 2.5, 2.123),
        val_nats=2.345,
        tokens_per_second=123_456.0,
        eta_seconds=3700.0,
    )
    console = Console(file=io.StringIO(), width=width)
    page = "\n".join(_printed(render([view], Path("out/demo"), 0, console), width))
    parts = ["120000/123456", "2.123", "2.345", "1:01:40", *(["123,456"] if width > 60 else [])]
    assert all(part in page for part in parts), "the pace is left out rather than cut"


def _printed(renderable: object, width: int) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=width).print(renderable)
    return stream.getvalue().split("\n")


@pytest.mark.parametrize("width", WIDTHS)
def test_the_line_of_a_run_in_progress_leaves_out_what_has_no_room(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rate and operations a second go first, then the pace; loss, step and time are whole at every width."""
    with ConsoleReporter("ngpt seed 12", 600) as reporter:
        reporter._bar = bar = Bar(TextColumn("{task.fields[facts]}"), console=Console(file=io.StringIO()))
        reporter._task = bar.add_task("", facts="")
        monkeypatch.setattr(reporter, "console", Console(file=io.StringIO(), width=width))
        speed = Speed(
            tokens_per_second=12_345.0, step_seconds=0.5, data_share=0.0, flops_per_second=1e11, mfu=None
        )
        reporter.step(120, loss_nats=1.234, lr=3.9e-3, speed=speed, eta_seconds=3700.0)
        facts = bar.tasks[0].fields["facts"]
        reporter._bar = None
    assert "loss 1.234" in facts and "ETA 1:01:40" in facts
    assert ("tok/s" in facts) == (width > 60) and ("lr " in facts) == (width == 120)
