"""Every text that a tracker is given keeps to what the tracker takes; the limits are held against the trackers themselves."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from made_runs import config_of
from ngptlab.config import RunConfig
from ngptlab.errors import DataError
from ngptlab.experiment import train
from ngptlab.recipes import recipe
from ngptlab.runs import Run
from ngptlab.studies.ladder.numbers import Mode
from ngptlab.studies.ladder.plan import plan
from ngptlab.tracking.limits import CONFIG_DOTS, METRIC_DOTS, NAME, TAG, one_line, reason, within
from ngptlab.tracking.names import identity, shown_name, tags
from ngptlab.tracking.sink import open_sink
from ngptlab.tracking.steps import Steps

MakeConfig = Callable[..., RunConfig]
LENT = ("norm", "after_step", "residual", "attn_scale", "qk", "gate", "logits")
"""What a rung of a ladder is lent."""


def lent(count: int, **changes: Any) -> RunConfig:
    return config_of("gpt", seams=dict.fromkeys(LENT[:count], "ngpt_modded"), **changes)


def test_tags_of_every_rung_are_short_and_distinct() -> None:
    modes: tuple[Mode, ...] = ("cumulative", "leave-one-out")
    arms = {
        rung.config.arm
        for mode in modes
        for rung in plan(recipe("demo"), base="gpt", target="ngpt_muon", mode=mode, overrides={})
    }
    assert max(map(len, arms)) > TAG, "no arm is too long: this shows nothing"
    cut = {within(arm, TAG) for arm in arms}
    assert len(cut) == len(arms) and {len(tag) for tag in cut if "~" in tag} == {TAG}
    assert all(arm in cut for arm in arms if len(arm) <= TAG)


def test_a_cut_text_is_told_from_others_that_begin_alike() -> None:
    assert within("a" * 64, 64) == "a" * 64
    one, other = within("a" * 65, 64), within("a" * 66, 64)
    assert one != other and len(one) == len(other) == 64 and one.startswith("a" * 55 + "~")


def test_names_keep_to_the_limits_on_any_path(tmp_path: Path) -> None:
    for number, name in enumerate(("x" * 250, "caf\udce9", "plain")):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        try:
            run = Run.open(folder / name, lent(7, name="n" * 64))
        except OSError:
            continue  # a file system that takes UTF-8 alone
        assert 1 <= len(shown_name(run)) <= NAME and len(run.config.name) <= NAME
        shown_name(run).encode()
        assert re.fullmatch(r"[0-9a-f-]{1,128}", identity(run))
        assert [len(tag) <= TAG for tag in tags(run)] == [True, True]
    assert shown_name(run) == "plain"


def flat(value: Any, name: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(inner, f"{name}.{key}")
    else:
        yield name


@pytest.mark.parametrize("method", ["gpt", "ngpt", "ngpt_modded"])
def test_keys_of_config_and_numbers_keep_to_the_limits(
    method: str, tmp_path: Path, make_config: MakeConfig
) -> None:
    run = train(make_config(method, seams={"optimizer": "muon"}), tmp_path / "run")
    fields = {"hash": run.config.hash, "tags": tags(run), **run.config.model_dump(mode="json")}
    names = [name[1:] for name in flat(fields, "")]
    assert max(name.count(".") for name in names) <= CONFIG_DOTS
    assert not any(key.startswith("_") for key in fields)
    keys = {key for _, found in Steps(run).new(after=-1) for key in found}
    assert max(key.count(".") for key in keys) <= METRIC_DOTS
    # A name with "/" is none of those that trackio and wandb keep to themselves.
    assert all(re.fullmatch(r"[a-z][A-Za-z0-9_.-]*(/[A-Za-z0-9_.-]+)+", key) for key in keys), keys


def test_reasons_are_one_line() -> None:
    assert reason(KeyError("x")) == "KeyError: 'x'" and reason(TimeoutError()) == "TimeoutError"
    assert reason(DataError("a line")) == "a line"
    assert reason(RuntimeError("\x1b[31mno\n  such\x1b[0m\tkey\x07")) == "RuntimeError: no such key"
    assert one_line("") == ""


@pytest.mark.extra
def test_wandb_s_limits_are_these() -> None:
    wandb = pytest.importorskip("wandb")
    wandb.Settings(run_tags=["x" * TAG], project="x" * NAME)
    for refused in ({"run_tags": ["x" * (TAG + 1)]}, {"run_tags": [""]}, {"project": "x" * (NAME + 1)}):
        with pytest.raises(Exception, match="characters"):
            wandb.Settings(**refused)
    with pytest.raises(Exception, match="cannot contain"):
        wandb.Settings(run_id="a:b")


@pytest.mark.extra
def test_trackio_s_own_names_are_none_of_ours() -> None:
    trackio = pytest.importorskip("trackio")
    assert not any("/" in key for key in trackio.utils.RESERVED_KEYS)


@pytest.mark.extra
@pytest.mark.parametrize("tracker", ["tensorboard", "trackio", "wandb"])
def test_each_tracker_takes_a_rung_of_a_ladder(
    tracker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a name, an arm and a directory that are as long as can be."""
    pytest.importorskip(tracker)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = Run.open(tmp_path / ("x" * 200), lent(7, name="n" * 64))
    assert len(run.config.arm) > TAG
    sink = open_sink(tracker, run)
    sink.log(1, {"train/loss_nats": 1.0, "scales/blocks.11.attn.qk.s_qk/mean": 0.5})
    sink.flush()
    sink.finish({"status": "done", "step": 1})
    assert sink.last_step() == 1
