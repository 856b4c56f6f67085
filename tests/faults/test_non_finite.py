"""Losses and gradients that are not finite, put into training on purpose: none reaches a checkpoint.

What follows is decided by recorded numbers alone, so that a run that was stopped or killed ends with the same bytes.

A batch is damaged by its step, as a batch of bad text would be: it is bad again whenever it is met again.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import together
from ngptlab import methods
from ngptlab.config import RunConfig
from ngptlab.data.batches import Batches
from ngptlab.device import Device, Fetched
from ngptlab.errors import CheckpointError, DivergedError
from ngptlab.experiment import train
from ngptlab.ledger.record import record_of, restore
from ngptlab.runs import Run
from ngptlab.stats.doubts import left_out
from ngptlab.stats.records import load_runs
from ngptlab.train import non_finite, policies, saves, spikes
from ngptlab.train.checkpoint import list_checkpoints
from ngptlab.train.fork import fork
from ngptlab.train.progress import Silent
from ngptlab.train.stop import Stopped
from ngptlab.train.trainer import Trainer
from ngptlab.watch.state import Watched
from ngptlab.whole import check_finished, sizes_up_to
from tiny import tiny_config, write_texts

NAN, INF = math.nan, math.inf
VALUES = [("loss", NAN), ("loss", INF), ("gradient", NAN), ("gradient", INF), ("gradient", -INF)]
STEPS = (0, 3, 4, 7)
"""The first update; those right after the checkpoint of step 3 and the one after it; the last."""
POLICIES = ("stop", "skip", "rewind")
Bad = Mapping[int, tuple[str, float]]
"""By the number of an update, from 0 on: where a value is put, and which."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("non_finite")
    write_texts(folder / "texts")
    return folder


