"""Learned scales of several runs as files, and a summary for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ngptlab.console import Console
from ngptlab.listing import Listing
from ngptlab.measure.recorded import lines
from ngptlab.measure.scales.figure import Courses, Measured, draw, places, title
from ngptlab.stats.tables import write_table


def write_scales(measured: Measured, courses: Courses, out: Path) -> None:
    """Write scales and scales-course as CSV and JSON, one row for each scale (and step), and the figures, into `out`."""
    write_table(out, "scales", lines(measured, "scales"))
    course = [
        row for label, each in courses.items() for line in each for row in lines({label: line}, "scales")
    ]
    write_table(out, "scales-course", course)
    draw(measured, courses, out)


def print_scales(measured: Measured, console: Console) -> None:
    """Print the mean of each kind of scale in the first and in the last block, by run."""
    table = Listing()
    table.add_column("scale", "text")
    for label in measured:
        table.add_column(label)
    for place in places([scale for record in measured.values() for scale in record["scales"]]):
        table.add_row(title(place), *(_ends(record["scales"], place) for record in measured.values()))
    if table.rows:
        console.print("Learned scales: mean effective value in the first and the last block")
        console.print(table)
    for label, record in measured.items():
        if not record["scales"]:
            console.print(f"{label}: no scales, its method learns matrices only", markup=False)


def _ends(scales: Sequence[Mapping[str, Any]], place: str) -> str:
    means = [f"{scale['mean']:.3g}" for scale in scales if scale["place"] == place]
    return " to ".join(dict.fromkeys((means[0], means[-1]))) if means else ""
