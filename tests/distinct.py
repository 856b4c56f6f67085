"""Methods that are different models: of those that differ in how they train alone, one is enough for what a model computes."""

from __future__ import annotations

from dataclasses import replace

from ngptlab import methods
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.structure import AsScheduled, LastWeights, NextToken, WholeContext

_SEAMS = {
    name: replace(
        methods.load(name),
        optimizer=AdamW(),
        weight_decay=0.0,
        warmup_steps=0,
        loss=NextToken(),
        context=WholeContext(),
        batch_stages=(),
        schedule=AsScheduled(),
        average=LastWeights(),
    )
    for name in ["gpt", "ngpt", *methods.names()]
}
MODELS = sorted(
    name for name, seams in _SEAMS.items() if name == next(n for n in _SEAMS if _SEAMS[n] == seams)
)
