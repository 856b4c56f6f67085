"""The seams in steps: which seams change together when one method is turned into another.

arXiv:2410.01131, section 2.6, lists seven steps from the usual Transformer to the normalized one; another optimizer is an
eighth, and each seam of structure one more. Two steps hold two seams, because either alone makes no sense: a scale of
attention scores fits the norm of the queries and keys that it was chosen for, and warm-up and weight decay are one statement
about what the optimizer no longer needs.
"""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields
from typing import Any

from ngptlab.nn.blocks import Parts

STEPS: tuple[tuple[str, ...], ...] = (
    ("norm",),
    ("after_step",),
    ("residual",),
    ("attn_scale", "qk"),
    ("gate",),
    ("logits",),
    ("weight_decay", "warmup_steps"),
    ("optimizer",),
    *((seam.name,) for seam in fields(Parts) if seam.default is not MISSING),
)
"""Every field of `Parts` once, in its order there."""


def differing_steps(a: Parts, b: Parts) -> list[tuple[str, ...]]:
    """The steps from `a` to `b`, each with those of its seams that differ. A step that is equal in both is left out."""
    steps = [tuple(seam for seam in step if getattr(a, seam) != getattr(b, seam)) for step in STEPS]
    return [step for step in steps if step]


ASKED = {"Part": ("dims",), "BlockPart": ("dims",), "ModulePart": ("dims", "parts", "layer")}
"""Arguments of `build`, by a seam's type in `Parts`. A `BlockPart` may have `build_at(dims, layer)` instead."""


def misfit(parts: Parts) -> str:
    """The first part that can't be built in its seam, and what to write instead; '' where all parts can be built."""
    for seam in fields(Parts):
        part, kind = getattr(parts, seam.name), str(seam.type)
        if said := _unbuildable(part, kind) if kind in ASKED else _no_number(part, kind):
            return f"{seam.name}{said}"
    return ""


def _no_number(value: Any, kind: str) -> str:
    if kind == "tuple[float, ...]":
        numbers = isinstance(value, tuple) and all(isinstance(each, int | float) for each in value)
        return "" if numbers else f" is {value!r}; give a tuple of numbers"
    return "" if isinstance(value, int | float) else f" is {type(value).__name__}; give a number"


def _unbuildable(part: Any, kind: str) -> str:
    by_layer = kind == "BlockPart" and hasattr(part, "build_at")
    method, asked = ("build_at", ("dims", "layer")) if by_layer else ("build", ASKED[kind])
    call = f"{method}({', '.join(asked)})"
    if isinstance(part, type):
        return f" is the class {part.__name__}; give a record of it, {part.__name__}()"
    build = getattr(part, method, None)
    if build is None:
        return f" is {type(part).__name__}; give a part: a frozen record with {call}"
    try:
        inspect.signature(build).bind(*asked)
    except TypeError as error:
        what = f"{type(part).__name__}.{method} does not take what it is called with ({error})"
        return f": {what}; write def {method}(self, {', '.join(asked)})"
    return ""
