"""A target's verdicts as files and as a table: `target.json` holds all numbers, `target.csv` and the table a line a method."""

from __future__ import annotations

from pathlib import Path

from ngptlab.console import Console
from ngptlab.stats.tables import as_text
from ngptlab.studies.files import plain_table, print_warnings, write
from ngptlab.studies.target.numbers import ArmNumbers, Target

COLUMNS = (
    "method",
    "verdict",
    "seeds",
    "losses",
    "loss_nats",
    "target_nats",
    "difference_nats",
    "stderr",
    "p_below",
    "p_above",
    "level",
    "bound_nats",
    "steps",
    "tokens",
    "flops",
    "seconds",
    "on_the_way_median_step",
    "on_the_way_least_step",
    "on_the_way_greatest_step",
    "on_the_way_runs",
    "reason",
)


def write_target(target: Target, out: Path) -> None:
    """Write target.json and target.csv into `out`.

    Raises:
        ConfigError: `out` can't be written.
    """
    write(out, "target", numbers=target, table=as_csv(target))


def as_csv(target: Target) -> str:
    """One line for each method; lists are separated by blanks."""
    lines = []
    for arm in target["arms"]:
        line: dict[str, object] = {**arm, "level": target["level"]}
        line |= {key: " ".join(map(str, arm[key])) for key in ("seeds", "losses")}
        if way := arm["on_the_way"]:
            line["on_the_way_median_step"] = way["median_step"]
            line["on_the_way_runs"] = sum(step is not None for step in way["by_seed"])
            for name, step in zip(("least", "greatest"), way["range_steps"] or (), strict=False):
                line[f"on_the_way_{name}_step"] = step
        lines.append(line)
    return as_text(COLUMNS, lines)


def goal(target: Target) -> str:
    """The target as part of a sentence."""
    if target["target_method"] is None:
        return f"a final validation loss of {target['target_nats']:.10g} nats"
    seeds = next(len(arm["seeds"]) for arm in target["arms"] if arm["method"] == target["target_method"])
    return (
        f"the mean final validation loss of {target['target_method']}, {target['target_nats']:.4f} nats over "
        f"{seeds} seed{'s' * (seeds > 1)}"
    )


def rule(target: Target) -> str:
    """When a question is decided, in a sentence."""
    paired = "" if target["target_method"] is None else " over pairs of one seed"
    known = "Student's t test" if target["sigma"] is None else f"z test, sigma {target['sigma']:g} nats"
    return (
        f"One-sided {known}{paired}; chance of a wrong verdict at most {target['significance']:g} for each method and "
        f"side, shared by {target['looks']} looks at the most: p below {target['level']:.2g} decides."
    )


def first_reached(arm: ArmNumbers) -> str:
    """When a run first reached the target loss: 'step 412 (median; 398 to 431)'; '' where it is not known."""
    way = arm["on_the_way"]
    if way is None:
        return ""
    if way["range_steps"] is None:
        return "never"
    low, high = way["range_steps"]
    were, all_of = sum(step is not None for step in way["by_seed"]), len(way["by_seed"])
    some = f" in {were} of {all_of} runs" if were < all_of else ""
    middle = "median: never" if way["median_step"] is None else f"{way['median_step']:,.0f}"
    return f"{middle} ({low:,.0f} to {high:,.0f}{some})"


def print_target(target: Target, console: Console) -> None:
    """Print the table, when runs first reached the loss, and the warnings."""
    against = [] if target["target_method"] is None else [f"minus {target['target_method']}"]
    right = ["seeds", "mean loss (nats)", *against, "one-sided bound"]
    costs = ["steps", "tokens", "FLOPs", "seconds"]
    headings = ("method", *right, "verdict", *costs)
    table = plain_table(f"Target: {goal(target)}", headings, left=("method", "verdict"))
    for arm in target["arms"]:
        table.add_row(*_cells(arm, target))
    console.print(table)
    for arm in target["arms"]:
        if way := first_reached(arm):
            console.print(
                f"{arm['method']}: first at or below the target on the way, by step: {way}; no end of a shorter run",
                markup=False,
            )
    print_warnings(target["warnings"], console)


def _cells(arm: ArmNumbers, target: Target) -> tuple[str, ...]:
    difference, bound = arm["difference_nats"], arm["bound_nats"]
    shown_bound = ""
    if difference is not None and bound is not None:
        side = "below" if difference < 0 else "above"
        by_loss = target["target_method"] is None
        shown_bound = f"{side} {target['target_nats'] + bound:.4f}" if by_loss else f"{side} {bound:+z.4f}"
    loss, seconds = arm["loss_nats"], arm["seconds"]
    against = "" if difference is None else f"{difference:+z.4f}"
    return (
        arm["method"],
        str(len(arm["seeds"])),
        "none" if loss is None else f"{loss:.4f}",
        *([] if target["target_method"] is None else [against]),
        shown_bound,
        arm["verdict"],
        f"{arm['steps']:,}" if arm["steps"] else "",
        f"{arm['tokens']:,}" if arm["steps"] else "",
        f"{arm['flops']:.3g}" if arm["steps"] else "",
        "" if seconds is None else f"{seconds:,.1f}",
    )
