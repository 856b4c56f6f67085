"""One self-contained page and its numbers. It makes no requests, so it can be mailed, archived and printed.

Every text in it may come from a stranger's run directory. So the template escapes all texts, and a Content-Security-Policy
blocks scripts that an escape might miss. The policy allows one script, by its hash. It sorts tables, shows values beside the
pointer and says which tables scroll. The page works without it.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from ngptlab import disk
from ngptlab.claims.table import Group
from ngptlab.disk import write_json, write_text
from ngptlab.errors import ConfigError
from ngptlab.report import drawn, plots, values, views
from ngptlab.report.curves import OF_TRAINING, Curves
from ngptlab.report.curves import curves as curves_of
from ngptlab.report.files import write_figures
from ngptlab.report.samples import Sampler, samples
from ngptlab.report.schema import StudiesOnly, StudyNumbers, Summary
from ngptlab.report.summary import summarize
from ngptlab.report.views import View
from ngptlab.stats import words
from ngptlab.stats.records import RunRecord, load_runs
from ngptlab.studies import recognize
from ngptlab.studies.section import Placed
from ngptlab.studies.speedup import section as speedup
from ngptlab.terminal import printable

TEMPLATES = Path(__file__).parent / "templates"
MANY_STUDIES = 1
"""Beside runs, the figures of more studies than this are folded, because the page should be read in a few screens. So are then
figures `OF_TRAINING`."""
SCRIPT = "".join(disk.read_text(TEMPLATES / f"{name}.js") for name in ("sort", "values", "scroll"))


def write_report(
    run_paths: Sequence[Path],
    out: Path,
    *,
    title: str,
    studies: Sequence[Path] = (),
    claims: Sequence[Group] = (),
    sampler: Sampler | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write `out/report.html` and `out/report.json` from finished runs, and return the page's path.

    Each figure's numbers and drawing stand beside them in `out/figures`: <figure>.csv, .png and .svg. `studies` are the JSON
    files of studies (`studies.recognize`), whose files are written into `out/studies`; there may then be no runs. `claims` are
    judged claims, for a section of their own. `sampler` lets a run's model write a few lines; without it the page has none.
    `tell` hears when runs are read and the drawing begins.

    The first run's method is the baseline. The same runs in the same order give the same bytes.

    Raises:
        ConfigError: a run isn't finished, two runs can't stand in one comparison, or `out` can't be written.
        DataError: a run or a study is damaged.
    """
    placed = recognize.load(studies)
    numbers = [_numbers(each) for each in placed]
    record: Summary | StudiesOnly
    summary = None
    if numbers and not run_paths:
        record = _without_runs(numbers, title)
        html = _fill({**record, "studies": placed, "claims": list(claims), **_outline((), placed)})
    else:
        runs = load_runs(run_paths)
        record = summary = summarize(runs, title=title)
        record["studies"] = numbers
        if sampler:
            record["samples"] = samples(_paths_by_method(summary, runs), sampler)
        if not placed:  # what is wrong with a study shows as it is drawn, and is told in one line
            tell(f"the page of {len(run_paths)} runs: drawing its figures")
        html = render(summary, placed, claims, _links(runs, Path(out)))
    path = Path(out) / "report.html"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path.with_suffix(".json"), record)
        write_text(path, html)
        if summary:
            write_figures(summary, path.parent / "figures")
        recognize.write(placed, path.parent)
    except OSError as error:
        raise ConfigError(
            f"{error.filename or out}: can't be written ({error.strerror}); give another folder for the report"
        ) from None
    return path


def _numbers(placed: Placed) -> StudyNumbers:
    """The record of a study in `report.json`."""
    study = placed.study
    return {
        "kind": study.kind,
        "title": study.title,
        "answer": study.answer,
        "caption": study.caption,
        "warnings": list(study.warnings),
        "columns": list(study.columns),
        "rows": [[cell.value for cell in row] for row in study.rows],
        "files": placed.paths,
    }


def _without_runs(studies: list[StudyNumbers], title: str) -> StudiesOnly:
    """The record of a page of studies alone. The answer of a single study is the page's headline."""
    titles = "; ".join(study["title"] for study in studies)
    return {
        "title": printable(title),
        "headline": studies[0]["answer"] if len(studies) == 1 else f"Studies: {titles}.",
        "findings": [],
        "warnings": [],
        "studies": studies,
    }


