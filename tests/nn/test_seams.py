"""The steps are a division of the seam table: what a ladder can change is all there is, once."""

from __future__ import annotations

from dataclasses import fields, replace

from ngptlab import Parts, methods
from ngptlab.nn.seams import STEPS, differing_steps


def test_the_steps_hold_every_seam_once_in_the_order_of_the_table() -> None:
    assert [seam for step in STEPS for seam in step] == [field.name for field in fields(Parts)]


def test_differing_steps_hold_only_what_differs() -> None:
    own, other = methods.load("gpt"), methods.load("ngpt")
    # The paper's steps: not the optimizer, nor a seam of structure.
    assert differing_steps(own, other) == list(STEPS[: STEPS.index(("optimizer",))])
    assert differing_steps(own, methods.load("muon")) == [("optimizer",)]
    assert differing_steps(own, own) == []
    assert differing_steps(own, methods.load("qk_norm")) == [("qk",)]
    assert differing_steps(own, replace(own, weight_decay=0.2, gate=other.gate)) == [
        ("gate",),
        ("weight_decay",),
    ]
