"""Each rule on made evidence: holds, does not hold, and every way of not being tested."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats

from ngptlab.claims import rules
from ngptlab.claims.claim import Claim, Needs, Rule, judge
from ngptlab.claims.evidence import (
    Accuracy,
    Conditions,
    Estimate,
    Evidence,
    Factor,
    Grid,
    Positions,
    Savings,
    Scales,
    Setting,
    Step,
    StepTime,
    Turn,
)
from ngptlab.claims.standard import decide, estimate, pairs, seeds_needed
from ngptlab.stats.cells import CellRow
from ngptlab.stats.doubts import Doubt, Kind
from ngptlab.stats.speedup import Bounded

HERE = Setting(origin="made", params=1000, tokens=5000, context=100, data="text")
PAIR = {"method": "new", "baseline": "old"}
HOLDS, FAILS, OPEN = "holds", "does not hold", "not yet tested"
Arms = Callable[..., Evidence]


def doubt(text: str, *arms: str, kind: Kind = "tuning") -> Doubt:
    return Doubt(kind=kind, arms=arms or ("new",), text=text)


def verdict(rule: Rule, evidence: Evidence) -> tuple[str, str]:
    found = rule.judge(evidence)
    return found.verdict, found.reason


# --- the standard ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([-0.10, -0.11, -0.09], HOLDS),
        ([0.10, 0.11, 0.09], FAILS),
        ([-0.10, -0.30, 0.10], OPEN),
        ([-0.10, -0.11], OPEN),
        ([-0.10], OPEN),
    ],
)
def test_the_whole_interval_decides(values: list[float], expected: str) -> None:
    found = decide(estimate(values), -math.inf, 0.0)
    assert found[0] == expected and bool(found[1]) == (expected == OPEN)


def test_the_interval_is_students() -> None:
    """Three seeds: 4.303 standard errors. Of -1, -2, -3 the interval is -2 ± 2.48, across zero; normal would be ± 1.13."""
    found = estimate([-1.0, -2.0, -3.0])
    assert found.half == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert decide(found, -math.inf, 0.0)[1].startswith("the 95% interval reaches a limit")
    assert decide(found, -5.0, 0.5)[0] == HOLDS and decide(found, -5.0, 0.45)[0] == OPEN


def test_a_doubt_and_too_few_seeds_are_both_said() -> None:
    reason = decide(estimate([-1.0, -1.1]), -math.inf, 0.0, ["on the edge", "on the edge"])[1]
    assert reason == "2 seeds, three are needed; on the edge"


# --- losses ---------------------------------------------------------------------------------------------------------------


def test_lower_loss(arms: Arms) -> None:
    rule = rules.LowerLoss(**PAIR)
    assert verdict(rule, arms([1.0, 1.1, 1.2], [1.1, 1.21, 1.29])) == (HOLDS, "")
    assert verdict(rule, arms([1.2, 1.3, 1.4], [1.1, 1.21, 1.29])) == (FAILS, "")
    assert verdict(rule, arms([1.0, 1.4, 1.2], [1.1, 1.2, 1.3]))[0] == OPEN
    assert verdict(rule, arms([1.0], [1.1])) == (OPEN, "one seed")
    assert verdict(rule, Evidence())[1].startswith("nothing recorded")
    doubtful = arms([1.0, 1.1, 1.2], [1.1, 1.21, 1.29], doubts=(doubt("Lowest of the grid."),))
    assert verdict(rule, doubtful) == (OPEN, "Lowest of the grid")


@pytest.mark.parametrize(
    ("found", "forbids"),
    [
        (doubt("x", "new"), True),
        (doubt("x", "old", "new", kind="grids"), True),
        (Doubt(kind="data", text="x"), True),
        (doubt("x", "third"), False),
        (doubt("x", "old", "third", kind="settings"), False),
        (doubt("x", "new", kind="seeds"), False),
        (Doubt(kind="machine", text="x"), False),
    ],
)
def test_a_doubt_forbids_by_its_kind_and_its_arms(arms: Arms, found: Doubt, forbids: bool) -> None:
    evidence = arms([1.0, 1.1, 1.2], [1.1, 1.21, 1.29], doubts=(found,))
    assert verdict(rules.LowerLoss(**PAIR), evidence)[0] == (OPEN if forbids else HOLDS)


def test_losses_are_paired_by_seed(arms: Arms) -> None:
    """Seeds that move both arms by far more than their gap leave the gap as it is."""
    found = rules.LowerLoss(**PAIR).judge(arms([1.0, 2.0, 3.0], [1.01, 2.011, 3.009]))
    assert found.verdict == HOLDS and found.seeds == 3 and found.hashes == ("old0000", "new0000")


def test_only_seeds_of_both_arms_count() -> None:
    assert pairs({"0": 9.0, "2": 3.0, "1": 2.0}, {"1": 1.5, "2": 1.0}) == [0.5, 2.0]


def test_of_several_settings_the_largest_with_three_seeds_is_judged(arms: Arms) -> None:
    evidence = arms([1.2, 1.3, 1.4], [1.1, 1.21, 1.29])
    evidence.add(arms([1.0, 1.1, 1.2], [1.1, 1.21, 1.29], tokens=9000))
    evidence.add(arms([9.0], [1.0], tokens=90_000))
    found = rules.LowerLoss(**PAIR).judge(evidence)
    assert found.settings[0].tokens == 9000 and "the same sign in 1 of 3 settings" in found.measured
    assert found.verdict == OPEN and found.reason.startswith(
        "settings disagree: holds here, does not hold at"
    )
    assert "5,000 tokens" in found.reason


def test_arms_without_doubt_are_judged_before_larger_ones_with_it(arms: Arms) -> None:
    """Whether an arm was tuned is known before its losses are; the doubtful setting neither decides nor opposes."""
    evidence = arms([1.2, 1.3, 1.4], [1.1, 1.21, 1.29])
    evidence.add(
        arms([1.0, 1.1, 1.2], [1.1, 1.21, 1.29], tokens=9000, doubts=(doubt("x", "new", kind="tuning"),))
    )
    found = rules.LowerLoss(**PAIR).judge(evidence)
    assert found.settings[0].tokens == 5000 and found.verdict == FAILS
    assert "the same sign in 1 of 2 settings" in found.measured


def test_embeddings_do_not_make_a_setting_the_larger_one(arms: Arms) -> None:
    """Of 10,000 parameters 9,500 are the vocabulary's: 500 work in every step, of the other model's 1,000 all."""
    evidence = arms([1.0, 1.1, 1.2], [1.1, 1.21, 1.29])
    evidence.add(
        arms([1.2, 1.0, 1.4], [1.1, 1.21, 1.29], params=10_000, vocabulary_params=9_500, tokens=6000)
    )
    found = rules.LowerLoss(**PAIR).judge(evidence)
    assert found.settings[0].params == 1000 and found.verdict == HOLDS


def test_settings_that_decide_nothing_oppose_nothing(arms: Arms) -> None:
    evidence = arms([1.0, 1.1, 1.2], [1.1, 1.21, 1.29], tokens=9000)
    evidence.add(arms([1.2, 1.0, 1.4], [1.1, 1.21, 1.29]))
    evidence.add(arms([9.0], [1.0], tokens=90_000))
    assert verdict(rules.LowerLoss(**PAIR), evidence)[0] == HOLDS


@pytest.mark.parametrize("seeds", [3, 5])
def test_two_identical_arms_never_decide_that_one_is_ahead(arms: Arms, seeds: int) -> None:
    """Every rule that compares: the same numbers for both arms, so every difference is exactly zero."""
    same = [1.0 + 0.01 * seed for seed in range(seeds)]
    losses = arms(same, same)
    losses.turns = [turn((0.0, 0.0), (0.0, 0.0), pairs=seeds)]
    losses.savings = savings(*[measured(*[1.0] * seeds)] * 3).savings
    losses.positions = reading({"new": [1.0] * seeds, "old": [1.0] * seeds}).positions
    losses.conditions = [
        Conditions(**of(method, seed), medians={"W_q": 5.0})
        for method in ("new", "old")
        for seed in range(seeds)
    ]
    losses.accuracies = [
        Accuracy(**of(method, seed), tasks=("arc",), average=0.5)
        for method in ("new", "old")
        for seed in range(seeds)
    ]
    losses.grids = grid({("new", p, w): -8.0 for p in ("sp", "mup") for w in (32, 64)}, seeds=seeds).grids
    for rule in (
        rules.LowerLoss(**PAIR),
        rules.Costs(**PAIR, low=0.0, high=math.inf),
        rules.TurnsInCooldown(**PAIR, frac=0.3, shape="linear"),
        rules.SavesTokens(**PAIR, low=1.0),
        rules.FactorGrows(**PAIR),
        rules.RisesLess(**PAIR, contexts=8),
        rules.BetterConditioned(**PAIR, places=("W_q",)),
        rules.BetterAtTasks(**PAIR, tasks=("arc",)),
        rules.HigherUnderRules(method="new", param="mup", baseline="sp"),
    ):
        found = rule.judge(losses)
        assert found.measured and found.verdict == OPEN, rule


@pytest.mark.parametrize(("values", "limit"), [([-0.1, -0.3, 0.1], 0.0), ([-1.0, -2.0, -3.0], 0.0)])
def test_the_seeds_that_would_decide_are_the_fewest_that_do(values: list[float], limit: float) -> None:
    found = estimate(values)
    needed = seeds_needed(found, -math.inf, limit)
    assert needed is not None and decide(found, -math.inf, limit) == (
        OPEN,
        "the 95% interval reaches a limit",
    )
    scatter = float(np.std(values, ddof=1))

    def half(n: int) -> float:
        return float(scipy.stats.t.ppf(0.975, n - 1)) * scatter / math.sqrt(n)

    assert half(needed) < abs(found.mean - limit) <= half(needed - 1)
    assert seeds_needed(estimate([0.0, 0.0, 0.0]), -math.inf, 0.0) is None, "no scatter says nothing"
    assert seeds_needed(estimate([1e-6, -1e-6, 2e-9]), -math.inf, 0.0) is None, (
        "more than anybody would train"
    )


def test_arms_of_different_settings_are_no_pair(arms: Arms) -> None:
    evidence = arms([1.0, 1.1, 1.2], [], tokens=1)
    evidence.add(arms([], [1.1, 1.21, 1.29], tokens=2))
    assert verdict(rules.LowerLoss(**PAIR), evidence)[1].startswith("nothing recorded")


def test_costs(arms: Arms) -> None:
    rule = rules.Costs(**PAIR, low=2.0, high=4.0)
    assert verdict(rule, arms([1.03, 2.062, 3.087], [1.0, 2.0, 3.0]))[0] == HOLDS
    assert verdict(rule, arms([1.001, 2.002, 3.004], [1.0, 2.0, 3.0]))[0] == FAILS
    assert verdict(rule, arms([1.03, 2.1, 3.0], [1.0, 2.0, 3.0]))[0] == OPEN
    assert verdict(rule, Evidence())[0] == OPEN


def turn(before: tuple[float, float], after: tuple[float, float], pairs: int = 3, **of: Any) -> Turn:
    ends = [Estimate(mean=mean, half=half, pairs=pairs) for mean, half in (before, after)]
    fields = {"frac": 0.3, "shape": "linear", "setting": HERE, "hashes": ("aa",), **PAIR, **of}
    return Turn(before=ends[0], after=ends[1], **fields)


def test_turns_in_the_cooldown() -> None:
    rule = rules.TurnsInCooldown(**PAIR, frac=0.3, shape="linear")

    def of(*turns: Turn) -> str:
        return verdict(rule, Evidence(turns=list(turns)))[0]

    assert of(turn((0.1, 0.02), (-0.1, 0.02))) == HOLDS
    assert of(turn((0.1, 0.02), (0.1, 0.02))) == FAILS, "behind at the end"
    assert of(turn((-0.1, 0.02), (-0.2, 0.02))) == FAILS, "ahead before"
    assert of(turn((0.1, 0.02), (-0.1, 0.2))) == OPEN
    assert of(turn((0.1, 0.02), (-0.1, 0.02), pairs=2)) == OPEN
    assert of() == OPEN
    near, far = turn((0.1, 0.02), (-0.1, 0.02)), turn((0.1, 0.02), (0.1, 0.02), frac=0.05)
    assert of(far, near) == HOLDS and of(near, far) == HOLDS, "the share nearest to the claim's is judged"


def test_a_step_that_is_not_needed() -> None:
    rule = rules.StepNotNeeded(base="old", target="new", seams=("a", "b"), margin=0.01)

    def of(
        mean: float, half: float, *, mode: str = "leave-one-out", tuned: bool = True, pairs: int = 3
    ) -> str:
        adds = Estimate(mean=mean, half=half, pairs=pairs)
        step = Step(
            setting=HERE,
            base="old",
            target="new",
            mode=mode,
            seams=("b", "a"),
            adds=adds,
            tuned=tuned,
            hashes=(),
        )
        return verdict(rule, Evidence(steps=[step]))[0]

    assert of(0.02, 0.01) == HOLDS and of(-0.005, 0.004) == HOLDS, "taken back, it gains less than the margin"
    assert of(-0.05, 0.01) == FAILS and of(0.0, 0.02) == OPEN
    assert of(-0.02, 0.005, mode="cumulative") == HOLDS and of(0.05, 0.01, mode="cumulative") == FAILS
    assert of(0.02, 0.01, tuned=False) == OPEN, "another rate might serve the mixture better"
    assert of(-0.05, 0.01, tuned=False) == FAILS, "even so it is better"
    assert of(0.02, 0.01, pairs=2) == OPEN and verdict(rule, Evidence())[0] == OPEN


# --- tokens saved ---------------------------------------------------------------------------------------------------------


def measured(*values: float) -> tuple[Bounded, ...]:
    return tuple({"value": value, "bound": "measured"} for value in values)


def savings(*factors: Sequence[Bounded], doubts: tuple[Doubt, ...] = ()) -> Evidence:
    points = tuple(Factor(tokens=1000 * 2**i, by_seed=tuple(each)) for i, each in enumerate(factors))
    return Evidence(
        savings=[Savings(setting=HERE, how="made", factors=points, hashes=("aa",), doubts=doubts, **PAIR)]
    )


def test_saves_tokens() -> None:
    rule = rules.SavesTokens(**PAIR, low=1.5, high=2.0)
    assert verdict(rule, savings(measured(1.7, 1.72, 1.68)))[0] == HOLDS
    assert verdict(rule, savings(measured(0.9, 0.92, 0.88)))[0] == FAILS
    assert verdict(rule, savings(measured(3.0, 3.1, 2.9)))[0] == FAILS
    assert verdict(rule, savings(measured(1.2, 1.7, 1.9)))[0] == OPEN
    assert verdict(rule, savings(measured(1.7, 1.72)))[0] == OPEN
    assert verdict(rule, savings(()))[1] == "the factors of single seeds are not recorded"
    assert verdict(rule, savings(measured(1.7, 1.72, 1.68), doubts=(doubt("edge"),))) == (OPEN, "edge")
    assert verdict(rule, Evidence())[1].startswith("nothing recorded")


def test_the_factor_is_that_of_the_greatest_length_measured() -> None:
    beyond: Bounded = {"value": 1.0, "bound": "at least"}
    evidence = savings(measured(0.9, 0.92, 0.88), measured(1.7, 1.72, 1.68), [beyond] * 3)
    assert verdict(rules.SavesTokens(**PAIR, low=1.5), evidence)[0] == OPEN
    assert verdict(rules.SavesTokens(**PAIR, low=1.5), savings(*_factors(evidence)[:2]))[0] == HOLDS


def _factors(evidence: Evidence) -> list[tuple[Bounded, ...]]:
    return [factor.by_seed for factor in evidence.savings[0].factors]


def test_a_length_is_not_passed_over_because_its_factor_is_great() -> None:
    """The factor grows with the length, seeds a little apart; the baseline was trained to 1.5 times the last length.

    The true factor at the last length is 1.63. Where it lies beyond what was measured, the one before it, 1.38, is another
    length's, and a claim of at most 1.5 must not hold by it; nor may a growth be judged from the lengths that are left.
    """
    cap: Bounded = {"value": 1.5, "bound": "at least"}
    lengths = [measured(f * 0.99, f, f * 1.01) for f in (1.0, 1.18, 1.38)]
    evidence = savings(*lengths, [cap] * 3)
    at_most = rules.SavesTokens(**PAIR, low=1.1, high=1.5).judge(evidence)
    assert at_most.verdict == OPEN and "at 8,000 tokens" in at_most.measured
    assert rules.SavesTokens(**PAIR, low=1.4).judge(evidence).verdict == HOLDS, "at least 1.5 is above 1.4"
    grows = rules.FactorGrows(**PAIR)
    assert verdict(grows, evidence) == (OPEN, "the factor lies beyond measured losses at 8,000 tokens")
    assert verdict(grows, savings(*lengths))[0] == HOLDS


@pytest.mark.parametrize(
    ("bound", "value", "expected"),
    [("at least", 2.0, HOLDS), ("at least", 1.0, OPEN), ("at most", 1.0, FAILS), ("at most", 2.0, OPEN)],
)
def test_bounds_decide_only_what_they_can(bound: Any, value: float, expected: str) -> None:
    """All seeds have the same bound: the baseline's greatest or smallest length."""
    limits: list[Bounded] = [{"value": value, "bound": bound}] * 3
    assert verdict(rules.SavesTokens(**PAIR, low=1.5), savings(limits))[0] == expected
    assert verdict(rules.SavesTokens(**PAIR, low=1.5), savings(limits[:2]))[0] == OPEN, "two seeds"


