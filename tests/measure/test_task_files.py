"""Rows of the tasks' files: what is wrong with one is said in a line, with its place."""

from __future__ import annotations

import bz2
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ngptlab.cli import main
from ngptlab.config import RunConfig
from ngptlab.errors import DataError
from ngptlab.experiment import train
from ngptlab.measure.tasks import files
from ngptlab.measure.tasks.measure import by_row
from ngptlab.stats.estimates import mean, stderr

GOOD = {"query": "Question: 1 + 1?", "choices": ["2", "3"], "gold": 0}


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{", "line 2: invalid JSON"),
        (
            {"query": "?", "choices": ["a", "b"]},
            "line 2: gold: field required; a row has query, choices, gold",
        ),
        ({**GOOD, "gold": 2}, "line 2: gold is 2, the choices are 0 to 1"),
        ({**GOOD, "gold": "1"}, "line 2: gold: input should be a valid integer"),
        ({**GOOD, "gold": -1}, "line 2: gold: input should be greater than or equal to 0"),
        ({**GOOD, "choices": ["a", ""]}, r"line 2: choices.1: string should have at least 1 character"),
        ({**GOOD, "choices": ["a"]}, "line 2: choices: list should have at least 2 items"),
        ("", "line 2: invalid JSON"),
    ],
)
def test_a_wrong_row_is_named(row: Any, said: str, tmp_path: Path) -> None:
    write(tmp_path / "arc_easy.jsonl", GOOD, row)
    with pytest.raises(DataError, match=said) as caught:
        files.choices("arc_easy", str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["c", "1", "a", "b", "c"], "line 1: a row is 6 lines"),
        (["c", "1", "a", "b", "c", "d", "more"], "line 7: a row is 6 lines"),
        (["c", "one", "a", "b", "c", "d"], "line 1: a row is 6 lines"),
        (["c", "4", "a", "b", "c", "d"], "line 1: gold is 4, the choices are 0 to 3"),
        ([], "line 1: a row is 6 lines"),
    ],
)
def test_a_wrong_row_of_text_is_named(lines: list[str], said: str, tmp_path: Path) -> None:
    write(tmp_path / "hellaswag_val_full.txt", *lines)
    with pytest.raises(DataError, match=said):
        files.endings("hellaswag", str(tmp_path))


def test_files_that_hold_nothing_readable(tmp_path: Path) -> None:
    (tmp_path / "arc_easy.jsonl").write_text("")
    with pytest.raises(DataError, match="has no rows"):
        files.choices("arc_easy", str(tmp_path))
    (tmp_path / "hellaswag_val_full.txt.bz2").write_bytes(bz2.compress(b"text")[:-3])
    with pytest.raises(DataError, match="can't be read"):
        files.endings("hellaswag", str(tmp_path))
    (tmp_path / "winogrande.jsonl").write_bytes(b"\xff")
    with pytest.raises(DataError, match="can't be read"):
        files.options("winogrande", str(tmp_path))
    with pytest.raises(DataError, match=r"no file of wsc273; put wsc273\.jsonl or winograd_wsc\.jsonl there"):
        files.options("wsc273", str(tmp_path))


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False], ids=["ended", "cut"])
def test_what_editors_do_to_a_file_changes_no_row(mark: bytes, end: str, last: bool, tmp_path: Path) -> None:
    """A byte order mark at the beginning, CR LF at the ends of lines, no end at the last."""

    def edited(name: str, lines: list[str]) -> Path:
        raw = mark + (end.join(lines) + end * last).encode()
        (tmp_path / name).write_bytes(bz2.compress(raw) if name.endswith(".bz2") else raw)
        return tmp_path / name

    rows = [GOOD, {**GOOD, "gold": 1}]
    path = edited("arc_easy.jsonl", [json.dumps(row) for row in rows])
    assert files._from_json(path, files.Choices) == rows
    lines = ["Roof: é.", "1", "a", "b", "c", "d", "Two", "3", "e", "f", "g", "h"]
    for name in ("hellaswag_val_full.txt", "hellaswag_val_full.txt.bz2"):
        assert files._from_text(edited(name, lines)) == [
            {"query": "Roof: é.", "choices": ["a", "b", "c", "d"], "gold": 1},
            {"query": "Two", "choices": ["e", "f", "g", "h"], "gold": 3},
        ]


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    path = write(tmp_path / "wsc273.jsonl", GOOD)
    assert files.find("wsc273", tmp_path) == path
    assert files.digest(path) == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ("Roof: A man sits. he", "Roof: A man sits. He"),
        ("Roof: A man sits! the man in the US", "Roof: A man sits! The man in the us"),
        ("Roof: One. two. Three", "Roof: One. two. Three"),
        ("Roof: a man sits.", "Roof: a man sits."),
        ("Roof: a man", "Roof: a man"),
        ("Roof: A man. he stops.", "Roof: A man. he stops."),
    ],
)
def test_an_unfinished_sentence_begins_with_a_capital(context: str, expected: str) -> None:
    assert files.capital_last(context) == expected


def test_values_by_row_have_the_metric_and_its_error() -> None:
    log_p = [-3.0, -1.0, -2.5, -0.5]
    rows = by_row("perplexity", log_p)
    assert rows.mean() == pytest.approx(2.718281828459045**1.75)
    assert rows.argmax() == 0  # the least probable row weighs most
    # The delta method: an error of the mean log p, times the perplexity.
    assert stderr(rows.tolist()) == pytest.approx(rows.mean() * stderr(log_p))
    assert mean(by_row("acc", [0, 1, 1]).tolist()) == pytest.approx(2 / 3)


def test_without_lm_eval_one_line_says_what_to_install(
    make_config: Callable[..., RunConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = train(make_config(), tmp_path / "run")
    for name in [name for name in sys.modules if name.split(".")[0] == "lm_eval"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    assert main(["eval", str(run.path), "--evals", "val", "tasks", "--out", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and 'pip install "lm-eval>=' in said
    assert not (run.path / "evals").exists()  # nothing was measured before
