"""Evidence of a speed-up, from a file of results or from runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ngptlab.claims.evidence import Factor, Savings, Setting
from ngptlab.claims.reading import shown
from ngptlab.stats.doubts import Doubt
from ngptlab.studies.speedup.numbers import SpeedUp


def savings(
    speedup: SpeedUp, setting: Setting, hashes: tuple[str, ...], doubts: Sequence[Doubt]
) -> list[Savings]:
    """Savings from whole runs; None for points within runs, because a point half-way is not the end of a shorter run."""
    if speedup["kind"] != "by length" or not speedup["points"]:
        return []
    points = sorted(speedup["points"], key=lambda point: point["tokens"])
    return [
        Savings(
            setting=replace(setting, tokens=points[-1]["tokens"]),
            method=speedup["method"],
            baseline=speedup["baseline"],
            how=f"{shown(speedup['runs'])}, {shown(speedup['schedule'])}",
            factors=tuple(
                Factor(tokens=point["tokens"], by_seed=tuple(point.get("by_seed", ()))) for point in points
            ),
            hashes=hashes,
            doubts=tuple(doubts),
        )
    ]
