"""Rules on sweeps of learning rates over widths. Each seed's curves give a value of their own (`stats/transfer.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ngptlab.claims.claim import Held, Outcome
from ngptlab.claims.evidence import Evidence, Grid
from ngptlab.claims.standard import MIN_SEEDS, estimate, nothing, outcome, pairs, show
from ngptlab.stats.cells import CellRow
from ngptlab.stats.curve import Curve
from ngptlab.stats.transfer import Finding, transfer

Cells = Sequence[CellRow]


@dataclass(frozen=True, kw_only=True)
class RateMoves:
    """Under the rules `param`, the best learning rate moves by `low` to `high` powers of two per doubling of width.

    A verdict needs three widths at least, and every optimum inside its grid.
    """

    method: str
    param: str
    low: float
    high: float

    def judge(self, evidence: Evidence) -> Outcome:
        """Judge from each seed's slope."""
        grid, cells = _best(evidence, self.method, (self.param,))
        if grid is None or not cells:
            return nothing(f"a sweep of {self.method} under {self.param}")
        found = _by_seed(cells)
        slopes = [f.shift.slope for f in found.values() if f.shift and len(f.curves) > 2]
        widths = sorted({row.width for row in cells})
        if len(widths) < 3 or not slopes:
            too_few = f"an optimum at fewer than three of {len(widths)} widths; three are needed"
            return Outcome(
                verdict="not yet tested",
                reason=too_few,
                settings=(grid.setting,),
                seeds=len(found),
                hashes=_hashes(cells),
            )
        slope = estimate(slopes)
        measured = f"{show(slope, '+z.2f', '')} per doubling of width, {widths[0]} to {widths[-1]}"
        held = Held(found=slope, low=self.low, high=self.high, unit=" a doubling")
        return outcome([held], measured, grid.setting, _hashes(cells), _doubts(cells))


@dataclass(frozen=True, kw_only=True)
class SameRate:
    """At the largest width that both have, the best learning rates of two methods are within `within` powers of two."""

    method: str
    baseline: str
    param: str
    within: float

    def judge(self, evidence: Evidence) -> Outcome:
        """Judge from pairs of seeds."""
        ours, theirs = (_best(evidence, name, (self.param,)) for name in (self.method, self.baseline))
        if ours[0] is None or theirs[0] is None or ours[0] is not theirs[0]:
            return nothing(f"one sweep of {self.method} and {self.baseline} under {self.param}")
        width, both = _at_widest([ours[1], theirs[1]])
        if not width:
            return nothing(f"a width at which both {self.method} and {self.baseline} were swept")
        optima = [
            {seed: f.curves[0].optimum.log2_lr for seed, f in _by_seed(cells).items() if f.curves[0].optimum}
            for cells in both
        ]
        values = pairs(*optima)
        if not values:
            return nothing(f"finite losses of {self.method} and {self.baseline} at width {width}")
        distance = estimate(values)
        doubts = [doubt for cells in both for doubt in _doubts(cells)]
        measured = f"{self.method}'s over {self.baseline}'s, powers of two: {show(distance, '+z.2f', '')}, at width {width}"
        held = Held(found=distance, low=-self.within, high=self.within, unit=" powers of two")
        return outcome([held], measured, ours[0].setting, _hashes([*both[0], *both[1]]), doubts)


@dataclass(frozen=True, kw_only=True)
class HigherUnderRules:
    """At the largest width, the lowest loss over the grid is higher under `param` than under `baseline`'s rules.

    Each seed's loss is taken at the learning rate that is best over all seeds.
    """

    method: str
    param: str
    baseline: str

    def judge(self, evidence: Evidence) -> Outcome:
        """Judge from pairs of seeds."""
        grid, cells = _best(evidence, self.method, (self.param, self.baseline))
        if grid is None:
            return nothing(f"one sweep of {self.method} under {self.param} and {self.baseline}")
        parts = [[row for row in cells if row.param == param] for param in (self.param, self.baseline)]
        width, at = _at_widest(parts)
        if not width:
            return nothing(f"a width at which {self.method} was swept under both rules")
        curves = [transfer(part)[0].curves[0] for part in at]
        values = pairs(*(_lowest(curve, part) for curve, part in zip(curves, at, strict=True)))
        if not values:
            return nothing(f"finite losses of {self.method} at width {width} under both rules")
        gap = estimate(values)
        measured = f"{self.param} minus {self.baseline} at width {width}: {show(gap)}"
        held = Held(found=gap, low=0.0, unit=" nats")
        return outcome([held], measured, grid.setting, _hashes([*at[0], *at[1]]), _doubtful(curves))


def _at_widest(parts: Sequence[Cells]) -> tuple[int, list[Cells]]:
    """The largest width that all parts have, and their cells there; 0 where they share none."""
    shared = set.intersection(*({row.width for row in part} for part in parts))
    width = max(shared, default=0)
    return width, [[row for row in part if row.width == width] for part in parts]


def _lowest(curve: Curve, cells: Cells) -> dict[str, float]:
    """Losses by seed, at the learning rate that is best on average."""
    if curve.optimum is None:
        return {}
    lr = curve.lrs[curve.optimum.best]
    return {
        str(row.seed): row.final_loss_nats
        for row in cells
        if row.lr == lr and row.final_loss_nats is not None
    }


def _best(evidence: Evidence, method: str, params: tuple[str, ...]) -> tuple[Grid | None, list[CellRow]]:
    """The best sweep of the method under all of `params`, and its cells. Three seeds come first, then the widest models."""
    found = []
    for grid in evidence.grids:
        cells = [
            row
            for row in grid.cells
            if row.method == method
            and row.param in params
            and row.status != "not applicable"
            and not row.settings
        ]
        if {row.param for row in cells} == set(params):
            found.append((grid, cells))
    if not found:
        return None, []

    def order(each: tuple[Grid, list[CellRow]]) -> tuple[bool, int]:
        return len({row.seed for row in each[1]}) >= MIN_SEEDS, max(row.width for row in each[1])

    return max(found, key=order)


def _by_seed(cells: Cells) -> dict[str, Finding]:
    seeds = sorted({row.seed for row in cells})
    return {str(seed): transfer([row for row in cells if row.seed == seed])[0] for seed in seeds}


def _doubts(cells: Cells) -> list[str]:
    """Doubts about the mean curves, and about each seed's own curves, from which the statistic is computed."""
    whole = transfer(cells)[0]
    curves = [curve for finding in _by_seed(cells).values() for curve in finding.curves]
    # Rules under which a wider model is worse at the base's learning rate fail, even if the optimum stays.
    failing = [
        f"under these rules width {w.width} is worse than {w.than} at the base's learning rate"
        for w in whole.worse
        if whole.param != "sp"
    ]
    return list(dict.fromkeys([*_doubtful([*whole.curves, *curves]), *failing]))


def _doubtful(curves: Sequence[Curve]) -> list[str]:
    found = []
    for curve in curves:
        if curve.optimum is None:
            found.append(f"width {curve.width} has no finite loss")
        elif curve.optimum.on_edge:
            found.append(f"the optimum at width {curve.width} is on the edge of the grid")
        if curve.left_out:
            found.append(f"not every cell at width {curve.width} was finished")
    return found


def _hashes(cells: Cells) -> tuple[str, ...]:
    return tuple(dict.fromkeys(row.hash for row in cells))
