"""A comparison against a target loss on the page: which methods reach it, at what cost, and how certain that is."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ngptlab.stats.words import count, nats
from ngptlab.studies.reading import damaged, read
from ngptlab.studies.section import Cell, Study, loss, number, word
from ngptlab.studies.target.files import first_reached, goal, rule, write_target
from ngptlab.studies.target.numbers import ArmNumbers, Target

OF_A_COMPARISON = True
COLUMNS = (
    "method",
    "verdict",
    "seeds",
    "mean loss (nats)",
    "minus target",
    "one-sided bound of that",
    "p, better",
    "p, worse",
    "steps",
    "tokens",
    "FLOPs",
    "seconds",
    "reached on the way, by step",
)


def study(path: Path) -> list[Study]:
    """The section of a target.json."""
    target = read(path, Target)
    names = [arm["method"] for arm in target["arms"]]
    if not names or target["target_method"] not in (None, *names):
        raise damaged(path, "it lacks the methods that it speaks of")
    return [
        Study(
            kind="target",
            title=f"Target: {goal(target)} ({target['recipe']})",
            answer=answer(target),
            svg=b"",
            caption="",
            columns=COLUMNS,
            rows=[_row(arm) for arm in target["arms"]],
            warnings=target["warnings"],
            files=["target.csv", "target.json"],
            write=partial(write_target, target),
        )
    ]


def answer(target: Target) -> str:
    """Each method's verdict, with the costs of its runs, then the rule."""
    said = [_verdict(arm) for arm in target["arms"] if arm["verdict"] != "sets the target"]
    return " ".join([f"The target is {goal(target)}.", *said, rule(target)])


def _verdict(arm: ArmNumbers) -> str:
    name, seeds = arm["method"], len(arm["seeds"])
    over = f"{seeds} seed{'s' * (seeds > 1)}"
    if arm["difference_nats"] is None:
        return f"There is no verdict on {name}: {arm['reason']}."
    side = "better" if arm["difference_nats"] < 0 else "worse"
    mean = f"{nats(abs(arm['difference_nats']), arm['stderr'])} nats {side} than it"
    if arm["verdict"] == "undecided":
        return f"{name} is undecided after {over} of {_costs(arm)}: {mean} in the mean."
    p = arm["p_below"] if arm["verdict"] == "reached" else arm["p_above"]
    does = "reaches it in" if arm["verdict"] == "reached" else "does not reach it in"
    return (
        f"{name} {does} {_costs(arm)}: {mean} in the mean over {over}{'' if p is None else f', p = {p:.2g}'}."
    )


def _costs(arm: ArmNumbers) -> str:
    seconds = "" if arm["seconds"] is None else f", {arm['seconds']:,.4g} s of training steps"
    return f"{arm['steps']:,} steps ({count(arm['tokens'])} tokens, {arm['flops']:.3g} FLOPs{seconds})"


def _row(arm: ArmNumbers) -> tuple[Cell, ...]:
    return (
        word(arm["method"]),
        word(arm["verdict"]),
        number(len(arm["seeds"])),
        loss(arm["loss_nats"]),
        loss(arm["difference_nats"], arm["stderr"], sign=True),
        loss(arm["bound_nats"], sign=True),
        number(arm["p_below"], ".2g"),
        number(arm["p_above"], ".2g"),
        number(arm["steps"] or None),
        number(arm["tokens"] or None, ","),
        number(arm["flops"] or None, ".4g"),
        number(arm["seconds"], ".4g"),
        word(first_reached(arm)),
    )