def test_the_factor_grows() -> None:
    rule = rules.FactorGrows(**PAIR)
    rising = [measured(f, f * 1.01, f * 0.99) for f in (1.0, 1.5, 2.2)]
    assert verdict(rule, savings(*rising))[0] == HOLDS
    assert verdict(rule, savings(*rising[::-1]))[0] == FAILS
    assert verdict(rule, savings(measured(1, 1, 1), measured(2, 1, 0.5), measured(1, 1.2, 0.9)))[0] == OPEN
    assert "three are needed" in verdict(rule, savings(*rising[:2]))[1]
    assert "three are needed" in verdict(rule, savings(*[each[:2] for each in rising]))[1]
    assert "at 2 lengths" in verdict(rule, savings(*rising[:2], rising[2][:1]))[1], (
        "a seed is not recorded there"
    )
    assert verdict(rule, savings((), (), ()))[1] == "the factors of single seeds are not recorded"
    assert verdict(rule, Evidence())[0] == OPEN


# --- measurements of models -----------------------------------------------------------------------------------------------


def of(method: str, seed: int | str) -> dict[str, Any]:
    return {
        "setting": HERE,
        "method": method,
        "seed": str(seed),
        "hash": f"{method}{seed}",
        "group": ("made",),
    }


def reading(rises: dict[str, list[float]], *, last: float = 0.0) -> Evidence:
    """Loss 2 in the context of 100, up by `rises` from 400 on, and by `last` more from 800 on."""
    found = []
    for method, values in rises.items():
        for seed, rise in enumerate(values):
            ends = (2.0, 2.0 + rise / 3, 2.0 + rise / 2, 2.0 + rise, 2.0 + rise + last)
            edges = ((0, 100), (100, 200), (200, 400), (400, 800), (800, 1600))
            bins = tuple((a, b, loss) for (a, b), loss in zip(edges, ends, strict=True))
            found.append(Positions(**of(method, seed), bins=bins))
    return Evidence(positions=found)


