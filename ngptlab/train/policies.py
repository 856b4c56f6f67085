"""What is done about a batch whose loss or gradient is not finite or far too high (docs/policies.md). No torch.

The decision is a function of the config and of what the run has recorded up to that step. So a run that was killed decides again
as it did, and processes that train together decide alike: all see the same sums.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ngptlab.config import RunConfig
from ngptlab.config.due import newest_due
from ngptlab.train.spikes import WINDOW, Recent

MOST_IN_A_ROW = 10
"""Batches in a row that are skipped because they are not finite. After more it is the weights that are at fault, not the text."""
MOST_REWINDS = 3
"""Times that a run goes back to the same checkpoint."""

Act = Literal["update", "stop", "skip", "rewind"]
Kind = Literal["", "non_finite", "spike", "rewound"]


@dataclass(frozen=True)
class Verdict:
    """What is done with the gradient of a batch."""

    act: Act = "update"
    kind: Kind = ""
    why: str = ""
    """What is wrong with the batch, and why it stops the run where it does, in words."""


class Policies:
    """Decides about each batch of one run, in their order.

    `skipped` holds the lines of `skipped.jsonl` so far: {step, kind, why, sequences: [from, to]}, and `back_to` where the run
    went back to the checkpoint of that step. Samples of the data order from `from` up to before `to` made no update.
    """

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._recent = Recent()
        self.skipped: list[dict[str, Any]] = []

    @property
    def decide_before(self) -> bool:
        """Whether an update may be left out, so that its numbers must be known before it is made, at a GPU's expense too."""
        train = self._config.train
        return train.non_finite != "stop" or train.spikes == "skip"

    def recall(self, numbers: Iterable[tuple[float, float]], skipped: Iterable[Mapping[str, Any]]) -> None:
        """Go on from what was recorded: loss and gradient norm of the last measured steps, and all lines of `skipped.jsonl`."""
        self._recent = Recent(numbers)
        self.skipped = [dict(line) for line in skipped]

    def measured(self, loss_nats: float, grad_norm: float) -> None:
        """Take in the numbers of a step as they were recorded."""
        self._recent.add(loss_nats, grad_norm)

    def warning(self, loss_nats: float) -> str:
        """That the loss of the step that follows is a spike, in words; empty where it is none, or nobody wants a warning.

        Gradient norms are left out: those of small batches jump without any harm (docs/policies.md has figures).
        """
        return self._recent.high_loss(loss_nats) if self._config.train.spikes == "warn" else ""

    def verdict(self, step: int, loss_nats: float, grad_norm: float) -> Verdict:
        """What is done with the gradient of update number `step`, by its numbers. Changes nothing, so it may be asked twice."""
        if not (math.isfinite(loss_nats) and math.isfinite(grad_norm)):
            return self._not_finite(step, f"loss {loss_nats}, gradient norm {grad_norm}")
        if self._config.train.spikes == "skip" and (why := self._recent.spike(loss_nats, grad_norm)):
            return Verdict("skip", "spike", why)
        return Verdict()

    def line(self, step: int, verdict: Verdict) -> dict[str, Any]:
        """The line of `skipped.jsonl` for update number `step`, which is not made."""
        before = self._config.train.sequences_before
        where = {"back_to": self.back_to(step)} if verdict.act == "rewind" else {}
        sequences = [before(step), before(step + 1)]
        return {"step": step + 1, "kind": verdict.kind, "why": verdict.why, "sequences": sequences, **where}

    def back_to(self, step: int) -> int:
        """Finished updates of the checkpoint to which a run goes back from update number `step`."""
        return newest_due(self._config, step)

    def lines_since(self, back_to: int, step: int) -> list[dict[str, Any]]:
        """The lines for the updates from a checkpoint up to number `step`, which is not among them, once the run goes back.

        Those that were at fault earlier say so still, because they are counted.
        """
        at_fault = {line["step"]: line for line in self._at_fault(back_to)}
        rest = Verdict("skip", "rewound", f"the run went back from step {step + 1}")
        return [at_fault.get(each + 1, self.line(each, rest)) for each in range(back_to, step)]

    def _not_finite(self, step: int, what: str) -> Verdict:
        policy = self._config.train.non_finite
        if policy == "skip" and self._in_a_row(step) >= MOST_IN_A_ROW:
            return Verdict(
                "stop", "non_finite", f"{what}, after {MOST_IN_A_ROW} batches in a row that were skipped"
            )
        if policy == "rewind" and (back_to := self.back_to(step)) == 0:
            return Verdict("stop", "non_finite", f"{what}, before the first checkpoint to go back to")
        if policy == "rewind" and len(self._at_fault(back_to)) >= MOST_REWINDS:
            return Verdict(
                "stop",
                "non_finite",
                f"{what}, after the run went back to step {back_to} {MOST_REWINDS} times",
            )
        return Verdict(policy, "non_finite", what)

    def _in_a_row(self, step: int) -> int:
        """Batches right before update number `step` that were skipped because they are not finite."""
        count = 0
        for line in reversed(self.skipped):
            if line["kind"] != "non_finite" or line["step"] != step - count:
                break
            count += 1
        return count

    def _at_fault(self, back_to: int) -> list[dict[str, Any]]:
        return [line for line in self.skipped if line["step"] > back_to and line["kind"] == "non_finite"]


def place(config: RunConfig, step: int) -> str:
    """Where the batch of update number `step` stands, in words."""
    before = config.train.sequences_before
    return f"sequences {before(step)} to {before(step + 1) - 1} of the data order"


def recorded(metrics: Iterable[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """What `Policies.recall` takes of the lines of `metrics.jsonl`."""
    return [(line["loss_nats"], line["grad_norm"]) for line in [*metrics][-WINDOW:]]
