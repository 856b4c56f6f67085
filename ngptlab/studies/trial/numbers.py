"""The verdict of a try: one sentence, and the same as plain values."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from ngptlab.config.method_name import stem
from ngptlab.stats.learning_rate import show_rate
from ngptlab.studies.target.numbers import ArmNumbers, Target

Answer = Literal["better", "worse", "undecided"]
ANSWERS: dict[str, Answer] = {"reached": "better", "not reached": "worse"}
"""Answer of a try by the verdict on a target, where the target is the rival's loss."""


class Setting(TypedDict):
    """Facts about a try that are known before any run."""

    method: str
    """Name of the method, with the digest of its content where it is a file."""
    against: str
    recipe: str
    key: str
    """Hashes of both arms as in the recipe. A try with the same key is not repeated."""
    checks: list[str]
    """Names of the conformance checks that the method passed."""
    lrs: list[float]
    """Learning rates that both methods were trained at, with seed 0."""
    steps: int
    recipe_steps: int
    budget_seconds: float
    folder: str
    """Folder of the runs."""


class Trial(Setting):
    """A try as JSON. Losses and differences in nats; a difference is the method's loss minus the rival's, same seeds."""

    verdict: Answer
    sentence: str
    best_lr: dict[str, float]
    seeds: list[int]
    losses: dict[str, list[float]]
    """Final validation losses by method, in the order of the seeds."""
    difference_nats: float | None
    stderr: float | None
    bound_nats: float | None
    """One-sided bound of the true difference at `level`."""
    level: float | None
    """p below it decides, at each look."""
    seconds: float
    warnings: list[str]


def of_target(setting: Setting, found: Target, best_lr: dict[str, float], *, seconds: float) -> Trial:
    """The verdict from a comparison with the rival's loss as the target."""
    arms = {arm["method"]: arm for arm in found["arms"]}
    ours, theirs = arms[stem(setting["method"])], arms[stem(setting["against"])]
    answer: Answer = ANSWERS.get(ours["verdict"], "undecided")
    pairs = len(ours["seeds"])
    return {
        **setting,
        "verdict": answer,
        "sentence": _sentence(setting, ours, answer, found["max_seeds"]),
        "best_lr": best_lr,
        "seeds": ours["seeds"],
        "losses": {ours["method"]: ours["losses"], theirs["method"]: theirs["losses"][:pairs]},
        "difference_nats": ours["difference_nats"],
        "stderr": ours["stderr"],
        "bound_nats": ours["bound_nats"],
        "level": found["level"],
        "seconds": round(seconds, 1),
        "warnings": [*_edges(setting, best_lr), *found["warnings"]],
    }


def diverged(setting: Setting, best_lr: dict[str, float], *, seconds: float) -> Trial:
    """The verdict on a method that diverged at every learning rate, where the rival did not."""
    ours, theirs = stem(setting["method"]), stem(setting["against"])
    shown = ", ".join(map(show_rate, setting["lrs"]))
    sentence = f"{ours} is worse than {theirs}: it diverged at every learning rate ({shown}), in runs of {_length(setting)}."
    return _without_seeds(setting, "worse", sentence, best_lr, seconds)


def unfinished(setting: Setting, best_lr: dict[str, float], *, seconds: float) -> Trial:
    """The verdict where the budget was spent before there was a seed of both methods."""
    ours, theirs = stem(setting["method"]), stem(setting["against"])
    what = "a seed of both was trained" if best_lr else "all learning rates were tried"
    sentence = (
        f"Undecided between {ours} and {theirs}: the budget was spent before {what}, in runs of {_length(setting)}; give a "
        "larger --budget, with --again."
    )
    return _without_seeds(setting, "undecided", sentence, best_lr, seconds)


def _without_seeds(
    setting: Setting, verdict: Answer, sentence: str, best_lr: dict[str, float], seconds: float
) -> Trial:
    """A trial that ended before its seeds, so that there is no difference to state."""
    return {
        **setting,
        "verdict": verdict,
        "sentence": sentence,
        "best_lr": best_lr,
        "seeds": [],
        "losses": {},
        "difference_nats": None,
        "stderr": None,
        "bound_nats": None,
        "level": None,
        "seconds": round(seconds, 1),
        "warnings": _edges(setting, best_lr),
    }


def _sentence(setting: Setting, ours: ArmNumbers, answer: Answer, most: int) -> str:
    name, rival, pairs = stem(setting["method"]), stem(setting["against"]), len(ours["seeds"])
    if ours["reason"]:
        return f"Undecided between {name} and {rival}: {name} {ours['reason']}."
    difference, bound = ours["difference_nats"], ours["bound_nats"]
    assert difference is not None
    said = f"{difference:+z.4f} nats over {pairs} pair{'s' * (pairs > 1)} of seeds, {_where(setting)}"
    if answer == "undecided":
        end = (
            "as many as there may be"
            if pairs == most
            else "the budget is spent; a larger --budget goes on, with --again"
        )
        return f"Undecided between {name} and {rival}: {said}; {end}."
    side = "below" if answer == "better" else "above"
    known = "" if bound is None else f", the true difference {side} {bound:+z.4f}"
    return f"{name} is {answer} than {rival}: {said}{known}."


def _where(setting: Setting) -> str:
    return f"after {_length(setting)}, each at its best of {len(setting['lrs'])} learning rates"


def _length(setting: Setting) -> str:
    steps, whole = setting["steps"], setting["recipe_steps"]
    length = f"all {steps} steps" if steps == whole else f"{steps} of the {whole} steps"
    return f"{length} of {setting['recipe']}"


def _edges(setting: Setting, best_lr: dict[str, float]) -> list[str]:
    ends = {min(setting["lrs"]): "lowest", max(setting["lrs"]): "highest"}
    return [
        f"The {ends[lr]} learning rate, {show_rate(lr)}, is best for {name}: its optimum may lie beyond."
        for name, lr in best_lr.items()
        if lr in ends
    ]