def test_rises_less() -> None:
    rule = rules.RisesLess(**PAIR, contexts=8)
    assert verdict(rule, reading({"new": [0.1, 0.11, 0.12], "old": [1.0, 1.05, 1.1]}))[0] == HOLDS
    assert verdict(rule, reading({"old": [0.1, 0.11, 0.12], "new": [1.0, 1.05, 1.1]}))[0] == FAILS
    assert verdict(rule, reading({"new": [0.1, 2.0, 0.5], "old": [1.0, 1.0, 1.0]}))[0] == OPEN
    assert verdict(rule, reading({"new": [0.1], "old": [1.0]})) == (OPEN, "one seed")
    assert verdict(rule, reading({"new": [0.1, 0.1, 0.1]}))[1].startswith("nothing recorded")
    far = rules.RisesLess(**PAIR, contexts=32)
    assert verdict(far, reading({"new": [0.1] * 3, "old": [1.0] * 3}))[1].startswith("nothing recorded")


def test_stays_flat_and_levels_off() -> None:
    flat = rules.StaysFlat(method="new", contexts=8, most=0.1)
    assert verdict(flat, reading({"new": [0.05, 0.051, 0.049]}))[0] == HOLDS
    assert verdict(flat, reading({"new": [0.5, 0.51, 0.49]}))[0] == FAILS
    assert verdict(flat, reading({"new": [0.05, 0.15, 0.1]}))[0] == OPEN
    off = rules.LevelsOff(method="new", contexts=8, most=0.1)
    assert verdict(off, reading({"new": [1.0, 1.1, 1.2]}, last=0.05))[0] == HOLDS, (
        "high, and no longer rising"
    )
    assert verdict(off, reading({"new": [1.0, 1.1, 1.2]}, last=0.5))[0] == FAILS
    assert verdict(flat, Evidence())[0] == verdict(off, Evidence())[0] == OPEN


