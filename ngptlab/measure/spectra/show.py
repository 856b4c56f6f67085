"""Spectra of several runs as files, and a summary for the terminal."""

from __future__ import annotations

import statistics
from pathlib import Path

from ngptlab.console import Console
from ngptlab.listing import Listing
from ngptlab.measure.recorded import lines
from ngptlab.measure.spectra.figure import Measured, by_layer, condition, draw
from ngptlab.stats.tables import write_table


def write_spectra(measured: Measured, out: Path) -> None:
    """Write spectra and spectra-embeddings as CSV and JSON, and the figures, into `out`.

    A singular matrix has no condition number: an empty cell in the CSV, null in the JSON. Singular values, percentiles and
    eigenvalues are in each run's own evals/spectra.json only.
    """
    for name, part in (("spectra", "matrices"), ("spectra-embeddings", "embeddings")):
        write_table(out, name, lines(measured, part))
    draw(measured, out)


def print_spectra(measured: Measured, console: Console) -> None:
    """Print the median condition number of each kind of matrix, by run and view."""
    console.print("Condition number: median over blocks, and over heads in attention")
    table = Listing()
    table.add_column("matrix", "text")
    columns = list(
        dict.fromkeys(
            (label, matrix["view"]) for label, record in measured.items() for matrix in record["matrices"]
        )
    )
    for label, view in columns:
        table.add_column(f"{label}, {view}")
    matrices = [matrix for record in measured.values() for matrix in record["matrices"]]
    for place in dict.fromkeys(m["place"] for m in matrices if m["layer"] is not None):
        cells = []
        for label, view in columns:
            layers = by_layer(measured[label], place, view, condition).values()
            values = [value for heads in layers for value in heads]
            cells.append(f"{statistics.median(values):.3g}" if values else "")
        table.add_row(place, *cells)
    console.print(table)
