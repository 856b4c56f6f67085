"""The command line as a user meets it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ngptlab import __version__, methods, recipes
from ngptlab.cli import main
from ngptlab.runs import Run

Captured = pytest.CaptureFixture[str]


pytestmark = pytest.mark.usefixtures("work")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["train", "--help"],
        ["compare", "-h"],
        ["sweep", "-h"],
        ["ladder", "-h"],
        ["bench", "-h"],
        ["eval", "-h"],
        ["export", "-h"],
        ["import", "-h"],
        ["recipes"],
    ],
)
def test_help_is_fast(arguments: list[str]) -> None:
    code = (
        "import sys; from ngptlab.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules\n"
    )
    # From the folder of the package that is tested, which need not be the one that is installed.
    home = Path(methods.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=home)
    assert done.returncode == 0, done.stderr
    assert done.stdout and not done.stderr


def help_of(capsys: Captured, *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 0
    return capsys.readouterr().out


def test_help(capsys: Captured) -> None:
    page = help_of(capsys, "--help")
    verbs = ("train", "compare", "sweep", "ladder", "report", "bench", "check", "methods", "recipes")
    assert all(verb in page for verb in verbs)
    with pytest.raises(SystemExit):
        main([])
    assert capsys.readouterr().out == page
    assert help_of(capsys, "--version").strip() == __version__


def test_field_help(capsys: Captured) -> None:
    page = help_of(capsys, "train", "--help")
    assert "--train.steps" in page and "Optimizer steps." in page and "--out" in page
    assert "--profile" in page
    assert "--seeds" in help_of(capsys, "compare", "demo", "--help")
    page = help_of(capsys, "bench", "--help")
    assert all(option in page for option in ("--methods", "--axes", "--turns", "--quick", "--out"))
    page = help_of(capsys, "sweep", "mup-bytes-small", "--help")
    options = ("methods", "params", "widths", "lrs", "seeds", "base-width", "workers", "out", "train.steps")
    assert all(f"--{option}" in page for option in options) and "mup-bytes-small" in page


def test_field_help_of_a_config(capsys: Captured, work: Path) -> None:
    (work / "own.yaml").write_text(
        "name: own\nmethod: gpt\nmodel: {vocab_size: 257, num_layers: 1, num_heads: 2, d_model: 16}\ntrain: {steps: 4321}\n"
    )
    page = help_of(capsys, "train", "own.yaml", "--help")
    assert "4321" in page and "own.yaml" in page


def test_methods(capsys: Captured) -> None:
    assert main(["methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == methods.names()
    assert all(len(line.split()) > 3 for line in lines), "each says what it is"


def test_an_unknown_option_points_to_its_verb_s_help(capsys: Captured) -> None:
    assert main(["sample", "run", "text", "--tokens", "3"]) == 2
    assert "--tokens 3; did you mean '--max-tokens'?; `ngptlab sample --help`" in capsys.readouterr().err


def test_methods_diff(capsys: Captured) -> None:
    assert main(["methods", "--diff", "gpt", "ngpt"]) == 0
    page = capsys.readouterr().out
    assert "--- methods/gpt.py" in page and "+++ methods/ngpt.py" in page
    assert main(["methods", "--diff", "gpt", "gpt"]) == 0


def test_recipes(capsys: Captured) -> None:
    assert main(["recipes"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == recipes.names()


def test_train_a_recipe(tiny: list[str], capsys: Captured, work: Path) -> None:
    """Spellings of options mean the same, and the path of the run is all of stdout."""
    assert main(["train", "demo", *tiny, "--method", "ngpt", "--train.steps=4"]) == 0
    out, err = capsys.readouterr()
    run = Run(Path(out.strip()))
    assert run.done and run.config.train.steps == 4 and run.config.method == "ngpt"
    assert run.path.parent == Path("runs") and run.path.name == run.config.run_name
    assert "step 4/4" in err
    for said in (
        f"in {run.path}\n",
        "ngpt, 11,653 parameters",
        "(4 steps of 64) of text:",
        "on cpu (",
        "float32, 1 thread\n",
    ):
        assert said in err, "a run says what it is"
    last, summary = run.read("evals")[-1], run.summary
    val = [record for record in run.read("evals") if record["eval"] == "val"][-1]
    assert last["step"] == 4 and summary["final_loss_nats"] == val["loss_nats"]
    assert summary["final_loss_stderr_nats"] == val["stderr_nats"] and summary["train_seconds"] > 0
    assert main(["train", "demo", *tiny, "--method=ngpt", "--train.steps", "4"]) == 0
    out, err = capsys.readouterr()
    assert out.strip() == str(run.path) and "already done" in err
    assert run.config.model.d_ff == int(8 / 3 * 16), "the width derived from d_model follows it"


def test_train_a_config_file(corpus: Path, capsys: Captured, work: Path) -> None:
    fields = {
        "name": "from-file",
        "method": "ngpt",
        "model": {"vocab_size": 257, "num_layers": 1, "num_heads": 2, "d_model": 16},
        "data": {"source": f"text:{corpus}", "val_share": 0.2},
        "train": {"steps": 5, "batch_size": 4, "context": 16},
        "eval": {"val_tokens": 64, "length_factor": 2},
        "device": {"kind": "cpu", "threads": 1},
    }
    (work / "own.yaml").write_text(yaml.safe_dump(fields))
    assert main(["train", "own.yaml", "--train.steps", "4", "--out", "run"]) == 0
    assert capsys.readouterr().out.strip() == "run"
    run = Run(work / "run")
    assert run.done and run.config.method == "ngpt" and run.config.train.steps == 4
    # The resolved config that a run wrote is a config file like another.
    assert main(["train", "run/config.json", "--out", "again"]) == 0
    for name in ("config.json", "metrics.jsonl", "evals.jsonl"):
        assert (work / "again" / name).read_bytes() == (work / "run" / name).read_bytes()


def test_compare(tiny: list[str], capsys: Captured, work: Path) -> None:
    command = ["compare", "demo", *tiny, "--methods", "gpt", "ngpt", "--seeds", "2", "--out", "page"]
    assert main(command) == 0
    out, _ = capsys.readouterr()
    page = work / "page"
    assert "page/report.html" in out
    html = (page / "report.html").read_text()
    report = json.loads((page / "report.json").read_text())
    assert report["headline"] in out and "ngpt" in html
    assert list(report["methods"]) == ["gpt", "ngpt"] and report["baseline"] == "gpt"
    for method in report["methods"].values():
        assert method["tokens"] == 6 * 64 and method["params"] > 0
        for key in ("final_loss_nats", "final_loss_stderr", "bits_per_byte", "step_seconds_median"):
            assert isinstance(method[key], float) and method[key] > 0, key
        assert [(b["from"], b["to"]) for b in method["length"]] == [(0, 8), (8, 16), (16, 24), (24, 32)]
        assert all(b["loss_nats"] > 0 for b in method["length"])
    assert [(r["method"], r["seed"], r["data_seed"]) for r in report["runs"]] == [
        (method, seed, seed) for method in ("gpt", "ngpt") for seed in (1, 2)
    ]
    runs = sorted((page / "runs").iterdir())
    assert sorted(r["name"] for r in report["runs"]) == [run.name for run in runs]
    # The numbers of the report are those of the runs.
    evals = [Run(run).read("evals") for run in runs if "-gpt-" in run.name]
    last = [[r["loss_nats"] for r in records if r["eval"] == "val"][-1] for records in evals]
    assert report["methods"]["gpt"]["final_loss_nats"] == pytest.approx(sum(last) / 2, rel=1e-12)

    before = {path: path.stat().st_mtime_ns for run in runs for path in run.rglob("*")}
    report_bytes = (page / "report.json").read_bytes()
    assert main(command) == 0
    assert {path: path.stat().st_mtime_ns for run in runs for path in run.rglob("*")} == before
    assert (page / "report.json").read_bytes() == report_bytes
    assert capsys.readouterr().err.count("already done") == 4

    assert main(["report", *map(str, runs), "--out", "other", "--title", "a title"]) == 0
    assert json.loads((work / "other" / "report.json").read_text())["title"] == "a title"


def test_diverged_run_exits_with_1(tiny: list[str], capsys: Captured, work: Path) -> None:
    wild = ["--optim.lr", "1e30", "--schedule.warmup-steps", "0", "--schedule.shape", "constant"]
    assert main(["train", "demo", *tiny, *wild, "--out", "run"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("ngptlab: step ") and "--optim.lr" in last


def test_output_that_nobody_reads_to_its_end() -> None:
    """As after `| head`: no complaint, and the exit code of a program that was told so."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "ngptlab", "recipes"], stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")
