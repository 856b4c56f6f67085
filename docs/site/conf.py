"""The docs as a site, by Sphinx: the pages as they stand in the repository, and the API from docstrings.

The source folder is the repository's root, so that links between pages mean the same here as on a code host. Nothing is
fetched: no font, no script, no inventory of another project. The build fails where a page loads something from elsewhere.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import SphinxError

sys.path.insert(0, str(Path(__file__).parent))
from pages import contents

ROOT = Path(__file__).parents[2]
project = "ngptlab"
copyright = "The ngptlab authors"
version = release = re.search(r'__version__ = "(.+)"', (ROOT / "ngptlab" / "__init__.py").read_text())[1]  # type: ignore[index]

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = [
    "docs/*.md",
    "examples/*.ipynb",
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
]
exclude_patterns = [".*", "out", "runs", "ngptlab", "tests", "benchmarks", "results", "docs/site"]

myst_heading_anchors = 4
myst_enable_extensions: list[str] = []  # a dollar sign is a dollar sign
nb_execution_mode = "off"  # the notebooks hold their outputs
suppress_warnings = ["misc.highlighting_failure"]

default_role = "code"  # docstrings have `names` as Markdown does
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = f"ngptlab {release}"
html_copy_source = False
html_theme_options = {
    # Okabe and Ito's blue, as in the figures.
    "light_css_variables": {"color-brand-primary": "#0072b2", "color-brand-content": "#0072b2"},
    "dark_css_variables": {"color-brand-primary": "#56b4e9", "color-brand-content": "#56b4e9"},
}

LOADS = re.compile(
    r"""<(?:script|img|iframe|source)[^>]+src=["'](?:https?:)?//|<link[^>]+href=["'](?:https?:)?//"""
)
"""What a browser would fetch from elsewhere when it opens a page. A link that a reader may follow is none."""
HOME = '<!doctype html><meta http-equiv="refresh" content="0; url=docs/index.html"><a href="docs/index.html">ngptlab</a>\n'


def finish(app: Sphinx, error: Exception | None) -> None:
    """Put a first page at the site's root, and refuse a page that would not be whole without a network."""
    if error:
        return
    out = Path(app.outdir)
    (out / "index.html").write_text(HOME)
    loading = [
        page.relative_to(out) for page in sorted(out.rglob("*.html")) if LOADS.search(page.read_text())
    ]
    if loading:
        raise SphinxError(f"these pages load something from elsewhere: {', '.join(map(str, loading))}")


def fill(app: Sphinx, name: str, source: list[str]) -> None:
    """Write the site's contents into the first page, in place of its list of links."""
    if name == root_doc:
        source[0] = contents(source[0], ROOT)


def setup(app: Sphinx) -> dict[str, Any]:
    """What Sphinx calls before it reads a page."""
    app.connect("source-read", fill)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True}