def test_text_that_grows_easier_says_nothing_of_length() -> None:
    """Where every model's loss falls beyond its context, the text's own beginning was the hard part.

    The text is chosen before that is looked at: of two, the one that the larger models read, though the other would tell.
    """
    falls = reading({"new": [-1.0, -1.1, -1.2], "old": [-0.5, -0.6, -0.7]}, last=-0.1)
    told = reading({"new": [0.05, 0.051, 0.049], "old": [1.0, 1.1, 1.2]})
    larger = [replace(r, group=("other",), setting=replace(HERE, params=10**9)) for r in falls.positions]
    both = Evidence(positions=[*larger, *told.positions])
    for rule in (
        rules.RisesLess(**PAIR, contexts=8),
        rules.StaysFlat(method="new", contexts=8, most=0.1),
        rules.LevelsOff(method="old", contexts=4, most=0.1),
    ):
        assert verdict(rule, told)[0] != OPEN
        for evidence in (falls, both):
            assert "every model's loss falls" in verdict(rule, evidence)[1]
    assert (
        verdict(rules.RisesLess(**PAIR, contexts=8), reading({"new": [-0.1] * 3, "old": [1.0] * 3}))[0]
        == HOLDS
    )


def test_models_whose_seeds_are_not_recorded_decide_nothing() -> None:
    found = [
        Positions(**of(method, ""), bins=((0, 100, 2.0), (400, 800, loss)))
        for method, loss in (("new", 2), ("old", 9))
    ]
    assert (
        "seeds and hashes are not recorded"
        in verdict(rules.RisesLess(**PAIR, contexts=8), Evidence(positions=found))[1]
    )


