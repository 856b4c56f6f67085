"""`ngptlab sample` from end to end, on a run of the tiny recipe."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, normalizers

from ngptlab import Run, RunConfig, scripting
from ngptlab.cli import main
from ngptlab.data.tokens.choose import tokenizer
from ngptlab.data.tokens.tokenizer import ByteTokenizer
from ngptlab.experiment import train
from ngptlab.report import samples
from ngptlab.sampling.choose import Sampling
from ngptlab.sampling.generate import generate
from ngptlab.trained import open_trained

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def run(make_config: Callable[..., RunConfig], tmp_path: Path) -> Run:
    return train(make_config("ngpt"), tmp_path / "run")


def expected(run: Run, prompt: str, **options: object) -> list[str]:
    tokens = [256, *prompt.encode()]
    rows = list(generate(open_trained(run.path).model, tokens, end=256, vocab_size=257, **options))  # type: ignore[arg-type]
    columns = zip(*rows, strict=True)
    return [ByteTokenizer().decode([t for t in column if t not in (None, 256)]) for column in columns]


def said(capsys: Captured, *arguments: str) -> str:
    capsys.readouterr()
    assert main(["sample", *arguments]) == 0
    return capsys.readouterr().out


def test_one_continuation_and_several(run: Run, capsys: Captured) -> None:
    text = expected(run, "the cat", max_tokens=40)[0]
    assert said(capsys, str(run.path), "the cat", "--max-tokens", "40") == f"the cat{text}\n"
    options = {"max_tokens": 30, "num": 3, "seed": 5, "sampling": Sampling(0.5, 4, 0.9, 0.1)}
    texts = expected(run, "a", **options)
    page = "".join(f"--- {i} of 3\na{text}\n" for i, text in enumerate(texts, start=1))
    flags = "--max-tokens 30 --num 3 --seed 5 --temperature 0.5 --top-k 4 --top-p 0.9 --min-p 0.1"
    assert said(capsys, str(run.path), "a", *flags.split()) == page


def test_a_prompt_from_standard_input_is_taken_as_it_is(
    run: Run, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_option = said(capsys, str(run.path), " é\n", "--max-tokens", "10")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(" é\n".encode())))
    assert said(capsys, str(run.path), "-", "--max-tokens", "10") == as_option
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\ufeff é\n".encode())))
    assert said(capsys, str(run.path), "-", "--max-tokens", "10") == as_option  # a byte order mark is no text
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff")))
    assert main(["sample", str(run.path), "-"]) == 2
    assert "not UTF-8" in capsys.readouterr().err
    with Path("/dev/zero").open() as endless:
        monkeypatch.setattr(sys, "stdin", endless)
        assert main(["sample", str(run.path), "-"]) == 2
    assert "the prompt has more than 1048576 bytes" in capsys.readouterr().err


def test_the_text_goes_on_where_the_prompt_ends(
    run: Run, capsys: Captured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Decoders of Llama 2's kind drop the space before the first token that they are given."""
    words = ["<unk>", "</s>", "▁Hello", "▁Priority", "!"]
    library = Library(
        models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>")
    )
    library.normalizer = normalizers.Prepend("▁")
    library.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    library.save(str(tmp_path / "llama.json"))
    vocabulary = tokenizer(str(tmp_path / "llama.json"))
    prompts = []

    def fixed(model: object, prompt: list[int], **options: object) -> list[list[int]]:
        prompts.append(prompt)
        return [[3], [4], [1]]

    monkeypatch.setattr("ngptlab.data.tokens.choose.tokenizer", lambda *given: vocabulary)
    monkeypatch.setattr("ngptlab.sampling.generate.generate", fixed)
    assert said(capsys, str(run.path), "Hello") == "Hello Priority!\n"
    assert prompts == [[1, 2]]
    vocabulary.spelling = "whole"  # type: ignore[misc]
    main(["sample", str(run.path), "Hello"])
    shown = capsys.readouterr()
    assert shown.out == "Hello Priority!\n" and "all of it comes at its end" in shown.err


def test_each_token_is_on_the_screen_before_the_next_one_is_computed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, tokens, real = "", list[int](), generate
    page = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # holds what it is given until it is flushed

    def watched(*args: object, **options: object) -> object:
        nonlocal seen
        for row in real(*args, **options):  # type: ignore[arg-type]
            seen = page.buffer.getvalue().decode()
            # All but bytes that may yet become a character.
            assert seen.startswith("the" + ByteTokenizer().decode(tokens).rstrip("\ufffd"))
            tokens.append(int(row[0] or 0))
            yield row

    monkeypatch.setattr("ngptlab.sampling.generate.generate", watched)
    monkeypatch.setattr(sys, "stdout", page)
    assert main(["sample", str(run.path), "the", "--max-tokens", "20"]) == 0
    assert len(tokens) == 20 and len(seen) > 10


def test_a_terminal_gets_no_control_characters(
    run: Run, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = "\x1b[31m\r\tx\n"
    assert said(capsys, str(run.path), prompt, "--max-tokens", "1").startswith(prompt)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert said(capsys, str(run.path), prompt, "--max-tokens", "1").startswith("\\x1b[31m\\r\tx\n")


def test_a_note_where_training_never_was(run: Run, capsys: Captured) -> None:
    main(["sample", str(run.path), "ab", "--max-tokens", "13"])
    assert "extrapolated" not in capsys.readouterr().err
    main(["sample", str(run.path), "ab", "--max-tokens", "14"])
    assert "trained on 16 tokens at a time; what comes later is extrapolated" in capsys.readouterr().err


def test_wrong_use_is_one_line(run: Run, capsys: Captured, tmp_path: Path) -> None:
    for arguments, reason in (
        ([str(tmp_path), "x"], "not a run directory"),
        ([str(run.path), "x", "--top-p", "0"], "top_p: given 0.0; allowed: above 0, at most 1"),
        ([str(run.path), "x", "--seed", "-1"], "--seed: given '-1', give a whole number from 0"),
        ([str(run.path), "x", "--max-tokens", "0"], "give a whole number from 1 on"),
        ([str(run.path), "\udcff"], "not UTF-8"),
    ):
        assert main(["sample", *arguments]) == 2
        error = capsys.readouterr().err
        assert reason in error and error.count("\n") == 1


def test_a_page_has_what_the_model_writes(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same as from a sampler of our own, the same bytes again, and not where it is not wanted."""
    (expected_text,) = expected(
        run, "", max_tokens=samples.MAX_TOKENS, sampling=Sampling(samples.TEMPERATURE), seed=samples.SEED
    )
    pages = []
    for name, more in (("one", ()), ("two", ()), ("bare", ("--no-samples",))):
        out = tmp_path / name
        assert main(["report", str(run.path), "--out", str(out), *more]) == 0
        pages.append((out / "report.html").read_bytes())
        record = json.loads((out / "report.json").read_text(encoding="utf-8"))
        found = [sample["text"] for sample in record.get("samples", ())]
        assert found == ([] if more else [expected_text])
    assert pages[0] == pages[1] and b"<pre" in pages[0] and b"<pre" not in pages[2]
    monkeypatch.setattr(scripting, "MOST_PARAMS", 10)
    assert main(["report", str(run.path), "--out", str(tmp_path / "large")]) == 0
    assert "is too slow on a CPU" in (tmp_path / "large" / "report.html").read_text(encoding="utf-8")