@pytest.fixture(autouse=True)
def one_cache(home: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text is prepared once."""
    monkeypatch.setenv("NGPTLAB_CACHE", str(home / "cache"))


def config_of(home: Path, policy: str, method: str = "ngpt", **changes: Any) -> RunConfig:
    train = {"steps": 8, "batch_size": 4, "context": 16, "non_finite": policy, **changes.pop("train", {})}
    return tiny_config(home / "texts", method, train=train, **changes)


@contextmanager
def bad_batches(bad: Bad) -> Iterator[list[int]]:
    """Damage the loss, or one element of a gradient, of these updates. Yields the updates that were begun."""
    queue, accumulate, begun = Trainer._queue, Trainer._accumulate, []

    def queueing(self: Trainer, step: int) -> Any:
        begun.append(step)
        return queue(self, step)

    def accumulating(self: Trainer, *batch: Tensor) -> Tensor:
        loss = accumulate(self, *batch)
        where, value = bad.get(begun[-1], ("", 0.0))
        if where == "loss":
            return torch.full_like(loss, value)
        if where == "gradient":
            gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
            gradient = gradients[begun[-1] % len(gradients)]
            gradient[(-1,) * gradient.dim()] = value
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_queue", queueing)
        patch.setattr(Trainer, "_accumulate", accumulating)
        yield begun


def finite(folder: Path) -> bool:
    return all(
        bool(t.isfinite().all()) for file in folder.rglob("*.safetensors") for t in load_file(file).values()
    )


def bytes_of(run: Path) -> dict[str, bytes]:
    """All that must be the same however often a run was interrupted."""
    last = list_checkpoints(run / "checkpoints")[-1]
    streams = [run / f"{name}.jsonl" for name in ("metrics", "evals", "scales", "skipped")]
    files = [*streams, last / "model.safetensors", last / "optimizer.safetensors"]
    return {"last": last.name.encode(), **{p.name: p.read_bytes() for p in files if p.exists()}}


def steps_in(run: Path, stream: str) -> list[int]:
    return [record["step"] for record in Run(run).read(stream)]


# --- sixty injections -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("where", "value"), VALUES)
@pytest.mark.parametrize("step", STEPS)
def test_none_reaches_a_checkpoint(
    step: int, where: str, value: float, policy: str, home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    stops = policy == "stop" or (policy == "rewind" and step < 3)  # then there is no checkpoint to go back to
    with bad_batches({step: (where, value)}) as begun:
        try:
            train(config_of(home, policy, checkpoint={"every": 3, "keep": 9}), out)
        except DivergedError as error:
            assert stops
            check_stopped(error, step, out)
        else:
            assert not stops
            newest = max((saved for saved in (3, 6) if saved <= step), default=0)
            check_left_out(step, newest if policy == "rewind" else step, out)
            check_finished(Run(out))
            assert len(load_runs([out])[0].timing) == 8
    assert begun == list(range(step + 1 if stops else 8)), "no batch is met twice"
    assert finite(out)


def check_stopped(error: DivergedError, step: int, out: Path) -> None:
    text = str(error)
    assert f"step {step + 1}: loss " in text and "\n" not in text and "--optim.lr" in text
    assert f"sequences {4 * step} to {4 * step + 3} of the data order" in text
    state = json.loads((out / "non_finite" / "state.json").read_text())
    assert (
        state["step"] == step + 1 and len(state["windows"]) == 4 and state["weights"] == "before the update"
    )
    assert {path.name for path in (out / "non_finite").iterdir()} == {
        "state.json",
        "batch.safetensors",
        "model.safetensors",
    }
    assert Run(out).ending.status == "diverged"
    assert steps_in(out, "metrics") == list(range(1, step + 1)) and not (out / "skipped.jsonl").exists()
    assert [path.name for path in list_checkpoints(out / "checkpoints")] == [
        f"step_{saved:06d}" for saved in (3, 6) if saved <= step
    ]


def check_left_out(step: int, back_to: int, out: Path) -> None:
    left_out = list(range(back_to + 1, step + 2))
    lines = Run(out).read("skipped")
    assert [line["step"] for line in lines] == left_out
    assert [line["kind"] for line in lines] == ["rewound"] * (len(lines) - 1) + ["non_finite"]
    assert lines[-1]["sequences"] == [4 * step, 4 * step + 4]
    assert steps_in(out, "metrics") == [each for each in range(1, 9) if each not in left_out]
    assert steps_in(out, "timing") == list(range(1, 9))


def test_the_state_is_that_before_the_update(home: Path, tmp_path: Path) -> None:
    """The weights are those of a run that ended there, and the batch is the one that was met."""
    with bad_batches({4: ("gradient", NAN)}), pytest.raises(DivergedError):
        train(config_of(home, "stop"), tmp_path / "run")
    before = config_of(home, "stop", checkpoint={"at": (4,)})
    straight = train(before, tmp_path / "straight")
    kept = load_file(tmp_path / "run" / "non_finite" / "model.safetensors")
    saved = load_file(straight.path / "checkpoints" / "step_000004" / "model.safetensors")
    assert kept.keys() == saved.keys() and all(torch.equal(kept[name], saved[name]) for name in kept)
    met: list[Any] = []
    at = Batches.at
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Batches, "at", lambda self, step, *rows: met.append(at(self, step, *rows)) or met[-1])
        train(before, tmp_path / "again")
    batch = load_file(tmp_path / "run" / "non_finite" / "batch.safetensors")
    assert torch.equal(batch["inputs"], torch.from_numpy(met[4][0]))
    assert torch.equal(batch["targets"], torch.from_numpy(met[4][1]))


def test_a_state_that_can_not_be_kept_hides_no_error(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(non_finite, "write_bytes", full)
    with bad_batches({4: ("loss", NAN)}), pytest.raises(DivergedError, match="step 5: loss nan"):
        train(config_of(home, "stop"), tmp_path / "run")
    assert not [path for path in (tmp_path / "run").rglob("*") if "non_finite" in path.name]


def test_a_skipped_update_is_not_made(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither weights nor moments move: a run whose optimizer is held still at that step, otherwise the same, has these bytes."""
    with bad_batches({4: ("gradient", INF)}):
        skipped = train(config_of(home, "skip", "gpt"), tmp_path / "skipped")
    calls: list[int] = []
    step = torch.optim.AdamW.step

    def held(self: torch.optim.AdamW, *arguments: Any) -> Any:
        calls.append(0)
        return None if len(calls) == 5 else step(self, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", held)
    other = train(
        config_of(home, "stop", "gpt"), tmp_path / "held"
    )  # which has no constraint that could move a weight
    ours, theirs = bytes_of(skipped.path), bytes_of(other.path)
    assert len(calls) == 8 and all(
        ours[name] == theirs[name] for name in ours if name.endswith(".safetensors")
    )


def test_weights_that_are_not_finite_end_every_policy(home: Path, tmp_path: Path) -> None:
    """An update of finite numbers may overflow: a validation or a checkpoint finds it, or the losses that follow."""
    for policy in POLICIES:
        schedule = {"warmup_steps": 0, "cooldown_frac": 0.0}
        config = config_of(
            home, policy, "gpt", optim={"lr": 3.4e38}, schedule=schedule, checkpoint={"every": 1}
        )
        with pytest.raises(DivergedError):
            train(config, tmp_path / policy)
        assert finite(tmp_path / policy / "checkpoints")


def test_moments_that_are_not_finite_reach_no_checkpoint(home: Path, tmp_path: Path) -> None:
    step = torch.optim.AdamW.step

    def overflowing(self: torch.optim.AdamW, *arguments: Any) -> Any:
        found = step(self, *arguments)
        next(iter(self.state.values()))["exp_avg_sq"].view(-1)[0] = (
            INF  # as of a gradient of 1e20, where nothing clips it
        )
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", overflowing)
        with pytest.raises(DivergedError, match="what the optimizer keeps is not finite"):
            train(config_of(home, "stop"), tmp_path / "run")
    assert not list_checkpoints(tmp_path / "run" / "checkpoints")


def test_an_optimizer_may_keep_numbers_of_a_byte() -> None:
    for dtype in (torch.float8_e4m3fn, torch.float8_e5m2):
        values = torch.tensor([1.0, -2.0]).to(dtype)
        assert saves._finite(values)
        values[1] = NAN
        assert not saves._finite(values)
    assert saves._finite(torch.tensor([1, 2])) and not saves._finite(torch.tensor([1.0, INF]))


# --- bounds -----------------------------------------------------------------------------------------------------------------


def test_skipping_ends(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "MOST_IN_A_ROW", 3)
    bad: Bad = {
        step: ("loss", NAN) for step in (0, 1, 4, 5, 6)
    }  # three in a row, and two that are none of that row
    with bad_batches(bad):
        assert train(config_of(home, "skip"), tmp_path / "three").done
    with (
        bad_batches({**bad, 7: ("loss", INF)}),
        pytest.raises(DivergedError, match=r"step 8: .* after 3 batches in a row that were skipped"),
    ):
        train(config_of(home, "skip"), tmp_path / "four")
    assert (tmp_path / "four" / "non_finite" / "model.safetensors").exists()


def test_going_back_ends(home: Path, tmp_path: Path) -> None:
    """To one checkpoint three times; to another one it may go again."""
    bad: Bad = {step: ("loss", NAN) for step in (4, 6, 7)}
    with bad_batches(bad):
        assert train(config_of(home, "rewind", checkpoint={"every": 4}), tmp_path / "three").done
    kinds = [line["kind"] for line in Run(tmp_path / "three").read("skipped")]
    assert kinds == ["non_finite", "rewound", "non_finite", "non_finite"]
    bad = {**bad, 5: ("gradient", INF)}
    with bad_batches(bad), pytest.raises(DivergedError, match="after the run went back to step 4 3 times"):
        train(config_of(home, "rewind", checkpoint={"every": 4}), tmp_path / "four")


# --- the same bytes however often it was interrupted ---------------------------------------------------------------------------


class Break(Exception):
    """Stands for a kill."""


class Signals(Silent):
    """Asks for a stop after a step that was recorded with numbers, and after notes of one that was skipped."""

    def __init__(self, step: int) -> None:
        self.at = step

    def note(self, text: str) -> None:
        if text.startswith(f"step {self.at} makes no update"):
            os.kill(os.getpid(), signal.SIGTERM)

    def step(self, step: int, **facts: float) -> None:
        if step == self.at:
            os.kill(os.getpid(), signal.SIGTERM)


@dataclass(frozen=True)
class Course:
    """What happens in a run of twelve steps, which saves after the fourth and eighth."""

    policy: dict[str, str]
    bad: Bad


COURSES = {
    "skip": Course({"non_finite": "skip"}, {1: ("loss", NAN), 5: ("gradient", INF), 6: ("loss", INF)}),
    "rewind": Course({"non_finite": "rewind"}, {6: ("loss", NAN), 7: ("gradient", NAN), 10: ("loss", INF)}),
    "spike": Course({"spikes": "skip"}, {6: ("loss", 1e3), 9: ("loss", 1e6)}),
    "both": Course({"non_finite": "rewind", "spikes": "skip"}, {6: ("loss", 1e3), 10: ("gradient", NAN)}),
}


@pytest.fixture
def short_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spikes are known after three steps, by the last five."""
    monkeypatch.setattr(spikes, "LEAST", 3)
    for module in (spikes, policies):
        monkeypatch.setattr(module, "WINDOW", 5)


def twelve(home: Path, course: Course) -> RunConfig:
    return config_of(
        home, "stop", train={"steps": 12, **course.policy}, checkpoint={"every": 4}, eval={"every": 3}
    )


@contextmanager
def kill_at(step: int) -> Iterator[None]:
    """The process ends while it reads the batch of this update."""
    at = Batches.at

    def reading(self: Batches, number: int, rows: slice = slice(None)) -> Any:
        if number == step:
            raise Break
        return at(self, number, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Batches, "at", reading)
        yield


@pytest.mark.parametrize("course", COURSES.values(), ids=list(COURSES))
def test_replayed_alike(course: Course, home: Path, tmp_path: Path, short_window: None) -> None:
    config = twelve(home, course)
    with bad_batches(course.bad):
        straight = bytes_of(train(config, tmp_path / "straight").path)
    assert straight["skipped.jsonl"]
    for step in (2, 5, 6, 7, 9, 10, 11):
        with bad_batches(course.bad), kill_at(step), pytest.raises(Break):
            train(config, tmp_path / "killed")
    for step in (
        2,
        5,
        6,
        7,
        8,
        11,
    ):  # a signal saves, so that the run goes on from other steps than those that are due
        with bad_batches(course.bad), pytest.raises(Stopped):
            train(config, tmp_path / "stopped", reporter=Signals(step))
    for name in ("killed", "stopped"):
        with bad_batches(course.bad):
            run = train(config, tmp_path / name)
        assert bytes_of(run.path) == straight, name
        assert steps_in(run.path, "timing") == list(range(1, 13))


def test_a_kill_while_it_goes_back(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each thing that going back writes."""
    course = COURSES["rewind"]
    config = twelve(home, course)
    with bad_batches(course.bad):
        straight = bytes_of(train(config, tmp_path / "straight").path)
    for where, after in (("remove_later", 1), ("rewind", 2), ("append", 1), ("append", 2), ("append", 3)):
        out = tmp_path / f"{where}{after}"
        with bad_batches(course.bad), broken_after(where, after), pytest.raises(Break):
            train(config, out)
        with bad_batches(course.bad):
            assert bytes_of(train(config, out).path) == straight, (where, after)


@pytest.mark.parametrize("how", ["damaged", "not there"])
def test_a_checkpoint_to_go_back_to_that_is_not_sound(how: str, home: Path, tmp_path: Path) -> None:
    """Nothing is removed for it, because what is there is all that is left."""
    out = tmp_path / "run"
    config = config_of(home, "rewind", checkpoint={"every": 4})
    with bad_batches({6: ("loss", NAN)}), pytest.raises(Stopped):
        train(config, out, reporter=Signals(5))
    target = out / "checkpoints" / "step_000004"
    if how == "damaged":
        (target / "model.safetensors").write_bytes(b"")
    else:
        shutil.rmtree(target)
    streams = {path: path.read_bytes() for path in out.glob("*.jsonl") if path.name != "timing.jsonl"}
    with (
        bad_batches({6: ("loss", NAN)}),
        pytest.raises(CheckpointError, match=f"step_000004: {how}") as caught,
    ):
        train(config, out)
    text = str(caught.value)
    assert "the run goes back to it (train.non_finite rewind); restore it" in text
    assert "\n" not in text and "fall_back" not in text
    assert (out / "checkpoints" / "step_000005").exists()
    assert all(path.read_bytes().startswith(content) for path, content in streams.items())


@contextmanager
def broken_after(where: str, count: int) -> Iterator[None]:
    """The process ends after the n-th call: of removing checkpoints, of cutting streams, of writing a skipped batch down."""
    owner, name = {
        "remove_later": (saves, "remove_later"),
        "rewind": (Run, "rewind"),
        "append": (Run, "append"),
    }[where]
    plain, calls = getattr(owner, name), []

    def breaking(*arguments: Any) -> Any:
        found = plain(*arguments)
        calls.extend([0] if where != "append" or arguments[1] == "skipped" else [])
        if len(calls) == count:
            raise Break
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, breaking)
        yield


def test_signals_do_not_push_out_the_checkpoint_to_go_back_to(home: Path, tmp_path: Path) -> None:
    course = COURSES["rewind"]
    config = twelve(home, course)
    with bad_batches(course.bad):
        for step in (5, 6):
            with pytest.raises(Stopped):
                train(config, tmp_path / "run", reporter=Signals(step))
    assert [path.name for path in list_checkpoints(tmp_path / "run" / "checkpoints")] == [
        "step_000004",
        "step_000005",
        "step_000006",
    ]


# --- where numbers come late, and who reads what was skipped --------------------------------------------------------------


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, which has the next update queued before the last one's numbers are read."""
    monkeypatch.setattr(Device, "runs_ahead", True)
    monkeypatch.setattr(Device, "send", lambda self, array: torch.from_numpy(array))
    monkeypatch.setattr(Device, "fetch", lambda self, values: Fetched(values, None))


@pytest.mark.parametrize("policy", ["skip", "rewind"])
def test_a_device_that_runs_ahead_waits(policy: str, home: Path, tmp_path: Path, request: Any) -> None:
    bad: Bad = {4: ("gradient", NAN), 7: ("loss", INF)}
    with bad_batches(bad):
        straight = bytes_of(train(config_of(home, policy), tmp_path / "straight").path)
        request.getfixturevalue("late")
        assert bytes_of(train(config_of(home, policy), tmp_path / "late").path) == straight


def test_a_device_that_runs_ahead_has_no_weights_to_keep(home: Path, tmp_path: Path, late: None) -> None:
    with bad_batches({4: ("gradient", NAN)}) as begun, pytest.raises(DivergedError, match="step 5: "):
        train(config_of(home, "stop"), tmp_path / "run")
    assert begun == list(range(6)), "the default waits for nothing"
    names = {path.name for path in (tmp_path / "run" / "non_finite").iterdir()}
    assert names == {"state.json", "batch.safetensors"}
    assert finite(tmp_path / "run")


def test_who_reads_what_was_skipped(home: Path, tmp_path: Path) -> None:
    with bad_batches({4: ("loss", NAN)}):
        run = train(config_of(home, "rewind"), tmp_path / "run")
    assert run.summary["skipped"] == 2
    assert Watched(run.path).look(None).skipped == 2
    (doubt,) = left_out({"ngpt": load_runs([run.path])})
    assert "2 of 8 batches made no update" in doubt.text and not doubt.forbids_claim
    again = restore(record_of(run), tmp_path / "restored", "a test")
    assert again.content("skipped") == run.content("skipped") and again.content("metrics") == run.content(
        "metrics"
    )
    check_finished(again)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "missing": lambda content: b"",
    "one line less": lambda content: content.split(b"\n", 1)[1],
    "one line twice": lambda content: content.split(b"\n", 1)[0] + b"\n" + content,
    "torn": lambda content: content[:-1],
    "another word": lambda content: content.replace(b"rewound", b"spiking"),
    "another step": lambda content: content.replace(b'"step": 4', b'"step": 9'),
    "no JSON": lambda content: b"{" + content,
}


