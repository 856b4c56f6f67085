"""A cooldown study on the page: the effect of the shortest and the longest cooldown on the gap."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ngptlab.draw.style import for_page
from ngptlab.stats.estimates import Difference, ci95
from ngptlab.stats.words import nats
from ngptlab.studies.cooldown.figure import draw
from ngptlab.studies.cooldown.files import write_study
from ngptlab.studies.cooldown.numbers import Row
from ngptlab.studies.cooldown.numbers import Study as Numbers
from ngptlab.studies.reading import damaged, read
from ngptlab.studies.section import Cell, Study, loss, number, word
from ngptlab.studies.speedup import section as speedup

OF_A_COMPARISON = False
COLUMNS = (
    "method",
    "steps",
    "cooldown",
    "shape",
    "seeds",
    "final loss (nats)",
    "gap before",
    "gap after",
    "change of the gap",
    "no result",
)
CAPTION = (
    "The left panels show the final loss over the cooldown fraction, and 0 is a constant learning rate to the end. The "
    "right ones show the gap to the baseline before each cooldown (empty marks) and after it (full marks). Below zero the "
    "method is better. Where the full mark is higher than the empty one, the baseline catches up in the cooldown. Bars, and "
    "± in the table, are 95% over the seeds by Student's t. Short lines are single seeds. One seed has neither."
)


def study(path: Path) -> list[Study]:
    """The section of a cooldown.json, and one of its speed-ups where there are several lengths."""
    numbers = read(path, Numbers)
    if not numbers["rows"]:
        raise damaged(path, "it has no rows")
    shown = Study(
        kind="cooldown",
        title=f"Cooldowns from one trunk ({numbers['name']})",
        answer=answer(numbers),
        svg=for_page(partial(draw, numbers, narrow=True)),
        caption=CAPTION,
        columns=COLUMNS,
        rows=[_row(row) for row in numbers["rows"]],
        warnings=numbers["warnings"],
        files=[f"cooldown.{ending}" for ending in ("csv", "json", "png", "svg")],
        write=partial(write_study, numbers),  # together with the speed-up's files
    )
    found = numbers["speedups"]
    return [shown, *([speedup.study(found, "of the cooldown study")] if found else [])]


def answer(study: Numbers) -> str:
    """A sentence for each method beside the baseline, at the greatest length; for a baseline alone, on its losses."""
    said = []
    for arm in study["arms"]:
        if arm != study["baseline"] or len(study["arms"]) == 1:
            rows = [row for row in study["rows"] if row["arm"] == arm and row["final_loss_nats"] is not None]
            most = max((row["steps"] for row in rows), default=0)
            longest = [row for row in rows if row["steps"] == most]
            alone = arm == study["baseline"]
            said.append(_losses(arm, longest) if alone else _gaps(arm, study["baseline"], longest))
    return " ".join(said)


def _losses(arm: str, rows: list[Row]) -> str:
    branches = [row for row in rows if row["frac"]]
    if not branches:
        return f"No cooldown of {arm} has a result."
    best = min(branches, key=lambda row: row["final_loss_nats"] or 0.0)
    seeds = len(best["losses"])
    error = f" (± 95% over {seeds} seeds, Student's t)" if seeds > 1 else " (one seed)"
    trunk = [row for row in rows if not row["frac"]]
    without = f", {_loss(trunk[0])} without one" if trunk else ""
    return f"After {best['steps']:,} steps {arm} ends lowest with a cooldown {_what(best)}: {_loss(best)}{without}{error}."


def _gaps(arm: str, base: str, rows: list[Row]) -> str:
    """The gaps of the shortest and the longest cooldown, of the first shape that both have."""
    known = [row for row in rows if row["gaps"]]
    if not known:
        return f"No cooldown of {arm} has a gap to {base}."
    short = min(known, key=lambda row: row["frac"] or 2)
    same = [row for row in known if row["shape"] == short["shape"]]
    long = max(same, key=lambda row: row["frac"])
    parts = [_moved(row) for row in ([short, long] if long is not short else [short])]
    pairs = short["gaps"]["after"]["pairs"] if short["gaps"] else 0
    seeds = f"± 95% over {pairs} paired seeds, Student's t" if pairs > 1 else "one seed: no error"
    return f"{arm} minus {base} after {short['steps']:,} steps, in nats ({seeds}): {'; '.join(parts)}."


def _moved(row: Row) -> str:
    gaps = row["gaps"]
    assert gaps, "the caller's choice"
    before = f"it goes from {_gap(gaps['before'])} to" if gaps["before"] else "it ends at"
    return f"with a cooldown {_what(row)} {before} {_gap(gaps['after'])}"


def _what(row: Row) -> str:
    return f"over {row['frac']:g} of the run ({row['shape']})"


def _loss(row: Row) -> str:
    return f"{nats(row['final_loss_nats'], _half(row))} nats"


def _half(row: Row) -> float | None:
    return ci95(row["final_loss_stderr"], len(row["losses"]))


def _gap(gap: Difference) -> str:
    return nats(gap["mean"], gap["ci95"], sign=True)


def _row(row: Row) -> tuple[Cell, ...]:
    gaps = row["gaps"]
    differences = [gaps["before"], gaps["after"], gaps["change"]] if gaps else [None] * 3
    return (
        word(row["arm"]),
        number(row["steps"]),
        Cell(f"{row['frac']:g}" if row["frac"] else "none", row["frac"]),
        word(row["shape"]),
        number(len(row["seeds"])),
        loss(row["final_loss_nats"], _half(row)),
        *(loss(gap["mean"], gap["ci95"], sign=True) if gap else number(None) for gap in differences),
        word(row["reason"]),
    )
