"""An imported model's tokenizer is the one that is given, GPT-2's where that fits, or said to be unknown."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from public_models import D, draw
from safetensors.torch import save_file
from tokenizers import AddedToken, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Library

from ngptlab.cli import main
from ngptlab.trained import Trained, open_trained

MakeTrained = Callable[..., Trained]
Captured = pytest.CaptureFixture[str]


def tokenizer_json(file: Path, end: str = "</s>", size: int = 257) -> Path:
    """A byte-level file of 256 bytes and then added tokens, the last of them `end`."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    library = Library(models.BPE(vocab={letter: n for n, letter in enumerate(letters)}, merges=[]))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    library.decoder = decoders.ByteLevel()
    library.add_special_tokens([AddedToken(f"<{n}>", special=True) for n in range(size - len(letters) - 1)])
    library.add_special_tokens([AddedToken(end, special=True)])
    library.save(str(file))
    return file


def checkpoint(path: Path, rows: int) -> Path:
    """A small model of the replication's with such a vocabulary."""
    block = "transformer.h.0"
    shapes = {"transformer.wte.weight": (rows, D), "lm_head.weight": (rows, D)}
    shapes |= {f"{block}.attn.c_{m}.weight": (D, D) for m in ("q", "k", "v", "proj")}
    shapes |= {f"{block}.mlp.{m}.weight": (8, D) for m in ("c_fc", "c_fc2")}
    save_file(draw({**shapes, f"{block}.mlp.c_proj.weight": (D, 8)}), path)
    return path


@pytest.fixture
def imported(tmp_path: Path, capsys: Captured) -> Callable[..., tuple[int, str]]:
    """Imports a model with so many rows into `run`; gives the exit code and all that was said."""

    def run(rows: int, *options: str) -> tuple[int, str]:
        file = checkpoint(tmp_path / "state.safetensors", rows)
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        arguments = [
            "import",
            str(file),
            str(tmp_path / "run"),
            "--from",
            "modded-nanogpt",
            "--num-heads",
            "2",
        ]
        code = main([*arguments, *options])
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def test_a_tokenizer_file_is_kept_and_used(
    imported: Callable[..., tuple[int, str]], tmp_path: Path, capsys: Captured
) -> None:
    file = tokenizer_json(tmp_path / "tokenizer.json", size=300)
    code, said = imported(320, "--tokenizer", str(file))
    assert code == 0 and "300 tokens; 20 rows of the vocabulary stand for none" in said
    data = open_trained(tmp_path / "run").config.data
    assert (data.tokenizer, data.end_of_text) == (str(file), "")
    assert main(["sample", str(tmp_path / "run"), "a", "--max-tokens", "3"]) == 0
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / "config.json").read_text())["eos_token_id"] == 299


