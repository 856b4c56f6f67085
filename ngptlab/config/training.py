"""How much a run trains on, in what precision, and how large each of its updates is. Imports no torch."""

from __future__ import annotations

import functools
import re
from typing import Any, Literal, Self

from pydantic import Field, PositiveFloat, field_validator, model_validator

from ngptlab.config.frozen import Section

ROUNDING = 1e-9
"""Shares of a batch that differ by less are equal."""


class TrainConfig(Section):
    """How much is trained on, and in what precision."""

    steps: int = Field(default=600, gt=0)
    """Optimizer steps."""
    batch_size: int = Field(default=32, gt=0)
    """Sequences in one optimizer step, over all micro-batches and machines."""
    batch_stages: tuple[PositiveFloat, ...] | None = None
    """Sizes of the batch in equal parts of the training, in batch_size, 1 on average: 0.5,1,1.5. Empty: the same throughout.
    None: the method's own."""
    context: int = Field(default=128, gt=0)
    """T: tokens in a sequence."""
    compute_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Dtype of activations and matrix products. auto: bfloat16 on CUDA, float32 on CPU."""
    weights_dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision that the blocks' matrices keep between steps. bfloat16: as the official code of arXiv:2410.01131 stores them."""
    non_finite: Literal["stop", "skip", "rewind"] = "stop"
    """At a loss or gradient that is not finite: `stop`. `skip`: make no update with that batch. `rewind`: go back to the newest
    checkpoint that was due, and skip all batches from there to that one."""
    spikes: Literal["warn", "skip", "off"] = "warn"
    """`warn`: at a loss 6 standard deviations above the last 128 steps. `skip`: make no update at such a loss or gradient norm.
    `off`: neither."""

    @property
    def step_tokens(self) -> int:
        """Tokens in one optimizer step, on average where the batch changes."""
        return self.batch_size * self.context

    @property
    def tokens(self) -> int:
        """Tokens of the whole run."""
        return self.steps * self.step_tokens

    @property
    def stages(self) -> tuple[tuple[int, int], ...]:
        """Steps and sequences of each stage. What a division of the steps leaves over has batch_size, before it is exceeded."""
        return _stages(self.steps, self.batch_size, self.batch_stages or (1.0,))

    def sequences_before(self, step: int) -> int:
        """Sequences met before update number `step`, from 0 on; before `steps`, all of the run's."""
        met = 0
        for steps, sequences in self.stages:
            met, step = met + min(step, steps) * sequences, max(0, step - steps)
        return met

    def sequences(self, step: int) -> int:
        """Sequences of update number `step`."""
        return self.sequences_before(step + 1) - self.sequences_before(step)

    def tokens_before(self, step: int) -> int:
        """Tokens met before update number `step`."""
        return self.sequences_before(step) * self.context

    @property
    def largest_batch(self) -> int:
        """Sequences of the largest update."""
        return max(sequences for steps, sequences in self.stages if steps)

    @field_validator("batch_stages", mode="before")
    @classmethod
    def _listed_by_commas(cls, value: Any) -> Any:
        """An option has one text, because a default that is none says nothing of a list. Ones are no stages."""
        if not isinstance(value, str):
            return value  # of a file, whose hash stays
        shares = re.split(r"\s*,\s*|\s+", value.strip()) if value.strip() else []
        return () if all(_is_one(share) for share in shares) else shares

    @model_validator(mode="after")
    def _check_stages(self) -> Self:
        shares = self.batch_stages or ()
        if shares and abs(sum(shares) / len(shares) - 1) > ROUNDING:
            raise ValueError(
                f"train.batch_stages {_listed(shares)}: {sum(shares) / len(shares):g} on average; give 1 on average, so that the "
                "run meets as many tokens as with one size"
            )
        for share in shares:
            if abs(share * self.batch_size - round(share * self.batch_size)) > ROUNDING * self.batch_size:
                raise ValueError(
                    f"train.batch_stages {_listed(shares)}: {share:g} of train.batch_size {self.batch_size} is no whole number; "
                    "change one of them"
                )
        return self


@functools.lru_cache(maxsize=256)  # asked for at every line of every run
def _stages(steps: int, batch_size: int, shares: tuple[float, ...]) -> tuple[tuple[int, int], ...]:
    each, over = divmod(steps, len(shares))
    found = [(each, round(share * batch_size)) for share in shares]
    after = next((at for at, share in enumerate(shares) if share > 1), len(shares))
    return (*found[:after], (over, batch_size), *found[after:])


def _is_one(share: str) -> bool:
    try:
        return float(share) == 1
    except ValueError:
        return False


def _listed(shares: tuple[float, ...]) -> str:
    return ",".join(f"{share:g}" for share in shares)
