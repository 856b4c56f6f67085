"""What the report says of seeds: 95% bands over them, a thin line each, none of one seed, and what documents can tell instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import pytest
import scipy.stats
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ngptlab.draw.style import bars
from ngptlab.report import drawn, plots
from ngptlab.report.curves import curves
from ngptlab.report.page import render
from ngptlab.report.schema import Summary
from ngptlab.report.summary import summarize
from ngptlab.report.views import View
from ngptlab.report.wording import bands
from ngptlab.stats.by_document import over_parts
from ngptlab.stats.records import load_runs

MakeRun = Callable[..., Path]
STEPS = (0, 50, 100)
LOSSES = {"a": (2.0, 2.2, 2.1), "b": (1.9, 2.12, 1.95)}


def summary_of(make_run: MakeRun, *, seeds: int = 3, parts: dict[str, Any] | None = None) -> Summary:
    runs = [
        make_run(
            method,
            {step: loss + (100 - step) / 25 for step in STEPS},
            seed=seed,
            length=[loss, loss + 0.5, loss + 1],
            parts=(parts or {}).get(method),
        )
        for method, losses in LOSSES.items()
        for seed, loss in enumerate(losses[:seeds])
    ]
    return summarize(load_runs(runs), title="t")


def axes_of(draw: Callable[[Axes], None]) -> Axes:
    axes = Figure().add_subplot()
    draw(axes)
    return axes


def thin(axes: Axes) -> list[list[float]]:
    return [list(map(float, line.get_ydata())) for line in axes.lines if line.get_linewidth() == plots.THIN]  # type: ignore[arg-type]


def test_bands_are_students_interval_over_the_seeds(make_run: MakeRun) -> None:
    summary = summary_of(make_run)
    gaps = [b - a for a, b in zip(LOSSES["a"], LOSSES["b"], strict=True)]
    for draw, values, first in (
        (plots.losses, LOSSES["a"], True),
        (plots.gaps, gaps, False),
    ):
        axes = axes_of(lambda axes, draw=draw: draw(axes, summary, View()))  # type: ignore[misc]
        band = axes.collections[0].get_paths()[0].vertices
        end = [float(y) for x, y in band if x == 100 * 128]  # type: ignore[union-attr]
        low, high = scipy.stats.t.interval(0.95, 2, loc=sum(values) / 3, scale=scipy.stats.sem(values))
        assert (min(end), max(end)) == pytest.approx((low, high)), first
        assert [line[-1] for line in thin(axes)][:3] == pytest.approx(list(values))
    found = [figure.bands for figure in curves(summary)]
    many = "Bands: 95%, Student's t, n = 3 seeds. Thin lines: single seeds."
    thin_lines = "Thin lines: single seeds."
    assert found == [
        *(many, many, many.replace("3 seeds", "3 paired seeds"), many),
        *(thin_lines, "", thin_lines),
    ]
    page = render(summary)
    assert page.count("95%, Student&#39;s t, n = 3") == 4 and "± 95% over 3 seeds" in page
    length = axes_of(lambda axes: plots.lengths(axes, summary))
    assert len(length.collections) == 2 and len(thin(length)) == 6


def test_one_seed_has_no_band_and_is_called_so(make_run: MakeRun) -> None:
    summary = summary_of(make_run, seeds=1)
    for draw in (plots.losses, plots.gaps, lambda axes, summary, _: plots.lengths(axes, summary)):
        axes = axes_of(lambda axes, draw=draw: draw(axes, summary, View()))  # type: ignore[misc]
        assert not axes.collections and not thin(axes)
    assert [figure.bands for figure in curves(summary)] == [
        *["One seed: no band."] * 4,
        *("One seed.", "", "One seed."),
    ]
    page = render(summary)
    assert (
        "<small>one seed</small>" in page
        and "± 95%" not in page.split('id="methods"')[1].split("</tbody>")[0]
    )
    assert "the standard error shown" not in page


def test_the_note_stands_in_the_files_of_a_figure(make_run: MakeRun, tmp_path: Path) -> None:
    (found, *_) = curves(summary_of(make_run))
    with matplotlib.rc_context():
        figure = drawn._standalone("t", ["a", "b"], lambda axes: None, found.bands)
    (legend,) = figure.legends
    assert legend.get_title().get_text() == found.bands


def test_numbers_of_seeds_that_differ_are_told_by_name() -> None:
    assert bands({"a": 3, "b": 2, "c": 1}) == (
        "Bands: 95%, Student's t, n = 3 (a), 2 (b) seeds. Thin lines: single seeds. One seed (c): no band."
    )
    assert bars([3, 3, 1]) == "bars: 95%, Student's t, n = 3 seeds; small marks: single seeds"
    assert bars([1], "lines") == "one seed: no lines"


def test_tables_of_figures_have_the_seeds(make_run: MakeRun) -> None:
    rows = {figure.name: figure.rows for figure in curves(summary_of(make_run))}
    last = [row for row in rows["loss"] if row["method"] == "a"][-1]
    assert list(map(float, last["by_seed"].split(" "))) == pytest.approx(LOSSES["a"])
    assert last["ci95"] == pytest.approx(4.302653 * last["stderr"])
    for row in rows["gap"]:
        assert len(row["by_seed"].split()) == 3 and row["ci95"] == pytest.approx(4.302653 * row["stderr"])


def test_a_wide_band_of_two_seeds_leaves_the_frame(make_run: MakeRun) -> None:
    """Of 13 standard errors: it may make the frame three times as high as the curves, not more."""
    summary = summary_of(make_run, seeds=2)
    axes = axes_of(lambda axes: plots.losses(axes, summary, View(), from_step=60))
    low, high = axes.get_ylim()
    ends = [loss for losses in LOSSES.values() for loss in losses[:2]]
    assert low < min(ends) and max(ends) < high < max(ends) + 3 * 4


PARTS = {"a": ([10, 30, 20], [2.0, 2.1, 1.9]), "b": ([10, 30, 20], [1.9, 1.95, 1.85])}


def test_one_seed_each_is_paired_over_documents(make_run: MakeRun) -> None:
    summary = summary_of(make_run, seeds=1, parts=PARTS)
    gap = summary["gaps"]["b"]
    found = gap["over_parts"]
    runs = load_runs([make_run(m, {0: 3.0, 100: 2.0}, parts=PARTS[m], name=f"again-{m}") for m in "ab"])
    assert runs[0].parts is not None and runs[1].parts is not None
    assert found == over_parts(runs[1].parts, runs[0].parts)
    assert found is not None and found["mean_nats"] == pytest.approx((-0.1 * 10 - 0.15 * 30 - 0.05 * 20) / 60)
    assert gap["final_gap_stderr"] is None and gap["final_gap_ci95"] is None, "no error over seeds"
    assert "Paired over the 3 documents of the validation text, its 95% interval is" in summary["headline"]
    assert "That says nothing of other seeds." in summary["headline"]
    page = render(summary)
    assert "over the 3 documents of the validation text (95%): says nothing of other seeds" in page


def test_documents_are_not_paired_where_their_tokens_differ(make_run: MakeRun) -> None:
    summary = summary_of(make_run, seeds=1, parts=PARTS | {"b": ([10, 29, 21], PARTS["b"][1])})
    gap = summary["gaps"]["b"]
    assert gap["over_parts"] is None
    assert "not paired over the validation text: tokens differ in 2 of 3 documents" in summary["headline"]
    assert "tokens differ in 2 of 3 documents" in render(summary)


def test_several_seeds_and_older_runs_say_nothing_of_documents(make_run: MakeRun) -> None:
    for summary in (summary_of(make_run, parts=PARTS), summary_of(make_run, seeds=1)):
        gap = summary["gaps"]["b"]
        assert gap["over_parts"] is None and gap["not_over_parts"] == ""
        assert "documents of the validation text" not in render(summary)
