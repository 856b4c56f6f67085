"""Seeds that a claim needs, and what its seeds can show, against the plain formulas and on made evidence."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import scipy.stats

from ngptlab.claims import power, rules
from ngptlab.claims.claim import Claim, Held, Outcome, Source
from ngptlab.claims.evidence import Evidence, Setting, StepTime
from ngptlab.claims.standard import estimate
from ngptlab.claims.table import Row, markdown, table

PAIR = {"method": "new", "baseline": "old"}
Arms = Callable[..., Evidence]


def row(rule: object, evidence: Evidence) -> Row:
    claim = Claim(id="x", statement="It is.", source="s", scale="c", rule=rule)  # type: ignore[arg-type]
    ((found,),) = (
        group["rows"] for group in table([Source(title="t", where="w", claims=(claim,))], evidence)
    )
    return found


def undecided(*parts: Sequence[float], low: float = -math.inf) -> Outcome:
    held = tuple(Held(found=estimate(values), low=low, high=0.0, unit=" nats") for values in parts)
    return Outcome(verdict="not yet tested", seeds=3, held=held)


def test_a_decided_claim_needs_the_seeds_that_it_has(arms: Arms) -> None:
    found = row(rules.LowerLoss(**PAIR), arms([1.0, 1.1, 1.2, 1.3], [1.1, 1.21, 1.29, 1.41]))
    assert (found["verdict"], found["seeds_needed"], found["seeds_text"]) == ("holds", 4, "4, which it has")


def test_an_undecided_one_needs_more_by_the_plain_formula(arms: Arms) -> None:
    ours, theirs = [1.0, 1.4, 1.2], [1.1, 1.2, 1.4]
    found = row(rules.LowerLoss(**PAIR), arms(ours, theirs))
    gaps = np.array(ours) - np.array(theirs)
    error, scatter = gaps.std(ddof=1) / math.sqrt(3), gaps.std(ddof=1)
    clear = [
        n for n in range(3, 1001) if scipy.stats.t.ppf(0.975, n - 1) * scatter / math.sqrt(n) < -gaps.mean()
    ]
    assert found["seeds_needed"] == clear[0] > 3
    distance = found["detectable"]
    assert distance is not None
    tail = scipy.stats.nct.sf(scipy.stats.t.ppf(0.975, 2), 2, distance / error)
    assert tail == pytest.approx(0.8, abs=1e-5), "six digits are kept"
    assert found["seeds_text"] == f"{clear[0]}; it has 3, which show {distance:.3g} nats"
    assert f"| {found['seeds_text']} |" in markdown([{"title": "t", "where": "w", "rows": [found]}])


def test_one_seed_says_nothing_of_scatter(arms: Arms) -> None:
    found = row(rules.LowerLoss(**PAIR), arms([1.0], [1.1]))
    assert (found["seeds_needed"], found["detectable"], found["seeds_text"]) == (None, None, "-")


def test_two_seeds_say_what_they_show_though_they_decide_nothing(arms: Arms) -> None:
    found = row(rules.LowerLoss(**PAIR), arms([1.0, 1.1], [1.1, 1.21]))
    assert found["verdict"] == "not yet tested" and found["seeds_needed"] == 3
    assert found["detectable"] == pytest.approx(0.005 * 16.334, rel=1e-4), (
        "16.3 errors of 0.005, one degree of freedom"
    )


def test_step_times_and_nothing_measured_have_no_seeds() -> None:
    assert row(rules.LowerLoss(**PAIR), Evidence())["seeds_text"] == "-"
    timed = StepTime(
        setting=Setting(origin="made"),
        size="s",
        machine="m",
        gpu=False,
        turns=20,
        median=1.2,
        low=1.1,
        high=1.3,
        **PAIR,
    )
    found = row(rules.StepTakes(**PAIR, low=1, high=2), Evidence(step_times=[timed]))
    assert (found["verdict"], found["seeds_needed"], found["seeds_text"]) == ("holds", None, "-")


def test_of_parts_one_on_the_wrong_side_is_enough_against() -> None:
    """Alone they need 12, 4 and 14 or so: for the claim all must be clear, against it one."""
    near, far, wrong = [-0.1, -0.2, 0.05], [-0.1, -0.2, -0.12], [0.1, 0.25, -0.05]
    single = {
        name: power.needed(undecided(v)) for name, v in (("near", near), ("far", far), ("wrong", wrong))
    }
    assert all(count is not None for count in single.values())
    assert power.needed(undecided(near, far)) == max(single["near"] or 0, single["far"] or 0)
    assert power.needed(undecided(near, far, wrong)) == single["wrong"]
    both = power.detectable(undecided(near, far))
    assert both is not None and both == power.detectable(undecided(near)), "the larger of the two"


def test_more_seeds_than_anybody_trains_are_no_number() -> None:
    outcome = undecided([1e-6, -1e-6, -2e-9])
    assert power.needed(outcome) is None and power.in_words(outcome).startswith(
        "over 1,000; it has 3, which show "
    )
    assert power.in_words(undecided([0.0, 0.0, 0.0])) == "-", "no scatter says nothing"


def test_a_ratio_is_shown_as_a_factor() -> None:
    held = Held(found=estimate([0.1, -0.2, 0.15]), low=-math.inf, high=0.0, ratio=True)
    found = power.detectable(Outcome(verdict="not yet tested", seeds=3, held=(held,)))
    assert found is not None and found[1] == f"a factor of {math.exp(found[0]):.3g}"
