"""Whether a learning rate tuned at a small width serves a large one: curves, optima, their shift, a verdict. numpy only.

A run that diverged has an infinite loss, so a learning rate at which any seed diverged is worse than every other. It is never
left out. A cell that failed, was stopped or is missing says nothing about its learning rate, so the curve leaves this learning
rate out and names it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ngptlab.stats import estimates as stats
from ngptlab.stats.cells import CellRow
from ngptlab.stats.curve import Cost, Curve, Shift, Worse
from ngptlab.stats.optimum import Array, optimum
from ngptlab.stats.verdict import verdict

NAMES = {"sp": "SP", "mup": "muP", "nugpt": "nuGPT"}
"""Names of rules as the literature writes them."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one method under one set of rules; also at one set of the other settings that the grid crosses."""

    method: str
    param: str
    settings: str
    curves: tuple[Curve, ...]
    shift: Shift | None
    cost: Cost | None
    worse: tuple[Worse, ...]
    """Widths that are worse than the next smaller one; see `wider_is_worse`."""
    verdict: str

    @property
    def rules(self) -> str:
        """Rules and settings in a line, as a heading has them."""
        return ", ".join([NAMES.get(self.param, self.param), *self.settings.split()])


def transfer(table: Sequence[CellRow]) -> list[Finding]:
    """A finding for each method, rules and settings of a sweep's table, in its order. Cells not applicable are left out."""
    groups: dict[tuple[str, str, str], list[CellRow]] = {}
    for row in table:
        if row.status != "not applicable":
            groups.setdefault((row.method, row.param, row.settings), []).append(row)
    return [_finding(*key, rows) for key, rows in groups.items()]


def _finding(method: str, param: str, settings: str, rows: Sequence[CellRow]) -> Finding:
    curves = tuple(
        _curve([row for row in rows if row.width == w]) for w in sorted({row.width for row in rows})
    )
    shift, cost, worse = _shift(curves), _cost(curves), wider_is_worse(curves)
    text = verdict(method, f"{param}, {settings}" if settings else param, curves, shift, cost, worse)
    return Finding(
        method=method,
        param=param,
        settings=settings,
        curves=curves,
        shift=shift,
        cost=cost,
        worse=worse,
        verdict=text,
    )


def _curve(rows: Sequence[CellRow]) -> Curve:
    seeds = sorted({row.seed for row in rows})
    cells = {(row.seed, row.lr): row for row in rows}
    lrs = sorted({row.lr for row in rows})
    known = {place: row.loss_nats for place, row in cells.items() if row.loss_nats is not None}
    whole = [lr for lr in lrs if all((seed, lr) in known for seed in seeds)]
    losses = tuple(tuple(known[seed, lr] for lr in whole) for seed in seeds)
    found = optimum(np.log2(whole), np.array(losses)) if whole else None
    return Curve(
        width=rows[0].width,
        lrs=tuple(whole),
        losses=losses,
        errors=_errors(losses, [cells[seeds[0], lr] for lr in whole]),
        optimum=found,
        left_out=tuple(lr for lr in lrs if lr not in whole),
    )


def _errors(losses: tuple[tuple[float, ...], ...], first_seed: Sequence[CellRow]) -> tuple[float, ...]:
    if len(losses) < 2:
        return tuple(row.final_loss_stderr or 0.0 for row in first_seed)
    values_SR: Array = np.array(losses)
    finite = np.isfinite(values_SR).all(axis=0)
    errors = np.zeros(values_SR.shape[1])
    errors[finite] = stats.stderrs(values_SR[:, finite])
    return tuple(float(error) for error in errors)


def _shift(curves: Sequence[Curve]) -> Shift | None:
    """Slope of the optimum over log2 width, by least squares with equal weights."""
    points = [(math.log2(c.width), c.optimum.log2_lr) for c in curves if c.optimum is not None]
    if len(points) < 2:
        return None
    x, y = np.array(points).T
    away = x - x.mean()
    slope = float(away @ y / (away @ away))
    if len(points) < 3:
        return Shift(slope=slope, stderr=None)
    residuals = y - y.mean() - slope * away
    error = math.sqrt(float(residuals @ residuals) / (len(points) - 2) / float(away @ away))
    return Shift(slope=slope, stderr=error)


def _cost(curves: Sequence[Curve]) -> Cost | None:
    """The cost at learning rates of the grid, so that it is a difference of measured losses and not of fits."""
    small, large = curves[0], curves[-1]
    if small.width == large.width or small.optimum is None or large.optimum is None:
        return None
    lr = small.lrs[small.optimum.best]
    if lr not in large.lrs:
        return None
    losses_SR = np.array(large.losses)
    moved_S, own_S = losses_SR[:, large.lrs.index(lr)], losses_SR[:, large.optimum.best]
    if not np.isfinite(moved_S).all():
        return Cost(lr=lr, nats=math.inf, stderr=None)
    pairs_S = moved_S - own_S
    return Cost(lr=lr, nats=float(pairs_S.mean()), stderr=stats.stderr(pairs_S.tolist()))


def wider_is_worse(curves: Sequence[Curve]) -> tuple[Worse, ...]:
    """Widths that are worse than the next smaller one at the smallest width's best learning rate, beyond what seeds explain.

    Losses are paired by seed, and the 95% interval of the difference must lie above 0. With one seed, any difference above 0
    counts.
    """
    base = curves[0]
    if base.optimum is None:
        return ()
    lr = base.lrs[base.optimum.best]
    found = []
    for narrow, wide in pairwise(curve for curve in curves if lr in curve.lrs):
        below_S, above_S = (np.array([row[c.lrs.index(lr)] for row in c.losses]) for c in (narrow, wide))
        if not np.isfinite(below_S).all() or len(below_S) != len(above_S):
            continue
        more = float((above_S - below_S).mean())
        half = stats.half95((above_S - below_S).tolist()) if math.isfinite(more) else None
        if more - (half or 0.0) > 0:
            found.append(Worse(width=wide.width, than=narrow.width, nats=more))
    return tuple(found)


def as_json(finding: Finding) -> dict[str, Any]:
    """A finding as plain values for JSON; the loss of a run that diverged is null."""
    plain: dict[str, Any] = _finite(asdict(finding))
    for curve, record in zip(finding.curves, plain["curves"], strict=True):
        record["mean_nats"], record["diverged"] = _finite(curve.means), curve.diverged
        if curve.optimum is not None:
            record["optimum"]["on_edge"] = curve.optimum.on_edge
    return plain


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
