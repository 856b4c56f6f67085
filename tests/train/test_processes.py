"""A run is the same in one process and in several.

With two processes the order of sums is that of one process with two micro-batches, so float32 results have the same bytes. With
four, or micro-batches within processes, sums have another order. That is compared in float64, where rounding is far below any
mistake: AdamW divides a gradient by its own size, which in float32 makes of a rounding whatever the learning rate allows.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import together
from ngptlab import methods
from ngptlab.config import RunConfig
from ngptlab.train.checkpoint import list_checkpoints, read_checkpoint
from tiny import tiny_config, write_texts

pytestmark = pytest.mark.timeout(600)  # some 40 s of one core, in one test's setup

STEPS = 24
STOPS = ((1, signal.SIGTERM), (0, signal.SIGINT), (0, signal.SIGUSR1), (0, signal.SIGHUP), (1, signal.SIGINT))
"""Processes that get a signal, one after the other, of a run that goes on each time."""
Splits = tuple[tuple[int, int], ...]
SPLITS = ((2, 0), (2, 1), (4, 0), (4, 1))
"""Processes, and sequences in a micro-batch (0: all that a process has of the batch of 8)."""
WEIGHTS = STEPS * 2**-9 * 2**-51 / 1e-8
"""Largest difference of a weight in float64, 2e-9. A clipped gradient is below 0.3, a sum of 8 sequences; their order costs it
up to 7 half units of 0.3, which is below 2^-51. An update divides by sqrt(v) + 1e-8. So an entry whose terms cancel to nothing
moves by up to lr 2^-51 / 1e-8 more or less, with a rate of 2^-9. Entries that don't cancel, nearly all, differ by 1e-15."""
LOSS = 2**-20
"""Two roundings of a loss below 8 nats, which is summed in float32: each is at most half of 2^-21."""
NORM = 2**-22
"""The same of a norm, relative to itself."""


def train_together(jobs: Iterable[dict[str, Any]], folder: Path, seconds: float) -> None:
    spec = folder / "jobs.json"
    spec.write_text(json.dumps(list(jobs)))
    more = {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(methods.__file__).parents[2]),
        "NGPTLAB_CACHE": str(folder / "cache"),
    }
    done = subprocess.run(
        [sys.executable, together.__file__, str(spec)],
        env=os.environ | more,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stderr


def job(config: RunConfig, out: Path, processes: int, micro: int = 0, **more: Any) -> dict[str, Any]:
    fields = config.model_dump(mode="json")
    fields["device"]["micro_batch"] = micro
    return {"config": fields, "out": str(out), "processes": processes, **more}


def lines(run: Path, stream: str = "metrics") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / f"{stream}.jsonl").read_text().splitlines()]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(list_checkpoints(run / "checkpoints")[-1] / "model.safetensors")


@dataclass(frozen=True)
class Difference:
    """Of two runs, the largest at any step or weight, in the units of the tolerances."""

    weights: float
    loss: float
    norm: float

    @property
    def is_noise(self) -> bool:
        return self.weights <= WEIGHTS and self.loss <= LOSS and self.norm <= NORM


def difference(a: Path, b: Path) -> Difference:
    ours, theirs = weights(a), weights(b)
    pairs = list(zip(lines(a), lines(b), strict=True))
    return Difference(
        weights=max(float((ours[name] - theirs[name]).abs().max()) for name in ours),
        loss=max(abs(x["loss_nats"] - y["loss_nats"]) for x, y in pairs),
        norm=max(abs(x["grad_norm"] / y["grad_norm"] - 1) for x, y in pairs),
    )


def config_of(texts: Path, method: str, **changes: Any) -> RunConfig:
    fields: dict[str, Any] = {
        "train": {"steps": STEPS, "batch_size": 8, "context": 16},
        "eval": {"every": 100, "val_tokens": 128, "length_factor": 2, "length_documents": 3},
        "checkpoint": {"every": 100},
        "optim": {"grad_clip": 0.3},  # below every norm here, so that clipping is at work
    }
    return tiny_config(texts, method, **{**fields, **changes})


def in_float32(config: RunConfig, folder: Path) -> list[dict[str, Any]]:
    """What `check_bytes` compares."""
    return [job(config, folder / "32-1", 1, micro=4), job(config, folder / "32-2", 2)]


def in_float64(config: RunConfig, folder: Path, splits: Splits = SPLITS) -> list[dict[str, Any]]:
    """What `check_noise` compares."""
    one = job(config, folder / "64-1", 1, float64=True)
    return [one, *(job(config, folder / f"64-{n}-{micro}", n, micro, float64=True) for n, micro in splits)]