def test_models_in_doubt_decide_nothing() -> None:
    rule = rules.ScaleBetween(method="new", place="alpha", low=0.2, high=0.25)
    sure = learned((0.2, 0.24), (0.21, 0.24), (0.2, 0.25))
    assert verdict(rule, sure)[0] == HOLDS
    doubtful = Evidence(scales=[replace(each, doubts=(doubt("not tuned"),)) for each in sure.scales])
    assert verdict(rule, doubtful) == (OPEN, "not tuned")
    twice = Evidence(scales=[*sure.scales, replace(sure.scales[0], hash="other")])
    assert verdict(rule, twice) == (OPEN, "Several models of new have one seed")
    assert verdict(rule, Evidence(scales=[replace(each, hash="") for each in sure.scales]))[0] == OPEN


def test_better_conditioned() -> None:
    rule = rules.BetterConditioned(**PAIR, places=("W_q", "W_k"))

    def evidence(q: list[float], k: list[float]) -> Evidence:
        both = {"old": [{"W_q": 10.0 + s, "W_k": 20.0 + s} for s in range(len(q))]}
        both["new"] = [{"W_q": a, "W_k": b} for a, b in zip(q, k, strict=True)]
        return Evidence(
            conditions=[
                Conditions(**of(m, s), medians=x) for m, each in both.items() for s, x in enumerate(each)
            ]
        )

    assert verdict(rule, evidence([2.0, 2.1, 2.2], [3.0, 3.1, 3.2]))[0] == HOLDS
    assert verdict(rule, evidence([2.0, 2.1, 2.2], [40.0, 41.0, 42.0]))[0] == FAILS, "one kind is enough"
    assert verdict(rule, evidence([2.0, 2.1, 2.2], [3.0, 90.0, 20.0]))[0] == OPEN
    assert verdict(rule, evidence([2.0, 2.1], [3.0, 3.1]))[0] == OPEN
    assert verdict(rule, Evidence())[0] == OPEN


