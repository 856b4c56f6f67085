"""The docs' site, without building it: its contents have every page once, and its reference every public name."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

import ngptlab

ROOT = Path(ngptlab.__file__).parent.parent
SITE = ROOT / "docs" / "site"
INDEX = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SITE))
    import pages

    yield pages
    del sys.modules["pages"]


def test_every_page_is_in_the_contents_once(pages: ModuleType) -> None:
    sections = pages.sections(INDEX)
    assert len(sections) == 5
    named = Counter(path for links in sections.values() for path in links)
    assert [path for path, times in named.items() if times > 1] == []
    assert all((ROOT / "docs" / path).is_file() for path in named), "tests/test_docs.py says which"
    contents = pages.contents(INDEX, ROOT)
    for page in [*(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.ipynb")]:
        trees = re.findall(rf"<(?:\.\./examples/)?{page.stem}>$|^{page.stem}$", contents, re.MULTILINE)
        assert len(trees) == (page.name != "index.md"), page.name


def test_a_page_that_nobody_linked_is_put_at_the_end(pages: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name in ("index", "quickstart", "reliability"):
        (tmp_path / "docs" / f"{name}.md").write_text(f"# {name}\n")
    index = "# A\n\n## Begin\n\n- [Quick start](quickstart.md)\n"
    assert pages.left_out(index, tmp_path) == ["reliability.md"]
    contents = pages.contents(index, tmp_path)
    assert contents.startswith(index) and ":caption: More\n\nreliability\n" in contents
    assert ":caption: Begin\n\nQuick start <quickstart>\n" in contents


def test_the_reference_has_every_public_name() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\.\. auto\w+:: ngptlab\.(\w+)$", page, re.MULTILINE))
    assert told == set(ngptlab.__all__)


def test_what_would_be_fetched_is_found() -> None:
    """conf.py imports Sphinx, so only its expression is taken."""
    source = re.search(
        r'^LOADS = re\.compile\(\n?\s*(r""".*?""")', (SITE / "conf.py").read_text(), re.MULTILINE
    )
    assert source
    loads = re.compile(eval(source[1]))
    for fetched in (
        '<script async src="https://a.b/c.js">',
        "<link rel='stylesheet' href='//a.b/c.css'>",
        '<img alt="x" src="http://a.b/c.png">',
    ):
        assert loads.search(fetched), fetched
    for own in ('<script src="../_static/furo.js">', '<a href="https://a.b/">', '<img src="_images/a.svg">'):
        assert not loads.search(own), own
