"""A study is one folder, an evaluation is one folder: made ones in a temporary place appear everywhere, with no other edit."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ngptlab import measure, studies
from ngptlab.cli import main
from ngptlab.config import RunConfig
from ngptlab.discover import folders, modules
from ngptlab.evidence import gather
from ngptlab.experiment import train

Captured = pytest.CaptureFixture[str]

STUDY = {
    "verb.py": """
from ngptlab.terminal import say

NAME, SUMMARY, TAKES_RECIPE = "coin", "Toss a coin for each method of a recipe.", True

def add(parser):
    parser.add_argument("--tosses", type=int, default=3, help="how often")

def act(options):
    say(f"{options.recipe}: {options.tosses} tosses, {options.overrides}")
    return 0
""",
    "page.py": """
import json
from ngptlab import disk
from ngptlab.studies.section import Study, number, word

OF_A_COMPARISON = False

def study(path):
    held = disk.read_json(path)
    return [Study(
        kind="coin", title="Coins", answer="Heads came up twice as often.", svg=b"", caption="", columns=("method", "heads"),
        rows=[(word(name), number(heads)) for name, heads in held["heads"].items()], warnings=[], files=["coin.json"],
        write=lambda out: disk.write_json(out / "coin.json", held),
    )]
""",
    "evidence.py": """
from ngptlab.claims.evidence import Ends, Evidence, Setting
from ngptlab.claims.reading import Reader

def read(held, origin):
    return Evidence(ends=[
        Ends(setting=Setting(origin=origin), group=(), method=name, losses={"0": heads}, hashes=())
        for name, heads in held["heads"].items()
    ])

READERS = (Reader(frozenset({"heads", "tosses"}), read),)
""",
}

EVALUATION = {
    "verb.py": """
from ngptlab.terminal import say

def add(options):
    options.add_argument("--legs", type=int, default=4, help="legs of the table")

def need():
    pass

def act(models, options, out):
    for trained in models:
        trained.run.keep_eval("weight", {"eval": "weight", "step": trained.step, "kilograms": options.legs * 2.0})
        say(f"{trained.config.arm}: {options.legs * 2.0} kg")
""",
    "evidence.py": """
from ngptlab.claims.evidence import Evidence, Scales
from ngptlab.measure.recorded import OfOneRun

def of_run(held, key, whose):
    return Evidence(scales=[Scales(**whose, group=(key,), means={"weight": (held["kilograms"],)})])

READERS = ()
OF_ONE_RUN = OfOneRun("weight", of_run)
""",
}


@pytest.fixture
def made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[[str, str, dict[str, str]], None]]:
    """Adds a folder of modules to a package, from a place outside it."""

    def add(package: str, name: str, files: dict[str, str]) -> None:
        folder = tmp_path / package / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("")
        for file, text in files.items():
            (folder / file).write_text(text)
        there = {"studies": studies, "measure": measure}[package]
        monkeypatch.setattr(there, "__path__", [*there.__path__, str(folder.parent)])

    before = set(sys.modules)
    yield add
    for name in set(sys.modules) - before:
        if name.startswith(("ngptlab.studies.coin", "ngptlab.measure.weight")):
            del sys.modules[name]


def test_a_study_is_one_folder(
    made: Callable[[str, str, dict[str, str]], None], capsys: Captured, tmp_path: Path
) -> None:
    made("studies", "coin", STUDY)
    assert main(["coin", "demo", "--tosses", "5", "--train.steps", "7"]) == 0
    assert "demo: 5 tosses, {'train.steps': '7'}" in capsys.readouterr().out
    for arguments, said in (
        (["--help"], "Toss a coin"),
        (["coin", "--help"], "--tosses"),
        (["report", "--help"], "coin"),
    ):
        with pytest.raises(SystemExit):
            main(arguments)
        assert said in capsys.readouterr().out

    place = tmp_path / "tossed"
    place.mkdir()
    (place / "coin.json").write_text(json.dumps({"tosses": 3, "heads": {"a": 2, "b": 1}}))
    assert main(["report", str(place), "--out", str(tmp_path / "page")]) == 0
    assert "Heads came up twice as often." in capsys.readouterr().out
    page = (tmp_path / "page" / "report.html").read_text()
    assert "Coins" in page and (tmp_path / "page" / "studies" / "1-coin" / "coin.json").is_file()

    evidence, mute, _ = gather([place])
    assert {ends.method: ends.losses["0"] for ends in evidence.ends} == {"a": 2, "b": 1} and not mute


def test_an_evaluation_is_one_folder(
    made: Callable[[str, str, dict[str, str]], None],
    make_config: Callable[..., RunConfig],
    capsys: Captured,
    tmp_path: Path,
) -> None:
    made("measure", "weight", EVALUATION)
    with pytest.raises(SystemExit):
        main(["eval", "--help"])
    assert "legs of the table" in " ".join(capsys.readouterr().out.split())
    run = train(make_config("gpt"), tmp_path / "runs" / "a")
    assert (
        main(["eval", str(run.path), "--evals", "weight", "--legs", "3", "--out", str(tmp_path / "out")]) == 0
    )
    assert "gpt: 6.0 kg" in capsys.readouterr().out
    evidence, _, _ = gather([run.path])
    assert [scales.means for scales in evidence.scales] == [{"weight": (6.0,)}]


def test_a_broken_study_is_one_line(
    made: Callable[[str, str, dict[str, str]], None], capsys: Captured
) -> None:
    made("studies", "coin", {"verb.py": "def add(:\n"})
    assert main(["recipes"]) == 2
    assert capsys.readouterr().err.startswith("ngptlab: ngptlab.studies.coin.verb: can't be imported (")


def test_folders_are_named_without_importing_them() -> None:
    assert folders("ngptlab.studies", "verb") == list(modules("ngptlab.studies", "verb"))
    assert "search" in folders("ngptlab.studies", "page") and "search" not in folders(
        "ngptlab.studies", "verb"
    )
    assert "speedup" in folders("ngptlab.studies")