def check_bytes(a: Path, b: Path, steps: int = STEPS) -> None:
    last = f"checkpoints/step_{steps:06d}"
    names = ("metrics.jsonl", "evals.jsonl", f"{last}/model.safetensors", f"{last}/optimizer.safetensors")
    assert [name for name in names if (a / name).read_bytes() != (b / name).read_bytes()] == []


def check_noise(folder: Path, splits: Splits = SPLITS) -> None:
    for n, micro in splits:
        found = difference(folder / "64-1", folder / f"64-{n}-{micro}")
        print(folder.name, n, micro, found)
        assert found.is_noise, (n, micro, found)


FEW = ((2, 1), (4, 0))
"""Of `SPLITS`, for the fast tests."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All runs of this module's fast tests, because torch is imported once for them."""
    folder = tmp_path_factory.mktemp("together")
    texts = write_texts(folder / "texts")
    plain, cut = config_of(texts, "gpt"), config_of(texts, "seqlen_warmup")
    wide = config_of(texts, "ngpt", param={"rules": "mup", "base_width": 8})
    for name in ("plain", "cut", "wide"):
        (folder / name).mkdir()
    jobs = [
        *in_float32(plain, folder / "plain"),
        *in_float64(plain, folder / "plain", FEW),
        *in_float32(cut, folder / "cut"),
        *in_float64(wide, folder / "wide", ((4, 1),)),
    ]
    for name in together.BROKEN:
        in_32 = name in ("drift", "own_windows")
        jobs.append(job(plain, folder / name, 2, float64=not in_32, broken=name))
    for stage, (rank, number) in enumerate(STOPS):
        # 2, 1 and 2 processes, then 1 to the end.
        processes, micro = ((2, 0), (1, 4))[stage % 2]
        at = {"what": number, "rank": rank, "step": 5 * stage + 3}
        jobs.append(job(plain, folder / "moved", processes, micro, stage=stage, happens=at))
    jobs.append(job(plain, folder / "moved", 1, 4, stage=len(STOPS)))
    for rank in (0, 1):
        at = {"what": "no such token", "rank": rank, "step": 7}
        jobs.append(job(plain, folder / f"raised-{rank}", 2, happens=at))
    jobs.append(
        job(plain, folder / "late", 2, late=True, happens={"what": signal.SIGTERM, "rank": 1, "step": 7})
    )
    jobs.append(job(plain, folder / "late", 2, late=True, profile=2, stage=1))
    jobs.append(job(plain, folder / "late", 2, stage=2))  # is done
    for name, device in (("beside", {}), ("beside-shard", {"shard": "on"})):
        saves = {"every": 5, "asynchronous": "on"}
        beside = config_of(texts, "gpt", checkpoint=saves, device=device)
        late_error = {"what": "an error", "rank": 1, "step": 21}
        jobs.append(job(beside, folder / name, 2, happens=late_error))
        jobs.append(job(beside, folder / name, 2, stage=1))
    jobs.append(job(beside, folder / "left", 2, happens=late_error))
    jobs.append(job(beside, folder / "no-room", 2, room=4))
    train_together(jobs, folder, 550)
    return folder


def test_two_processes_give_the_bytes_of_two_micro_batches(runs: Path) -> None:
    for name in ("plain", "cut"):
        check_bytes(runs / name / "32-1", runs / name / "32-2")
    assert not [*runs.glob("plain/*.error"), *runs.glob("cut/*.error")]


def test_one_two_and_four_processes_differ_by_noise(runs: Path) -> None:
    check_noise(runs / "plain", FEW)
    check_noise(runs / "wide", ((4, 1),))


def test_only_the_environment_tells_of_the_processes(runs: Path) -> None:
    one, two = (json.loads((runs / "plain" / run / "env.json").read_text()) for run in ("32-1", "32-2"))
    assert two.pop("processes") == 2 and one.keys() == two.keys()
    names = {path.name for path in (runs / "plain" / "32-1").iterdir()}
    assert names == {path.name for path in (runs / "plain" / "32-2").iterdir()}


@pytest.mark.parametrize("broken", ["left_out", "doubled", "own_norm", "own_weights_unchecked"])
def test_what_is_broken_is_no_noise(broken: str, runs: Path) -> None:
    found = difference(runs / "plain" / "64-1", runs / broken)
    print(broken, found)
    assert not found.is_noise


def test_unequal_replicas_are_an_error(runs: Path) -> None:
    """At the start, and at the next checkpoint."""
    for broken, when in (("own_weights", "step 0"), ("drift", f"step {STEPS}")):
        errors = [(runs / f"{broken}.{rank}.error").read_text() for rank in (0, 1)]
        assert errors[0] == errors[1] and errors[0].count("\n") == 1
        assert errors[0].startswith(f"{when}: E_in of process 1 differs from that of process 0")
    assert not list_checkpoints(runs / "drift" / "checkpoints")


