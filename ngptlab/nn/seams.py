"""The seams in steps: which of them are changed together when one method is turned into another.

arXiv:2410.01131, section 2.6, lists seven steps from the usual Transformer to the normalized one; another optimizer is an
eighth, and each seam of structure one more. Two steps hold two seams, because either alone makes no sense: a scale of
attention scores fits the norm of the queries and keys that it was chosen for, and warm-up and weight decay are one statement
about what the optimizer no longer needs.
"""

from __future__ import annotations

from dataclasses import MISSING, fields

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
    """The steps from `a` to `b`, each with those of its seams that differ; a step that is equal in both is none."""
    steps = [tuple(seam for seam in step if getattr(a, seam) != getattr(b, seam)) for step in STEPS]
    return [step for step in steps if step]