def test_damage_of_what_was_skipped_is_found(home: Path, tmp_path: Path) -> None:
    """In a finished run, and before a run goes on; also where there is a line and should be none."""
    with bad_batches({4: ("loss", NAN)}):
        run = train(config_of(home, "rewind"), tmp_path / "run")
    without = train(config_of(home, "skip"), tmp_path / "without")
    content = run.content("skipped")
    for what, damage in DAMAGES.items():
        assert damage(content) != content
        run.path_of("skipped").write_bytes(damage(content))
        with pytest.raises(CheckpointError, match=r"skipped\.jsonl") as caught:
            check_finished(run)
        assert "\n" not in str(caught.value), what
        manifest = json.loads((list_checkpoints(run.path / "checkpoints")[-1] / "manifest.json").read_text())
        with pytest.raises(CheckpointError, match=r"skipped\.jsonl"):
            sizes_up_to(run, 8, manifest["streams"], scales=True)
    without.path_of("skipped").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"skipped\.jsonl"):
        check_finished(without)


def test_a_branch_has_what_its_trunk_skipped(home: Path, tmp_path: Path) -> None:
    bad: Bad = {1: ("loss", NAN), 5: ("gradient", NAN)}
    constant = config_of(
        home, "skip", schedule={"warmup_steps": 2, "shape": "constant"}, checkpoint={"at": (4,)}
    )
    cooled = config_of(home, "skip", schedule={"warmup_steps": 2, "cooldown_frac": 0.4})
    with bad_batches(bad):
        trunk = train(constant, tmp_path / "trunk")
        assert fork(trunk.path, cooled, tmp_path / "branch") == 6
        straight = bytes_of(train(cooled, tmp_path / "straight").path)
        assert bytes_of(train(cooled, tmp_path / "branch").path) == straight


