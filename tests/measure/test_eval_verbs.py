"""The verb `eval` with spectra, scales and activations: a run's own numbers, and tables and figures over several."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from made_runs import ending
from ngptlab.cli import main
from ngptlab.config import RunConfig
from ngptlab.data.corpus import open_data
from ngptlab.experiment import train
from ngptlab.measure.activations.measure import activations
from ngptlab.measure.held_out import hold_out
from ngptlab.measure.labels import labels
from ngptlab.measure.scales.measure import scales
from ngptlab.measure.spectra.measure import spectra
from ngptlab.runs import Run
from ngptlab.trained import open_trained

MakeConfig = Callable[..., RunConfig]


@pytest.fixture
def runs(make_config: MakeConfig, tmp_path: Path) -> list[Run]:
    return [train(make_config(method), tmp_path / method) for method in ("gpt", "ngpt")]


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without figures, which take most of the time."""
    for name in ("spectra.show.draw", "scales.show.draw", "activations.show.write"):
        monkeypatch.setattr(f"ngptlab.measure.{name}", lambda *_, **__: None)


def kept(run: Run, name: str) -> dict[str, object]:
    return dict(json.loads((run.path / "evals" / f"{name}.json").read_text()))


EXPECTED = {
    "spectra": lambda model, windows: spectra(model, views=("stored", "effective")),
    "scales": lambda model, windows: {"scales": scales(model)},
    "activations": activations,
}
FIGURES = {
    "spectra": {"spectra-condition", "spectra-rank", "spectra-embeddings"},
    "scales": {"scales", "scales-course"},
    "activations": {"activations"},
}
TABLES = {
    "spectra": {"spectra", "spectra-embeddings"},
    "scales": {"scales", "scales-course"},
    "activations": {"activations"},
}


@pytest.mark.parametrize("name", EXPECTED)
def test_numbers_stay_in_the_run_and_tables_go_out(name: str, runs: list[Run], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["eval", *(str(run.path) for run in runs), "--evals", name, "--out", str(out)]) == 0
    for run in runs:
        trained, windows = open_trained(run.path), hold_out(run.config, open_data(run.config)).inputs_NT
        assert kept(run, name) == {"step": 8, "eval": name, **EXPECTED[name](trained.model, windows)}
    assert (
        {path.stem for path in out.glob("*.png")}
        == {path.stem for path in out.glob("*.svg")}
        == FIGURES[name]
    )
    assert (
        {path.stem for path in out.glob("*.csv")}
        == {path.stem for path in out.glob("*.json")}
        == TABLES[name]
    )
    for table in TABLES[name]:
        rows = json.loads((out / f"{table}.json").read_text())
        assert {row["run"] for row in rows} == ({"ngpt"} if name == "scales" else {"gpt", "ngpt"})
        if table not in ("activations", "scales-course"):
            assert {row["hash"] for row in rows} <= {run.config.hash for run in runs}, "whose a line is"


@pytest.mark.usefixtures("undrawn")
def test_views_and_tokens_by_option(runs: list[Run], tmp_path: Path) -> None:
    arguments = ["--evals", "spectra", "activations", "--views", "unit", "--activation-tokens", "40"]
    assert main(["eval", str(runs[0].path), *arguments, "--out", str(tmp_path / "out")]) == 0
    found = kept(runs[0], "spectra")["matrices"]
    assert isinstance(found, list) and {record["view"] for record in found} == {"stored", "unit"}
    assert kept(runs[0], "activations")["tokens"] == 32, "whole windows of 16"


@pytest.mark.usefixtures("undrawn")
def test_a_run_given_twice_is_measured_once(runs: list[Run], tmp_path: Path) -> None:
    paths = [str(run.path) for run in (*runs, runs[0])]
    assert main(["eval", *paths, "--evals", "scales", "--out", str(tmp_path / "out")]) == 0
    table = json.loads((tmp_path / "out" / "scales.json").read_text())
    assert {row["run"] for row in table} == {"ngpt"}, "named by its arm, as two runs are"


@pytest.mark.usefixtures("undrawn")
def test_the_course_ends_at_the_measured_step(runs: list[Run], tmp_path: Path) -> None:
    arguments = [
        "eval",
        str(runs[1].path),
        "--evals",
        "scales",
        "--step",
        "6",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(arguments) == 0
    assert {row["step"] for row in json.loads((tmp_path / "out" / "scales-course.json").read_text())} == {
        0,
        3,
        6,
    }


def test_a_run_from_before_scales_were_logged(
    runs: list[Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (runs[1].path / "scales.jsonl").unlink()
    (runs[1].path / "summary.json").write_text(json.dumps(ending(runs[1])))
    out = tmp_path / "out"
    assert main(["eval", str(runs[1].path), "--evals", "scales", "--out", str(out)]) == 0
    assert "ngpt: no scales.jsonl" in capsys.readouterr().out
    assert (out / "scales.png").exists() and not (out / "scales-course.png").exists()


def test_labels_tell_runs_apart(make_config: MakeConfig, runs: list[Run], tmp_path: Path) -> None:
    gpt, ngpt = (open_trained(run.path) for run in runs)
    other = open_trained(train(make_config("gpt", seed=1), tmp_path / "other").path)
    faster = open_trained(train(make_config("gpt", optim={"lr": 0.01}), tmp_path / "faster").path)
    assert labels([gpt, ngpt]) == ["gpt", "ngpt"]
    assert labels([gpt, ngpt, other]) == ["gpt s0", "ngpt s0", "gpt s1"]
    assert labels([gpt, faster]) == ["gpt", "faster"], "names of their folders"
