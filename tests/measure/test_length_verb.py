"""`ngptlab eval --evals length` from end to end, against the plainest computation of the same numbers."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ngptlab import Run, RunConfig
from ngptlab.cli import main
from ngptlab.data.corpus import open_data
from ngptlab.data.tokens.tokenizer import ByteTokenizer
from ngptlab.experiment import train
from ngptlab.measure.held_out import hold_out
from ngptlab.measure.length.measure import binned, linear_edges, log_edges, long_texts, up_to
from ngptlab.measure.length.show import write_length
from ngptlab.measure.length.verb import _name
from ngptlab.measure.val.measure import losses
from ngptlab.trained import open_trained

MakeConfig = Callable[..., RunConfig]
Captured = pytest.CaptureFixture[str]


def test_bins_by_hand() -> None:
    losses_NT = np.array([[1.0, 2.0, 6.0], [3.0, 2.0, 0.0]])
    assert binned(losses_NT, [0, 1, 3]) == [
        {"from": 0, "to": 1, "loss_nats": 2.0, "stderr_nats": pytest.approx(1)},  # 1, 3: sqrt(2) / sqrt(2)
        {"from": 1, "to": 3, "loss_nats": 2.5, "stderr_nats": pytest.approx(1.5)},  # 4, 1
    ]
    assert up_to(losses_NT, [0, 1, 3]) == [
        {"to": 1, "loss_nats": 2.0, "stderr_nats": pytest.approx(1)},
        {"to": 3, "loss_nats": pytest.approx(14 / 6), "stderr_nats": pytest.approx(4 / 6)},  # 3, 5/3
    ]


@pytest.mark.parametrize(("length", "context"), [(4096, 128), (32, 1), (100, 7), (30, 30), (5, 8)])
def test_edges_cover_every_position_once(length: int, context: int) -> None:
    for edges in (linear_edges(length, context), log_edges(length, context)):
        assert edges[0] == 0 and edges[-1] == length and edges == sorted(set(edges))
    multiples = {context * 2**k for k in range(20) if context * 2**k < length}
    assert multiples <= set(log_edges(length, context))
    widths = np.diff(log_edges(4096, 128))
    assert len(widths) == 41 and widths[-1] > 10 * widths[1]


def test_a_byte_order_mark_is_no_text() -> None:
    found = [long_texts([text], ByteTokenizer(), tokens=3, limit=1).tolist() for text in ("\ufeffabc", "abc")]
    assert found[0] == found[1] == [[256, *b"abc"]]


def test_texts_that_are_too_short_are_passed_over() -> None:
    texts = iter(["ab", "abcdef", "abc", "xyz", "never read"])
    found = long_texts(texts, ByteTokenizer(), tokens=3, limit=3)
    assert found.tolist() == [[256, *b"abc"], [256, *b"abc"], [256, *b"xyz"]]
    assert next(texts) == "never read", "books are large: no more are encoded than are needed"
    assert long_texts(["a"], ByteTokenizer(), tokens=3, limit=3).shape == (0, 4)


def test_a_perplexity_beyond_a_float_is_no_number(tmp_path: Path) -> None:
    bins = [
        {"from": n, "to": n + 8, "loss_nats": loss, "stderr_nats": 0.1} for n, loss in ((0, 2.0), (8, 800.0))
    ]
    how = {"window": None, "rope_base": None, "rope_scale": None}
    record = {"step": 8, "documents": 3, "context": 8, "bins": bins, "up_to": bins, **how}
    write_length({"diverged": record}, tmp_path)
    rows = json.loads((tmp_path / "length.json").read_text())
    assert [row["up_to_perplexity"] for row in rows] == [pytest.approx(math.exp(2)), None]
    assert (tmp_path / "length.png").exists()


@pytest.fixture
def runs(make_config: MakeConfig, tmp_path: Path) -> list[Run]:
    return [train(make_config(method), tmp_path / method) for method in ("gpt", "ngpt")]


def measure(*arguments: object) -> None:
    assert main(["eval", *map(str, arguments), "--evals", "length"]) == 0


def test_numbers_are_those_of_one_pass(runs: list[Run], tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "out"
    measure(*(run.path for run in runs), "--factor", 2, "--documents", 3, "--out", out)
    with (out / "length.csv").open() as file:
        rows = list(csv.DictReader(file))
    for run in runs:
        documents_NS = hold_out(run.config, open_data(run.config)).documents_NT
        plain = losses(open_trained(run.path).model, documents_NS[:, :-1], documents_NS[:, 1:]).numpy()
        record = json.loads((run.path / "evals" / "length.json").read_text())
        assert (record["step"], record["context"], record["documents"]) == (8, 16, 3)
        with np.load(run.path / "evals" / "length.npz", allow_pickle=False) as raw:
            # Kept in float32, computed in float32: some roundings of 6e-8.
            np.testing.assert_allclose(raw["losses_NT"], plain, rtol=2e-6)
        last, of_run = record["bins"][-1], [row for row in rows if row["run"] == run.config.method]
        by_document = plain[:, last["from"] :].mean(1)
        assert last["to"] == 32 and last["loss_nats"] == pytest.approx(by_document.mean(), rel=2e-6)
        assert last["stderr_nats"] == pytest.approx(by_document.std(ddof=1) / math.sqrt(3), rel=1e-3)
        assert float(of_run[-1]["up_to_perplexity"]) == pytest.approx(math.exp(plain.mean()), rel=1e-5)
        assert len(of_run) == len(record["bins"])
        # What training measured at its end are the same losses in other bins.
        at_end = [line for line in run.read("evals") if line["eval"] == "length"][-1]
        assert at_end["bins"][-1]["loss_nats"] == pytest.approx(plain[:, -8:].mean(), rel=2e-6)
    assert all((out / f"length.{ending}").stat().st_size > 1000 for ending in ("png", "svg", "json"))
    said, aside = capsys.readouterr()
    assert "16 to        32" in said and "only 3 documents" not in said
    assert [
        f"{run.config.method}: length, 96 of 96 tokens, 0:00:00 left" for run in runs
    ] == aside.splitlines()


def test_variants_have_files_of_their_own(runs: list[Run], tmp_path: Path) -> None:
    books = tmp_path / "my books.v2.jsonl"
    books.write_text("".join(json.dumps({"text": "the cat sat " * n}) + "\n" for n in (30, 2, 40)))
    run, common = runs[1], ("--factor", 8, "--text", books, "--out", tmp_path / "out")
    measure(run.path, *common)
    measure(run.path, *common, "--window", 16)
    measure(run.path, *common, "--rope-base", 5000, "--rope-scale", 8)
    found = {
        path.name: json.loads(path.read_text()) for path in (run.path / "evals").glob("length-my-books*.json")
    }
    assert set(found) == {
        "length-my-books.json",
        "length-my-books-window16.json",
        "length-my-books-base5000-scale8.json",
    }
    assert {record["documents"] for record in found.values()} == {2}
    assert len({record["documents_sha256"] for record in found.values()}) == 1
    whole, windowed, stretched = (found[name] for name in sorted(found, key=len))
    ends = [record["bins"][-1]["loss_nats"] for record in (whole, windowed, stretched)]
    assert len(set(ends)) == 3
    # A window of 16 changes nothing for the first 16 positions.
    assert windowed["octaves"][0]["loss_nats"] == pytest.approx(whole["octaves"][0]["loss_nats"], rel=1e-6)


def test_names_of_variants() -> None:
    plain = {"text": None, "window": None, "rope_base": None, "rope_scale": None}
    assert _name(SimpleNamespace(**plain)) == "length"  # type: ignore[arg-type]
    assert _name(SimpleNamespace(**plain | {"text": Path("..")})) == "length-text"  # type: ignore[arg-type]


def test_warnings(runs: list[Run], corpus: Path, tmp_path: Path, capsys: Captured) -> None:
    measure(runs[0].path, "--factor", 2, "--text", corpus, "--documents", 9, "--out", tmp_path / "out")
    assert "was trained on text from" in capsys.readouterr().out
    measure(runs[0].path, "--factor", 20, "--documents", 40, "--out", tmp_path / "out")
    said = capsys.readouterr().out
    assert "documents are long enough" in said and "trained on text" not in said


def test_wrong_use_is_one_line(runs: list[Run], tmp_path: Path, capsys: Captured) -> None:
    for arguments, reason in (
        (
            ["--factor", "999"],
            "no document has 15,984 tokens, 999 training contexts of 16; give a smaller --factor",
        ),
        (["--text", str(tmp_path / "none.txt")], "none.txt: can't be read"),
        (["--window", "0"], "give a whole number from 1 on"),
        (["--rope-base", "inf"], "given 'inf', give a number above 0"),
        (["--rope-scale", "x"], "given 'x', give a number above 0"),
    ):
        assert main(["eval", str(runs[0].path), "--evals", "length", *arguments, "--out", str(tmp_path)]) == 2
        error = capsys.readouterr().err
        assert reason in error and error.count("\n") == 1