def test_losses_that_are_not_shared_are_others(runs: Path) -> None:
    shared, own = (lines(run, "evals")[0] for run in (runs / "plain" / "32-2", runs / "own_windows"))
    assert own["loss_nats"] < 0.7 * shared["loss_nats"], "the windows of the other process count as zero"


def test_a_signal_to_one_process_stops_all_at_the_same_step(runs: Path) -> None:
    expected = [
        f"stopped by {number.name} after step {5 * stage + 4}; saved"
        for stage, (_, number) in enumerate(STOPS)
    ]
    assert (runs / "moved.0.stopped").read_text().splitlines() == expected
    assert (runs / "moved.1.stopped").read_text().splitlines() == expected[::2], "there in every other stage"


def test_a_run_moves_between_numbers_of_processes(runs: Path) -> None:
    """From 2 to 1 to 2 to 1, stopped by a signal each time, with the bytes of one process that was never stopped."""
    check_bytes(runs / "plain" / "32-1", runs / "moved")


def test_numbers_that_are_read_late(runs: Path) -> None:
    """As on a GPU: stopped by a signal to the second process, gone on with under the profiler, started again when it was done."""
    check_bytes(runs / "plain" / "32-2", runs / "late")
    # The signal is told with update 8, whose numbers are read when update 9 is queued.
    said = [path.read_text() for path in sorted(runs.glob("late.*.stopped"))]
    assert said == 2 * ["stopped by SIGTERM after step 9; saved\n"]
    assert "training step" in (runs / "late" / "profile" / "trace.json").read_text()
    assert not list(runs.glob("late.*.error"))


def test_an_error_in_one_process_ends_the_others(runs: Path) -> None:
    for rank in (0, 1):
        own, other = ((runs / f"raised-{rank}.{r}.error").read_text() for r in (rank, 1 - rank))
        assert own == "no such token\n"
        assert other.startswith("another process of this run ended (") and other.count("\n") == 1
        summary = json.loads((runs / f"raised-{rank}" / "summary.json").read_text())
        assert summary["status"] == "failed" and summary["reason"] + "\n" == (own if rank == 0 else other)


@pytest.mark.parametrize("name", ["beside", "beside-shard"])
def test_checkpoints_that_are_written_beside_the_training(name: str, runs: Path) -> None:
    """The second process ends with an error while or after one is written, and both go on from that one."""
    check_bytes(runs / "plain" / "32-1", runs / name)
    errors = [(runs / f"{name}.{rank}.error").read_text() for rank in (0, 1)]
    assert errors[1] == "an error\n" and errors[0].startswith("another process of this run ended (")
    for run, steps in ((name, [20, 24]), ("left", [15, 20])):
        found = list_checkpoints(runs / run / "checkpoints")
        assert [read_checkpoint(path)[0]["step"] for path in found] == steps


def test_no_room_for_one_that_is_written_beside_the_training(runs: Path) -> None:
    errors = [(runs / f"no-room.{rank}.error").read_text() for rank in (0, 1)]
    assert "step_000010: can't be saved (No space left on device" in errors[0] and errors[0].count("\n") == 1
    assert errors[1].startswith("another process of this run ended (") and errors[1].count("\n") == 1
    assert [path.name for path in (runs / "no-room" / "checkpoints").iterdir()] == ["step_000005"]
    assert json.loads((runs / "no-room" / "summary.json").read_text())["status"] == "failed"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_compiled(tmp_path: Path) -> None:
    config = config_of(write_texts(tmp_path / "texts"), "ngpt", device={"compile": "on"})
    train_together(in_float32(config, tmp_path), tmp_path, 800)
    check_bytes(tmp_path / "32-1", tmp_path / "32-2")


SQUARE = {"soap": {"model": {"d_ff": 16}}}
"""Axes along which a matrix has no gradient are whatever rounding says, also in one process; 42 x 16 has 26 such."""
GROUPS = 8
"""So many methods have one import of torch between them."""


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("names", [methods.names()[i::GROUPS] for i in range(GROUPS)], ids="+".join)
def test_every_method(names: list[str], tmp_path: Path) -> None:
    texts = write_texts(tmp_path / "texts")
    jobs = []
    for method in names:
        (tmp_path / method).mkdir()
        config = config_of(texts, method, **SQUARE.get(method, {}))
        jobs += [*in_float32(config, tmp_path / method), *in_float64(config, tmp_path / method)]
    train_together(jobs, tmp_path, 1700)
    for method in names:
        # No one size of micro-batches halves the batch of every stage, as two processes do.
        if not methods.load(method).batch_stages:
            check_bytes(tmp_path / method / "32-1", tmp_path / method / "32-2")
        check_noise(tmp_path / method)
