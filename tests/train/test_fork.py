"""A run that branches off another is the straight run of its own config, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from made_runs import ending
from ngptlab import config as configs
from ngptlab import methods
from ngptlab.config import RunConfig
from ngptlab.errors import CheckpointError, ConfigError
from ngptlab.experiment import train
from ngptlab.overrides import apply
from ngptlab.runs import Run
from ngptlab.train.checkpoint import list_checkpoints, step_of
from ngptlab.train.fork import fork

MakeConfig = Callable[..., RunConfig]
Outcome = Callable[[Path], dict[str, bytes]]
STEPS, STARTS = 20, (6, 10, 14, 18)


@pytest.fixture
def method() -> str:
    return "gpt"


@pytest.fixture
def trunk(method: str, make_config: MakeConfig, tmp_path: Path) -> Run:
    """Twenty steps at a constant rate, measured and saved at some steps besides every third and every seventh."""
    config = make_config(
        method,
        schedule={"shape": "constant", "warmup_steps": 3},
        train={"steps": STEPS},
        eval={"at": STARTS},
        checkpoint={"every": 7, "at": STARTS},
    )
    return train(config, tmp_path / "trunk")


def branch(trunk: Run, **changes: Any) -> RunConfig:
    start: int = changes.pop("start")
    paths = {path.replace("__", "."): value for path, value in changes.items()}
    paths |= {"schedule.shape": "wsd", "eval.at": (start,), "checkpoint.at": (start,)}
    return methods.resolve(apply(trunk.config, paths))


BRANCHES: dict[str, dict[str, Any]] = {
    "0.3 linear": {"start": 14, "schedule__cooldown_frac": 0.3},
    "0.3 1-sqrt": {"start": 14, "schedule__cooldown_frac": 0.3, "schedule__cooldown_shape": "1-sqrt"},
    "0.1 linear": {"start": 18, "schedule__cooldown_frac": 0.1},
    "0.5 1-sqrt": {"start": 10, "schedule__cooldown_frac": 0.5, "schedule__cooldown_shape": "1-sqrt"},
    "0.4 of 10": {"start": 6, "schedule__cooldown_frac": 0.4, "train__steps": 10},
}


@pytest.mark.parametrize(
    ("method", "changes"),
    [("gpt", changes) for changes in BRANCHES.values()]
    + [("ngpt", BRANCHES["0.3 1-sqrt"]), ("ema", BRANCHES["0.3 linear"])],
    ids=[*BRANCHES, "a method with scales", "a mean of the weights"],
)
def test_a_branch_is_the_straight_run(
    method: str, changes: dict[str, Any], trunk: Run, outcome: Outcome, tmp_path: Path
) -> None:
    config = branch(trunk, **changes)
    assert fork(trunk.path, config, tmp_path / "branch") == changes["start"]
    made = Run(tmp_path / "branch")
    assert len(made.read("metrics")) == len(made.read("timing")) == changes["start"]
    assert made.env == trunk.env and not made.done
    straight = train(config, tmp_path / "straight")
    finished = train(config, tmp_path / "branch")
    assert outcome(finished.path) == outcome(straight.path)
    streams = [(run.path / "scales.jsonl").read_bytes() for run in (finished, straight) if method == "ngpt"]
    assert len(set(streams)) == len(streams) / 2
    assert (finished.path / "scales.jsonl").exists() == (method == "ngpt")
    assert ending(finished) == ending(straight) and finished.path.name != straight.path.name
    assert [r["step"] for r in finished.read("timing")] == [r["step"] for r in straight.read("timing")]
    assert {r["step"] for r in finished.read("evals")} >= {0, changes["start"], config.train.steps}
    said = json.loads((finished.path / "fork.json").read_text())
    assert said == {"run": "trunk", "hash": trunk.config.hash, "step": changes["start"]}


def test_the_schedule_decides_where_a_branch_can_leave(trunk: Run, tmp_path: Path) -> None:
    """Not what its name or eval.at says: an earlier cooldown takes an earlier checkpoint, another warm-up takes none."""
    saved = [step_of(path) for path in list_checkpoints(trunk.path / "checkpoints")]
    assert saved == [*STARTS, STEPS], "the others were removed as usual"
    earlier = branch(trunk, start=14, schedule__cooldown_frac=0.45)  # cools down from 11 on
    assert fork(trunk.path, earlier, tmp_path / "earlier") == 10
    warm = branch(trunk, start=14, schedule__warmup_steps=4)
    assert fork(trunk.path, warm, tmp_path / "warm") == 0 and not (tmp_path / "warm").exists()


def test_rates_that_depend_on_the_horizon_are_not_shared_between_lengths(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    """With param.base_tokens every rate has a factor of the run's own length, from its first update on."""
    param = {"rules": "nugpt", "base_width": 8, "base_tokens": 64}
    config = make_config("ngpt", param=param, schedule={"shape": "constant"}, checkpoint={"at": (6,)})
    source = train(config, tmp_path / "trunk")
    shorter = branch(source, start=6, schedule__cooldown_frac=0.1, train__steps=7)
    assert fork(source.path, shorter, tmp_path / "shorter") == 0 and not (tmp_path / "shorter").exists()
    same = branch(source, start=6, schedule__cooldown_frac=0.25)
    assert fork(source.path, same, tmp_path / "same") == 6


