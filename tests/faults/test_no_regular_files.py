"""A FIFO or a device in place of any file that is read: nothing waits for it, and nothing ends in a traceback."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ngptlab.cli import main
from ngptlab.config import RunConfig
from ngptlab.data.tokens.choose import tokenizer
from ngptlab.errors import CheckpointError, ConfigError, DataError
from ngptlab.experiment import train
from ngptlab.export.provenance import read_provenance
from ngptlab.jobs.stacks import stack_choice
from ngptlab.measure.tasks import files as task_files
from ngptlab.train.checkpoint import list_checkpoints, read_checkpoint

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def run(make_config: Callable[..., RunConfig], work: Path) -> Path:
    return train(make_config(), work / "runs" / "one").path


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "env.json",
        "summary.json",
        "metrics.jsonl",
        "evals.jsonl",
        "timing.jsonl",
        "checkpoints/step_000008/manifest.json",
        "checkpoints/step_000008/model.safetensors",
    ],
)
def test_of_a_run(run: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for other in ("fifo", "/dev/zero", "folder"):
        path = run / name
        path.unlink() if path.is_file() or path.is_symlink() or path.is_fifo() else path.rmdir()
        if other == "fifo":
            os.mkfifo(path)
        elif other == "folder":
            path.mkdir()
        else:
            path.symlink_to(other)
        for verb in (["report", run], ["watch", run.parent, "--once"], ["eval", run, "--evals", "val"]):
            capsys.readouterr()
            # No traceback; whether it needs that file is another matter.
            assert main([str(word) for word in verb]) in (0, 2)
            err = capsys.readouterr().err
            assert err.count("\n") <= 1 or "ngptlab: " in err.splitlines()[-1]


def test_of_tokenizers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "6d1cbeee0f20b3d9449abfede4726ed8212e3aee")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    with pytest.raises(DataError, match="a FIFO, not a regular file; tiktoken would read it"):
        tokenizer("gpt2")


def test_of_a_shard_and_its_manifest(corpus: Path, work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "prepare", str(corpus), "--out", "shards", "--tokenizer", "bytes"]) == 0
    for name in ("manifest.json", "val_000000.bin"):
        shutil.copytree("shards", f"with-{name}")
        (work / f"with-{name}" / name).unlink()
        os.mkfifo(work / f"with-{name}" / name)
        assert main(["data", "verify", f"with-{name}"]) == 2
        assert "a FIFO, not a regular file" in capsys.readouterr().err


# --- and what is no sound record ------------------------------------------------------------------------------------------


def test_a_manifest_too_deep_falls_back(run: Path) -> None:
    newest = list_checkpoints(run / "checkpoints")[-1]
    (newest / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match="nested too deeply"):
        read_checkpoint(newest)
    (run / "summary.json").unlink()
    assert main(["eval", str(run), "--evals", "val"]) in (0, 2)


def test_the_run_goes_on_from_the_checkpoint_before(run: Path, make_config: Callable[..., RunConfig]) -> None:
    newest = list_checkpoints(run / "checkpoints")[-1]
    weights = (newest / "model.safetensors").read_bytes()
    (newest / "manifest.json").write_text("[" * 100_000)
    (run / "summary.json").unlink()
    train(make_config(), run)
    assert (newest / "model.safetensors").read_bytes() == weights


@pytest.mark.parametrize(
    "name", ["step_²", "step_٣", "step_", "step_-1", "step_1e3", "step_000006.bak", "step_³000000"]
)
def test_folders_that_are_no_checkpoints(run: Path, name: str, make_config: Callable[..., RunConfig]) -> None:
    before = list_checkpoints(run / "checkpoints")
    (run / "checkpoints" / name).mkdir()
    assert list_checkpoints(run / "checkpoints") == before
    (run / "summary.json").unlink()
    assert train(make_config(), run).done


@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"measured": [{"step": 1, "eval": "val", "loss_nats": NaN}]}', "5", '"a"']
)
def test_a_provenance_that_is_no_record(tmp_path: Path, content: str) -> None:
    (tmp_path / "ngptlab.json").write_text(content)
    with pytest.raises(CheckpointError, match="damaged") as caught:
        read_provenance(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_nan_in_an_evaluation_is_not_exported(
    run: Path, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "evals").mkdir(exist_ok=True)
    for content in (json.dumps({"step": 8, "eval": "val", "loss_nats": float("nan")}), "[" * 100_000, "{"):
        (run / "evals" / "val.json").write_text(content)
        assert main(["export", str(run), str(work / "out")]) == 2
        err = capsys.readouterr().err
        assert "val.json: damaged" in err and err.count("\n") == 1


def test_a_task_file_that_unpacks_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import bz2

    monkeypatch.setattr(task_files, "TASK_BYTES", 1000)
    path = tmp_path / "hellaswag_val_full.txt.bz2"
    for raw, said in (
        (bz2.compress(bytes(10_000_000)), "unpacks to more than 1000 bytes"),
        (bz2.compress(bytes(900)) * 2, "unpacks to more than 1000 bytes"),
        (bz2.compress(b"text")[:-4], "ends in the middle"),
        (b"no", "can't be read"),
    ):
        path.write_bytes(raw)
        with pytest.raises(DataError, match=said):
            task_files._read(path)
    path.write_bytes(bz2.compress(b"one ") + bz2.compress(b"two"))
    assert task_files._read(path) == "one two"


def test_a_number_of_too_many_digits() -> None:
    with pytest.raises(ConfigError, match="give auto, off, or a number"):
        stack_choice("9" * 5000)
