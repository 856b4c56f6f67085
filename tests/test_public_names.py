"""Every public name of the package by use, as a script or a notebook would: whatever was imported before."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import ngptlab
from ngptlab import ConfigError, Dims, RunConfig

ROOT = Path(ngptlab.__file__).parent.parent
SMALL = {
    "model": {"num_layers": 1, "num_heads": 2, "d_model": 16},
    "train.steps": 4,
    "train.batch-size": 2,
    "train.context": 16,
    "eval": {"every": 2, "val_tokens": 64, "length_factor": 2},
    "device": {"kind": "cpu", "threads": 1},
}


def used() -> dict[str, Callable[[Path], object]]:
    """By public name, what is done with it. Each gets an empty folder."""
    dims = Dims(vocab_size=257, num_layers=1, num_heads=2, d_model=16)

    def train(work: Path, name: str = "run") -> ngptlab.Run:
        return ngptlab.train("demo", work / name, method="ngpt", overrides=overrides(work), quiet=True)

    def batches(work: Path) -> object:
        corpus = corpus_of(work)
        return ngptlab.Batches(corpus.train, context=8, batch_size=2, seed=0).at(0)

    def fails_with(error: type[Exception]) -> bool:
        return issubclass(error, ngptlab.LabError)

    return {
        "RunConfig": lambda work: RunConfig(name="x", method="gpt", model=dims).hash,
        "Dims": lambda work: dims.d_head == 8,
        "LabError": lambda work: issubclass(ngptlab.LabError, Exception),
        "ConfigError": lambda work: fails_with(ngptlab.ConfigError),
        "DataError": lambda work: fails_with(ngptlab.DataError),
        "CheckpointError": lambda work: fails_with(ngptlab.CheckpointError),
        "Run": lambda work: ngptlab.Run(train(work).path).done,
        "Parts": lambda work: ngptlab.Parts.__name__,
        "Decoder": lambda work: isinstance(ngptlab.build_model("gpt", dims), ngptlab.Decoder),
        "build_model": lambda work: bool(
            ngptlab.build_model("ngpt", dims).loss(torch.zeros(1, 4).long(), torch.ones(1, 4).long()) > 0
        ),
        "Batches": batches,
        "open_corpus": corpus_of,
        "recipe": lambda work: ngptlab.recipe("demo").arm("gpt").optim.lr,
        "train": lambda work: train(work).done,
        "compare": lambda work: ngptlab.compare(
            "demo", out=work / "out", methods=["gpt", "ngpt"], overrides=overrides(work), quiet=True
        ).is_file(),
        "load": lambda work: ngptlab.load(train(work)).generate("the ", max_tokens=5).startswith("the "),
    }


def overrides(work: Path) -> dict[str, object]:
    return {**SMALL, "data": {"source": f"text:{text_of(work)}"}}


def text_of(work: Path) -> Path:
    path = work / "input.txt"
    if not path.exists():
        path.write_text("".join(f"line {number} of a text\n" for number in range(400)))
    return path


def corpus_of(work: Path) -> ngptlab.data.corpus.Corpus:
    data = ngptlab.config.DataConfig(source=f"text:{text_of(work)}")
    return ngptlab.open_corpus(data, vocab_size=257, long_min_tokens=64)


@pytest.mark.parametrize("name", ngptlab.__all__)
def test_a_public_name_does_what_it_is_for(name: str, work: Path) -> None:
    assert used()[name](work)


@pytest.mark.parametrize("before", ["", "import ngptlab.train.stop, ngptlab.compare\n"])
def test_public_names_stand_above_submodules_of_the_same_name(before: str) -> None:
    """`from ngptlab import train` was the folder of that name once anything in it had been imported."""
    code = (
        f"{before}from ngptlab import compare, train\nimport ngptlab, ngptlab.train.progress\n"
        "for each in (train, compare, ngptlab.train, ngptlab.compare): assert callable(each), each\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_the_types_of_public_names_are_all_told() -> None:
    stub = (ROOT / "ngptlab" / "__init__.pyi").read_text()
    said = {line.split()[-1]: line.split()[1] for line in stub.splitlines() if line.startswith("from ")}
    assert said == ngptlab._HOMES


def test_overrides_of_a_script(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A dict by paths or by sections, or texts as on the command line: the same run."""
    text = f"text:{text_of(work)}"
    runs = [
        ngptlab.train("demo", work / str(number), overrides=given, quiet=True)
        for number, given in enumerate(
            (
                {**SMALL, "data.source": text, "lr": "2^-9"},
                {**SMALL, "data": {"source": text}, "optim": {"lr": 2**-9}},
                [*pairs(SMALL), f"data.source={text}", "optim.lr=0.001953125"],
            )
        )
    ]
    assert {run.config.hash for run in runs} == {runs[0].config.hash} and runs[0].config.optim.lr == 2**-9
    assert capsys.readouterr() == ("", ""), "quiet"
    for wrong, said in (
        ({"train.stesp": 1}, "did you mean 'train.steps'"),
        ({"train": {"widht": 1}}, "model.d_model"),
        (["train.steps"], "train.steps=60"),
        ("train.steps=60", "a list of texts"),
    ):
        with pytest.raises(ConfigError, match=said):
            ngptlab.train("demo", work / "x", overrides=wrong)


def pairs(fields: dict[str, object], prefix: str = "") -> list[str]:
    found = []
    for key, value in fields.items():
        if isinstance(value, dict):
            found += pairs(value, f"{prefix}{key}.")
        else:
            found.append(f"{prefix}{key}={value}")
    return found


def test_a_script_sees_how_far_it_is_and_gets_the_numbers(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ngptlab.train("demo", overrides=overrides(work))
    assert "step 4/4" in capsys.readouterr().err and run.path.parts[0] == "runs"
    page = ngptlab.compare(run.config, overrides={"seed": 3}, quiet=True)
    assert page == Path("out/demo/report.html") and json.loads(page.with_suffix(".json").read_text())


def test_a_run_s_numbers_are_frames_and_a_figure(work: Path) -> None:
    run = ngptlab.train("demo", overrides=overrides(work), quiet=True)
    axes = run.plot().axes[0]
    assert next(line.get_label() for line in axes.get_lines()) == "training, each step"
    assert list(axes.get_lines()[0].get_xdata()) == [1, 2, 3, 4]
    assert axes.get_title() == run.config.run_name
    assert run.plot()._repr_png_().startswith(b"\x89PNG"), (
        "a notebook shows it, although nobody imported pyplot"
    )
    try:
        import pandas  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigError, match="pip install"):
            run.metrics()
        return
    metrics, evals = run.metrics(), run.evals()
    assert list(metrics["step"]) == [1, 2, 3, 4] and list(metrics["loss_nats"]) == [
        record["loss_nats"] for record in run.read("metrics")
    ]
    assert "step_seconds" in metrics and list(evals["step"]) == [0, 2, 4]
    assert list(run.evals("parts")["eval"]) == ["parts"]
