"""One self-contained page and its numbers. No scripts, no requests: it can be mailed, archived, printed.

Every text in it may come from a stranger's run directory, so the template escapes all of it, and a
Content-Security-Policy forbids whatever might slip through.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from ngptlab.analysis.records import load_runs, printable
from ngptlab.analysis.speedup_files import write_speedups
from ngptlab.claims.table import Group
from ngptlab.errors import ConfigError
from ngptlab.report import plots, wording
from ngptlab.report.schema import StudiesOnly, StudyNumbers, Summary
from ngptlab.report.studies import given, speedup
from ngptlab.report.studies.shown import Placed
from ngptlab.report.summary import summarize
from ngptlab.runs import write_json


def write_report(
    run_paths: Sequence[Path],
    out: Path,
    *,
    title: str,
    studies: Sequence[Path] = (),
    claims: Sequence[Group] = (),
) -> Path:
    """Write `out/report.html` and `out/report.json` from finished runs, and return the page's path.

    Where there is a speed-up to tell, `out/speedup.csv`, `.png` and `.svg` stand beside. `studies` are the JSON files of
    studies (`studies.given`), whose files are written into `out/studies`; there may then be no runs. `claims` are judged
    claims, for a section of their own.

    The first run's method is the baseline. The same runs in the same order give the same bytes.

    Raises:
        ConfigError: a run isn't finished, two runs can't stand in one comparison, or `out` can't be written.
        DataError: a run or a study is damaged.
    """
    placed = given.load(studies)
    numbers = [each.numbers for each in placed]
    record: Summary | StudiesOnly
    if numbers and not run_paths:
        record = _without_runs(numbers, title)
        html = _template().render(**{**record, "studies": placed, "claims": list(claims)})
        speedups = []
    else:
        record = summarize(load_runs(run_paths), title=title)
        record["studies"] = numbers
        html, speedups = render(record, placed, claims), record["speedups"]
    path = Path(out) / "report.html"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path.with_suffix(".json"), record)
        _write_text(path, html)
        write_speedups(speedups, path.parent)
        given.write(placed, path.parent)
    except OSError as error:
        raise ConfigError(
            f"{out}: can't be written ({error.strerror}); give another folder for the report"
        ) from None
    return path


def _without_runs(studies: list[StudyNumbers], title: str) -> StudiesOnly:
    """Of one study, its answer is the page's."""
    titles = "; ".join(study["title"] for study in studies)
    return {
        "title": printable(title),
        "headline": studies[0]["answer"] if len(studies) == 1 else f"Studies: {titles}.",
        "findings": [],
        "warnings": [],
        "studies": studies,
    }


def render(summary: Summary, placed: Sequence[Placed] = (), claims: Sequence[Group] = ()) -> str:
    """The page's HTML; the studies stand after the runs' figures and tables, these runs' own speed-up first."""
    found = summary["speedups"]
    own = [Placed(speedup.study(found, "of these runs"), "", Path())] if found else []
    context = {
        **summary,
        "studies": [*own, *placed],
        "figures": figures(summary),
        "styles": {method: plots.series_style(index) for index, method in enumerate(summary["methods"])},
        "bins": _bins(summary),
        "claims": list(claims),
    }
    return _template().render(**context)


def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("ngptlab.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(count=wording.count, nats=wording.nats, rate=wording.rate)
    return environment.get_template("page.html")


def figures(summary: Summary) -> list[dict[str, str | Markup]]:
    """The figures that these numbers can fill, each with a caption that says what to see."""
    methods = summary["methods"].values()
    start = summary["schedule"]["cooldown_start_step"]
    marked = "" if start is None else f" The dotted line marks the start of the cooldown, step {start:,}."
    bands = (
        " Bands: one standard error (over the seeds, or the validation set's where a method has one seed)."
    )
    found = [
        (
            "Validation loss",
            plots.loss_curves(summary),
            f"Lower is better. The first tenth of the run may leave the frame.{marked}{bands}",
        ),
        (
            "Validation loss, the end",
            plots.loss_end(summary),
            f"The last part of the same curves, finer: the order at the right edge is the result.{marked}",
        ),
    ]
    if summary["gaps"]:
        text = (
            f"Below zero, a method has a lower loss than {summary['baseline']}. Circles: changes of sign. "
            f"The first tenth of the run may leave the frame.{marked}"
        )
        found.append((f"Gap to {summary['baseline']}", plots.gap_curves(summary), text))
    if any(method["length"] for method in methods):
        text = (
            "Left of the dotted line are lengths seen in training. A curve that stays flat to the right "
            "extrapolates; a rising one does not. Bands: one standard error."
        )
        found.append(("Loss beyond the training length", plots.length_curves(summary), text))
    if any(method["train"] for method in methods):
        text = f"Means over blocks of steps: the noise of single batches is not shown.{marked}"
        found.append(("Training loss", plots.train_curves(summary), text))
    return [{"title": title, "svg": Markup(svg), "caption": text} for title, svg, text in found]


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
