"""The verb `report`: the page of finished runs and studies."""

from __future__ import annotations

import argparse
from pathlib import Path

from ngptlab import disk
from ngptlab.discover import folders
from ngptlab.terminal import one_line, remark, say
from ngptlab.verbs import claims, sample


def add(report: argparse.ArgumentParser) -> None:
    """Give the verb's parser its options."""
    report.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="run directories or folders of them, the baseline's first; folders of studies "
        f"({', '.join(folders('ngptlab.studies', 'page'))})",
    )
    report.add_argument(
        "--out", type=Path, default=Path("out/report"), help="folder of report.html (default: out/report)"
    )
    report.add_argument("--title", default="comparison", help="heading of the page")
    report.add_argument(
        "--no-samples", action="store_true", help="do not let the models write, which loads their checkpoints"
    )
    report.add_argument(
        "--claims",
        nargs="+",
        type=Path,
        default=[],
        metavar="PATH",
        help="a section of claims, judged from these paths as `ngptlab claims` does",
    )


def act(options: argparse.Namespace) -> int:
    """Write the page; print its headline."""
    from ngptlab.report.page import write_report
    from ngptlab.studies.recognize import recognize

    found = recognize(options.paths)
    judged = claims.judged(options.claims)[0] if options.claims else []
    print_headline(
        write_report(
            found.runs,
            options.out,
            title=options.title,
            studies=found.studies,
            claims=judged,
            sampler=None if options.no_samples else sample.for_page,
            tell=lambda line: remark(line, flush=True),
        )
    )
    return 0


def print_headline(page: Path) -> None:
    """Print a page's sentences, and where it is."""
    summary = disk.read_json(page.with_name("report.json"))
    for line in dict.fromkeys([summary["headline"], *(study["answer"] for study in summary["studies"])]):
        say(one_line(line))
    say(f"The page: {page}")
