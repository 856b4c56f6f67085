"""One self-contained page and its numbers. It makes no requests: it can be mailed, archived, printed.

Every text in it may come from a stranger's run directory, so the template escapes all of it, and a
Content-Security-Policy forbids whatever might slip through. The one script that it allows, by its hash, sorts tables;
without it the page lacks nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ngptlab.analysis.records import load_runs
from ngptlab.errors import ConfigError
from ngptlab.report import drawn, plots, views, wording
from ngptlab.report.curves import Curves
from ngptlab.report.curves import curves as curves_of
from ngptlab.report.files import write_figures
from ngptlab.report.schema import Summary
from ngptlab.report.summary import summarize
from ngptlab.report.views import View
from ngptlab.runs import write_json

TEMPLATES = Path(__file__).parent / "templates"
SCRIPT = (TEMPLATES / "sort.js").read_text(encoding="utf-8")

TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""Unicode's embeddings, overrides and isolates: a name could make the sentence around it read otherwise."""


def write_report(run_paths: Sequence[Path], out: Path, *, title: str) -> Path:
    """Write `out/report.html` and `out/report.json` from finished runs, and return the page's path.

    Each figure's numbers and drawing stand beside them in `out/figures`: <figure>.csv, .png and .svg.

    The first run's method is the baseline. The same runs in the same order give the same bytes.

    Raises:
        ConfigError: a run isn't finished, two runs can't stand in one comparison, or `out` can't be written.
        DataError: a run is damaged.
    """
    summary = summarize(load_runs(run_paths), title=title)
    html = render(summary)
    path = Path(out) / "report.html"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path.with_suffix(".json"), summary)
        _write_text(path, html)
        write_figures(summary, path.parent / "figures")
    except OSError as error:
        raise ConfigError(
            f"{out}: can't be written ({error.strerror}); give another folder for the report"
        ) from None
    return path


def render(summary: Summary) -> str:
    """The page's HTML."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(count=wording.count, nats=wording.nats, rate=wording.rate)
    methods = list(summary["methods"])
    template = environment.get_template("page.html")
    return template.render(
        **summary,
        figures=[_figure(curves) for curves in curves_of(summary)],
        script=Markup(SCRIPT),
        script_hash=base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode(),
        styles={method: plots.series_style(index) for index, method in enumerate(methods)},
        bins=_bins(summary),
    )


def _figure(curves: Curves) -> dict[str, object]:
    """What the template needs: the choices that a figure offers, and a chart for each of its views."""
    return {
        "name": curves.name,
        "title": curves.title,
        "caption": curves.caption,
        "measures": {view.measure: views.NAMES[view.measure] for view in curves.views},
        "scales": {view.scale: view.scale for view in curves.views},
        "charts": [
            {"measure": view.measure, "scale": view.scale, "svg": Markup(_chart(curves, view))}
            for view in curves.views
        ],
    }


def _chart(curves: Curves, view: View) -> str:
    over = f" over {view}" if len(curves.views) > 1 else ""
    return drawn.inline(f"{curves.label}{over}", partial(curves.draw, view))


def _visible(value: object) -> object:
    """Text in which characters that would turn the order of what follows them are written out as escapes."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return TURNING.sub(lambda found: f"\\u{ord(found[0]):04x}", value)


def _bins(summary: Summary) -> list[dict[str, object]]:
    """The length table by rows: every bin that any method has, with each method's point where it has one."""
    tables = {
        name: {(point["from"], point["to"]): point for point in method["length"]}
        for name, method in summary["methods"].items()
    }
    edges = sorted({edge for table in tables.values() for edge in table})
    return [
        {
            "start": start,
            "stop": stop,
            "points": {name: table.get((start, stop)) for name, table in tables.items()},
        }
        for start, stop in edges
    ]


def _write_text(path: Path, text: str) -> None:
    """Replace a file so that a reader sees the old one or the new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
