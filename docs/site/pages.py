"""The site's contents, from the list of links on its first page. Pages that the list lacks are put at its end."""

from __future__ import annotations

import re
from pathlib import Path

INDEX = "docs/index.md"
SECTION = re.compile(r"^## (.+)\n\n((?:- \[.+\n)+)", re.MULTILINE)
LINK = re.compile(r"^- \[([^\]]+)\]\(([^)#]+)\)", re.MULTILINE)
OTHERS = "More"
"""The section of pages that no other section names."""


def sections(index: str) -> dict[str, dict[str, str]]:
    """{section: {path from docs/: the link's text}} of the first page."""
    return {
        title: {path: text for text, path in LINK.findall(links)} for title, links in SECTION.findall(index)
    }


def left_out(index: str, root: Path) -> list[str]:
    """Pages of docs/ that the first page doesn't link to."""
    named = {path for links in sections(index).values() for path in links}
    return sorted(
        page.name for page in (root / "docs").glob("*.md") if page.name not in {*named, Path(INDEX).name}
    )


def contents(index: str, root: Path) -> str:
    """The first page, with a hidden table of contents for each of its sections."""
    found = sections(index)
    if rest := left_out(index, root):
        found.setdefault(OTHERS, {}).update(dict.fromkeys(rest, ""))
    return index + "".join(_tree(title, links) for title, links in found.items())


def _tree(title: str, links: dict[str, str]) -> str:
    entries = (f"{text} <{path}>" if text else path for path, text in links.items())
    listed = "\n".join(entry.replace(".md", "").replace(".ipynb", "") for entry in entries)
    return f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n{listed}\n```\n"
