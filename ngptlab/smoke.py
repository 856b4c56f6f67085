"""Any recipe, shrunk to 20 steps on made-up shards on the CPU: does all of it work here? Its losses mean nothing.

The method, the optimizer, the schedule's shape and, up to 200M parameters, the model stay what they are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ngptlab.config import Dims, RunConfig, ScheduleConfig, flatten
from ngptlab.data.shards.made_up import made_up_shards
from ngptlab.recipes import Recipe
from ngptlab.sizes import block_values, embedding_values

STEPS = 20
BATCH_SIZE = 2
CONTEXT = 64
MAX_PARAMS = 200_000_000
"""Kept whole up to here: 16 bytes each, of weights, gradients and moments, are 3.2 GB."""
FEW_LAYERS = 2


def smoke(recipe: Recipe) -> Recipe:
    """The recipe as a smoke test; its name ends in -smoke, so that nothing takes its runs for those of the recipe.

    Raises:
        DataError: the made-up shards can't be written, or a tokenizer's file can't be read.
    """
    config = recipe.config
    folder = made_up_shards(config.data.tokenizer, config.model.vocab_size)
    context = min(config.train.context, CONTEXT)
    changes: dict[str, Any] = {
        "name": f"{config.name[:58]}-smoke",
        "model": shrink(config.model),
        "data": config.data.model_copy(update={"source": f"shards:{folder}", "end_of_text": ""}),
        "schedule": _shrink_schedule(config.schedule),
        "train": config.train.model_copy(
            update={"steps": STEPS, "batch_size": BATCH_SIZE, "context": context}
        ),
        "eval": config.eval.model_copy(
            update={
                "every": STEPS // 2,
                "val_tokens": 8 * context,
                "length_factor": min(2, config.eval.length_factor),
                "length_documents": min(2, config.eval.length_documents),
            }
        ),
        "checkpoint": config.checkpoint.model_copy(update={"every": STEPS}),
        "device": config.device.model_copy(update={"kind": "cpu", "micro_batch": 0, "compile": "off"}),
    }
    warmup_steps = {method: min(1, steps) for method, steps in recipe.warmup_steps.items()}
    return replace(recipe, config=config.model_copy(update=changes), warmup_steps=warmup_steps)


def changed(before: RunConfig, after: RunConfig) -> list[str]:
    """What shrinking changed, as 'train.steps 4768 -> 20', the model first where it was changed."""
    old, new = dict(flatten(before)), dict(flatten(after))
    fields = [
        path for path in old if old[path] != new[path] and path.split(".")[0] not in ("name", "checkpoint")
    ]
    fields.sort(key=lambda path: not path.startswith("model."))
    return [f"{path} {old[path]} -> {new[path]}" for path in fields]


def shrink(dims: Dims) -> Dims:
    """The model as it is, or of two layers and as many heads as leave it 200M parameters at most; one head if none do."""
    if _values(dims) <= MAX_PARAMS:
        return dims
    heads = dims.num_heads
    while _values(smaller := _narrowed(dims, heads)) > MAX_PARAMS and heads > 1:
        heads //= 2
    return smaller


def _narrowed(dims: Dims, heads: int) -> Dims:
    width = heads * dims.d_head
    return Dims(
        vocab_size=dims.vocab_size,
        num_layers=min(dims.num_layers, FEW_LAYERS),
        num_heads=heads,
        d_model=width,
        d_ff=dims.d_ff * width // dims.d_model,
    )


def _values(dims: Dims) -> int:
    return block_values(dims) + embedding_values(dims)


def _shrink_schedule(schedule: ScheduleConfig) -> ScheduleConfig:
    """A warm-up that the recipe sets is one step; what it leaves to the method is short by itself."""
    return schedule.model_copy(
        update={"warmup_steps": schedule.warmup_steps and min(1, schedule.warmup_steps)}
    )
