"""The figure of a search: for every field, the loss over its values, with other fields at each method's best."""

from __future__ import annotations

import math

import numpy as np

from ngptlab.config.method_name import stem
from ngptlab.draw.panels import Axes, Figure, first, grid, wrapped
from ngptlab.draw.style import GRID, INK, PAGE_INCHES, SERIES
from ngptlab.stats.estimates import mean
from ngptlab.stats.learning_rate import show_rate
from ngptlab.stats.search import Search, Settings, Value

Curve = list[tuple[int, float]]
"""Indices of the values that were tried, from the lowest, and the mean loss at each."""


def draw(search: Search, *, narrow: bool = False) -> Figure:
    """Draw the figure, a panel for each field; `narrow`: for a page, in two columns."""
    fields = list(search.space)
    columns = min(2, len(fields)) if narrow else len(fields)
    rows = math.ceil(len(fields) / columns)
    size = (PAGE_INCHES, 0.9 + 2.4 * rows) if narrow else (max(4.5, 2.6 * len(fields)), 3.6)
    figure, places = grid(rows, columns, size, sharey=True)
    panels = first(len(fields), places)
    for axes, path in zip(panels, fields, strict=True):
        _panel(axes, search, path)
    for axes in panels[::columns]:
        axes.set_ylabel("validation loss (nats)")
    panels[0].set_ylim(*_limits(search))
    panels[0].legend(fontsize=8, framealpha=0.8, edgecolor="none")
    seeds = len(search.seeds)
    said = (
        f"Search {search.search} ({search.recipe}), {'one seed' if seeds == 1 else f'means of {seeds} seeds'}: one field "
        "varied, all others at the method's best",
        "small marks: the other runs; ring: the best; higher losses are cut off",
    )
    figure.suptitle(
        "\n".join(wrapped(line, 72) if narrow else line for line in said), fontsize=8 if narrow else 9
    )
    return figure


def along(search: Search, method: str, path: str) -> Curve:
    """Losses over the values of one field, other fields at the method's best, without runs that diverged."""
    found = search.best(method)
    if found is None or path not in found[0]:
        return []
    places, curve = _places(search, path), []
    for value, place in places.items():
        loss = _loss(search, method, {**found[0], path: value})
        if loss is not None:
            curve.append((place, loss))
    return sorted(curve)


def _places(search: Search, path: str) -> dict[Value, int]:
    """The values of a field that any method tried: numbers in rising order, others in the order given."""
    tried = list(dict.fromkeys(c.settings[path] for c in search.cells if path in c.settings))
    if all(isinstance(value, int | float) for value in tried):
        tried.sort(key=lambda value: float(value))  # type: ignore[arg-type]
    else:
        given = search.space[path]
        tried.sort(key=lambda value: given.index(str(value)) if str(value) in given else len(given))
    return {value: place for place, value in enumerate(tried)}


def _loss(search: Search, method: str, settings: Settings) -> float | None:
    losses = [c.loss_nats for c in search.cells if c.method == method and c.settings == settings]
    known = [loss for loss in losses if loss is not None]
    return mean(known) if known and len(known) == len(losses) else None


def _panel(axes: Axes, search: Search, path: str) -> None:
    places = _places(search, path)
    for number, method in enumerate(search.fixed):
        colour = SERIES[number % len(SERIES)]
        others = [
            (places[c.settings[path]], c.loss_nats)
            for c in search.cells
            if c.method == method and path in c.settings and c.loss_nats is not None
        ]
        shift = 0.06 * (number - (len(search.fixed) - 1) / 2)
        axes.plot([x + shift for x, _ in others], [y for _, y in others], ".", color=colour, ms=3, alpha=0.5)
        curve = along(search, method, path)
        if not curve:
            continue
        axes.plot(*zip(*curve, strict=True), "o-", color=colour, ms=4, linewidth=1.2, label=stem(method))
        x, y = min(curve, key=lambda point: point[1])
        axes.plot([x], [y], "o", mfc="none", mec=INK, ms=9)
    axes.set_xticks(list(places.values()), [_shown(path, value) for value in places], fontsize=7)
    axes.set_xlabel(path)
    axes.grid(color=GRID)


def _shown(path: str, value: Value) -> str:
    if path == "optim.lr" and isinstance(value, float):
        return show_rate(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _limits(search: Search) -> tuple[float, float]:
    """Limits of the axis, from the best loss to just above the third quartile, because a far one would flatten the rest."""
    losses = [c.loss_nats for c in search.cells if c.loss_nats is not None and math.isfinite(c.loss_nats)]
    low, high = min(losses), float(np.quantile(losses, 0.75))
    room = max(high - low, 1e-3)
    return low - 0.1 * room, high + 0.2 * room
