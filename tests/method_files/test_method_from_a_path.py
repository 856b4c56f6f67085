"""A method from anybody's own file: trained, opened, measured and reported like one of the package, without its original."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ngptlab import ConfigError, Dims, build_model, methods
from ngptlab.cli import main
from ngptlab.config import RunConfig, parse
from ngptlab.experiment import train
from ngptlab.export.bundle import bundle
from ngptlab.export.imported import import_export
from ngptlab.export.write import export
from ngptlab.ledger.book import Ledger
from ngptlab.ledger.record import restore
from ngptlab.method_files import copies, running, sources
from ngptlab.plan.method_table import rows
from ngptlab.recipes import recipe
from ngptlab.runs import Run
from ngptlab.stats.records import load_runs
from ngptlab.trained import open_trained

Idea = Callable[..., Path]
MakeConfig = Callable[..., RunConfig]


@pytest.fixture
def run(idea: Idea, make_config: MakeConfig, tmp_path: Path) -> Run:
    """A finished run whose method's original is gone, as another process finds it."""
    path = idea()
    made = train(make_config(sources.given(str(path))), tmp_path / "run")
    path.unlink()
    sources.forget()
    return Run(made.path)


def test_a_run_needs_no_original(run: Run, tmp_path: Path) -> None:
    name = run.config.method
    assert [path.name for path in (run.path / "methods").glob("*.py")] == [f"{name}.py"]
    assert run.config.arm == "my_idea" and run.config.run_name.startswith("tiny-my_idea-s0-")
    trained = open_trained(run.path)
    assert type(trained.model.parts.attn_scale).__name__ == "Sharp"
    assert main(["eval", str(run.path), "--evals", "val", "--out", str(tmp_path / "eval")]) == 0
    assert main(["sample", str(run.path), "a", "--max-tokens", "3"]) == 0
    assert main(["report", str(run.path), "--out", str(tmp_path / "page")]) == 0
    assert "my_idea" in json.loads((tmp_path / "page" / "report.json").read_text())["headline"]
    assert main(["train", str(run.path / "config.json"), "--out", str(tmp_path / "again")]) == 0
    assert Run(tmp_path / "again").content("metrics") == run.content("metrics")


