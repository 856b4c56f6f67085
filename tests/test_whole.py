"""A finished run whose settings or records are no longer what it was trained with is refused by all that read it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from damaged_runs import (
    Damage,
    Trained,
    damage,
    digit_of_line,
    lines_of,
    nan_in_line,
    top_bit_of_line,
    with_line,
    without_line,
)
from made_runs import MakeRun
from ngptlab.cli import main
from ngptlab.errors import CheckpointError, DataError
from ngptlab.evidence import gather
from ngptlab.export.imported import import_export
from ngptlab.export.write import export
from ngptlab.jobs.cell import Cell
from ngptlab.jobs.outcome import outcome
from ngptlab.runs import Run
from ngptlab.stack.train import train as train_stack
from ngptlab.streams import STREAMS
from ngptlab.studies.sweep.table import rows
from ngptlab.train.progress import Silent
from ngptlab.trained import open_trained
from ngptlab.watch.watch import Watch
from ngptlab.whole import check_finished

Change = Callable[[Path], object]


@pytest.fixture
def run(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("NGPTLAB_CACHE", str(trained.folder / "cache"))
    path = tmp_path / "runs" / trained.config.run_name
    shutil.copytree(trained.folder / "straight", path)
    return Run(path)


def edited(name: str, **changes: Any) -> Change:
    """Sets fields of a JSON file by their dotted names; None removes one."""

    def change(path: Path) -> None:
        value = json.loads((path / name).read_text())
        for dotted, new in changes.items():
            *parents, last = dotted.split("__")
            inner = value
            for parent in parents:
                inner = inner[parent]
            if new is None:
                del inner[last]
            else:
                inner[last] = new
        (path / name).write_text(json.dumps(value))

    return change


before_digests = edited("summary.json", config_hash=None, streams=None)

DAMAGES: dict[str, Damage] = {
    "removed": lambda content: None,
    "emptied": lambda content: b"",
    "last newline missing": lambda content: content[:-1],
    "last line missing": lambda content: b"".join(lines_of(content)[:-1]),
    "second line missing": without_line(2),
    "doubled": lambda content: content * 2,
    "line 5": with_line(2, b"5\n"),
    "not a number": nan_in_line(1),
    "top bit": top_bit_of_line(2),
    "a digit": digit_of_line(2),
    "cut in a line": lambda content: content[: len(content) // 2],
}


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        check_finished(Run(path))
    message = str(caught.value)
    assert "\n" not in message and message.endswith("; restore it, or remove the run to train it anew")
    return message


def test_a_finished_run_is_whole(run: Run) -> None:
    check_finished(run)
    before_digests(run.path)
    check_finished(run)


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("how", DAMAGES.values(), ids=list(DAMAGES))
def test_damaged_records_are_refused(how: Damage, stream: str, run: Run) -> None:
    damage(run, stream, how)
    assert str(run.path_of(stream)) in refusal(run.path)


@pytest.mark.parametrize("stream", STREAMS)
def test_records_of_another_run_are_refused(stream: str, run: Run, trained: Trained) -> None:
    shutil.copyfile(trained.folder / "other" / f"{stream}.jsonl", run.path_of(stream))
    assert f"{run.path_of(stream)}: damaged (" in refusal(run.path)


@pytest.mark.parametrize("stream", ["metrics", "evals"])
@pytest.mark.parametrize("how", [name for name in DAMAGES if name != "a digit"])
def test_without_digests_steps_and_validations_are_counted(how: str, stream: str, run: Run) -> None:
    """A run from before there were digests. Whether it had a length evaluation, it does not say."""
    before_digests(run.path)
    damage(run, stream, DAMAGES[how])
    if (stream, how) == ("evals", "last line missing"):
        check_finished(run)
    else:
        assert str(run.path_of(stream)) in refusal(run.path)


def test_scales_stand_beside_validations(run: Run) -> None:
    before_digests(run.path)
    damage(run, "scales", without_line(2))
    assert "0 lines of step 3, not 1" in refusal(run.path)


CHANGES: dict[str, Change] = {
    "another method": edited("config.json", method="gpt"),
    "another learning rate": edited("config.json", optim__lr=0.5),
    "more steps": edited("config.json", train__steps=9),
    "another seed": edited("config.json", seed=3),
    "other data": edited("config.json", data__source="stdlib"),
}


@pytest.mark.parametrize("kept", ["a hash", "no hash"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_changed_settings_are_refused(change: Change, kept: str, run: Run) -> None:
    if kept == "no hash":  # then the checkpoint's tells
        before_digests(run.path)
    change(run.path)
    message = refusal(run.path)
    assert message.startswith(f"{run.path / 'config.json'}: changed") and run.config.hash in message


def test_settings_outside_the_hash_may_change(run: Run) -> None:
    edited("config.json", device__threads=3, checkpoint__keep=7, eval__at=[2], track="wandb")(run.path)
    check_finished(Run(run.path))


OTHERS: dict[str, tuple[str, Change]] = {
    "a step too early": ("summary.json", edited("summary.json", step=7)),
    "no step": ("summary.json", edited("summary.json", step=None)),
    "no digest of the data": ("env.json", edited("env.json", data_digest=None)),
    "no env": ("env.json", lambda path: (path / "env.json").unlink()),
    "a list for env": ("env.json", lambda path: (path / "env.json").write_text("[]")),
    "a list for summary": (
        "summary.json",
        lambda path: (path / "summary.json").write_text('[["status", "done"]]'),
    ),
}


@pytest.mark.parametrize(("name", "change"), OTHERS.values(), ids=list(OTHERS))
def test_other_files(name: str, change: Change, run: Run) -> None:
    change(run.path)
    with pytest.raises(CheckpointError) as caught:
        check_finished(run)
    assert str(caught.value).startswith(f"{run.path / name}: damaged (")


def test_a_run_that_is_not_done_is_asked_nothing(run: Run) -> None:
    for status in ("stopped", "failed"):
        edited("summary.json", status=status)(run.path)
        damage(run, "evals", lambda content: content[:-1])
        check_finished(run)


# --- what reads finished runs -------------------------------------------------------------------------------------------

READERS: dict[str, list[str]] = {
    "report": ["report", "RUN", "--out", "out"],
    "claims": ["claims", "RUN", "--out", "out"],
    "export": ["export", "RUN", "out"],
    "eval": ["eval", "RUN", "--evals", "val", "--out", "out"],
    "track": ["track", "RUN", "--to", "tensorboard"],
    "train": ["train", "RUN/config.json", "--out", "RUN"],
}
REPORTED: dict[str, tuple[str, Change]] = {
    "metrics removed": ("metrics.jsonl", lambda path: (path / "metrics.jsonl").unlink()),
    "the length evaluation cut off": (
        "evals.jsonl",
        lambda path: (path / "evals.jsonl").write_bytes((path / "evals.jsonl").read_bytes()[:-1]),
    ),
    "another learning rate": ("config.json", edited("config.json", optim__lr=0.5)),
}


@pytest.mark.parametrize("command", READERS.values(), ids=list(READERS))
@pytest.mark.parametrize(("name", "change"), REPORTED.values(), ids=list(REPORTED))
def test_every_verb_refuses_it(
    name: str,
    change: Change,
    command: list[str],
    run: Run,
    work: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ngptlab.tracking.sink.check_installed", lambda tracker: None)
    change(run.path)
    assert main([part.replace("RUN", str(run.path)) for part in command]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("ngptlab: ") and name in last and str(run.path) in last
    assert not (work / "out").exists()


def test_a_sweep_says_so_of_the_cell_alone(run: Run, trained: Trained, tmp_path: Path) -> None:
    other = trained.config_of(seed=1)
    shutil.copytree(trained.folder / "other", tmp_path / "runs" / other.run_name)
    run.path_of("metrics").unlink()
    ended = outcome(Cell(run.config), tmp_path)
    assert ended.status == "failed" and "metrics.jsonl" in ended.reason
    table = rows([Cell(trained.config), Cell(other)], tmp_path, {})
    assert [row.status for row in table] == ["failed", "done"]
    assert table[0].final_loss_nats is None and "metrics.jsonl: damaged" in table[0].reason


def test_damaged_records_of_a_stopped_cell_fail_it_alone(run: Run, trained: Trained, tmp_path: Path) -> None:
    edited("summary.json", status="stopped")(run.path)
    run.path_of("timing").write_bytes(b"5\n")
    (row,) = rows([Cell(trained.config)], tmp_path, {})
    assert row.status == "failed" and "timing.jsonl, line 1: damaged" in row.reason


def test_a_stack_names_it_and_leaves_it(run: Run, trained: Trained) -> None:
    run.path_of("evals").unlink()
    notes: list[str] = []

    class Notes(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    train_stack([(trained.config, run.path)], reporter=Notes())
    assert any("evals.jsonl: damaged" in note for note in notes) and not run.path_of("evals").exists()


def test_claims_count_the_sound_runs_of_a_folder_and_name_the_others(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str], work: Path
) -> None:
    paths = [make_run("gpt", {0: 5.0, 100: 2.0}, seed=seed) for seed in range(3)]
    (paths[1] / "metrics.jsonl").unlink()
    (paths[2] / "config.json").write_text("{")
    evidence, _, damaged = gather([paths[0].parent])
    assert [ends.losses for ends in evidence.ends] == [{"0": 2.0}]
    assert len(damaged) == 2 and "metrics.jsonl" in damaged[0] and "config.json" in damaged[1]
    assert main(["claims", str(paths[0].parent)]) == 0
    assert "Not counted: " in capsys.readouterr().err
    (paths[0] / "metrics.jsonl").unlink()
    with pytest.raises(DataError, match="damaged"):
        gather([paths[0].parent])


def test_watch_says_what_sizes_tell(run: Run) -> None:
    (view,) = Watch(run.path).look()
    assert (view.state, view.reason) == ("done", "")
    damage(run, "evals", lambda content: content[:-1])
    (view,) = Watch(run.path).look()
    assert view.state == "failed" and "evals.jsonl: damaged (it has" in view.reason


def test_an_imported_run_is_whole_without_records(run: Run, tmp_path: Path) -> None:
    export(open_trained(run.path), tmp_path / "model")
    back = import_export(tmp_path / "model", tmp_path / "back")
    check_finished(back)
    assert not back.read("metrics") and back.read("evals")
    damage(back, "evals", lambda content: content[:-1])
    assert "its last line is cut off" in refusal(back.path)
    edited("config.json", optim__lr=0.5)(back.path)
    assert "config.json: changed" in refusal(back.path)
