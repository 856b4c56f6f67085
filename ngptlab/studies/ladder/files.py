"""A ladder as files and as a table: `ladder.json` holds all numbers, `ladder.csv` and the table a line a rung."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ngptlab.console import Console
from ngptlab.stats.tables import as_text, over_seeds, with_error
from ngptlab.studies.files import plain_table, print_warnings, write
from ngptlab.studies.ladder.figure import draw
from ngptlab.studies.ladder.numbers import Ladder, RungNumbers, half

COLUMNS = (
    "rung",
    "arm",
    "seams",
    "lr",
    "lr_of",
    "seeds",
    "final_loss_nats",
    "final_loss_stderr",
    "stderr_over",
    "step_seconds_median",
    "adds_nats",
    "adds_stderr",
    "adds_against_rung",
    "reason",
)


def write_ladder(ladder: Ladder, out: Path) -> None:
    """Write ladder.json, ladder.csv, ladder.png and ladder.svg into `out`.

    Raises:
        ConfigError: `out` can't be written.
    """
    write(out, "ladder", numbers=ladder, table=as_csv(ladder), draw=partial(draw, ladder))


def as_csv(ladder: Ladder) -> str:
    """One line for each rung. Labels are left out, because a spreadsheet would read their + or - as a formula."""
    numbers = {rung["label"]: number for number, rung in enumerate(ladder["rungs"])}
    lines = []
    for rung in ladder["rungs"]:
        adds = rung["adds"]
        row = {**rung, "rung": numbers[rung["label"]]}
        row |= {key: " ".join(map(str, row[key])) for key in ("seams", "seeds")}  # type: ignore[call-overload]
        if adds:
            row |= {"adds_nats": adds["nats"], "adds_stderr": adds["stderr"]}
            row["adds_against_rung"] = numbers[adds["against"]]
        lines.append(row)
    return as_text(COLUMNS, lines)


def print_ladder(ladder: Ladder, console: Console) -> None:
    """Print the table, then the warnings."""
    error = over_seeds(len(rung["seeds"]) for rung in ladder["rungs"])
    table = plain_table(
        f"{ladder['base']} to {ladder['target']}, {ladder['mode']}; {error}",
        ("rung", "lr", "seeds", "final loss (nats)", "adds (nats)", "step (ms)"),
        left=("rung",),
        wrapped=("rung",),
    )
    for rung in ladder["rungs"]:
        table.add_row(*_cells(rung))
    console.print(table)
    for rung in ladder["rungs"]:
        if rung["reason"]:
            console.print(f"{rung['label']}: no result, {rung['reason']}", markup=False)
    print_warnings((each for each in ladder["warnings"] if not each.startswith("No result")), console)


def _cells(rung: RungNumbers) -> tuple[str, ...]:
    if rung["final_loss_nats"] is None:
        return rung["label"], f"{rung['lr']:.4g}", "0", "none", "", ""
    adds, seconds = rung["adds"], rung["step_seconds_median"]
    return (
        rung["label"],
        f"{rung['lr']:.4g}",
        str(len(rung["seeds"])),
        with_error(f"{rung['final_loss_nats']:.4f}", half(rung)),
        with_error(f"{adds['nats']:+z.4f}", adds["ci95"]) if adds else "",
        f"{seconds * 1e3:.1f}" if seconds else "",
    )
