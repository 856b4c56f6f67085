"""A run is read whole or refused in one line that names it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ngptlab.errors import ConfigError, DataError, LabError
from ngptlab.runs import Run
from ngptlab.stats.records import load_runs

MakeRun = Callable[..., Path]


def test_a_record_holds_what_was_recorded(make_run: MakeRun) -> None:
    path = make_run(
        "a", {0: 3.0, 50: 2.0, 100: 1.0}, seed=7, seconds=[0.5, 0.25], length=[1.0, 2.0], documents=9
    )
    (run,) = load_runs([str(path)])
    assert (run.name, run.method, run.seeds, run.params) == (path.name, "a", (7, 0), 1234)
    assert [(row.step, row.loss_nats) for row in run.val] == [(0, 3.0), (50, 2.0), (100, 1.0)]
    assert [row.step_seconds for row in run.timing] == [0.5, 0.25]
    assert run.length is not None and run.length.documents == 9
    assert [(b["from"], b["to"], b["loss_nats"]) for b in run.length.bins] == [(0, 16, 1.0), (16, 32, 2.0)]
    assert run.env["data_digest"] == "d1"


def test_a_step_measured_twice_is_refused(make_run: MakeRun) -> None:
    path = make_run("a", {0: 3.0, 100: 1.0})
    with (path / "evals.jsonl").open("a") as file:
        file.write((path / "evals.jsonl").read_text().splitlines()[0] + "\n")
    with pytest.raises(
        DataError, match=r"evals\.jsonl, line 3: damaged \(validation of step 0 after that of 100"
    ):
        load_runs([path])


def test_records_of_other_evaluations_are_left_alone(make_run: MakeRun) -> None:
    path = make_run("a", {0: 3.0, 100: 1.0})
    run = Run(path)
    run.append("evals", {"step": 100, "eval": "spectra", "condition": {"w": 3}})
    run.finish("done", step=100, params=1)
    assert len(load_runs([path])[0].val) == 2


@pytest.mark.parametrize("status", ["failed", "stopped"])
def test_an_unfinished_run_is_refused(make_run: MakeRun, status: str) -> None:
    path = make_run("a", {0: 3.0, 100: 1.0}, status=status)
    with pytest.raises(ConfigError, match=rf"not finished \({status} at step 100 of 100\)") as caught:
        load_runs([path])
    assert str(path) in str(caught.value)


def test_a_run_in_progress_is_refused(make_run: MakeRun) -> None:
    path = make_run("a", {0: 3.0, 100: 1.0})
    (path / "summary.json").unlink()
    with pytest.raises(ConfigError, match="not finished"):
        load_runs([path])


def test_no_run_and_no_run_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run directories"):
        load_runs([])
    with pytest.raises(ConfigError, match="not a run directory"):
        load_runs([tmp_path])


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("evals.jsonl", "{not json}\n"),
        ("evals.jsonl", "[1]\n"),
        ("evals.jsonl", ""),
        ("evals.jsonl", '{"step": 0, "eval": "val", "loss_nats": 3, "stderr_nats": 0, "bits_per_byte": 1}\n'),
        (
            "evals.jsonl",
            '{"step": 100, "eval": "val", "loss_nats": NaN, "stderr_nats": 0, "bits_per_byte": 1}\n',
        ),
        ("evals.jsonl", '{"step": 100, "eval": "val", "stderr_nats": 0, "bits_per_byte": 1}\n'),
        ("timing.jsonl", '{"step": 1, "step_seconds": -1}\n'),
        ("metrics.jsonl", '{"step": 1, "loss_nats": Infinity}\n'),
        ("metrics.jsonl", b"\xff\n"),
        ("summary.json", "[]"),
        ("summary.json", "3"),
        ("summary.json", '{"status": "done", "step": 100}'),
        ("env.json", "{"),
    ],
)
def test_a_damaged_run_is_refused(make_run: MakeRun, file: str, text: str | bytes) -> None:
    path = make_run("a", {0: 3.0, 100: 1.0})
    (path / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(LabError) as caught:
        load_runs([path])
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    if text != "[]":  # an empty list reads as a summary without a status
        assert isinstance(caught.value, DataError) and "damaged" in message


def test_the_package_imports_no_torch() -> None:
    code = "import sys, ngptlab.report.page; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_losses_by_document_are_read_where_they_were_recorded(make_run: MakeRun) -> None:
    old, new = (
        make_run("a", {0: 3.0, 100: 1.0}),
        make_run("b", {0: 3.0, 100: 1.0}, parts=([3, 5], [1.5, 0.7])),
    )
    before, (run,) = load_runs([old])[0], load_runs([new])
    assert before.parts is None
    assert run.parts is not None and run.parts.of == "document"
    assert (run.parts.tokens, run.parts.loss_nats) == ((3, 5), (1.5, 0.7))


@pytest.mark.parametrize("parts", [([3, 5], [1.5]), ([0, 5], [1.5, 1.0]), ([], [])])
def test_damaged_losses_by_document_are_refused(
    make_run: MakeRun, parts: tuple[list[int], list[float]]
) -> None:
    path = make_run("a", {0: 3.0, 100: 1.0})
    run = Run(path)
    run.append(
        "evals", {"step": 100, "eval": "parts", "of": "document", "tokens": parts[0], "loss_nats": parts[1]}
    )
    run.finish("done", step=100, params=1)
    with pytest.raises(DataError, match="damaged"):
        load_runs([path])


def test_losses_by_document_of_another_step_are_refused(make_run: MakeRun) -> None:
    run = Run(make_run("a", {0: 3.0, 100: 1.0}))
    run.append("evals", {"step": 50, "eval": "parts", "of": "document", "tokens": [3], "loss_nats": [1.0]})
    run.finish("done", step=100, params=1)
    with pytest.raises(DataError, match="its losses by document are of step 50"):
        load_runs([run.path])
