"""A cooldown study as files and as a table: `cooldown.json` holds all numbers, `cooldown.csv` and the table a line a row."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ngptlab.console import Console
from ngptlab.stats.estimates import Difference, ci95, in_words
from ngptlab.stats.tables import as_text, over_seeds, with_error, writing
from ngptlab.studies.cooldown.figure import draw
from ngptlab.studies.cooldown.numbers import Row, Study
from ngptlab.studies.files import plain_table, print_warnings, write
from ngptlab.studies.speedup.files import print_speedups, write_speedups

GAPS = ("before", "after", "change")
COLUMNS = (
    "arm",
    "steps",
    "tokens",
    "frac",
    "shape",
    "start_step",
    "seeds",
    "losses",
    "final_loss_nats",
    "final_loss_stderr",
    "validation_stderr",
    "before_nats",
    *(f"gap_{when}_{what}" for when in GAPS for what in ("nats", "stderr", "ci95", "p_t", "p_signs")),
    "reason",
)


def write_study(study: Study, out: Path) -> None:
    """Write cooldown.json, .csv, .png and .svg into `out`, and speedup.csv, .png and .svg where there are several lengths.

    Raises:
        ConfigError: `out` can't be written.
    """
    write(out, "cooldown", numbers=study, table=as_csv(study), draw=partial(draw, study))
    with writing(out):
        write_speedups(study["speedups"], out)


def as_csv(study: Study) -> str:
    """One line for each row; lists are separated by blanks."""
    lines = []
    for row in study["rows"]:
        line: dict[str, object] = dict(row)
        line |= {key: " ".join(map(str, row[key])) for key in ("seeds", "losses")}
        for when in GAPS:
            gap: Difference | None = row["gaps"][when] if row["gaps"] else None  # type: ignore[literal-required]
            if gap:
                line |= {f"gap_{when}_{key}": gap[key] for key in ("stderr", "ci95", "p_t", "p_signs")}
                line[f"gap_{when}_nats"] = gap["mean"]
        lines.append(line)
    return as_text(COLUMNS, lines)


def print_study(study: Study, console: Console) -> None:
    """Print the table, the gaps in words, the speed-ups, then the warnings."""
    error = over_seeds(len(row["seeds"]) for row in study["rows"])
    headings = ("method", "steps", "cooldown", "seeds", "final loss (nats)", "gap before", "gap after")
    table = plain_table(f"Cooldowns; {error}", headings, left=("method", "cooldown"))
    for row in study["rows"]:
        table.add_row(*_cells(row))
    console.print(table)
    for row in study["rows"]:
        if row["gaps"] and row["gaps"]["change"]:
            change = in_words(row["gaps"]["change"])
            console.print(
                f"{row['arm']}, {row['steps']:,} steps, {row['frac']:g} {row['shape']}: the cooldown moves the gap to "
                f"{study['baseline']} by {change}",
                markup=False,
            )
    print_speedups(study["speedups"], console)
    print_warnings(study["warnings"], console)


def _cells(row: Row) -> tuple[str, ...]:
    cooldown = f"{row['frac']:g} {row['shape']}" if row["frac"] else "none"
    head = (row["arm"], f"{row['steps']:,}", cooldown, str(len(row["seeds"])))
    if row["final_loss_nats"] is None:
        return (*head, "none", "", "")
    gaps = row["gaps"]
    return (
        *head,
        with_error(f"{row['final_loss_nats']:.4f}", ci95(row["final_loss_stderr"], len(row["losses"]))),
        _gap(gaps["before"]) if gaps else "",
        _gap(gaps["after"]) if gaps else "",
    )


def _gap(gap: Difference | None) -> str:
    return with_error(f"{gap['mean']:+z.4f}", gap["ci95"]) if gap else ""
