"""Links that a stranger planted in a folder which is written into: none is written, emptied, filled or removed through."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from made_runs import run_maker
from ngptlab.cli import main
from ngptlab.config import DataConfig, RunConfig
from ngptlab.data.prepare import text_to_shards as prepare_module
from ngptlab.data.prepare.datatrove_steps import steps
from ngptlab.data.prepare.out_folder import prepare_out_folder
from ngptlab.errors import ConfigError, LabError
from ngptlab.experiment import train
from ngptlab.export.imported import write_run
from ngptlab.export.write import export
from ngptlab.initial_model import initial_model
from ngptlab.jobs import local
from ngptlab.jobs.cell import Cell, run_of
from ngptlab.jobs.in_turn import _place
from ngptlab.jobs.worker_process import start
from ngptlab.report.page import write_report
from ngptlab.runs import Run
from ngptlab.studies import recognize
from ngptlab.tracking import tracker_process
from ngptlab.tracking.tracker_process import TrackerProcess
from ngptlab.train.fork import fork
from ngptlab.train.progress import Silent
from ngptlab.trained import open_trained

MakeConfig = Callable[..., RunConfig]
LINKED = (OSError, LabError)


class Breaks(Silent):
    """Ends a training in the middle of a step, as a kill does."""

    def step(self, step: int, **facts: Any) -> None:
        if step == 5:
            raise KeyError(step)


@pytest.fixture
def broken(make_config: MakeConfig, tmp_path: Path) -> Path:
    """A run that is to go on after its checkpoint of step 3."""
    with pytest.raises(KeyError):
        train(make_config(), tmp_path / "run", reporter=Breaks())
    return tmp_path / "run"


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """Somebody's folder, in which nothing may have changed when the test ends, not even a time."""
    folder = tmp_path / "victim"
    (folder / "step_000001").mkdir(parents=True)
    for name in ("precious", "loss.csv", "val.json", "step_000001/model.safetensors"):
        (folder / name).write_text(f"{name} of somebody")
    before = state(folder)
    yield folder
    assert state(folder) == before


def state(folder: Path) -> dict[str, Any]:
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_mode, path.is_file() and path.read_bytes())
        for path in [folder, *folder.rglob("*")]
    }