def _paths_by_method(summary: Summary, runs: Sequence[RunRecord]) -> dict[str, list[Path]]:
    """The folders of each method's compared runs, the lowest seed first."""
    paths = {run.config.hash: run.path for run in runs}
    return {
        method: [paths[line["hash"]] for line in summary["runs"] if line["method"] == method]
        for method in summary["methods"]
    }


def _links(runs: Sequence[RunRecord], out: Path) -> dict[str, str]:
    """Address of each run's folder relative to the page, by the run's hash. A name can't make it lead elsewhere."""
    here = out.resolve()
    places = {run.config.hash: os.path.relpath(run.path.resolve(), here) for run in runs}
    return {hash: quote(os.fsencode(place)) + "/" for hash, place in places.items()}


def render(
    summary: Summary,
    placed: Sequence[Placed] = (),
    claims: Sequence[Group] = (),
    links: Mapping[str, str] | None = None,
) -> str:
    """The page's HTML. Studies follow the runs' figures and tables, and the runs' own speed-up is the first of them.

    `links` are addresses of the runs' folders, by hash.
    """
    found, pool = summary["speedups"], values.Pool()
    own = [Placed(speedup.study(found, "of these runs"), "figures/", Path())] if found else []
    shown, drawn_curves = [*own, *placed], curves_of(summary)
    context = {
        "samples": [],
        **summary,
        **_outline(drawn_curves, shown),
        "studies": shown,
        "run_links": links or {},
        "figures": [_figure(curves, pool) for curves in drawn_curves],
        "values": pool.text(),
        "frame": values.frame(),
        "styles": {method: plots.series_style(index) for index, method in enumerate(summary["methods"])},
        "bins": _bins(summary),
        "claims": list(claims),
    }
    return _fill(context)


def _outline(curves: Sequence[Curves], studies: Sequence[Placed]) -> dict[str, object]:
    """What the contents link to, and whether the studies' figures are folded."""
    return {
        "figure_links": [(f"figure-{each.name}", each.title) for each in curves],
        "study_links": [(f"studied-{n}", each.study.title) for n, each in enumerate(studies, start=1)],
        "fold_figures": bool(curves) and len(studies) > MANY_STUDIES,
    }


def _fill(context: Mapping[str, object]) -> str:
    """The page: the template, filled with these values by name."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(breakable=_breakable, count=words.count, nats=words.nats, rate=words.rate)
    script_hash = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        **context, script=Markup(SCRIPT), script_hash=script_hash
    )


def _figure(curves: Curves, pool: values.Pool) -> dict[str, object]:
    """A figure for the template: its choices, and a chart for each of its views."""
    return {
        "name": curves.name,
        "title": curves.title,
        "late": curves.name in OF_TRAINING,
        "caption": " ".join(filter(None, [curves.caption, curves.bands])),
        "measures": {view.measure: views.NAMES[view.measure] for view in curves.views},
        "scales": {view.scale: view.scale for view in curves.views},
        "charts": [_chart(curves, view, pool) for view in curves.views],
    }


def _chart(curves: Curves, view: View, pool: values.Pool) -> dict[str, object]:
    over = f" over {view}" if len(curves.views) > 1 else ""
    chart = drawn.chart(f"{curves.label}{over}", partial(curves.draw, view))
    return {
        "measure": view.measure,
        "scale": view.scale,
        "svg": Markup(chart.svg),
        "values": values.of(chart, pool),
    }


def _visible(value: object) -> object:
    """Text without raw control characters, and without those that reverse the direction of text."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _breakable(name: str) -> Markup:
    """A name, escaped, that a narrow column may break after its marks: `a_long_name` after an underscore, not inside a word."""
    return Markup(re.sub(r"(?<=[_.+/,-])(?=[^\W\d])", "<wbr>", str(escape(printable(name)))))


def _bins(summary: Summary) -> list[dict[str, object]]:
    """The length table by rows: every bin of any method, with each method's point where it has one."""
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
