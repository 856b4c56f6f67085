"""The table of methods: groups by seams, sources by docstrings. docs/methods.md has its numbers, and a test holds them to it."""

from __future__ import annotations

from dataclasses import fields

import pytest

from ngptlab import Parts, methods
from ngptlab.plan.method_table import GROUPS, group_of, rows, source
from ngptlab.recipes import recipe


def test_every_seam_has_one_group() -> None:
    assert sorted(seam for its in GROUPS.values() for seam in its) == sorted(
        seam.name for seam in fields(Parts)
    )


def test_one_group_is_a_method_s_place_and_three_make_a_combination() -> None:
    assert group_of(["embed", "norm"]) == "Normalization and the sphere"
    assert group_of(["optimizer", "weight_decay"]) == "Optimizers"
    assert group_of(["qk", "mlp", "optimizer"]) == "Combinations"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('"""X.\n\nSource: A, arXiv:2109.08668; a/b, record 5.\n"""', "arXiv:2109.08668"),
        ('"""X.\n\nSource: a/b, records 12 and 20, and c/d.\n"""', "a/b, records 12 and 20"),
        ('"""X.\n\nSource: github.com/a/b; c.\n"""', "github.com/a/b"),
        ('"""X.\n\nSource: mine.\n"""\n\nx = a/b\n', ""),
    ],
)
def test_the_source_is_what_is_named_first(text: str, found: str) -> None:
    assert source(text) == found


def test_every_method_of_the_package_names_one() -> None:
    assert [name for name in methods.names() if not source(methods.text(name))] == []


def test_costs_are_beside_the_baseline_s() -> None:
    demo = recipe("demo")
    gpt, tied, variant = rows(["gpt", "tied", "ngpt_muon"], demo.config, demo.methods)
    assert (gpt.more_params, gpt.more_flops, gpt.group) == (0, 0, "Baselines")
    dims = demo.config.model
    matrices = 2 * dims.vocab_size * dims.d_model + dims.num_layers * (
        4 * dims.d_model**2 + 3 * dims.d_model * dims.d_ff
    )
    assert tied.more_params == pytest.approx(-dims.vocab_size * dims.d_model / matrices)
    assert (variant.base, variant.seams, variant.group) == ("ngpt", ("optimizer",), "Variants of ngpt")
