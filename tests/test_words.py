"""Two turns of phrase that make a reader start a sentence again stay out of docstrings, comments and docs."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

import ngptlab

PACKAGE = Path(ngptlab.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
DOCS = sorted((PACKAGE.parent / "docs").glob("*.md"))

Text = tuple[int, str]
"""Line on which it begins, and its words."""


def docstrings(source: str) -> Iterator[Text]:
    """Docstrings of modules, classes and functions, and the strings under fields and constants."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str() as text)):
                yield node.lineno, text


def comments(source: str) -> Iterator[Text]:
    """Comments; those on neighbouring lines are one text."""
    begin, words, last = 0, "", -1
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line, text = token.start[0], token.string.lstrip("#: ")
        if line != last + 1:
            if words:
                yield begin, words
            begin, words = line, ""
        words, last = f"{words} {text}".strip(), line
    if words:
        yield begin, words


def prose(page: str) -> Iterator[Text]:
    """Paragraphs of a Markdown page, without fenced code."""
    line, fenced = 1, False
    for block in re.split(r"(\n\s*\n|^```.*$)", page, flags=re.MULTILINE):
        if block.startswith("```"):
            fenced = not fenced
        elif block.strip() and not fenced:
            yield line, block
        line += block.count("\n")


def hard_to_read(texts: Iterator[Text]) -> list[str]:
    """Sentences that begin with "Of what" or end in "that of", each with the line on which its text begins."""
    found = []
    for line, text in texts:
        for sentence in re.split(r"(?<=[.!?:;])\s+|\n\s*\n|\n\s*[-*|]\s", text):
            words = " ".join(sentence.split()).lstrip("#-*>| ")
            if re.match(r"Of what\b", words) or re.search(r"\bthat of[.!?:;]*$", words):
                found.append(f"line {line}: {words}")
    return found


def test_sentences_of_the_code_can_be_read_once() -> None:
    found = []
    for path in SOURCES:
        source = path.read_text(encoding="utf-8")
        texts = chain(docstrings(source), comments(source))
        found += [f"{path.relative_to(PACKAGE)}, {each}" for each in hard_to_read(texts)]
    assert found == []


def test_sentences_of_the_docs_can_be_read_once() -> None:
    found = []
    for path in DOCS:
        found += [f"{path.name}, {each}" for each in hard_to_read(prose(path.read_text(encoding="utf-8")))]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        '"""Of what it holds, half is read."""',
        'def f():\n    """Read it.\n\n    Of what\n    follows nothing is read.\n    """',
        'limit = 3\n"""The rate is that of."""',
        "x = 1  # It stays. Of what is left, all is read.",
        "# The first is ours, the other\n# that of.\nx = 1",
    ],
)
def test_such_sentences_are_found(source: str) -> None:
    assert len(hard_to_read(docstrings(source)) + hard_to_read(comments(source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        '"""What of it is read: that of the first run. Often whatever comes."""',
        'x = "Of what. Is that of."',
        "# A loss like that of\n# the other run.\nx = 1",
    ],
)
def test_other_sentences_are_not(source: str) -> None:
    assert hard_to_read(docstrings(source)) + hard_to_read(comments(source)) == []


def test_code_in_docs_is_no_prose() -> None:
    page = "Of what is here.\n\n```\nOf what is code.\n```\n\n- a\n- Of what comes after.\n"
    assert [found.split(":")[0] for found in hard_to_read(prose(page))] == ["line 1", "line 7"]
