"""The time of a recipe's run on this machine, measured over a few steps, because a budget or a plan needs it before the run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from ngptlab import methods
from ngptlab.config import RunConfig
from ngptlab.config.due import validations
from ngptlab.config.method_name import stem
from ngptlab.data.corpus import open_data
from ngptlab.errors import DivergedError
from ngptlab.experiment import train
from ngptlab.folders import scratch
from ngptlab.measure.held_out import hold_out
from ngptlab.measure.val.measure import losses
from ngptlab.nn.decoder import Decoder
from ngptlab.overrides import apply
from ngptlab.recipes import Recipe
from ngptlab.runs import Run
from ngptlab.train.average import EVAL
from ngptlab.train.stop import Interrupted, Stopped
from ngptlab.train.trainer import TokenArray
from ngptlab.trained import open_trained

PROBE_STEPS = 8
VAL_TOKENS = 65_536
"""Most validation tokens: in short runs, measuring more of them takes longer than training."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a run costs here, in seconds."""

    step: float
    rest: float
    """Reading, building, and what a shortened run measures."""
    building: float = 0.0
    """Reading and building alone."""
    validation: float = 0.0
    """One validation of the config as it stands."""
    length: float = 0.0
    """Its length evaluation."""

    def of(self, steps: int) -> float:
        """A shortened run of so many steps."""
        return self.rest + steps * self.step

    def whole(self, config: RunConfig, steps: int, more: float = 1.0) -> float:
        """A run with all that its config measures, of which it trains the last `steps` itself.

        Args:
            more: its operations, in those of the run that was measured.
        """
        passes = validations(config, after=config.train.steps - steps) + 1  # the last losses, by document
        return self.building + more * (steps * self.step + passes * self.validation + self.length)


def shortened(config: RunConfig, steps: int) -> RunConfig:
    """The config with so many steps, measured at its first and last one only, on a part of the validation text."""
    changes: dict[str, Any] = {
        "train.steps": steps,
        "eval.every": steps,
        "eval.at": (),
        "eval.val_tokens": min(config.eval.val_tokens, VAL_TOKENS),
        "eval.length_documents": 0,
        "checkpoint.every": steps,
        "checkpoint.at": (),
    }
    if warmup := config.schedule.warmup_steps:
        changes["schedule.warmup_steps"] = warmup * steps // config.train.steps
    return apply(config, changes)


def cost_here(recipe: Recipe, names: Sequence[str], *, whole: bool = False) -> Cost:
    """The cost of a run on this machine, measured over a few steps: that of the most expensive method.

    Args:
        whole: measure what `Cost.whole` needs, too.

    Raises:
        DivergedError: all of them diverge at once.
        Interrupted: a signal asked for a stop.
    """
    config = apply(
        shortened(recipe.config, min(PROBE_STEPS, recipe.config.train.steps)),
        {"track": "off"},  # a measurement is no run to show
    )
    short, found = replace(recipe, config=config), list[Cost]()
    open_data(config)  # the data are read once, outside of the timed runs
    with scratch() as folder:
        for name in names:
            begun = time.monotonic()
            try:
                run = train(methods.resolve(short.arm(name)), folder / stem(name))
            except DivergedError:  # another learning rate may do
                continue
            except Stopped as stopped:  # nothing of a measurement is kept
                raise Interrupted(stopped.signal_number) from None
            times = [row["step_seconds"] for row in run.read("timing")]
            rest = max(0.0, time.monotonic() - begun - sum(times))
            cost = Cost(step=statistics.median(times), rest=rest)
            found.append(_with_evaluations(cost, run, recipe.config) if whole else cost)
    if not found:
        raise DivergedError(f"{' and '.join(map(stem, names))} diverged at once")
    return Cost(**{part.name: max(getattr(each, part.name) for each in found) for part in fields(Cost)})


def _with_evaluations(cost: Cost, run: Run, config: RunConfig) -> Cost:
    """The cost with the time of the config's evaluations, a part of which is measured on the model of the shortened run."""
    model, held_out = open_trained(run.path).model, hold_out(config, open_data(config))
    one_pass = _pass_seconds(model, held_out.inputs_NT, held_out.targets_NT)
    documents_NT = held_out.documents_NT
    length = _pass_seconds(model, documents_NT[:, :-1], documents_NT[:, 1:]) if len(documents_NT) else 0.0
    rows = [row for row in run.read("evals") if row["eval"] in ("val", EVAL)]
    averaged = any(row["eval"] == EVAL for row in rows)  # a mean of the weights is measured beside them
    again = rows[-1]["tokens"]  # the last losses once more, by document
    measured = sum(row["tokens"] for row in rows) + again
    building = max(0.0, cost.rest - one_pass * measured / held_out.inputs_NT.size)
    return replace(cost, building=building, validation=one_pass * (1 + averaged), length=length)


def _pass_seconds(model: Decoder, inputs_NT: TokenArray, targets_NT: TokenArray) -> float:
    """Seconds of the losses of all these windows, scaled up from `VAL_TOKENS` tokens of them. Shapes [N, T]."""
    part: int = max(1, VAL_TOKENS // inputs_NT.shape[1])
    begun = time.monotonic()
    losses(model, inputs_NT[:part], targets_NT[:part])
    seconds = time.monotonic() - begun
    return seconds * float(len(inputs_NT) / min(part, len(inputs_NT)))