# --- several processes ----------------------------------------------------------------------------------------------------


@pytest.mark.timeout(600)
def test_one_process_of_two(home: Path, tmp_path: Path) -> None:
    """What is not finite in one is not in the sum, so all decide alike; also where each keeps a part of the optimizer's state."""
    jobs = []
    for policy in POLICIES:
        for rank, where, shard in ((0, "gradient", "off"), (1, "loss", "optimizer")):
            config = config_of(home, policy, device={"shard": shard})
            bad = {"step": 4, "where": where, "rank": rank}
            out = str(tmp_path / f"{policy}-{rank}-{shard}")
            fields = config.model_dump(mode="json")
            jobs.append({"config": fields, "out": out, "processes": 2, "not_finite": bad})
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    environment = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(methods.__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, together.__file__, str(tmp_path / "jobs.json")],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    runs = ("0-off", "1-optimizer")
    for name in runs:
        stopped = tmp_path / f"stop-{name}"
        errors = [stopped.with_name(f"{stopped.name}.{rank}.error").read_text() for rank in (0, 1)]
        assert errors[0] == errors[1] and errors[0].startswith("step 5: ")
        batch = load_file(stopped / "non_finite" / "batch.safetensors")
        assert batch["inputs"].shape == (4, 16), "the rows of both"
        for policy, left in (("skip", [5]), ("rewind", [4, 5])):
            run = tmp_path / f"{policy}-{name}"
            assert Run(run).done and steps_in(run, "skipped") == left
            assert saved(run) == saved(tmp_path / f"{policy}-0-off")
    assert all(finite(tmp_path / f"{policy}-{name}") for policy in POLICIES for name in runs)


def saved(run: Path) -> list[bytes]:
    """Weights and moments at the end, which what was not finite has no part in."""
    return [content for name, content in bytes_of(run).items() if name.endswith(".safetensors")]
