"""What the docs point at is there: relative links, anchors of headings, files, folders and modules by their names.

The study that docs/add_a_study.md writes out works as it stands there, and so do the methods of docs/add_a_method.md. The table
of docs/methods.md is what the command prints.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path

import pytest

import ngptlab
from ngptlab import Parts, methods, studies
from ngptlab.cli import main
from ngptlab.conformance.run import check
from ngptlab.method_files import sources

ROOT = Path(ngptlab.__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
OF_THE_PAST = {"CHANGELOG.md", "docs/log.md", "docs/speed-log.md", "docs/claims.md"}
"""Pages that name files as they were when something was measured; claims.md quotes them."""
TO_BE_WRITTEN = {"ngptlab/studies/scatter/", "./my_idea.py"}
"""Files that an example asks its reader to write."""

FENCE = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`[^`]+`")
LINK = re.compile(r"\]\(\s*<?([^()\s<>]+)>?\s*\)")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$", re.MULTILINE)
FOLDERS = ("ngptlab", "tests", "benchmarks", "docs", "examples", "results")
PATH = re.compile(r"[\w*./-]+")
MODULE = re.compile(r"(?<![\w/*])(?:ngptlab|benchmarks)(?:\.\w+)+")
ENDINGS = {".json", ".jsonl", ".py"}


def anchors(text: str) -> set[str]:
    """Anchors of a page's headings as GitHub makes them.

    The heading in small letters. Letters, digits, `_`, `-` and blanks stay; a blank becomes `-`. Where headings are equal,
    the second gets `-1`, the third `-2`.
    """
    found: set[str] = set()
    for heading in HEADING.findall(FENCE.sub("", text)):
        words = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        plain = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        number = 0
        while (anchor := f"{plain}-{number}" if number else plain) in found:
            number += 1
        found.add(anchor)
    return found


def links(text: str) -> Iterator[str]:
    """Where a page's relative links and images lead. Code is no link."""
    for target in LINK.findall(SPAN.sub("", FENCE.sub("", text))):
        if not re.match(r"[a-z]+:", target):
            yield target


def dead_links(page: Path, text: str) -> list[str]:
    """Links of a page that lead to no file, or to no heading of it."""
    found = []
    for target in links(text):
        name, _, anchor = target.partition("#")
        there = page.parent / name if name else page
        if not there.exists():
            found.append(f"{target}: no such file")
        elif anchor and (there.suffix != ".md" or anchor not in anchors(_text(there) if name else text)):
            found.append(f"{target}: no such heading")
    return found


def dead_names(text: str) -> list[str]:
    """Files and folders of the repository, and modules, that a page names in code spans and that are not there.

    A path may be given from the repository's root or, where it ends in .py, from `ngptlab/`.
    """
    found = []
    for span in SPAN.findall(FENCE.sub("", text)):
        for path in PATH.findall(span):
            first, slash, _ = path.partition("/")
            ours = bool(slash) and (first in FOLDERS or path.endswith(".py")) and path not in TO_BE_WRITTEN
            if ours and not any(_there(place, path) for place in (ROOT, ROOT / "ngptlab")):
                found.append(path)
        named = [name for name in MODULE.findall(span) if Path(name).suffix not in ENDINGS]
        found += [name for name in named if not _module(name)]
    return found


def _there(root: Path, path: str) -> bool:
    return any(root.glob(path.rstrip("/")))


def _module(name: str) -> bool:
    """A module, or a name that one defines."""
    path = ROOT / name.replace(".", "/")
    if path.is_dir() or path.with_suffix(".py").is_file():
        return True
    home = path.parent / "__init__.py" if path.parent.is_dir() else path.parent.with_suffix(".py")
    return home.is_file() and bool(re.search(rf"\b{path.name}\b", _text(home)))


def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


@by_page
def test_links_lead_somewhere(page: Path) -> None:
    assert dead_links(page, _text(page)) == []


@by_page
def test_named_files_and_modules_are_there(page: Path) -> None:
    if page.relative_to(ROOT).as_posix() not in OF_THE_PAST:
        assert dead_names(_text(page)) == []