def learned(*models: tuple[float, ...]) -> Evidence:
    return Evidence(scales=[Scales(**of("new", s), means={"alpha": means}) for s, means in enumerate(models)])


def test_scales() -> None:
    between = rules.ScaleBetween(method="new", place="alpha", low=0.2, high=0.25)
    assert verdict(between, learned((0.2, 0.24), (0.21, 0.24), (0.2, 0.25)))[0] == HOLDS
    assert verdict(between, learned((0.5, 0.6), (0.51, 0.6), (0.5, 0.61)))[0] == FAILS
    assert verdict(between, learned((0.1, 0.3), (0.3, 0.3), (0.2, 0.2)))[0] == OPEN
    assert verdict(between, learned((0.2, 0.24))) == (OPEN, "one seed")
    squared = replace(between, squared=True)
    assert verdict(squared, learned((0.2, 0.24)))[1].startswith("nothing recorded"), (
        "the spread is not recorded"
    )
    both_signs = [
        Scales(**of("new", s), means={"alpha": (0.0,)}, mean_squares={"alpha": (0.22**2 + 0.001 * s,)})
        for s in range(3)
    ]
    assert verdict(squared, Evidence(scales=both_signs))[0] == HOLDS, (
        "half of the channels have the other sign"
    )
    assert verdict(between, Evidence(scales=both_signs))[0] == FAILS
    falls = rules.FallsWithDepth(method="new", places=("alpha",))
    assert verdict(falls, learned((0.5, 0.3, 0.1), (0.5, 0.31, 0.1), (0.5, 0.3, 0.12)))[0] == HOLDS
    assert verdict(falls, learned((0.1, 0.3, 0.5), (0.1, 0.31, 0.5), (0.12, 0.3, 0.5)))[0] == FAILS
    assert verdict(falls, learned((0.5, 0.1), (0.1, 0.5), (0.3, 0.2)))[0] == OPEN
    assert verdict(falls, learned((0.5,), (0.5,), (0.5,)))[1].startswith("nothing recorded")


