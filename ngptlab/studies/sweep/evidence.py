"""Evidence of a sweep: its cells, from sweep.json or sweep.csv."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ngptlab.claims.evidence import Evidence, Grid, Setting
from ngptlab.claims.reading import Reader, shown
from ngptlab.stats.cells import CellRow, Sweep
from ngptlab.stats.declared import parsed


def sweep(content: Any, origin: str) -> Evidence:
    """Evidence of a sweep.json."""
    return _grid(parsed(Sweep, content)["cells"], origin)


def sweep_rows(content: Any, origin: str) -> Evidence:
    """Evidence of a sweep.csv."""
    return _grid(parsed(list[CellRow], content), origin)


def _grid(cells: Sequence[CellRow], origin: str) -> Evidence:
    for cell in cells:
        loss = cell.final_loss_nats
        if not cell.lr > 0 or cell.width <= 0 or (loss is not None and not math.isfinite(loss)):
            raise ValueError(f"cell {shown(cell.hash)}: a learning rate, a width or a loss that is none")
    params = max((cell.params for cell in cells if cell.params), default=None)
    return Evidence(grids=[Grid(setting=Setting(origin=origin, params=params), cells=tuple(cells))])


READERS = (
    Reader(frozenset({"cells"}), sweep),
    Reader(frozenset({"param", "width", "lr", "status", "final_loss_nats"}), sweep_rows, rows=True),
)
