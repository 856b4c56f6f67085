"""Figures as files beside the page: <figure>.csv with the numbers of all its views, .png and .svg of the first."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ngptlab.disk import write_text
from ngptlab.folders import own
from ngptlab.report import drawn
from ngptlab.report.curves import NAMES, curves
from ngptlab.report.schema import Summary
from ngptlab.stats.tables import as_csv
from ngptlab.studies.speedup.files import write_speedups

ENDINGS = ("csv", "png", "svg")


def write_figures(summary: Summary, out: Path) -> None:
    """Write all figures and the speed-up into `out`, and remove an earlier report's figures that this one lacks.

    An OSError is the caller's to explain.
    """
    own(out)
    found = curves(summary)
    for name in NAMES - {figure.name for figure in found}:
        for ending in ENDINGS:
            (out / f"{name}.{ending}").unlink(missing_ok=True)
    for figure in found:
        write_text(out / f"{figure.name}.csv", as_csv(figure.rows))
        draw = partial(figure.draw, figure.views[0])
        drawn.write(out, figure.name, figure.title, list(summary["methods"]), draw, note=figure.bands)
    write_speedups(summary["speedups"], out)
