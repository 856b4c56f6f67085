"""Speed-ups on the page: how many tokens the baseline needs for the losses that a method reached."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from ngptlab.draw.style import for_page
from ngptlab.stats.speedup import Bounded
from ngptlab.studies.section import Cell, Study, loss, number, word
from ngptlab.studies.speedup.figure import count, draw
from ngptlab.studies.speedup.numbers import SpeedUp, SpeedUpPoint, show, summary

COLUMNS = (
    "method",
    "baseline",
    "from",
    "schedule",
    "seeds",
    "steps",
    "loss (nats)",
    "baseline's tokens",
    "95%, low",
    "95%, high",
    "baseline's FLOPs",
    "baseline's seconds",
)
CAPTION = (
    "The baseline needs so many times the method's tokens for the same loss. Over one the method is better. Circles lie between "
    "measured lengths of the baseline. Triangles are bounds, because nothing is extrapolated beyond its measured losses. Bars "
    "are 95% over the seeds by Student's t, and short lines are single seeds. One seed has neither. In the table all of the "
    "baseline's costs are in multiples of the method's."
)


def study(speedups: Sequence[SpeedUp], whose: str) -> Study:
    """The section of speed-ups. `whose` names their runs: a study's, or those given to the report."""
    warnings = dict.fromkeys(warning for speedup in speedups for warning in speedup["warnings"])
    return Study(
        kind="speed-up",
        title=f"Speed-up {whose}",
        answer=answer(speedups),
        svg=for_page(partial(draw, speedups, narrow=True)),
        caption=CAPTION,
        columns=COLUMNS,
        rows=[_row(speedup, point) for speedup in speedups for point in speedup["points"]],
        warnings=list(warnings),
        files=[f"speedup.{ending}" for ending in ("csv", "png", "svg")],
        write=None,
    )


def answer(speedups: Sequence[SpeedUp]) -> str:
    """A sentence for each pair of methods: its summary, or with several schedules the least and the greatest factor."""
    pairs: dict[tuple[str, str], list[SpeedUp]] = {}
    for speedup in speedups:
        pairs.setdefault((speedup["method"], speedup["baseline"]), []).append(speedup)
    said = []
    for found in pairs.values():
        # Points within runs say less than ends of runs of several lengths.
        chosen = [speedup for speedup in found if speedup["kind"] == "by length"] or found
        said.append(_one(chosen[0]) if len(chosen) == 1 else _several(chosen))
    return " ".join([*said, "Nothing is extrapolated."])


def _one(speedup: SpeedUp) -> str:
    steps = speedup["lengths"]
    if speedup["kind"] == "within runs":
        return f"{summary(speedup)} The baseline was measured at {len(steps)} steps from {steps[0]:,} to {steps[-1]:,}."
    return (
        f"{summary(speedup)} The baseline was measured at {', '.join(f'{step:,}' for step in steps)} steps."
    )


def _several(speedups: Sequence[SpeedUp]) -> str:
    """The sentence over the schedules of a cooldown study."""
    method, base = speedups[0]["method"], speedups[0]["baseline"]
    last = [(point["factor"]["value"], speedup, point) for speedup, point in _last_measured(speedups)]
    if not last:
        bounds = dict.fromkeys(show(speedup["points"][-1]["factor"]) for speedup in speedups)
        return (
            f"In none of {len(speedups)} schedules does a loss of {method} lie between measured ones of {base}: for that at "
            f"the greatest length {base} needs {' or '.join(bounds)} the tokens."
        )
    low, high = (choose(last, key=lambda each: each[0]) for choose in (min, max))
    return (
        f"For the loss of {method} at the greatest length that is measured in both, {base} needs between "
        f"{_factor(*low[1:])} and {_factor(*high[1:])} the tokens, over {len(last)} schedules."
    )


def _last_measured(speedups: Sequence[SpeedUp]) -> Iterator[tuple[SpeedUp, SpeedUpPoint]]:
    for speedup in speedups:
        for point in [point for point in speedup["points"] if point["factor"]["bound"] == "measured"][-1:]:
            yield speedup, point


def _factor(speedup: SpeedUp, point: SpeedUpPoint) -> str:
    ends = (
        " to ".join(show(end) for end in point["interval"])
        if point["interval"]
        else "one seed, so no interval"
    )
    return f"{show(point['factor'])} ({speedup['schedule']}, {point['steps']:,} steps; {ends})"


def _row(speedup: SpeedUp, point: SpeedUpPoint) -> tuple[Cell, ...]:
    low, high = point["interval"] or (None, None)
    return (
        word(speedup["method"]),
        word(speedup["baseline"]),
        word(speedup["kind"]),
        word(speedup["schedule"]),
        number(len(speedup["seeds"])),
        Cell(f"{point['steps']:,} ({count(point['tokens'])} tokens)", point["steps"]),
        loss(point["loss_nats"]),
        *map(_bounded, (point["factor"], low, high, point["flops_factor"], point["seconds_factor"])),
    )


def _bounded(factor: Bounded | None) -> Cell:
    return Cell(show(factor), factor["value"]) if factor else number(None)
