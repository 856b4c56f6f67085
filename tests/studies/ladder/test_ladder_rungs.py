"""Which rungs there are between two methods, what they are named, and with which learning rate."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from ngptlab import ConfigError, Parts, methods
from ngptlab.nn.seams import STEPS
from ngptlab.recipes import Recipe, recipe
from ngptlab.studies.ladder import plan as module
from ngptlab.studies.ladder.plan import Planned, plan

NAMES = methods.names()
# From the baseline to each, from each to the baseline, and around in a circle; all pairs are too many.
PAIRS = (
    {("gpt", name) for name in NAMES} | {(name, "gpt") for name in NAMES} | set(pairwise([*NAMES, NAMES[0]]))
)
every_pair = pytest.mark.parametrize(
    ("base", "target"), sorted(pair for pair in PAIRS if len(set(pair)) == 2)
)


@pytest.fixture(autouse=True)
def no_dry_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a rung stands is another test's."""
    monkeypatch.setattr(module, "why_not", lambda parts: "")


def made(base: str, target: str, mode: module.Mode = "cumulative", **overrides: object) -> list[Planned]:
    fields = {path.replace("__", "."): value for path, value in overrides.items()}
    return plan(recipe("demo"), base=base, target=target, mode=mode, overrides=fields)


def parts(rung: Planned) -> Parts:
    return methods.load(rung.config.method, rung.config.seams.lenders)


@every_pair
def test_cumulative_goes_from_one_method_to_the_other(base: str, target: str) -> None:
    rungs = made(base, target)
    assert rungs[0].config.method == base and rungs[-1].config.method == target
    assert not rungs[0].config.seams.lenders and not rungs[-1].config.seams.lenders
    assert rungs[0].label == base
    own, other = methods.load(base), methods.load(target)
    taken: set[str] = set()
    for before, rung in pairwise(rungs):
        taken |= set(rung.seams)
        assert parts(rung) == replace(own, **{seam: getattr(other, seam) for seam in taken})
        assert parts(rung) == replace(parts(before), **{seam: getattr(other, seam) for seam in rung.seams})
        assert parts(rung) != parts(before)
        assert any(set(rung.seams) <= set(step) for step in STEPS)
    order = [seam for rung in rungs for seam in rung.seams]
    assert order == [s for step in STEPS for s in step if getattr(own, s) != getattr(other, s)]
    assert len({rung.config.run_name for rung in rungs}) == len({rung.label for rung in rungs}) == len(rungs)


@every_pair
def test_leave_one_out_takes_one_step_back(base: str, target: str) -> None:
    rungs = made(base, target, "leave-one-out")
    assert parts(rungs[0]) == methods.load(target) and rungs[0].config.method == target
    for rung in rungs[1:]:
        back = {seam: getattr(methods.load(base), seam) for seam in rung.seams}
        assert parts(rung) == replace(methods.load(target), **back)
    assert [rung.seams for rung in rungs[1:]] == [rung.seams for rung in made(base, target)[1:]]


def test_names_say_what_is_mixed() -> None:
    arms = [rung.config.arm for rung in made("gpt", "ngpt")]
    assert arms[:3] == ["gpt", "gpt+ngpt.norm", "gpt+ngpt.norm.after_step"] and arms[-1] == "ngpt"
    assert made("gpt", "ngpt", "leave-one-out")[4].config.arm == "ngpt+gpt.attn_scale.qk"
    assert max(len(rung.config.run_name) for rung in made("gpt", "ngpt")) < 200


def test_whole_methods_are_the_runs_of_a_comparison() -> None:
    found = recipe("demo")
    rungs = made("gpt", "ngpt")
    for rung, method in ((rungs[0], "gpt"), (rungs[-1], "ngpt")):
        assert rung.config == methods.resolve(found.arm(method))
        assert rung.config.optim.search


def test_learning_rate_follows_the_constraint_on_the_weights() -> None:
    lr = {name: tuned.lr for name, tuned in recipe("demo").tuned.items()}
    for mode in ("cumulative", "leave-one-out"):
        for rung in made("gpt", "ngpt", mode):
            whose = "gpt" if parts(rung).after_step == methods.load("gpt").after_step else "ngpt"
            assert rung.lr_of == whose and rung.config.optim.lr == lr[whose]
            assert bool(rung.config.optim.search) == (not rung.config.seams.lenders), (
                "a mixture was not tuned"
            )
    assert [rung.lr_of for rung in made("gpt", "ngpt")] == ["gpt"] * 2 + ["ngpt"] * 6


def test_equal_constraints_share_the_first_methods_rate() -> None:
    assert [rung.lr_of for rung in made("gpt", "qk_norm")] == ["gpt", "gpt"]


def test_options_hold_on_every_rung() -> None:
    rungs = made("gpt", "ngpt", optim__lr="0.003", train__steps="500")
    assert {(rung.config.optim.lr, rung.config.train.steps, rung.lr_of) for rung in rungs} == {
        (0.003, 500, "")
    }


def test_decay_and_warmup_follow_the_table() -> None:
    bare = Recipe(config=recipe("demo").config, methods=("gpt",), tuned={})
    rungs = plan(bare, base="gpt", target="ngpt", mode="cumulative", overrides={})
    found = [(rung.config.optim.weight_decay, rung.config.schedule.warmup_steps) for rung in rungs]
    assert found == [(0.1, 30)] * 7 + [(0.0, 0)]


def test_searched_settings_follow_the_learning_rate() -> None:
    found = [(rung.config.optim.weight_decay, rung.config.optim.init) for rung in made("gpt", "ngpt")]
    assert found == [(0.3, "std:0.1")] * 2 + [(0.1, "std:0.02")] * 6


def test_a_step_that_options_undo_is_named() -> None:
    *rest, last = made("gpt", "ngpt", optim__weight_decay="0.05", schedule__warmup_steps="5")
    assert "changes nothing here" in last.reason and not any(rung.reason for rung in rest)
    *rest, last = made("gpt", "ngpt", "leave-one-out", optim__weight_decay="0.05", schedule__warmup_steps="5")
    assert "changes nothing here" in last.reason and not any(rung.reason for rung in rest)
    assert not made("gpt", "ngpt", optim__weight_decay="0.05")[-1].reason, "the warm-up still changes"


def test_without_a_recipe_both_methods_have_the_base_rate() -> None:
    bare = Recipe(config=recipe("demo").config, methods=("gpt",), tuned={})
    rungs = plan(bare, base="gpt", target="ngpt", mode="cumulative", overrides={})
    assert {rung.config.optim.lr for rung in rungs} == {2**-9}


def test_no_ladder_between_equal_methods() -> None:
    with pytest.raises(ConfigError, match="no seam differs"):
        made("gpt", "gpt")
    with pytest.raises(ConfigError, match="did you mean"):
        made("gpt", "ngptt")
