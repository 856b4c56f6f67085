"""Which runs a study takes: branches that are the straight runs of their schedules, and a trunk they can leave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ngptlab import methods, recipe
from ngptlab.cli import main
from ngptlab.config import RunConfig, dump, parse
from ngptlab.errors import ConfigError
from ngptlab.jobs.cell import run_of
from ngptlab.optim.schedule import lr_factor
from ngptlab.overrides import apply
from ngptlab.studies.cooldown import run
from ngptlab.studies.cooldown.plan import Design, arms, plan
from ngptlab.train.fork import _common_updates

FRACS, SHAPES = (0.05, 0.1, 0.2, 0.3, 0.5), ("linear", "1-sqrt")


def design(**changes: Any) -> Design:
    return Design(**({"fracs": FRACS, "shapes": SHAPES} | changes))


def straight(method: str, seed: int = 0, **fields: Any) -> RunConfig:
    changes = {path.replace("__", "."): value for path, value in fields.items()}
    arm = apply(recipe("demo").arm(method), {"seed": seed, "data.seed": seed, **changes})
    return methods.resolve(arm)


def test_branches_are_the_straight_runs() -> None:
    """Those of the recipe's own length have the hash that `ngptlab train` gives, the recipe's own cooldown among them."""
    trunks = plan(arms("demo", (), {}), design(seeds=2))
    assert [(t.leg.config.method, t.leg.config.seed) for t in trunks] == [
        ("gpt", 0),
        ("ngpt", 0),
        ("gpt", 1),
        ("ngpt", 1),
    ]
    for trunk in trunks:
        config = trunk.leg.config
        assert (config.train.steps, config.schedule.shape) == (600, "constant")
        assert config.checkpoint.at == (300, 420, 480, 540, 570) and config.eval.at == (
            *config.checkpoint.at,
            600,
        )
        assert len(trunk.branches) == 10
        for leg in trunk.branches:
            same = straight(
                config.method,
                config.seed,
                schedule__cooldown_frac=leg.frac,
                schedule__cooldown_shape=leg.shape,
            )
            assert leg.config.hash == same.hash and leg.config.eval.at == (leg.start,)
    recipes = [methods.resolve(recipe("demo").arm(m)).hash for m in ("gpt", "ngpt")]
    assert set(recipes) <= {leg.config.hash for trunk in trunks for leg in trunk.branches}


@pytest.mark.parametrize("method", ["gpt", "ngpt"])
def test_trunk_and_branches_of_every_length_have_the_same_rates_up_to_the_cooldown(method: str) -> None:
    """The warm-up left to the method is 5% of a run at most: resolved for each length, it would be 10, 20 and 30 steps."""
    own = {straight(method, train__steps=steps).schedule.warmup_steps for steps in (200, 400, 600)}
    assert len(own) == (3 if method == "gpt" else 1)
    (trunk,) = plan(arms("demo", [method], {}), design(lengths=(400, 200, 600)))
    rates = [lr_factor(trunk.leg.config, step) for step in range(600)]
    assert {leg.config.train.steps for leg in trunk.branches} == {200, 400, 600}
    for leg in trunk.branches:
        assert [lr_factor(leg.config, step) for step in range(leg.start)] == rates[: leg.start]
        assert lr_factor(leg.config, leg.start + 1) < rates[leg.start + 1] == 1.0
    assert trunk.leg.config.schedule.warmup_steps == straight(method).schedule.warmup_steps, (
        "of its own length"
    )
    (longer,) = plan(arms("demo", [method], {"schedule.warmup_steps": "7"}), design(lengths=(200, 600)))
    assert {leg.config.schedule.warmup_steps for leg in (longer.leg, *longer.branches)} == {7}


def test_the_trunk_does_not_depend_on_shares_or_shapes() -> None:
    hashes = {
        plan(arms("demo", ["gpt"], {}), design(**changes))[0].leg.config.hash
        for changes in ({}, {"fracs": (0.4,)}, {"shapes": ("linear",)}, {"lengths": (300, 600)})
    }
    other = arms("demo", ["gpt"], {})[0]
    fields = {"schedule.cooldown_frac": 0.1, "schedule.cooldown_shape": "1-sqrt"}
    assert hashes == {plan([apply(other, fields)], design())[0].leg.config.hash}


def test_a_run_gives_the_trunks_settings(tmp_path: Path) -> None:
    """Also one that a study marked beyond the length now asked for."""
    config = straight("gpt", 3, optim__lr=0.01, eval__at=(570,), checkpoint__at=(570,))
    (tmp_path / "config.json").write_text(dump(config))
    (trunk,) = plan(arms(str(tmp_path), (), {"train.steps": "100"}), design(fracs=(0.5,)))
    assert (trunk.leg.config.optim.lr, trunk.leg.config.seed, trunk.leg.start) == (0.01, 0, 100)
    assert trunk.leg.config.schedule.warmup_steps == config.schedule.warmup_steps
    with pytest.raises(ConfigError, match="belong to gpt; give a recipe"):
        arms(str(tmp_path), ("gpt", "ngpt"), {})


def test_lengths_whose_rates_differ_share_no_trunk() -> None:
    fields = {"param.rules": "nugpt", "param.base_width": "24", "param.base_tokens": "1000"}
    given = arms("demo", ["ngpt"], fields)
    with pytest.raises(ConfigError, match=r"--lengths: given 300 600; with param.base_tokens 1000"):
        plan(given, design(lengths=(300, 600)))
    assert plan(given, design(lengths=(300,)))[0].leg.config.train.steps == 300


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--fracs", "0"], "--fracs: given 0.0"),
        (["--fracs", "1.5"], "--fracs: given 1.5"),
        (["--fracs", "0.1", "0.1"], "name each once"),
        (["--fracs", "0.001"], "a cooldown of 1, in which the learning rate can't fall"),
        (
            ["--fracs", "1"],
            "gpt, 600 steps: options: schedule.warmup_steps 30 and a cooldown of 600 steps exceed",
        ),
        (["--lengths", "0"], "--lengths"),
        (["--seeds", "0"], "--seeds: given 0"),
        (["--workers", "-1"], "--workers: given -1"),
        (["--methods", "gpt", "gpt"], "name each method once"),
        (["--methods", "ngtp"], "did you mean 'ngpt'?"),
        (["--shapes", "round"], "invalid choice"),
        (["--schedule.cooldown-frac", "0.2"], "give --fracs"),
        (["--seed", "3"], "give --seeds"),
        (["--method", "gpt"], "give --methods"),
    ],
)
def test_wrong_use_is_one_line(
    options: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert main(["cooldown", "demo", *options]) == 2
    err = capsys.readouterr().err
    assert said in err and len(err.splitlines()) == 1
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.parametrize(
    ("method", "part"),
    [
        ("gpt", ""),
        ("seqlen_warmup", "context"),
        ("fading_decay", "schedule"),
        ("batch_warmup", "schedule"),
        ("ema", ""),
    ],
)
def test_a_shorter_branch_leaves_no_trunk_whose_updates_follow_its_length(
    method: str, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forked, lines = list[int](), list[str]()
    monkeypatch.setattr(
        run, "fork", lambda source, config, path, warn: forked.append(config.train.steps) or 10**6
    )
    config = methods.resolve(
        parse({"name": "x", "method": method, "model": SMALL, "train": {"steps": 90}}, origin="a test")
    )
    design = Design(fracs=(0.2,), shapes=("linear",), lengths=(60, 90))
    (trunk,) = plan([config], design)
    run_of(tmp_path, trunk.leg).mkdir(parents=True)
    run._branch_off(trunk, tmp_path, lines.append)
    assert sorted(forked) == ([90] if part else [60, 90])
    assert [f"because the method's {part} follows the run's length" in line for line in lines] == [
        True
    ] * bool(part)


def test_with_rewind_a_branch_is_planned_whole_where_its_checkpoints_are_not_the_trunks() -> None:
    fields: dict[str, Any] = {"name": "x", "method": "gpt", "model": SMALL}
    config = methods.resolve(
        parse({**fields, "train": {"steps": 90, "non_finite": "rewind"}}, origin="a test")
    )
    for fracs, own in (((0.2,), [18]), ((0.2, 0.5), [90, 90])):
        (trunk,) = plan([config], Design(fracs=fracs, shapes=("linear",)))
        assert [run.own_steps(leg, trunk) for leg in trunk.branches] == own


SMALL = {"vocab_size": 257, "num_layers": 1, "num_heads": 1, "d_model": 8}


def test_a_method_with_a_schedule_of_its_own_is_refused_by_its_name() -> None:
    """It was told to leave out a schedule.shape that the study had set."""
    with pytest.raises(ConfigError, match=r"^log_schedule has a schedule of its own"):
        plan(arms("demo", ("gpt", "log_schedule"), {}), design())


def test_batches_of_two_lengths_are_alike_up_to_where_their_stages_part() -> None:
    a, b = (
        methods.resolve(
            parse(
                {
                    "name": "x",
                    "method": "gpt",
                    "model": SMALL,
                    "train": {"steps": steps, "batch_stages": [0.5, 1.5]},
                    "schedule": {"shape": "constant", "warmup_steps": 0},
                },
                origin="a test",
            )
        )
        for steps in (60, 90)
    )
    assert _common_updates(a, b) == 30 and _common_updates(a, a) == 60