def test_an_interrupted_run_goes_on_with_its_copy_and_says_what_was_edited(
    idea: Idea, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = idea(), tmp_path / "run"
    command = ["train", "demo", "--method", "./my_idea.py", "--out", str(out), *tiny]
    assert main(command) == 0
    before = Run(out)
    (out / "summary.json").unlink()  # as of a run that was killed
    idea("my_idea.py", ("1.5", "2.5"))
    capsys.readouterr()
    assert main(command) == 0
    said = capsys.readouterr().err
    assert f"{path} was edited since {out} began: it goes on with its copy; give another --out" in said
    assert Run(out).config == before.config
    (out / "summary.json").unlink()
    assert main(["train", str(out / "config.json"), "--out", str(out)]) == 0
    assert f"{path} was edited since: this run goes on with its copy" in capsys.readouterr().err
    assert main([*command, "--train.steps", "7"]) == 2
    assert "holds another run (method: @" in capsys.readouterr().err


def test_the_hash_is_the_content_s_and_not_the_path_s(idea: Idea, make_config: MakeConfig) -> None:
    first = make_config(sources.given(str(idea("here/my_idea.py"))))
    sources.forget()
    elsewhere = make_config(sources.given(str(idea("there/my_idea.py"))))
    assert elsewhere == first and elsewhere.hash == first.hash
    sources.forget()
    edited = make_config(sources.given(str(idea("here/my_idea.py", ("1.5", "1.25")))))
    assert edited.hash != first.hash and edited.arm == first.arm
    lent = make_config("gpt", seams={"attn_scale": edited.method})
    assert lent.arm == "gpt+my_idea.attn_scale" and edited.method[-12:] in json.dumps(lent.science())


def test_hashes_of_shipped_methods_stay() -> None:
    """Those of before methods could be files."""
    dims = {"vocab_size": 257, "num_layers": 1, "num_heads": 2, "d_model": 16}
    for fields, digest in (
        ({"method": "ngpt"}, "328b0546"),
        ({"method": "gpt", "seams": {"qk": "qk_norm", "norm": "ngpt"}}, "a131ef21"),
    ):
        config = methods.resolve(parse({"name": "tiny", "model": dims, **fields}, origin="a test"))
        assert config.hash == digest


def test_seams_and_methods_take_paths(idea: Idea, tiny: list[str], work: Path) -> None:
    idea()
    assert main(["train", "demo", "--seams.attn_scale", "./my_idea.py", "--out", "lent", *tiny]) == 0
    assert Run(work / "lent").config.arm == "gpt+my_idea.attn_scale"
    assert list((work / "lent" / "methods").glob("my_idea@*.py"))
    assert main(["compare", "demo", "--methods", "gpt", "./my_idea.py", "--out", "both", *tiny]) == 0
    rows = json.loads((work / "both" / "report.json").read_text())
    assert list(rows["methods"]) == ["gpt", "my_idea"]
    assert main(["plan", "demo", "--methods", "gpt", "./my_idea.py", *tiny]) == 0
    assert main(["check", "table", "./my_idea.py", "--width", "32", "--base", "16", "--head-width", "8"]) == 0


def test_a_ladder_leads_to_a_file(idea: Idea, tiny: list[str], work: Path, in_process: None) -> None:
    idea()
    assert main(["ladder", "demo", "--from", "gpt", "--to", "./my_idea.py", "--out", "rungs", *tiny]) == 0
    found = json.loads((work / "rungs" / "ladder.json").read_text())
    assert (found["base"], found["target"]) == ("gpt", "my_idea") and "@" not in json.dumps(found)


def test_two_versions_of_a_file_are_told_apart(idea: Idea, make_config: MakeConfig, tmp_path: Path) -> None:
    paths = []
    for factor in ("1.5", "2.0"):
        config = make_config(sources.given(str(idea("my_idea.py", ("1.5", factor)))))
        paths.append(train(config, tmp_path / config.run_name).path)
    assert [record.method for record in load_runs(paths[:1])] == ["my_idea"]
    found = [record.method for record in load_runs(paths)]
    assert len(set(found)) == 2 and all(name.startswith("my_idea@") for name in found)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("my_idea.py", [("METHOD = Parts(", "METHOD = Parts((")], r"line \d+: '\(' was never closed"),
        ("my_idea.py", [("METHOD = ", "METHODS = ")], r"line 37: there is no METHOD; write METHOD = Parts"),
        ("my_idea.py", [("METHOD = Parts(", "METHOD = dict(")], "line 26: METHOD is dict; write METHOD"),
        ("my_idea.py", [("    qk=Rotate(),\n", "")], "line 26: TypeError: .*missing 1 .*'qk'; mend"),
        ("my_idea.py", [("class Sharp:", "class Sharp(Nothing):")], "line 17: NameError: .*'Nothing'"),
        ("my_idea.py", [("METHOD = Parts", "raise SystemExit(3)\nMETHOD = Parts")], "line 26: SystemExit: 3"),
        ("my_idea.py", [("return self", "return self.nothing * self")], "line 23: AttributeError: .*nothing"),
        (
            "my_idea.py",
            [("import annotations", "import annotations\nimport beside")],
            "line 7: imports beside",
        ),
        ("gpt.py", [], r"gpt is a method of ngptlab/methods/; call the file otherwise"),
        ("my-idea.py", [], "a word of letters, digits and _"),
    ],
)
def test_a_wrong_file_is_one_line(
    idea: Idea,
    tiny: list[str],
    work: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    changes: list[tuple[str, str]],
    message: str,
) -> None:
    idea(name, *changes)
    (work / "beside.py").write_text("")
    assert main(["train", "demo", "--method", f"./{name}", "--out", "run", *tiny]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert name in line and line.startswith("ngptlab: ")
    assert re.search(message, line), line
    assert not (work / "run").exists()


def test_what_else_is_refused(
    idea: Idea, tiny: list[str], work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*given: str) -> str:
        assert main(["compare", "demo", "--methods", *given, "--out", "x", *tiny]) == 2
        return capsys.readouterr().err

    idea(), idea("other/my_idea.py", ("1.5", "2.0")), idea("copy.py")
    assert "another file of that name is" in refused("./my_idea.py", "other/my_idea.py")
    assert "the same file as" in refused("./my_idea.py", "./copy.py")
    assert "name each method once" in refused("./my_idea.py", "./my_idea.py")
    assert "can't be read (No such file" in refused("gpt", "./nothing.py")
    assert "a file of your own is given by its path, ./my_idea.py" in refused("my_idea")
    (work / "latin.py").write_bytes(b"# \xe4\n")
    assert "not in UTF-8" in refused("./latin.py")


def test_a_forward_that_fails_names_its_line(
    idea: Idea, tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    late = "class Late(RMSNorm):\n    def build(self, dims):\n        return lambda h_BTD: h_BTD.nothing"
    idea("my_idea.py", ("norm=RMSNorm()", "norm=Late()"), ("METHOD =", f"{late}\n\n\nMETHOD ="))
    assert main(["train", "demo", "--method", "./my_idea.py", *tiny]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"my_idea.py, line \d+: AttributeError: .*'nothing'; mend the file", last), last


# --- whose code is run ------------------------------------------------------------------------------------------------


def test_a_stranger_s_copy_is_not_run(
    run: Run, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NGPTLAB_CACHE", str(tmp_path / "another machine's"))
    monkeypatch.setattr(sys, "modules", {k: v for k, v in sys.modules.items() if "my_idea" not in k})
    assert load_runs([run.path]), "a report runs nothing"
    (name,) = sources.names_in(run.config)
    digest = sources.known(name).sha256
    with pytest.raises(ConfigError, match=f"never given by path.*set NGPTLAB_TRUST_METHODS={digest}"):
        open_trained(run.path)
    monkeypatch.setenv("NGPTLAB_TRUST_METHODS", f"0123,{digest}")
    open_trained(run.path)


def test_a_changed_copy_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (copy,) = (run.path / "methods").glob("*.py")
    copy.write_text(copy.read_text() + "# more\n")
    monkeypatch.setenv("NGPTLAB_TRUST_METHODS", "all")
    with pytest.raises(ConfigError, match="changed since it was copied"):
        Run(run.path)
    copy.unlink()
    sources.forget()
    with pytest.raises(ConfigError, match=r"its file is not here; give it by path"):
        open_trained(run.path)


def test_a_config_s_path_is_no_method() -> None:
    with pytest.raises(ConfigError, match="a path on the command line"):
        methods.resolve(parse({**blank(), "method": "./my_idea.py"}, origin="a test"))


def blank() -> dict[str, object]:
    return {"name": "x", "model": {"vocab_size": 17, "num_layers": 1, "num_heads": 1, "d_model": 8}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ((("attn_scale=Sharp()", "attn_scale=Sharp"),), "line 26: attn_scale is the class Sharp; give a record of it"),
        ((("attn_scale=Sharp()", "attn_scale=lambda dims: 1.0"),), "line 26: attn_scale is function; give a part"),
        ((("def build(self, dims: Dims)", "def build(self)"),), "write def build(self, dims)"),
        (
            (("float:\n        return self.factor * dims.d_head**-0.5", "object:\n        return Bare()"),
             ("METHOD =", "class Bare(torch.nn.Module):\n    pass\n\n\nMETHOD ="),
             ("import annotations\n", "import annotations\n\nimport torch\n"),
             ("attn_scale=Sharp()", "attn_scale=HeadWidthPower(-0.5)"), ("import Add", "import HeadWidthPower, Add"),
             ("optimizer=AdamW(),", "optimizer=AdamW(), embed=Sharp(),")),
            "class Bare: 'Bare' object has no attribute 'prefix', which its seam asks of it; extend",
        ),
        ((("self.factor * dims", "float('nan') * dims"),), "at its initial weights"),
    ],
)  # fmt: skip
def test_what_does_not_fit_its_seam_is_told_in_a_line(
    changes: tuple[tuple[str, str], ...],
    message: str,
    idea: Idea,
    tiny: list[str],
    work: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    idea("my_idea.py", *changes)
    assert main(["train", "demo", "--method", "./my_idea.py", *tiny]) in (1, 2)
    assert message in capsys.readouterr().err.splitlines()[-1]


# --- where runs go ----------------------------------------------------------------------------------------------------


def test_an_export_carries_it_and_comes_back(run: Run, tmp_path: Path) -> None:
    out = export(open_trained(run.path), tmp_path / "export")
    (carried,) = out.glob("ngptlab_methods_my_idea_*.py")
    assert "class Sharp" in carried.read_text()
    assert carried.name in bundle(open_trained(run.path).model.parts)
    sources.forget()
    back = import_export(out, tmp_path / "back")
    assert back.config == run.config and open_trained(back.path).step == 8


def test_a_ledger_keeps_versions_apart_and_holds_the_file(
    run: Run, idea: Idea, make_config: MakeConfig, tmp_path: Path
) -> None:
    ledger = Ledger(tmp_path / "runs.jsonl")
    ledger.add([run])
    (entry,) = ledger.entries()
    assert entry.config == run.config
    edited = make_config(sources.given(str(idea("my_idea.py", ("1.5", "2.0")))))
    assert edited.hash not in {each.hash for each in ledger.entries()}
    sources.forget()
    restored = restore(entry.record, tmp_path / "restored", "a test")
    assert copies.texts_in(restored.config)
    entry.record["methods"] = dict.fromkeys(entry.record["methods"], "changed")
    with pytest.raises(ValueError, match="is not what the config names"):
        restore(entry.record, tmp_path / "other", "a test")


def test_workers_run_it(idea: Idea, tiny: list[str], work: Path) -> None:
    """In processes of their own, which find the copy beside their config."""
    idea()
    environment = {**os.environ, "NGPTLAB_CACHE": str(work / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "ngptlab", "sweep", "demo", "--methods", "./my_idea.py", "--lrs", "0.004", "--workers", "1",
         "--out", "sweep", *tiny],
        cwd=work, capture_output=True, text=True, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "my_idea" in (work / "sweep" / "sweep.csv").read_text()
    assert list((work / "sweep" / "configs" / "methods").glob("my_idea@*.py"))


def test_a_process_is_told_what_to_trust(idea: Idea) -> None:
    assert running.trusting() == {}
    name = sources.given(str(idea()))
    assert running.trusting() == {"NGPTLAB_TRUST_METHODS": sources.known(name).sha256}


def test_models_are_built_from_a_path(idea: Idea) -> None:
    path, dims = idea(), Dims(vocab_size=17, num_layers=1, num_heads=1, d_model=8)
    assert build_model(str(path), dims).blocks[0].attn.scale == pytest.approx(1.5 * 8**-0.5)
    idea("my_idea.py", ("1.5", "2.0"))
    assert build_model(str(path), dims).blocks[0].attn.scale == pytest.approx(2.0 * 8**-0.5)


def test_it_has_a_row_in_the_table_of_methods(idea: Idea) -> None:
    demo = recipe("demo")
    (row,) = rows([sources.given(str(idea()))], demo.config, demo.methods)
    assert (row.name, row.group, row.seams, row.more_params) == ("my_idea", "Attention", ("attn_scale",), 0)


def test_the_verb_methods_shows_files_and_runs_none(idea: Idea, capsys: pytest.CaptureFixture[str]) -> None:
    idea("my_idea.py", ("METHOD =", "raise RuntimeError\nMETHOD =")), idea("old/my_idea.py", ("1.5", "1.25"))
    assert main(["methods", "./my_idea.py"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split(maxsplit=1) == [
        "my_idea", "The baseline with sharper attention, for tests.",
    ]  # fmt: skip
    assert main(["methods", "--diff", "old/my_idea.py", "./my_idea.py"]) == 0
    said = capsys.readouterr().out
    assert "-    factor: float = 1.25" in said and "+    factor: float = 1.5" in said
    idea("my_idea.py", ("METHOD =", "\n# A comment.\nMETHOD ="), ("    norm=", "    # Another.\n    norm="))
    idea("old/my_idea.py")
    assert main(["methods", "--diff", "old/my_idea.py", "./my_idea.py"]) == 0
    assert "#" not in capsys.readouterr().out, "comments are no change"