def test_a_token_before_documents_can_be_named(
    imported: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    file = tokenizer_json(tmp_path / "tokenizer.json", end="<|fin|>")
    code, said = imported(257, "--tokenizer", str(file))
    assert code == 2 and "no end-of-text token that is known" in said and "--end-of-text" in said
    code, said = imported(257, "--tokenizer", str(file), "--end-of-text", "<|fin|>")
    assert code == 0 and open_trained(tmp_path / "run").config.data.end_of_text == "<|fin|>"
    code, said = imported(257, "--tokenizer", "bytes", "--end-of-text", "<|fin|>")
    assert code == 2 and "has its own" in said


def test_a_tokenizer_that_does_not_fit_is_refused(
    imported: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    code, said = imported(32064, "--tokenizer", "gpt2")
    assert code == 2 and "has 50,257 tokens, the checkpoint's vocabulary has 32,064 rows" in said
    code, said = imported(256, "--tokenizer", "bytes")
    assert code == 2 and "has 257 tokens" in said
    code, said = imported(299, "--tokenizer", str(tokenizer_json(tmp_path / "tokenizer.json", size=300)))
    assert code == 2 and "has 300 tokens" in said
    for given, why in (("llama", "is unknown"), ("none.json", "can't be read")):
        code, said = imported(32064, "--tokenizer", given)
        assert code == 2 and why in said and said.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_without_one_gpt2_is_taken_where_it_fits_and_said(
    imported: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    for rows in (50257, 50304):
        code, said = imported(rows)
        assert code == 0 and "tokenizer gpt2: assumed" in said
        assert open_trained(tmp_path / "run").config.data.tokenizer == "gpt2"


@pytest.mark.parametrize("rows", [257, 32064, 51200])
def test_without_one_that_fits_it_is_unknown_and_advice_names_what_there_is(
    imported: Callable[..., tuple[int, str]], tmp_path: Path, capsys: Captured, rows: int
) -> None:
    code, said = imported(rows)
    assert (
        code == 0
        and f"a vocabulary of {rows:,} rows is not GPT-2's" in said
        and "--tokenizer FILE.json" in said
    )
    run = str(tmp_path / "run")
    assert open_trained(tmp_path / "run").config.data.tokenizer == "unknown"
    for arguments in (["export", run, str(tmp_path / "out")], ["sample", run, "a"]):
        assert main(arguments) == 2
        said = capsys.readouterr().err
        assert "imported without its tokenizer; import it again with --tokenizer FILE.json" in said
        assert "--model" not in said and said.count("\n") == 1


def test_export_of_a_model_that_was_imported_with_a_wrong_one_names_an_option_that_there_is(
    make_trained: MakeTrained, tmp_path: Path, capsys: Captured
) -> None:
    """Imports of earlier versions took GPT-2's for every model's."""
    small = {"vocab_size": 200, "num_layers": 1, "num_heads": 2, "d_model": 16}
    run = make_trained("gpt", model=small, name="small").run
    assert main(["export", str(run.path), str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "257 tokens, the model's vocabulary is 200" in said and "ngptlab import ... --tokenizer" in said
    assert "--model" not in said


def test_an_export_s_tokenizer_may_lie_elsewhere(
    make_trained: MakeTrained, tmp_path: Path, capsys: Captured
) -> None:
    file = tokenizer_json(tmp_path / "mine.json", end="<|fin|>")
    data = {"source": "text:nowhere", "tokenizer": str(file), "end_of_text": "<|fin|>"}
    there = make_trained("gpt", data=data)
    out = tmp_path / "out"
    assert main(["export", str(there.run.path), str(out)]) == 0
    moved = file.rename(tmp_path / "moved.json")
    other = tokenizer_json(tmp_path / "other.json", end="<|fin|>", size=260)

    def back(*options: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(["import", str(out), str(tmp_path / "back"), *options])
        said = capsys.readouterr()
        return code, said.out + said.err

    code, said = back("--tokenizer", str(other))
    assert code == 2 and "is not the one that the export was trained with" in said
    code, said = back("--tokenizer", str(file))
    assert code == 2 and "can't be read" in said
    assert back("--end-of-text", "<|fin|>")[0] == 2 and back("--num-heads", "2")[0] == 2
    code, said = back("--tokenizer", str(moved))
    assert code == 0 and "the same one; its path is in the config, whose hash is another" in said
    again = open_trained(tmp_path / "back")
    assert again.config.data.tokenizer == str(moved) and again.config.data.end_of_text == "<|fin|>"
    assert main(["sample", str(again.run.path), "a", "--max-tokens", "2"]) == 0
    # The folder's own is the same tokenizer, less what was off in training.
    shutil.rmtree(tmp_path / "back")
    assert back("--tokenizer", str(out / "tokenizer.json"))[0] == 0
    plain = make_trained("gpt", name="plain")
    assert main(["export", str(plain.run.path), str(tmp_path / "plain-out")]) == 0
    assert main(["import", str(tmp_path / "plain-out"), str(tmp_path / "x"), "--tokenizer", str(moved)]) == 2
    assert "the export names its tokenizer, bytes" in capsys.readouterr().err
