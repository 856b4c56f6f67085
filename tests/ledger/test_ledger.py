"""Runs into a ledger and out of it: the same numbers, damage named, and studies that train only what is missing."""

from __future__ import annotations

import csv
import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from made_runs import MakeRun, run_maker
from ngptlab import disk
from ngptlab.cli import main
from ngptlab.config import RunConfig, parse
from ngptlab.errors import ConfigError, DataError
from ngptlab.experiment import train
from ngptlab.ledger.book import Ledger, is_ledger
from ngptlab.ledger.lend import lent
from ngptlab.ledger.record import record_of, restore, short, wide
from ngptlab.runs import Run
from ngptlab.stats.records import load_runs
from ngptlab.whole import check_finished

MakeConfig = Callable[..., RunConfig]


@pytest.fixture
def trained(make_config: MakeConfig, tmp_path: Path) -> Run:
    return train(make_config("ngpt"), tmp_path / "run")


def test_a_run_comes_back_byte_for_byte(trained: Run, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "runs.jsonl")
    assert [run.path for run in ledger.add([trained])] == [trained.path]
    (entry,) = ledger.entries()
    assert entry.record["metrics"]["lr"] == "schedule"
    again = restore(entry.record, tmp_path / "again", entry.origin)
    check_finished(again)
    for stream in ("metrics", "evals"):
        assert again.content(stream) == trained.content(stream), stream
    assert (again.config, again.env) == (trained.config, trained.env)
    (ours,), (theirs,) = load_runs([trained.path]), load_runs([again.path])
    assert (ours.val, ours.length, ours.train, ours.params) == (
        theirs.val,
        theirs.length,
        theirs.train,
        theirs.params,
    )
    for a, b in zip(ours.timing, theirs.timing, strict=True):
        assert b.step_seconds == pytest.approx(a.step_seconds, rel=5e-4)
    # What came from a ledger does not go into it again.
    assert Ledger(tmp_path / "other.jsonl").add([again]) == []


