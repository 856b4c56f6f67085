"""A ladder on the page: the step with the largest effect, and how certain it is."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ngptlab.draw.style import for_page
from ngptlab.stats.words import nats, rate
from ngptlab.studies.ladder.figure import draw
from ngptlab.studies.ladder.files import write_ladder
from ngptlab.studies.ladder.numbers import Ladder, RungNumbers, Step, half
from ngptlab.studies.reading import damaged, read
from ngptlab.studies.section import Cell, Study, loss, number, word

OF_A_COMPARISON = False
COLUMNS = (
    "rung",
    "method",
    "learning rate",
    "seeds",
    "final loss (nats)",
    "adds (nats)",
    "against",
    "step (ms)",
    "no result",
)
CAPTIONS = {
    "cumulative": "Each row has one step more than the row over it. The left panel shows the final loss, and the right one what "
    "the step adds to it. A bar to the left makes the loss better.",
    "leave-one-out": "The first row has all steps, and each other row has one of them taken back. The left panel shows the final "
    "loss, and the right one what taking it back adds. A bar to the right says that the step is needed.",
}


def study(path: Path) -> list[Study]:
    """The section of a ladder.json."""
    ladder = read(path, Ladder)
    if not ladder["rungs"]:
        raise damaged(path, "it has no rungs")
    return [
        Study(
            kind="ladder",
            title=f"Ladder from {ladder['base']} to {ladder['target']}, {ladder['mode']} ({ladder['recipe']})",
            answer=answer(ladder),
            svg=for_page(partial(draw, ladder, narrow=True)),
            caption=CAPTIONS[ladder["mode"]] + " Lines, and ± in the table, are 95% over the "
            "seeds by Student's t. Small marks are single seeds. One seed has neither.",
            columns=COLUMNS,
            rows=[_row(rung) for rung in ladder["rungs"]],
            warnings=ladder["warnings"],
            files=[f"ladder.{ending}" for ending in ("csv", "json", "png", "svg")],
            write=partial(write_ladder, ladder),
        )
    ]


def answer(ladder: Ladder) -> str:
    """Sentences on the step that lowers the loss most and the one that raises it most."""
    steps = [(" and ".join(rung["seams"]), rung["adds"]) for rung in ladder["rungs"] if rung["adds"]]
    found = sorted(((name, adds) for name, adds in steps if adds), key=lambda step: step[1]["nats"])
    base, target = ladder["base"], ladder["target"]
    if not found:
        return f"No step from {base} to {target} has a result to compare."
    (low, least), (high, most) = found[0], found[-1]
    if ladder["mode"] == "cumulative":
        many = f"Of {len(found)} steps from {base} to {target}, taken one after another,"
        if least["nats"] >= 0:
            return f"{many} none lowers the loss; {high} raises it most, by {_amount(most)}."
        harm = f" {high} raises it most, by {_amount(most)}." if most["nats"] > 0 else " No step raises it."
        return f"{many} {low} lowers the loss most, by {_amount(least)}.{harm}"
    many = f"Of {len(found)} steps taken back from {target} one at a time,"
    if most["nats"] <= 0:
        return f"{many} none is needed; without {low} the loss falls most, by {_amount(least)}."
    spare = f" Without {low} it falls most, by {_amount(least)}." if least["nats"] < 0 else ""
    return f"{many} {high} matters most: without it the loss rises by {_amount(most)}.{spare}"


def _amount(adds: Step) -> str:
    """A change with its interval, as '0.0512 ± 0.0130 nats (95% over 3 paired seeds, Student's t)', and its doubts."""
    size = nats(abs(adds["nats"]), adds["ci95"])
    if adds["stderr"] is None or adds["ci95"] is None:
        return f"{size} nats (one seed: nothing says how far another would move it)"
    seeds = f"{adds['pairs']} paired seeds" if adds["pairs"] else "unpaired seeds"
    doubt = "; that includes zero" if abs(adds["nats"]) <= adds["ci95"] else ""
    return f"{size} nats (95% over {seeds}, Student's t{doubt})"


def _row(rung: RungNumbers) -> tuple[Cell, ...]:
    adds, seconds = rung["adds"], rung["step_seconds_median"]
    return (
        word(rung["label"]),
        word(rung["arm"]),
        Cell(rate(rung["lr"]), rung["lr"]),
        number(len(rung["seeds"])),
        loss(rung["final_loss_nats"], half(rung)),
        loss(adds["nats"], adds["ci95"], sign=True) if adds else number(None),
        word(adds["against"] if adds else ""),
        number(None if seconds is None else 1e3 * seconds, ".4g"),
        word(rung["reason"]),
    )
