"""Whatever a user gets wrong is one line on stderr and exit code 2, and costs them no file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ngptlab.cli import main
from ngptlab.runs import Run

Failure = Callable[..., str]


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, where runs/ and out/ would go."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def tree(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if path.name != ".lock"
    }


@pytest.fixture
def failure(capsys: pytest.CaptureFixture[str], work: Path) -> Failure:
    """Run a command line that must be refused; what it said."""

    def fail(*arguments: object) -> str:
        before = tree(work)
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("ngptlab: ") and err.endswith("\n") and err.count("\n") == 1, err
        assert "Traceback" not in err
        assert tree(work) == before, "a wrong command wrote or removed something"
        return err

    return fail


def test_unknown_recipe(failure: Failure) -> None:
    said = failure("train", "demos")
    assert "'demos'" in said and "did you mean 'demo'?" in said
    assert "allowed: demo" in failure("compare", "xyzzy")


def test_unknown_method(failure: Failure, tiny: list[str]) -> None:
    assert "did you mean 'ngpt'?" in failure("train", "demo", "--method", "ngtp", *tiny)
    assert "did you mean 'ngpt'?" in failure("compare", "demo", *tiny, "--methods", "gpt", "ngptt")
    assert "../cli: can't be read" in failure("train", "demo", "--method", "../cli", *tiny), (
        "a path, since methods may be files"
    )
    assert "did you mean 'ngpt'?" in failure("methods", "--diff", "gpt", "nggpt")


def test_unknown_field(failure: Failure) -> None:
    said = failure("train", "demo", "--train.stepz", "3")
    assert "--train.stepz" in said and "did you mean 'train.steps'?" in said
    assert "did you mean '--train.steps'?" in failure("train", "demo", "--setps", "3")
    failure("train", "demo", "--train", "3")
    failure("train", "demo", "extra")


@pytest.mark.parametrize(
    "arguments, named",
    [
        (["--train.steps", "abc"], "train.steps: given 'abc'"),
        (["--train.steps", "1.5"], "train.steps: given '1.5'"),
        (["--train.steps="], "train.steps: given ''"),
        (["--optim.lr", "nan"], "optim.lr"),
        (["--optim.lr", "inf"], "optim.lr"),
        (["--optim.betas", "0.9"], "optim.betas"),
        (["--schedule.shape", "cosin"], "schedule.shape: given 'cosin'"),
        (["--data.tokenizer", "gpt3"], "data.tokenizer: given 'gpt3'"),
        (["--train.steps", "0"], "train.steps: given '0'"),
        (["--train.steps", "-1"], "train.steps: given '-1'"),
        (["--train.context", "0"], "train.context"),
        (["--data.val-share", "0.5"], "data.val_share"),
        (["--checkpoint.keep", "1"], "checkpoint.keep"),
        (["--seed", "-1"], "seed: given '-1'"),
        (["--model.d-model", "17"], "d_model 17"),
        (["--device.micro-batch", "3"], "micro_batch 3"),
        (["--schedule.warmup-steps", "601"], "warmup_steps 601"),
        (["--name", "No Name"], "name"),
        (["--train.steps", "none"], "train.steps"),
        (["--train.steps", "abc", "--optim.lr", "xyz"], "optim.lr: given 'xyz'"),
    ],
)
def test_wrong_value(arguments: list[str], named: str, failure: Failure) -> None:
    assert named in failure("train", "demo", *arguments)


def test_missing_value(failure: Failure) -> None:
    assert "--train.steps: given no value" in failure("train", "demo", "--train.steps")
    assert "--train.steps: given no value" in failure("train", "demo", "--train.steps", "--seed", "1")
    assert "--out" in failure("train", "demo", "--out")
    assert "recipe" in failure("train")
    failure("report")


def test_unknown_verb(failure: Failure) -> None:
    said = failure("trian", "demo")
    assert "trian" in said and "train" in said and "--help" in said
    failure("--nonsense")
    assert "--seeds" in failure("compare", "demo", "--seeds", "two")


def test_corpus(failure: Failure, tiny: list[str], tmp_path: Path) -> None:
    def said(place: object) -> str:
        return failure("train", "demo", *tiny, "--data.source", place)

    assert "absent" in said(f"text:{tmp_path / 'absent'}")
    (tmp_path / "empty").mkdir()
    assert "no file of a kind that can be read" in said(f"text:{tmp_path / 'empty'}")
    (tmp_path / "blank").mkdir()
    for name in "ab":
        (tmp_path / "blank" / f"{name}.txt").write_text(" \n")
    assert "empty corpus" in said(f"text:{tmp_path / 'blank'}")
    assert "did you mean 'stdlib'?" in said("stdlb")
    assert "did you mean 'text:" in said(tmp_path / "empty")


def test_corpus_shorter_than_a_window(failure: Failure, tiny: list[str], tmp_path: Path) -> None:
    (tmp_path / "short").mkdir()
    for name in "ab":
        (tmp_path / "short" / f"{name}.txt").write_text(f"text {name}")
    said = failure("train", "demo", *tiny, "--data.source", f"text:{tmp_path / 'short'}")
    assert "one window takes 17" in said and "--train.context" in said


def test_vocabulary_smaller_than_the_tokenizer(failure: Failure, tiny: list[str], cache: Path) -> None:
    said = failure("train", "demo", *tiny, "--model.vocab-size", "256")
    assert "257 tokens" in said and "--model.vocab-size 257" in said
    assert not list(cache.rglob("*.bin"))


def test_damaged_shard(failure: Failure, tiny: list[str], cache: Path, work: Path, tmp_path: Path) -> None:
    assert main(["train", "demo", *tiny, "--out", str(tmp_path / "first")]) == 0
    shard = next(cache.rglob("train_*.bin"))
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    assert "SHA-256" in failure("train", "demo", *tiny, "--seed", "1")
    os.truncate(shard, 1500)
    assert "truncated" in failure("train", "demo", *tiny, "--seed", "1")
    shard.unlink()
    assert "can't be read" in failure("train", "demo", *tiny, "--seed", "1")


def test_cuda_that_is_not_there(failure: Failure, tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "no CUDA device" in failure("train", "demo", *tiny, "--device.kind", "cuda")


def test_out_holds_another_run(failure: Failure, tiny: list[str], work: Path) -> None:
    assert main(["train", "demo", *tiny, "--out", "run"]) == 0
    said = failure("train", "demo", *tiny, "--out", "run", "--train.steps", "7")
    assert "holds another run" in said and "train.steps: 6 -> 7" in said
    assert "method: gpt -> ngpt" in failure("train", "demo", *tiny, "--out", "run", "--method", "ngpt")


def test_out_holds_something_else(failure: Failure, tiny: list[str], work: Path) -> None:
    (work / "notes").mkdir()
    (work / "notes" / "thesis.txt").write_text("years of work")
    assert "neither empty nor a run directory" in failure("train", "demo", *tiny, "--out", "notes")
    (work / "odd").mkdir()
    (work / "odd" / "config.json").write_text('{"some": "other tool"}')
    failure("train", "demo", *tiny, "--out", "odd")
    (work / "odd" / "config.json").write_text("{")
    failure("train", "demo", *tiny, "--out", "odd")


def test_out_can_not_be_written(failure: Failure, tiny: list[str], work: Path) -> None:
    (work / "file").write_text("in the way")
    for place in ("file", "file/child", "file/child/run"):
        assert "--out" in failure("train", "demo", *tiny, "--out", place)
        assert "--out" in failure("compare", "demo", *tiny, "--out", place)
    assert "too long" in failure("train", "demo", *tiny, "--out", "x" * 300)


def test_broken_config_files(failure: Failure, work: Path) -> None:
    (work / "broken.yaml").write_text("name: [unclosed\nmodel: {")
    assert "not valid JSON or YAML" in failure("train", "broken.yaml")
    (work / "list.yaml").write_text("- name\n- model\n")
    assert "holds list" in failure("train", "list.yaml")
    (work / "empty.yaml").write_text("")
    failure("train", "empty.yaml")
    (work / "typo.yaml").write_text(
        "name: x\nmethod: gpt\nmodel: {vocab_size: 257, num_layers: 1, num_heads: 2, d_model: 16}\ntrain: {stepz: 3}\n"
    )
    assert "did you mean 'train.steps'?" in failure("train", "typo.yaml")
    (work / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    failure("train", "bytes.yaml")
    (work / "folder.yaml").mkdir()
    failure("train", "folder.yaml")
    assert "absent.yaml" in failure("train", "absent.yaml")


def test_comparisons(failure: Failure, tiny: list[str]) -> None:
    assert "name each method once" in failure("compare", "demo", *tiny, "--methods", "gpt", "gpt")
    assert "give at least 1" in failure("compare", "demo", *tiny, "--seeds", "0")
    assert "--seeds N" in failure("compare", "demo", *tiny, "--seed", "1")
    assert "--seeds N" in failure("compare", "demo", *tiny, "--data.seed", "1")
    assert "--methods gpt" in failure("compare", "demo", *tiny, "--method", "gpt")


def test_reports(failure: Failure, tiny: list[str], work: Path) -> None:
    (work / "folder").mkdir()
    assert "not a run directory" in failure("report", "folder")
    assert "not a run directory" in failure("report", "absent")
    assert main(["train", "demo", *tiny, "--out", "run"]) == 0
    (work / "run" / "summary.json").unlink()
    assert "not finished" in failure("report", "run")


@pytest.mark.parametrize("name", ["env.json", "summary.json", "metrics.jsonl", "evals.jsonl"])
def test_damaged_record_of_an_unfinished_run(
    name: str, failure: Failure, tiny: list[str], work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A power cut may leave zeros in a file that was being written."""
    assert main(["train", "demo", *tiny, "--out", "run"]) == 0
    (work / "run" / "summary.json").unlink()
    (work / "run" / name).write_bytes(b"\0\0\0\n\0\0\n")
    capsys.readouterr()
    assert main(["train", "demo", *tiny, "--out", "run"]) == 2
    err = capsys.readouterr().err.splitlines()
    assert err[-1].startswith("ngptlab: ") and name in err[-1]


def test_disk_full_while_recording(
    tiny: list[str], work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    append = Run.append

    def full(self: Run, stream: str, record: dict[str, object]) -> None:
        if stream == "metrics" and record["step"] == 4:
            raise OSError(28, "No space left on device")
        append(self, stream, record)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "append", full)
        assert main(["train", "demo", *tiny, "--out", "run"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("ngptlab: ") and "No space left" in last
    assert main(["train", "demo", *tiny, "--out", "run"]) == 0


def test_kill_while_a_directory_is_made(tiny: list[str], work: Path) -> None:
    """Only the temporary file of its config is there: nobody's work, so the same command goes on."""
    (work / "run").mkdir()
    (work / "run" / ".config.json.tmp").write_text("{")
    assert main(["train", "demo", *tiny, "--out", "run"]) == 0