def test_better_at_tasks() -> None:
    rule = rules.BetterAtTasks(**PAIR, tasks=("arc",))

    def of_tasks(new: list[float], old: list[float]) -> str:
        found = [
            Accuracy(**of(method, seed), tasks=("arc",), average=value)
            for method, values in (("new", new), ("old", old))
            for seed, value in enumerate(values)
        ]
        return verdict(rule, Evidence(accuracies=found))[0]

    assert of_tasks([0.5, 0.51, 0.52], [0.4, 0.42, 0.42]) == HOLDS
    assert of_tasks([0.4, 0.42, 0.42], [0.5, 0.51, 0.52]) == FAILS
    assert of_tasks([0.4, 0.6, 0.5], [0.5, 0.5, 0.5]) == of_tasks([0.5], [0.4]) == of_tasks([], []) == OPEN
    rule = rules.BetterAtTasks(**PAIR, tasks=("arc", "lambada"))
    assert of_tasks([0.5, 0.51, 0.52], [0.4, 0.42, 0.42]) == OPEN, "one of two tasks is another average"


# --- sweeps and times -----------------------------------------------------------------------------------------------------


def grid(
    best: dict[tuple[str, str, int], float], *, seeds: int = 3, floor: dict[str, float] | None = None
) -> Evidence:
    """A parabola around each best log2 rate over 2^-12 to 2^-3, by (method, rules, width); seeds shift it by 0.02."""
    cells = [
        CellRow(
            method=method,
            param=param,
            width=width,
            lr=2.0**x,
            seed=seed,
            hash=f"{width}",
            status="done",
            final_loss_nats=(floor or {}).get(param, 1.0) + 0.001 * seed + 0.1 * (x - at - 0.02 * seed) ** 2,
        )
        for (method, param, width), at in best.items()
        for x in range(-12, -2)
        for seed in range(seeds)
    ]
    return Evidence(grids=[Grid(setting=HERE, cells=tuple(cells))])


def test_the_rate_moves() -> None:
    stays = rules.RateMoves(method="new", param="sp", low=-0.25, high=0.25)
    level = {("new", "sp", width): -8.0 for width in (32, 64, 128)}
    moving = {("new", "sp", width): at for width, at in ((32, -7.0), (64, -8.0), (128, -9.0))}
    assert verdict(stays, grid(level))[0] == HOLDS and verdict(stays, grid(moving))[0] == FAILS
    assert verdict(rules.RateMoves(method="new", param="sp", low=-1.5, high=-0.5), grid(moving))[0] == HOLDS
    assert verdict(stays, grid(level, seeds=2))[1].startswith("2 seeds")
    edge = level | {("new", "sp", 128): -2.0}
    assert "on the edge" in verdict(stays, grid(edge))[1]
    assert "three are needed" in verdict(stays, grid(dict(list(level.items())[:2])))[1]
    assert verdict(rules.RateMoves(method="new", param="mup", low=0, high=0), grid(level))[1].startswith(
        "nothing recorded"
    )


def test_an_unfinished_cell_forbids_a_verdict() -> None:
    evidence = grid({("new", "sp", width): -8.0 for width in (32, 64, 128)})
    (sweep,) = evidence.grids
    evidence.grids[:] = [Grid(setting=HERE, cells=sweep.cells[:-1])]
    rule = rules.RateMoves(method="new", param="sp", low=-0.25, high=0.25)
    assert "not every cell at width 128" in verdict(rule, evidence)[1]