def plant(place: Path, target: Path) -> None:
    """A link in place of whatever stands there."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.symlink_to(target)


@pytest.mark.parametrize("name", ["checkpoints", ".lock", "profile", "summary.json"])
def test_a_resume_says_which_link_is_in_its_way(
    name: str, broken: Path, victim: Path, make_config: MakeConfig
) -> None:
    plant(broken / name, victim if name in ("checkpoints", "profile") else victim / "precious")
    with pytest.raises(LINKED) as caught:
        train(make_config(), broken, profile_steps=1)
    told = f"{caught.value} {getattr(caught.value, 'filename', '')}"
    assert name in told and ("remove" in told or "damaged" in told)


@pytest.mark.parametrize("name", ["metrics.jsonl", "evals.jsonl", "env.json"])
def test_a_stream_that_is_a_link_is_not_written(
    name: str, broken: Path, victim: Path, make_config: MakeConfig
) -> None:
    """Whether the resume takes what it reads there or calls it damaged."""
    plant(broken / name, victim / "precious")
    with contextlib.suppress(*LINKED):
        train(make_config(), broken)


@pytest.mark.parametrize(
    "name",
    [
        "checkpoints/.tmp-step_000006",
        "checkpoints/.step_000006.0123456789abcdef.tmp",
        "checkpoints/step_000006",
        ".summary.json.tmp",
        ".metrics.jsonl.tmp",
        "profile/trace.json",
        "profile/top.txt",
    ],
)
@pytest.mark.parametrize("folder", [False, True])
def test_a_resume_goes_round_a_link(
    name: str, folder: bool, broken: Path, victim: Path, make_config: MakeConfig
) -> None:
    plant(broken / name, victim if folder else victim / "precious")
    assert train(make_config(), broken, profile_steps=1 if "profile" in name else 0).done
    assert not (broken / name).is_symlink() or "tmp" in name


def test_checkpoints_elsewhere_are_not_thinned_out(
    broken: Path, victim: Path, make_config: MakeConfig, tmp_path: Path
) -> None:
    """The folder that was moved away holds what a resume reads, and would remove."""
    shutil.move(broken / "checkpoints", tmp_path / "elsewhere")
    plant(broken / "checkpoints", tmp_path / "elsewhere")
    before = state(tmp_path / "elsewhere")
    with pytest.raises(LabError, match=r"run/checkpoints: .*a link"):
        train(make_config(), broken)
    assert state(tmp_path / "elsewhere") == before


@pytest.mark.parametrize("name", ["evals", "evals/.lock", "evals/.val.json.tmp", "evals/val.json"])
@pytest.mark.parametrize("folder", [False, True])
def test_results_of_evaluations(
    name: str, folder: bool, victim: Path, make_config: MakeConfig, tmp_path: Path
) -> None:
    run = Run.open(tmp_path / "run", make_config())
    plant(run.path / name, victim if folder else victim / "precious")
    if name in ("evals", "evals/.lock"):
        with pytest.raises(OSError, match="a link, through which") as caught:
            run.keep_eval("val", {"step": 1})
        assert str(caught.value.filename) == str(run.path / name)
    else:
        assert not run.keep_eval("val", {"step": 1}).is_symlink()


def test_the_trackers_log(
    victim: Path, make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_process(*arguments: object, **named: object) -> None:
        raise OSError("not in a test")

    monkeypatch.setattr(tracker_process.subprocess, "Popen", no_process)
    run = Run.open(tmp_path / "run", make_config())
    plant(run.path / tracker_process.LOG, victim / "precious")
    told: list[str] = []
    TrackerProcess("wandb", run, told.append).start()
    assert "not in a test" in told[0] and not (run.path / tracker_process.LOG).is_symlink()


def test_a_branch(victim: Path, make_config: MakeConfig, tmp_path: Path) -> None:
    plant(tmp_path / ".tmp-branch", victim)
    shorter = make_config(train={"steps": 6}, schedule={"shape": "constant"})
    train(make_config(schedule={"shape": "constant"}), tmp_path / "trunk")
    plant(tmp_path / "branch", victim)
    with pytest.raises(ConfigError, match="is there already"):
        fork(tmp_path / "trunk", shorter, tmp_path / "branch")
    (tmp_path / "branch").unlink()
    assert fork(tmp_path / "trunk", shorter, tmp_path / "branch") > 0


@pytest.mark.parametrize("name", ["runs", "runs/{}"])
def test_runs_of_a_study(
    name: str, victim: Path, make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, empty, out = make_config(), tmp_path / "empty", tmp_path / "study"
    empty.mkdir()
    plant(out / name.format(config.run_name), empty)
    with pytest.raises(ConfigError, match="a link, through which nothing is written; remove it"):
        _place(out, config)
    monkeypatch.setattr(local.subprocess, "Popen", lambda *a, **k: pytest.fail("started"))
    with pytest.raises(OSError, match="a link"):
        start((Cell(config),), out, 1)
    assert not list(empty.iterdir())


def test_a_finished_run_may_be_a_link(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config()
    run = run_maker(tmp_path)("gpt", {0: 3.0, 8: 2.0})
    assert Run(run).done
    plant(tmp_path / "study" / "runs" / config.run_name, run)
    assert _place(tmp_path / "study", config) == run_of(tmp_path / "study", Cell(config))


@pytest.mark.parametrize("name", ["configs", "logs", "configs/{}.json", "logs/{}.log"])
def test_what_a_sweep_writes_beside_its_runs(
    name: str, victim: Path, make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config()
    place = tmp_path / "study" / name.format(config.run_name)
    monkeypatch.setattr(local.subprocess, "Popen", lambda *a, **k: None)
    if "/" in name:
        plant(place, victim / "precious")
        start((Cell(config),), tmp_path / "study", 1)
        assert not place.is_symlink()
    else:
        plant(place, victim)
        with pytest.raises(OSError, match="a link") as caught:
            start((Cell(config),), tmp_path / "study", 1)
        assert caught.value.filename == str(place)


@pytest.fixture
def finished(make_config: MakeConfig, tmp_path: Path) -> Path:
    """A run without a training."""
    config = make_config()
    weights = dict(initial_model(config).named_parameters())
    return write_run(config, weights, tmp_path / "finished", step=8, origin="a test").path


def test_an_export(finished: Path, victim: Path, tmp_path: Path) -> None:
    plant(tmp_path / ".out.tmp", victim)
    export(open_trained(finished), tmp_path / "out")
    assert (tmp_path / "out" / "config.json").is_file() and (tmp_path / ".out.tmp").is_symlink()


def test_a_report(victim: Path, tmp_path: Path) -> None:
    runs = [run_maker(tmp_path)(method, {0: 3.0, 50: 2.5, 100: 2.0}) for method in ("gpt", "ngpt")]
    out = tmp_path / "out"
    names = ("report.html", "report.json", "figures/loss.csv", "figures/loss.png", "figures/loss.svg")
    for name in names:
        plant(out / name, victim / "precious")
    write_report(runs, out, title="t")
    assert not any((out / name).is_symlink() for name in names)
    plant(out / "figures", victim)
    with pytest.raises(ConfigError, match=r"out/figures: .*a link"):
        write_report(runs, out, title="t")


@pytest.mark.parametrize("name", ["studies", "studies/1-sweep"])
def test_an_earlier_pages_studies(name: str, tmp_path: Path) -> None:
    """Files of theirs are removed, though not through a link."""
    theirs = tmp_path / "elsewhere" / ("1-sweep" if name == "studies" else "") / "sweep.csv"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("somebody's")
    plant(tmp_path / "out" / name, tmp_path / "elsewhere")
    with pytest.raises(OSError, match="a link") as caught:
        recognize.write([], tmp_path / "out")
    assert caught.value.filename == str(tmp_path / "out" / name)
    assert theirs.read_text() == "somebody's"


@pytest.fixture
def half_prepared(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], object]:
    """A folder that `data prepare` began; the call that goes on with it."""
    monkeypatch.setattr(prepare_module, "SAVE_BYTES", 1500)
    monkeypatch.setattr(prepare_module, "BATCH_BYTES", 500)
    data = DataConfig(source=f"text:{corpus}", tokenizer="bytes", val_share=0.2, long_share=0.3)
    told: list[int] = []

    def tell(share: float, text_bytes: int, tokens: int) -> None:
        told.append(tokens)
        if len(told) == 9:
            raise KeyError

    with pytest.raises(KeyError):
        prepare_out_folder(data, tmp_path / "shards", long_min_tokens=60, workers=1, tell=tell)
    assert (tmp_path / "shards" / "progress.hashes").exists()
    return lambda folder: prepare_out_folder(data, folder, long_min_tokens=60, workers=1)


@pytest.mark.parametrize(
    "name", ["progress.hashes", "train_000000.bin", ".progress.json.tmp", "manifest.json"]
)
def test_a_preparation_that_goes_on(
    name: str, half_prepared: Callable[[Path], object], tmp_path: Path
) -> None:
    place = tmp_path / "shards" / name
    # What is planted has the same content, for else it is called damaged before anything is written.
    content = place.read_bytes() if place.exists() else b""
    theirs = tmp_path / "elsewhere"
    theirs.write_bytes(content + b"somebody's")
    plant(place, theirs)
    before = (theirs.read_bytes(), theirs.stat().st_mtime_ns)
    try:
        half_prepared(tmp_path / "shards")
    except LINKED as error:
        assert name in f"{error} {getattr(error, 'filename', '')}"
    assert (theirs.read_bytes(), theirs.stat().st_mtime_ns) == before


@pytest.mark.parametrize("suffix", [".tokens", ".npy", ".tmp", ".json"])
def test_blocks_of_many_machines(suffix: str, corpus: Path, victim: Path, tmp_path: Path) -> None:
    data = DataConfig(source=f"text:{corpus}", tokenizer="bytes", val_share=0.2, long_share=0.3)
    encode, merge = steps(data, tmp_path / "out", tmp_path / "scratch", long_min_tokens=60)
    if suffix != ".json":  # which is read first
        plant(tmp_path / "scratch" / f"block_00000_of_00001{suffix}", victim / "precious")
    plant(tmp_path / ".out.tmp", victim)
    encode(None, 0, 1)
    merge()
    assert (tmp_path / "out" / "manifest.json").is_file()


def test_tables_and_figures(victim: Path, work: Path, finished: Path) -> None:
    names = ("scales.csv", "scales.json", "scales.png", "scales.svg")
    for name in names:
        plant(work / "out" / name, victim / "precious")
    assert main(["eval", str(finished), "--evals", "scales", "--out", "out", "--device", "cpu"]) == 0
    for name in names[:2]:
        assert not (work / "out" / name).is_symlink() and (work / "out" / name).stat().st_size
