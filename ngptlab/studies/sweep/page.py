"""A sweep on the page: how far the best learning rate moves with width, computed anew from the sweep's cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from ngptlab.draw.style import for_page
from ngptlab.stats.cells import Sweep
from ngptlab.stats.curve import Curve
from ngptlab.stats.estimates import ci95
from ngptlab.stats.transfer import Finding, transfer
from ngptlab.stats.verdict import judge
from ngptlab.stats.words import rate
from ngptlab.studies.reading import damaged, read
from ngptlab.studies.section import Cell, Study, loss, number, word
from ngptlab.studies.sweep.figure import MATH, draw_narrow, drawable
from ngptlab.studies.sweep.files import write_sweep
from ngptlab.terminal import printable

OF_A_COMPARISON = False
COLUMNS = (
    "method",
    "rules",
    "width",
    "best learning rate",
    "95%, low",
    "95%, high",
    "interval from",
    "loss at the best (nats)",
    "seeds",
    "diverged",
)
CAPTION = (
    "Each width has a curve. Where their lowest points stand above each other, one learning rate serves all widths. Where they "
    "move to the left, larger models need a smaller one. A triangle is an optimum with its interval, a square is one at the "
    "grid's edge, and a cross diverged. Bands, and ± in the table, are 95% over the seeds by Student's t. Thin lines are single "
    "seeds. One seed has neither."
)


def study(path: Path) -> list[Study]:
    """The section of a sweep.json."""
    cells = read(path, Sweep)["cells"]
    if not all(cell.lr > 0 and cell.width > 0 for cell in cells):
        raise damaged(path, "a cell's learning rate or width is not above zero")
    findings, name = transfer(cells), printable(path.resolve().parent.name)
    svg = for_page(partial(draw_narrow, findings), style=MATH) if drawable(findings) else b""
    drawn = ("sweep.png", "sweep.svg") if svg else ()
    return [
        Study(
            kind="sweep",
            title=f"Learning rates over widths ({name})",
            answer=answer(findings),
            svg=svg,
            caption=" ".join([CAPTION, *(f"{finding.verdict.rstrip('.')}." for finding in findings)]),
            columns=COLUMNS,
            rows=list(_rows(findings)),
            warnings=[],
            files=["sweep.csv", "sweep.json", *drawn],
            write=partial(write_sweep, cells, findings, title=name),
        )
    ]


def answer(findings: Sequence[Finding]) -> str:
    """A sentence on the shift of each method under each set of rules, with its verdict."""
    shifts = [
        f"{number(finding.shift.slope, '+z.2f').text}{_error(finding.shift.stderr)} for {_whose(finding)} "
        f"({judge(finding.curves, finding.shift)})"
        for finding in findings
        if finding.shift
    ]
    if not shifts:
        return "No shift of the best learning rate can be told: fewer than two widths have an optimum."
    error = any(finding.shift and finding.shift.stderr is not None for finding in findings)
    said = " (± one standard error of the line through the widths)" if error else ""
    return (
        f"Per doubling of width the best learning rate moves, in powers of two{said}, by {'; '.join(shifts)}."
    )


def _error(stderr: float | None) -> str:
    """Standard error of the line, as text. The verdict compares twice this error with the limit (`verdict.judge`)."""
    return " (two widths: no error)" if stderr is None else f" ± {stderr:.2f}"


def _whose(finding: Finding) -> str:
    return f"{finding.method} under {finding.rules}"


def _rows(findings: Sequence[Finding]) -> Iterator[tuple[Cell, ...]]:
    for finding in findings:
        for curve in finding.curves:
            yield word(finding.method), word(finding.rules), number(curve.width), *_optimum(curve)


def _optimum(curve: Curve) -> Iterator[Cell]:
    best = curve.optimum
    if best is None:
        yield from [number(None)] * 5
    else:
        yield from (_rate(2**log2) for log2 in (best.log2_lr, best.low, best.high))
        yield word(best.interval)
        seeds = len(curve.losses)
        yield loss(curve.means[best.best], ci95(curve.errors[best.best], seeds) if seeds > 1 else None)
    yield from (number(len(curve.losses)), number(curve.diverged))


def _rate(lr: float) -> Cell:
    return Cell(rate(lr), lr)
