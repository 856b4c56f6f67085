"""What training has cost, and gaps at equal cost, against values computed by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ngptlab.stats.costs import Meter
from ngptlab.stats.gaps import at_equal
from ngptlab.stats.records import load_runs

MakeRun = Callable[..., Path]

TOKENS = 128  # of a step
FLOPS = 1680  # of a token: 6 (4 x 4 x 4 projections + 3 x 4 x 10 MLP + 8 x 4 head) + 6 x 4 x 16 scores

LOSSES = {0: 9.0, 10: 4.0, 20: 3.0, 30: 2.5, 40: 2.0}


def test_seconds_are_summed_as_recorded_and_averaged_over_seeds(make_run: MakeRun) -> None:
    slow_start = [5.0, *[1.0] * 39]
    arm = load_runs(
        [make_run("a", LOSSES, seconds=slow_start), make_run("a", LOSSES, seed=1, seconds=[2.0] * 40)]
    )
    meter = Meter(arm)
    assert meter.has_seconds
    assert meter.at(10) == {"step": 10, "tokens": 10 * TOKENS, "flops": 10 * TOKENS * FLOPS, "seconds": 17.0}
    assert meter.at(0) == {"step": 0, "tokens": 0, "flops": 0, "seconds": 0.0}


def test_tokens_of_growing_batches_are_those_that_were_met(make_run: MakeRun) -> None:
    """Of 8 sequences of 16 tokens: 4 in the first half of the steps, 12 in the second, as many in all."""
    plain, growing = (
        load_runs([make_run(name, LOSSES, train={"batch_stages": stages})])
        for name, stages in (("a", []), ("b", [0.5, 1.5]))
    )
    found = [Meter(growing).at(step)["tokens"] for step in (0, 10, 20, 30, 40)]
    assert found == [0, 640, 1280, 1280 + 1920, 40 * TOKENS] and Meter(plain).at(40)["tokens"] == 40 * TOKENS
    assert Meter(growing).at(10)["flops"] == 640 * FLOPS
    curve = at_equal(growing, plain, "tokens")
    # The baseline is measured after 1280 tokens first, and has 2.75 after 3200.
    assert curve is not None and curve["x"] == [1280, 3200, 5120]
    assert curve["gap_nats"] == pytest.approx([3.0 - 4.0, 2.5 - 2.75, 0.0])


def test_a_run_that_misses_a_step_time_has_no_seconds(make_run: MakeRun) -> None:
    arm = load_runs(
        [make_run("a", LOSSES, seconds=[1.0] * 40), make_run("a", LOSSES, seed=1, seconds=[1.0] * 39)]
    )
    assert not Meter(arm).has_seconds and Meter(arm).at(10)["seconds"] is None
    assert at_equal(arm, arm, "seconds") is None


def test_at_equal_tokens_the_gap_is_that_at_equal_steps(make_run: MakeRun) -> None:
    ours = {0: 1.0, 10: 3.9, 20: 3.1, 30: 2.5, 40: 1.8}
    curve = at_equal(load_runs([make_run("b", ours)]), load_runs([make_run("a", LOSSES)]), "tokens")
    assert curve is not None
    assert curve["x"] == [step * TOKENS for step in (10, 20, 30, 40)]  # untrained models have no gap
    assert curve["gap_nats"] == pytest.approx([-0.1, 0.1, 0.0, -0.2])
    assert curve["crossovers"] == pytest.approx([15 * TOKENS, 30 * TOKENS]) and curve["stderr"] is None


def test_at_equal_seconds_the_base_is_read_between_its_validations(make_run: MakeRun) -> None:
    """Steps of `b` take 1.5 times as long: after 10, 20, 30, 40 of them, `a` has made 15, 30, 45 and 60."""
    base = [
        make_run("a", {s: x + seed for s, x in LOSSES.items()}, seed=seed, seconds=[1.0] * 40)
        for seed in (0, 1)
    ]
    ours = [
        make_run("b", {s: x + seed * 1.2 for s, x in LOSSES.items()}, seed=seed, seconds=[1.5] * 40)
        for seed in (0, 1)
    ]
    curve = at_equal(load_runs(ours), load_runs(base), "seconds")
    assert curve is not None
    assert curve["x"] == pytest.approx([15.0, 30.0])  # nothing is said beyond the end of `a`
    # Of seed 0: 4.0 against 3.5, midway between 4 and 3; then 3.0 against 2.5. Seed 1 adds 0.2, so the mean 0.1.
    assert curve["gap_nats"] == pytest.approx([0.6, 0.6])
    assert curve["stderr"] == pytest.approx([0.1, 0.1]) and curve["crossovers"] == []


def test_no_gap_where_no_cost_is_shared(make_run: MakeRun) -> None:
    slow = make_run("b", LOSSES, seconds=[100.0] * 40)
    assert (
        at_equal(load_runs([slow]), load_runs([make_run("a", LOSSES, seconds=[1.0] * 40)]), "seconds") is None
    )