def test_a_seed_whose_own_optimum_is_on_the_edge_forbids_a_verdict() -> None:
    """The mean curve's may be inside."""
    rule = rules.SameRate(**PAIR, param="sp", within=9.0)
    evidence = grid({("new", "sp", 64): -4.6, ("old", "sp", 64): -8.0})
    (sweep,) = evidence.grids
    assert verdict(rule, evidence)[0] == HOLDS
    cells = [
        replace(cell, final_loss_nats=0.99)
        if (cell.method, cell.seed, cell.lr) == ("new", 0, 2.0**-3)
        else cell
        for cell in sweep.cells
    ]
    evidence.grids[:] = [Grid(setting=HERE, cells=tuple(cells))]
    assert verdict(rule, evidence) == (OPEN, "the optimum at width 64 is on the edge of the grid")


def test_the_same_rate() -> None:
    rule = rules.SameRate(**PAIR, param="sp", within=1.0)

    def at(new: float, old: float, seeds: int = 3) -> tuple[str, str]:
        return verdict(rule, grid({("new", "sp", 64): new, ("old", "sp", 64): old}, seeds=seeds))

    assert at(-8.0, -8.5)[0] == HOLDS and at(-6.0, -9.0)[0] == FAILS
    assert at(-8.0, -8.5, seeds=1) == (OPEN, "one seed") and "edge" in at(-2.0, -8.0)[1]
    assert verdict(rule, Evidence())[1].startswith("nothing recorded")


def test_higher_under_rules() -> None:
    rule = rules.HigherUnderRules(method="new", param="mup", baseline="sp")
    best = {("new", param, 64): -8.0 for param in ("sp", "mup")}
    assert verdict(rule, grid(best, floor={"mup": 1.2}))[0] == HOLDS
    assert verdict(rule, grid(best, floor={"mup": 0.8}))[0] == FAILS
    assert verdict(rule, grid(best, floor={"mup": 1.2}, seeds=2))[0] == OPEN
    assert verdict(rule, grid({("new", "sp", 64): -8.0}))[1].startswith("nothing recorded")


def test_a_step_takes() -> None:
    rule = rules.StepTakes(**PAIR, low=1.1, high=1.3)

    def at(*spreads: tuple[float, float], turns: int = 20) -> str:
        found = [
            StepTime(setting=HERE, size="s", turns=turns, median=(a + b) / 2, low=a, high=b, **PAIR)
            for a, b in spreads
        ]
        return verdict(rule, Evidence(step_times=found))[0]

    assert at((1.15, 1.2), (1.2, 1.25)) == HOLDS and at((1.01, 1.05), (1.0, 1.09)) == FAILS
    assert at((1.15, 1.2), (1.0, 1.05)) == at((1.0, 1.05), (1.4, 1.5)) == OPEN, "sizes disagree"
    assert at((1.15, 1.2), turns=5) == at() == OPEN


def test_what_was_said_of_gpus_is_not_judged_from_a_cpu() -> None:
    rule = rules.StepTakes(**PAIR, low=1.1, high=1.3, gpu=True)
    cpu = StepTime(setting=HERE, size="s", turns=20, median=1.02, low=1.01, high=1.05, **PAIR)
    assert verdict(rule, Evidence(step_times=[cpu])) == (OPEN, "measured on a CPU, and said of GPUs")
    gpu = replace(cpu, machine="H100", gpu=True, median=1.2, low=1.15, high=1.25)
    found = rule.judge(Evidence(step_times=[cpu, gpu]))
    assert found.verdict == HOLDS and "H100" in found.measured and "1.02" not in found.measured


# --- what a claim needs ---------------------------------------------------------------------------------------------------


def test_out_of_reach_is_decided_by_scale(arms: Arms) -> None:
    def claim(**needs: int) -> Claim:
        rule = rules.LowerLoss(**PAIR)
        return Claim(id="a", statement="", source="", scale="", rule=rule, needs=Needs(**needs))

    evidence = arms([1.0, 1.1, 1.2], [1.1, 1.21, 1.29])
    assert judge(claim(context=128), evidence).verdict == HOLDS
    found = judge(claim(context=4096), evidence)
    assert (
        found.verdict == "out of reach here"
        and "contexts of 4,096 tokens" in found.reason
        and "context 128" in found.reason
    )
    assert judge(claim(params=10**9), Evidence()).verdict == "out of reach here"
    evidence.add(arms([1.0], [1.1], context=4096))
    assert judge(claim(context=4096), evidence).reason == "one seed", "it was reached, and says too little"
    assert judge(claim(context=1), arms([1.0], [1.1], context=None)).verdict == "out of reach here", (
        "not recorded"
    )