def test_a_run_too_long_for_a_line_is_refused(
    trained: Run, make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the ledger it would be a line that hinders the reading of all others."""
    ledger = Ledger(tmp_path / "runs.jsonl")
    ledger.add([trained])
    content = ledger.path.read_bytes()
    longer = train(make_config("ngpt", train={"steps": 40}), tmp_path / "longer")
    monkeypatch.setattr(disk, "RECORD_BYTES", len(content) - 1)
    with pytest.raises(DataError, match=f"longer: run {longer.config.hash} takes") as caught:
        ledger.add([longer])
    assert "\n" not in str(caught.value) and ledger.path.read_bytes() == content
    assert [entry.hash for entry in ledger.entries()] == [trained.config.hash], "as long as may be"


def test_a_restored_run_is_done_and_has_no_weights(trained: Run, tmp_path: Path, capsys: Any) -> None:
    again = restore(record_of(trained), tmp_path / "again", "here")
    assert train(trained.config, again.path).done
    assert not (again.path / "checkpoints").exists()
    assert main(["eval", str(again.path), "--evals", "val"]) == 2
    assert "from a ledger, which keeps no weights" in capsys.readouterr().err


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_nine_digits_say_a_float32(value: float) -> None:
    assert wide(short(value)) == value
    assert len(repr(short(value))) <= len(repr(value))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float64_stays_or_is_refused(value: float) -> None:
    """A number that no float32 is must not come back as one; nine digits that only look like one are caught by `_packed`."""
    if struct.unpack("f", struct.pack("f", value))[0] != value if abs(value) < 3e38 else True:
        assert short(value) == value


def test_an_odd_stream_is_kept_as_lines(trained: Run, tmp_path: Path) -> None:
    lines = trained.read("metrics")
    lines[3]["loss_nats"] = 0.1  # no float32
    lines[4]["more"] = 1
    trained.replace("metrics", lines)
    trained.finish("done", **{k: v for k, v in trained.summary.items() if k in ("step", "params", "tokens")})
    record = record_of(trained)
    assert record["metrics"] == {"lines": lines}
    assert restore(record, tmp_path / "again", "here").content("metrics") == trained.content("metrics")


def test_a_number_of_nine_digits_that_is_no_float32_is_not_bent(trained: Run) -> None:
    lines = trained.read("metrics")
    lines[0]["grad_norm"] = 0.1
    trained.replace("metrics", lines)
    trained.finish("done", **{k: v for k, v in trained.summary.items() if k in ("step", "params", "tokens")})
    assert record_of(trained)["metrics"] == {"lines": lines}


def test_a_diverged_run_is_a_result_and_a_stopped_one_is_none(make_run: MakeRun, tmp_path: Path) -> None:
    done, stopped = Run(make_run("a", {0: 5.0, 100: 2.0})), Run(make_run("a", {0: 5.0, 100: 2.0}, seed=1))
    diverged = Run(make_run("a", {0: 5.0, 100: 2.0}, seed=2))
    stopped.finish("stopped", reason="by SIGINT", step=7)
    diverged.finish("failed", error="DivergedError", reason="step 7: loss nan", step=7)
    ledger = Ledger(tmp_path / "runs.jsonl")
    assert [run.config.seed for run in ledger.add([done, stopped, diverged])] == [0, 2]
    assert ledger.add([done, diverged]) == []
    assert ledger.problems() == []


def test_what_was_measured_later_takes_the_line_s_place(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [Run(make_run("a", {0: 5.0, 100: 2.0}, seed=seed)) for seed in range(3)]
    ledger = Ledger(tmp_path / "runs.jsonl")
    ledger.add(runs)
    runs[1].keep_eval("scales", {"eval": "scales", "step": 100})
    assert ledger.add(runs) == [runs[1]]
    entries = list(ledger.entries())
    assert [entry.record["config"]["seed"] for entry in entries] == [0, 1, 2]
    assert [list(entry.record["measured"]) for entry in entries] == [[], ["scales"], []]
    assert ledger.problems() == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda r: r["config"]["optim"].update(lr=0.5), "hash"),
        (lambda r: r.update(hash="00000000"), "hash"),
        (lambda r: r["evals"][-1].update(loss_nats=1.0), "evals are not what the run wrote"),
        (lambda r: r["metrics"]["loss_nats"].__setitem__(5, 1.0), "metrics are not what the run wrote"),
        (lambda r: r["metrics"].update(steps=3), "columns"),
        (lambda r: r.pop("summary"), "no record of a run"),
        (lambda r: r["summary"].pop("streams"), "streams"),
        (lambda r: r.update(ledger=2), "written in form 2"),
        (lambda r: r["measured"].update({"../x": {}}), "'../x' can't be the name of a file"),
        (lambda r: r["evals"].append(3), ""),
        (lambda r: r["step_seconds"].append("0.1"), "step_seconds"),
    ],
)
def test_a_changed_line_is_named(change: Any, word: str, trained: Run, tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    Ledger(path).add([trained])
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record) + "\n")
    (problem,) = Ledger(path).problems()
    assert problem.startswith(f"{path}, line 1: ") and word in problem
    with pytest.raises(DataError, match="line 1"):
        restore(record, tmp_path / "again", f"{path}, line 1")
    assert not (tmp_path / "again").exists()
    assert main(["ledger", str(path), "--check"]) == 1


def test_a_torn_last_line_is_passed_over_and_cut_off(make_run: MakeRun, tmp_path: Path) -> None:
    first, second = (Run(make_run("a", {0: 5.0, 100: 2.0}, seed=seed)) for seed in (0, 1))
    path = tmp_path / "runs.jsonl"
    ledger = Ledger(path)
    ledger.add([first])
    with path.open("a") as file:
        file.write('{"ledger": 1, "ha')
    assert len(list(ledger.entries())) == 1
    ledger.add([second])
    assert [entry.record["config"]["seed"] for entry in ledger.entries()] == [0, 1]
    path.write_text(path.read_text() + "no json\n")
    with pytest.raises(DataError, match="line 3: no JSON"):
        list(ledger.entries())


def test_a_stranger_s_method_names_no_folder(trained: Run, tmp_path: Path) -> None:
    """Its name is part of the run's folder, which must lie where the runs of a study lie."""
    record = record_of(trained)
    record["config"]["method"] = "../../x"
    record["hash"] = parse(record["config"], origin="test").hash
    (tmp_path / "inner").mkdir()
    with pytest.raises(DataError, match="can't be the name of a file"):
        restore(record, tmp_path / "inner" / "run", "line 1")
    assert not list((tmp_path / "inner").iterdir())


def test_a_last_line_without_its_end_is_kept(make_run: MakeRun, tmp_path: Path) -> None:
    """An editor may leave it out; only what a kill tore is cut off."""
    runs = [Run(make_run("a", {0: 5.0, 100: 2.0}, seed=seed)) for seed in range(3)]
    ledger = Ledger(tmp_path / "runs.jsonl")
    ledger.add(runs[:2])
    ledger.path.write_text(ledger.path.read_text().rstrip("\n"))
    assert [entry.record["config"]["seed"] for entry in ledger.entries()] == [0, 1]
    runs[1].keep_eval("scales", {"eval": "scales", "step": 100})
    assert ledger.add(runs) == [runs[1], runs[2]]
    assert [entry.record["config"]["seed"] for entry in ledger.entries()] == [0, 1, 2]


def test_another_machine_s_run_of_a_config_stays(make_run: MakeRun, tmp_path: Path) -> None:
    """Its losses differ by rounding: what was measured of this machine's model is not of that one."""
    ledger = Ledger(tmp_path / "runs.jsonl")
    first = Run(make_run("a", {0: 5.0, 100: 2.0}))
    first.keep_eval("val", {"eval": "val"})
    ledger.add([first])
    again = Run(run_maker(tmp_path / "other")("a", {0: 5.0, 100: 2.0001}))
    again.keep_eval("scales", {"eval": "scales"})
    assert ledger.add([again]) == []
    (entry,) = ledger.entries()
    assert list(entry.record["measured"]) == ["val"]
    # Of the very run, what is new joins what was there.
    (first.path / "evals" / "val.json").unlink()
    first.keep_eval("scales", {"eval": "scales"})
    assert ledger.add([first]) == [first]
    (entry,) = ledger.entries()
    assert list(entry.record["measured"]) == ["val", "scales"]


def test_a_damaged_evaluation_is_named(make_run: MakeRun, tmp_path: Path) -> None:
    run = Run(make_run("a", {0: 5.0, 100: 2.0}))
    (run.path / "evals").mkdir()
    (run.path / "evals" / "val.json").write_text("{")
    with pytest.raises(DataError, match=r"val\.json: damaged"):
        Ledger(tmp_path / "runs.jsonl").add([run])
    # While something else ends a study, that is what is told.
    with (
        pytest.raises(KeyboardInterrupt),
        lent(Ledger(tmp_path / "runs.jsonl"), {run.path: run.config}, digest=lambda c: "d1", note=[].append),
    ):
        raise KeyboardInterrupt


def test_runs_that_are_there_decide_which_text_a_study_reads(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [Run(make_run("a", {0: 5.0, 100: 2.0}, seed=seed)) for seed in range(2)]
    ledger = Ledger(tmp_path / "runs.jsonl")
    ledger.add(runs)
    other = Run(run_maker(tmp_path / "study")("a", {0: 5.0, 100: 2.0}, env={"data_digest": "d2"}))
    places = {other.path: other.config, other.path.with_name("second"): runs[1].config}
    (note, _) = lend(ledger, places)
    assert "1 run of" in note and "read other data than d2" in note
    assert not other.path.with_name("second").exists()


def test_a_file_of_other_records_is_no_ledger(make_run: MakeRun, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "runs.jsonl")
    ledger.add([Run(make_run("a", {0: 5.0, 100: 2.0}))])
    (tmp_path / "text.jsonl").write_text('{"text": "a document"}\n')
    assert is_ledger(ledger.path) and not is_ledger(tmp_path / "text.jsonl")


def test_a_folder_has_a_file_for_each_recipe(make_run: MakeRun, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    ledger.add([Run(make_run("a", {0: 5.0, 100: 2.0})), Run(make_run("a", {0: 5.0, 100: 2.0}, name="x"))])
    assert [file.name for file in ledger.files] == ["made.jsonl"]
    with pytest.raises(ConfigError, match=r"a file ending in \.jsonl"):
        Ledger(make_run("a", {0: 5.0, 100: 2.0}) / "config.json")


def lend(ledger: Ledger, places: dict[Path, RunConfig], text: str = "d1", **how: Any) -> list[str]:
    notes: list[str] = []
    with lent(ledger, places, digest=lambda config: text, note=notes.append, **how):
        pass
    return notes


def test_a_study_takes_what_is_there(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [Run(make_run("a", {0: 5.0, 100: 2.0}, seed=seed)) for seed in range(3)]
    ledger = Ledger(tmp_path / "runs.jsonl")
    ledger.add(runs[:2])
    (tmp_path / "study").mkdir()
    places = {tmp_path / "study" / "runs" / run.config.run_name: run.config for run in runs}
    assert lend(ledger, places) == [f"2 runs taken from {ledger.path}"]
    assert [path.exists() for path in places] == [True, True, False]
    assert lend(ledger, places) == []


def test_runs_on_another_text_are_left_where_something_is_to_be_trained(
    make_run: MakeRun, tmp_path: Path
) -> None:
    runs = [Run(make_run("a", {0: 5.0, 100: 2.0}, seed=seed)) for seed in range(2)]
    ledger = Ledger(tmp_path / "runs.jsonl")
    ledger.add(runs[:1])
    places = {tmp_path / "study" / "runs" / run.config.run_name: run.config for run in runs}
    (tmp_path / "study").mkdir()
    (note,) = lend(ledger, places, text="another")
    assert "1 run of" in note and "read other data" in note
    assert not any(path.exists() for path in places)
    # With nothing to train, the text need not even be on this machine.
    lend(ledger, {path: config for path, config in places.items() if config.seed == 0}, text="another")
    assert [path.exists() for path in places] == [True, False]


def test_what_was_trained_is_handed_back_also_where_the_study_fails(
    make_run: MakeRun, tmp_path: Path
) -> None:
    run = Run(make_run("a", {0: 5.0, 100: 2.0}))
    ledger, notes = Ledger(tmp_path / "runs.jsonl"), list[str]()
    with (
        pytest.raises(KeyboardInterrupt),
        lent(ledger, {run.path: run.config}, digest=lambda c: "d1", note=notes.append),
    ):
        raise KeyboardInterrupt
    assert notes == [f"1 run added to {ledger.path}"]
    assert len(list(ledger.entries())) == 1


def test_the_verb_lists_filters_and_restores(make_run: MakeRun, tmp_path: Path, capsys: Any) -> None:
    for seed in range(3):
        make_run("ngpt", {0: 5.0, 100: 2.0 + seed}, seed=seed)
    make_run("gpt", {0: 5.0, 100: 2.5}, optim={"lr": 2**-8})
    path = tmp_path / "runs.jsonl"
    assert main(["ledger", str(path)]) == 2
    assert "no ledger there" in capsys.readouterr().err
    assert main(["ledger", str(path), "--add", str(tmp_path)]) == 0
    assert main(["ledger", str(path), "--check"]) == 0
    assert "4 runs; every hash and digest is right" in capsys.readouterr().out
    table = tmp_path / "table.csv"
    assert main(["ledger", str(path), "--where", "method=ngpt", "--csv", str(table)]) == 0
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [float(row["loss_nats"]) for row in rows] == [2.0, 3.0, 4.0]
    assert main(["ledger", str(path), "--where", "optim.lr=2^-8"]) == 0
    assert "1 runs" in capsys.readouterr().out
    assert main(["ledger", str(path), "--where", "seed=1", "--restore", str(tmp_path / "back")]) == 0
    (back,) = (tmp_path / "back").iterdir()
    assert load_runs([back])[0].val[-1].loss_nats == 3.0
    assert main(["ledger", str(path), "--where", "seed=1", "--restore", str(tmp_path / "back")]) == 0
    assert "0 runs made in" in capsys.readouterr().out
    for wrong in (["--check", "--csv", "x"], ["--add", str(tmp_path / "nowhere")]):
        assert main(["ledger", str(path), *wrong]) == 2
    assert main(["compare", "demo", "--smoke", "--ledger", str(path)]) == 2
    assert "a smoke test's losses" in capsys.readouterr().err
    assert main(["ledger", str(path), "--where", "optim.rate=1"]) == 2
    assert "optim.rate=1" in capsys.readouterr().err


def test_losses_of_a_ledger_are_finite(make_run: MakeRun, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "runs.jsonl")
    ledger.add([Run(make_run("a", {0: 5.0, 100: 2.0}))])
    text = ledger.path.read_text()
    ledger.path.write_text(text.replace('"loss_nats":2.0', '"loss_nats":NaN'))
    assert math.isnan(json.loads(ledger.path.read_text())["evals"][-1]["loss_nats"])
    assert "no JSON" in ledger.problems()[0]