def test_records_must_be_whole(trunk: Run, tmp_path: Path) -> None:
    """Where the trunk did not measure what the branch asks for, the branch leaves before that and measures itself."""
    config = branch(trunk, start=14, schedule__cooldown_frac=0.3)
    config = config.model_copy(update={"eval": config.eval.model_copy(update={"at": (13,)})})
    assert fork(trunk.path, config, tmp_path / "branch") == 10
    assert 13 in {r["step"] for r in train(config, tmp_path / "branch").read("evals")}


def test_a_damaged_checkpoint_is_passed_over(trunk: Run, tmp_path: Path) -> None:
    weights = trunk.path / "checkpoints" / "step_000014" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    said: list[str] = []
    config = branch(trunk, start=14, schedule__cooldown_frac=0.3)
    assert fork(trunk.path, config, tmp_path / "branch", warn=said.append) == 10
    assert len(said) == 1 and "step_000014: damaged" in said[0]
    assert sorted(path.name for path in tmp_path.iterdir() if "branch" in path.name) == ["branch"]


def test_a_trunk_of_other_settings_than_its_checkpoints_is_left_alone(trunk: Run, tmp_path: Path) -> None:
    """Its config.json was edited: a branch at the new learning rate would begin with steps at the old one."""
    config = branch(trunk, start=14, schedule__cooldown_frac=0.3, optim__lr=0.5)
    edited = trunk.config.model_copy(
        update={"optim": trunk.config.optim.model_copy(update={"lr": 0.5, "lr_grid": config.optim.lr_grid})}
    )
    (trunk.path / "config.json").write_text(configs.dump(edited))
    said: list[str] = []
    assert fork(trunk.path, config, tmp_path / "branch", warn=said.append) == 0
    assert said and all(f"belongs to run {trunk.config.hash}" in line for line in said)


def test_only_length_and_schedule_may_differ(trunk: Run, tmp_path: Path) -> None:
    config = branch(trunk, start=14, schedule__cooldown_frac=0.3, optim__lr=0.5)
    with pytest.raises(ConfigError, match=r"differ in optim\.lr: "):
        fork(trunk.path, config, tmp_path / "branch")
    config = branch(trunk, start=14, schedule__cooldown_frac=0.3)
    with pytest.raises(ConfigError, match="is there already"):
        fork(trunk.path, config, trunk.path)
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="can't be written"):
        fork(trunk.path, config, tmp_path / "file" / "branch")


def test_a_kill_while_copying_leaves_no_run(
    trunk: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Kill(BaseException):
        """Passes every `except Exception`, as a kill does."""

    config = branch(trunk, start=14, schedule__cooldown_frac=0.3)

    def replace(self: Run, stream: str, records: Any) -> None:
        raise Kill

    with monkeypatch.context() as patch:
        patch.setattr(Run, "replace", replace)
        with pytest.raises(Kill):
            fork(trunk.path, config, tmp_path / "branch")
    assert not (tmp_path / "branch").exists()
    assert not list(tmp_path.glob(".branch.*"))
    assert fork(trunk.path, config, tmp_path / "branch") == 14
