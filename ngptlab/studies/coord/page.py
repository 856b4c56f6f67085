"""A coordinate check on the page, with the verdict computed anew from its points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ngptlab.draw.style import for_page
from ngptlab.stats.estimates import ci95
from ngptlab.studies.coord.figure import draw
from ngptlab.studies.coord.files import title, write_check
from ngptlab.studies.coord.numbers import (
    FIRST_STEP,
    LIMIT,
    STEP_LIMIT,
    Measured,
    Point,
    Slope,
    judged,
    passed,
    worst,
)
from ngptlab.studies.reading import damaged, read
from ngptlab.studies.section import Cell, Study, number, word

OF_A_COMPARISON = False
COLUMNS = (
    "activation",
    "of",
    "slope",
    "± 95% over the seeds",
    "steepest doubling",
    "at step",
    "within the limits",
)
CAPTION = (
    "The left panels show the size of each kind of activation against width, with a line for each step. The right ones show "
    "how far it has moved since the start. Flat lines say that the rules hold with width. A rising line explodes, and a "
    "falling one vanishes. Lines are means over the seeds, and small marks are single seeds. ± is by Student's t, and one "
    "seed has none."
)


def study(path: Path) -> list[Study]:
    """The section of a coord.json. A size that left the range of a float is a result, not damage."""
    measured = read(path, Measured, finite=False)
    points = measured["points"]
    if len({point.width for point in points}) < 2 or not all(point.width > 0 for point in points):
        raise damaged(path, "it has points of fewer than two widths")
    check = judged(measured)
    whose = f"{check['method']} under {check['param']['rules']}"
    seeds = len({point.seed for point in points})
    return [
        Study(
            kind="coordinate check",
            title=f"Coordinate check of {whose}",
            answer=answer(whose, points, check["slopes"]),
            svg=for_page(partial(draw, points, title=title(check), narrow=True)),
            caption=CAPTION,
            columns=COLUMNS,
            rows=[_row(slope, seeds) for slope in worst(check["slopes"])],
            warnings=[] if seeds > 1 else ["One seed: no error of a slope."],
            files=[f"coord.{ending}" for ending in ("csv", "json", "png", "svg")],
            write=partial(write_check, check),
        )
    ]


def answer(whose: str, points: Sequence[Point], found: Sequence[Slope]) -> str:
    """The verdict, and the slope that decides it."""
    judged = worst(found)
    widths, seeds = sorted({point.width for point in points}), len({point.seed for point in points})
    where = f"widths {widths[0]} to {widths[-1]}, {seeds} seed{'s' * (seeds > 1)}"
    if not judged:
        return f"{whose}: no verdict, because steps before {FIRST_STEP} are not judged ({where})."
    if broken := [slope for slope in judged if slope.slope is None]:
        return f"{whose}: fails, because the {broken[0].quantity} of '{broken[0].kind}' is zero or not finite ({where})."
    worst_one = max(judged, key=lambda slope: slope.excess)
    half = ci95(worst_one.stderr, seeds)
    error = "" if half is None else f" ± {half:.2f} (95%, Student's t)"
    verdict = "passes" if passed(found) else "fails"
    return (
        f"{whose} {verdict}: over width no activation may grow or shrink by a power above {LIMIT}, nor above {STEP_LIMIT} "
        f"between two widths. The slope with the least margin, the {worst_one.quantity} of '{worst_one.kind}' at step "
        f"{worst_one.step}, has {number(worst_one.slope, '+z.2f').text}{error}, and "
        f"{number(worst_one.steepest, '+z.2f').text} at its steepest doubling ({where})."
    )


def _row(slope: Slope, seeds: int) -> tuple[Cell, ...]:
    half = ci95(slope.stderr, seeds)
    return (
        word(slope.kind),
        word(slope.quantity),
        number(slope.slope, "+z.3f"),
        number(half if half is None or math.isfinite(half) else None, ".3f"),
        number(slope.steepest, "+z.3f"),
        number(slope.step),
        word("yes" if slope.passed else "no"),
    )
