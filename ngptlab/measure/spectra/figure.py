"""Figures of spectra, several runs side by side: condition numbers and ranks against depth, and the embeddings."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ngptlab.draw.panels import (
    SMALL,
    Axes,
    Figure,
    after_steps,
    curve,
    depth_axis,
    legend,
    logarithmic,
    panels,
    tiles,
)
from ngptlab.draw.style import SERIES, write

Measured = Mapping[str, Mapping[str, Any]]
"""Label of a run -> the result of `measure.py`, with its step."""

LINES = {"stored": "solid", "effective": "dashed", "unit": "dotted"}
MEANINGS = {
    "stored": "solid: as stored",
    "effective": "dashed: with the learned scales folded into the rows",
    "unit": "dotted: stored, every vector along d_model scaled to norm 1",
}
COLUMNS = 4


def draw(measured: Measured, out: Path) -> None:
    """Write spectra-condition, spectra-rank and spectra-embeddings, each as PNG and SVG."""
    write(
        out,
        "spectra-condition",
        lambda: _against_depth(measured, "condition number", condition, log=True),
        style=SMALL,
    )
    write(
        out,
        "spectra-rank",
        lambda: _against_depth(measured, "effective rank / full rank", _rank_share),
        style=SMALL,
    )
    write(out, "spectra-embeddings", lambda: _embeddings(measured), style=SMALL)


def condition(record: Mapping[str, Any]) -> float:
    """The condition number of a record, infinite for a singular matrix."""
    return math.inf if record["condition"] is None else float(record["condition"])


def _rank_share(record: Mapping[str, Any]) -> float:
    return float(record["effective_rank"] / record["full_rank"])


def by_layer(
    record: Mapping[str, Any], place: str, view: str, value: Callable[[Mapping[str, Any]], float]
) -> dict[int, list[float]]:
    """Layer -> values of a matrix's heads, or the matrix's one value where heads don't share it."""
    of_heads: dict[int, list[float]] = defaultdict(list)
    of_whole: dict[int, list[float]] = defaultdict(list)
    for matrix in record["matrices"]:
        if (matrix["place"], matrix["view"]) == (place, view) and matrix["layer"] is not None:
            found = of_whole if matrix["head"] is None else of_heads
            found[matrix["layer"]].append(value(matrix))
    return of_heads or of_whole


def _against_depth(
    measured: Measured, label: str, value: Callable[[Mapping[str, Any]], float], *, log: bool = False
) -> Figure:
    records = [matrix for record in measured.values() for matrix in record["matrices"]]
    places = list(dict.fromkeys(m["place"] for m in records if m["layer"] is not None))
    caption = _depth_caption(measured, label)
    figure, cells = tiles(len(places), COLUMNS, caption, sharex=True, sharey=True)
    for number, (axes, place) in enumerate(zip(cells, places, strict=True)):
        for index, (run, record) in enumerate(measured.items()):
            for view, line in LINES.items():
                if layers := by_layer(record, place, view, value):
                    _layers(axes, index, layers, f"{run}, {view}", line)
        axes.set_title(place)
        last = number + COLUMNS >= len(places)
        depth_axis(axes, label=last)
        axes.xaxis.set_tick_params(labelbottom=last)
        if number % COLUMNS == 0:
            axes.set_ylabel(label)
    if log:
        logarithmic(cells[0], "y")
    legend(figure)
    return figure


def _layers(axes: Axes, index: int, layers: Mapping[int, list[float]], label: str, line: str) -> None:
    values = layers.values()
    # numpy's median is not used, because it warns of infinite values.
    middle = [statistics.median(heads) for heads in values]
    band = [min(heads) for heads in values], [max(heads) for heads in values]
    several = any(len(heads) > 1 for heads in values)
    curve(axes, index, list(layers), middle, band if several else None, label=label, linestyle=line)


def _depth_caption(measured: Measured, label: str) -> str:
    what = {
        "condition number": "Condition number: largest over smallest singular value. A cross at the top: singular; there is no "
        "band where one head is.",
        "effective rank / full rank": "Effective rank: exp of the entropy of the singular values (Roy and Vetterli 2007), "
        "divided by the full rank.",
    }[label]
    return (
        f"{what} Matrices of attention: median over heads, band from the lowest head to the highest. "
        f"{_views(measured)} {after_steps(measured)}"
    )


def _views(measured: Measured) -> str:
    seen = {matrix["view"] for record in measured.values() for matrix in record["matrices"]}
    text = "; ".join(meaning for view, meaning in MEANINGS.items() if view in seen)
    return text[:1].upper() + text[1:] + "."


def _embeddings(measured: Measured) -> Figure:
    records = [embedding for record in measured.values() for embedding in record["embeddings"]]
    names = list(dict.fromkeys(embedding["name"] for embedding in records))
    sampled = any(embedding["cosines"]["pairs"] == "sampled" for embedding in records)
    figure, grid = panels(len(names), 3, _embeddings_caption(measured, sampled), sharex="col")
    for row, name in enumerate(names):
        for index, (run, record) in enumerate(measured.items()):
            for embedding in record["embeddings"]:
                if embedding["name"] == name:
                    label = f"{run}, {embedding['view']}"
                    _cloud(grid[row], embedding, SERIES[index % len(SERIES)], LINES[embedding["view"]], label)
        _embedding_axes(grid[row], name, last=row == len(names) - 1)
    legend(figure)
    return figure


def _cloud(row: list[Axes], embedding: Mapping[str, Any], colour: str, line: str, label: str) -> None:
    style: dict[str, Any] = {"color": colour, "linestyle": line}
    share = np.linspace(0, 100, 101)
    row[0].plot(_positive(embedding["norms"]["percentiles"]), share, label=label, **style)
    values = np.array(embedding["covariance_eigenvalues"])
    if (median := np.median(values)) > 0:
        row[1].plot(np.linspace(0, 100, len(values)), _positive(values / median), **style)
    if "percentiles" in embedding["cosines"]:
        row[2].plot(embedding["cosines"]["percentiles"], share, **style)


def _positive(values: Any) -> Any:
    """Values for a logarithmic axis, without those that are not above zero."""
    return np.where(np.array(values) > 0, values, np.nan)


def _embedding_axes(row: list[Axes], name: str, *, last: bool) -> None:
    norms, eigenvalues, cosines = row
    logarithmic(norms, "x")
    logarithmic(eigenvalues, "y")
    for axes, title in zip(row, ("norms", "eigenvalues of the covariance", "cosines of pairs"), strict=True):
        axes.set_title(f"{name}: {title}")
    norms.set_ylabel("tokens at or below (%)")
    eigenvalues.set_ylabel("eigenvalue / median")
    cosines.set_ylabel("pairs at or below (%)")
    if last:
        norms.set_xlabel("norm of a token's vector")
        eigenvalues.set_xlabel("rank of the eigenvalue (%), largest first")
        cosines.set_xlabel("cosine of two tokens' vectors")


def _embeddings_caption(measured: Measured, sampled: bool) -> str:
    pairs = "a fixed random sample of pairs" if sampled else "all pairs"
    return (
        f"Embeddings as vectors, one a token of the vocabulary. Cosines over {pairs}. A steep line: all alike. "
        f"{_views(measured)} {after_steps(measured)}"
    )
