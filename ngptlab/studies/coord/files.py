"""A coordinate check as files: coord.json, coord.csv with a line for each slope, coord.png and .svg."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ngptlab.stats.tables import of_records
from ngptlab.studies.coord.figure import draw
from ngptlab.studies.coord.numbers import Check, Slope
from ngptlab.studies.files import write


def title(check: Check) -> str:
    """The title of a check: method, rules, learning rate, and the verdict in a word."""
    verdict = "pass" if check["passed"] else "FAIL"
    return f"{check['method']}, {check['param']['rules']}, lr {check['config']['lr']:g}: {verdict}"


def write_check(check: Check, out: Path) -> None:
    """Write all four into `out`.

    Raises:
        ConfigError: it can't be written.
    """
    table = of_records(Slope, check["slopes"])
    figure = partial(draw, check["points"], title=title(check))
    write(out, "coord", numbers=check, table=table, draw=figure, finite=False)