EXAMPLE = re.compile(r"^`(\w+\.py)` [^\n]*\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def scatter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_process: None) -> Iterator[Path]:
    """The example's folder, found beside the studies there are. Its runs are trained in this process, because that is faster."""
    folder = tmp_path / "more" / "scatter"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    for name, text in EXAMPLE.findall(_text(ROOT / "docs" / "add_a_study.md")):
        (folder / name).write_text(text)
    monkeypatch.setattr(studies, "__path__", [*studies.__path__, str(folder.parent)])
    yield folder
    for name in [name for name in sys.modules if name.startswith("ngptlab.studies.scatter")]:
        del sys.modules[name]


def test_the_study_of_the_docs_works(
    scatter: Path, tiny: list[str], work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {path.name for path in scatter.iterdir()} == {
        *("__init__.py", "verb.py", "run.py", "numbers.py", "page.py"),
    }
    assert main(["scatter", "demo", "--seeds", "2", *tiny]) == 0
    held = json.loads((work / "out" / "scatter" / "scatter.json").read_text())
    assert list(held["losses_nats"]) == ["1", "2"], "the demo's seeds begin after the one that chose"
    assert main(["report", "out/scatter", "--out", "out/page"]) == 0
    assert "nats over 2 seeds." in capsys.readouterr().out
    assert (work / "out" / "page" / "studies" / "1-scatter" / "scatter.json").is_file()
    assert main(["scatter", "demo", "--seed", "5"]) == 2, "the verb sets the seeds itself"


ADD_A_METHOD = ROOT / "docs" / "add_a_method.md"
RECIPE = re.compile(
    r"^```python\n((?:(?!^```).)*?\n)# In the table: ([^\n]*)\n```$", re.MULTILINE | re.DOTALL
)
NUMBER_OF_RECIPES = 4


def test_the_method_of_the_docs_works(
    tiny: list[str], work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ((name, text),) = EXAMPLE.findall(_text(ADD_A_METHOD))
    (work / name).write_text(text)
    assert main(["methods", "--diff", "gpt", f"./{name}"]) == 0
    assert "+    gate=GELUGate()," in capsys.readouterr().out
    assert main(["train", "demo", "--method", f"./{name}", *tiny]) == 0
    check(methods.load(sources.given(f"./{name}")), name)


RECIPES = RECIPE.findall(_text(ADD_A_METHOD))


@pytest.mark.parametrize(("text", "seam"), RECIPES, ids=[seam for _, seam in RECIPES])
def test_a_recipe_of_the_docs_passes_every_check(text: str, seam: str, work: Path) -> None:
    sources.forget()  # each recipe's file is called alike
    assert len(RECIPES) == NUMBER_OF_RECIPES
    ((_, example),) = EXAMPLE.findall(_text(ADD_A_METHOD))
    table = example.partition("METHOD =")[2].replace("gate=GELUGate(),", f"gate=SwiGLU(),\n    {seam},")
    imports = "from ngptlab.nn.optimizers import AdamW\nfrom ngptlab.nn.parts import *\nfrom ngptlab.nn.decoder import Parts\n"
    (work / "recipe.py").write_text(f"{imports}{text}METHOD ={table}")
    check(methods.load(sources.given("./recipe.py")), "recipe")


def test_the_seams_of_the_docs_are_those_of_parts() -> None:
    rows = re.findall(r"^\| `(\w+)`(?: [*†])? \|.*\|.*\|.*\|$", _text(ADD_A_METHOD), re.MULTILINE)
    assert rows == [seam.name for seam in fields(Parts)]
    for mark, kind in (("*", "BlockPart"), ("†", "ModulePart")):
        marked = re.findall(rf"^\| `(\w+)` {re.escape(mark)} \|", _text(ADD_A_METHOD), re.MULTILINE)
        assert marked == [seam.name for seam in fields(Parts) if seam.type == kind]


def test_the_table_of_methods_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    page = _text(ROOT / "docs" / "methods.md")
    _, begin, rest = page.partition("<!-- ngptlab methods --table -->\n\n")
    assert main(["methods", "--table"]) == 0
    assert begin
    assert rest == capsys.readouterr().out, "put in what `ngptlab methods --table` prints"


def wrong_in_tree(tree: str, there: Iterable[str]) -> list[str]:
    """Folders and files that the tree of CONTRIBUTING.md names and that are not there, and folders that it lacks."""
    named = [name for line in tree.splitlines() for name in re.findall(r"[\w.]+(?:/|\.py)", line[:18])]
    bare = [name for name in tree.splitlines()[-1].split() if name.endswith("/")]
    folders = {*named, *re.findall(r"\w+/(?= |$)", tree, re.MULTILINE)}
    return [
        *(name for name in folders - {"ngptlab/", *bare} if not (ROOT / "ngptlab" / name).exists()),
        *(name for name in bare if not (ROOT / name).is_dir()),
        *(f"{name}/" for name in there if f"{name}/" not in folders),
    ]


def test_the_tree_of_the_code_is_whole() -> None:
    tree = re.findall(r"```\n(ngptlab/\n.*?)\n```", _text(ROOT / "CONTRIBUTING.md"), re.DOTALL)[0]
    there = [path.name for path in (ROOT / "ngptlab").iterdir() if (path / "__init__.py").is_file()]
    assert wrong_in_tree(tree, there) == []
    assert wrong_in_tree(tree.replace("stats/ draw/", "stats/ drawn/"), there) == ["drawn/", "draw/"]
    assert wrong_in_tree(tree.replace(" examples/", " samples/"), there) == ["samples/"]


# --- the checks are checked -------------------------------------------------------------------------------------------


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# A `b_c`: d, e-f\n## Twice\n## Twice\n```\n# in code\n```\n")
    page = tmp_path / "page.md"
    page.touch()
    good = "[a](there.md) [b\nc](there.md#a-b_c-d-e-f) ![d](there.md#twice-1) [e](#here) [`f`](https://g.h/#i) `[j](k)`\n# Here\n"
    assert dead_links(page, good) == []
    for target in ("gone.md", "there.md#twice-2", "there.md#in-code", "#nowhere", "gone.md#here"):
        assert [line.partition(": ")[0] for line in dead_links(page, f"{good}[x]({target})")] == [target]


def test_a_dead_name_is_found() -> None:
    good = "`ngptlab/nn/parts.py` `nn/parts.py` `ngptlab/stack/` `results/demo-*.json` `python -m benchmarks.io` `out/x/` "
    good += "`ngptlab.sampling.generate.generate(model)` `ngptlab.nn.decoder` `ngptlab.json`\n```\nngptlab/gone.py\n```\n"
    assert dead_names(good) == []
    for name in (
        "ngptlab/analysis/stats.py",
        "nn/gone.py",
        "tests/gone/",
        "benchmarks.gone",
        "ngptlab.nn.parts.Gone",
    ):
        assert dead_names(f"{good}`{name}`") == [name]
