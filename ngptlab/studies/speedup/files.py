"""Speed-ups as files and as a table. `speedup.csv` has a line for each point; the caller's JSON has all numbers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ngptlab.console import Console
from ngptlab.disk import write_text
from ngptlab.draw import style as figures
from ngptlab.stats.tables import as_text
from ngptlab.studies.files import plain_table, print_warnings
from ngptlab.studies.speedup.figure import draw
from ngptlab.studies.speedup.numbers import SpeedUp, show

BOUNDED = (
    "baseline_tokens",
    "baseline_steps",
    "baseline_flops",
    "baseline_seconds",
    "factor",
    "flops_factor",
    "seconds_factor",
)
HEADINGS = ("steps", "loss (nats)", "baseline's tokens", "95% interval (t)", "baseline's seconds")


def write_speedups(speedups: Sequence[SpeedUp], out: Path) -> None:
    """Write speedup.csv, speedup.png and speedup.svg into `out`, or remove earlier ones where there is no speed-up.

    An OSError is the caller's to explain.
    """
    if not speedups:
        for ending in ("csv", "png", "svg"):
            (out / f"speedup.{ending}").unlink(missing_ok=True)
        return
    write_text(out / "speedup.csv", as_csv(speedups))
    figures.write(out, "speedup", partial(draw, speedups))


def as_csv(speedups: Sequence[SpeedUp]) -> str:
    """One line for each point. `bound` holds for all numbers of the baseline in its line; empty: not known."""
    rows: list[dict[str, object]] = []
    for speedup in speedups:
        for point in speedup["points"]:
            row: dict[str, object] = {key: speedup[key] for key in ("method", "baseline", "kind", "schedule")}
            row |= {"seeds": " ".join(speedup["seeds"])}
            row |= {key: point[key] for key in ("steps", "tokens", "loss_nats")}
            row |= {"bound": point["factor"]["bound"]}
            for key in BOUNDED:
                number = point[key]  # type: ignore[literal-required]
                row[key] = number["value"] if number else None
            for place, name in enumerate(("low", "high")):
                end = point["interval"][place] if point["interval"] else None
                row |= {name: end and end["value"], f"{name}_bound": end and end["bound"]}
            rows.append(row)
    return as_text(list(rows[0]), rows) if rows else ""


def print_speedups(speedups: Sequence[SpeedUp], console: Console) -> None:
    """Print a table and a sentence for each, in multiples of the method's tokens and seconds; then every doubt, once."""
    for speedup in speedups:
        title = f"{speedup['method']} over {speedup['baseline']}, {speedup['kind']}, {speedup['schedule']}"
        table = plain_table(
            title,
            HEADINGS,
        )
        for point in speedup["points"]:
            interval = (
                " to ".join(show(end) for end in point["interval"]) if point["interval"] else "one seed"
            )
            seconds = show(point["seconds_factor"]) if point["seconds_factor"] else ""
            cells = (
                f"{point['steps']:,}",
                f"{point['loss_nats']:.4f}",
                show(point["factor"]),
                interval,
                seconds,
            )
            table.add_row(*cells)
        console.print(table)
        console.print(speedup["summary"], markup=False)
    print_warnings((warning for speedup in speedups for warning in speedup["warnings"]), console)
