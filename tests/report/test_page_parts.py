"""What a reader finds on the page: contents, values for the pointer, quantities of training, samples, links to the runs."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ngptlab.draw.panels import wrapped
from ngptlab.draw.style import for_page
from ngptlab.draw.svg import element
from ngptlab.errors import DataError
from ngptlab.report import drawn, plots, samples
from ngptlab.report.page import write_report
from ngptlab.report.schema import Summary
from ngptlab.report.summary import summarize
from ngptlab.report.views import View
from ngptlab.runs import Run
from ngptlab.stats.records import load_runs

MakeRun = Callable[..., Path]

FALLING = {0: 5.0, 50: 3.0, 100: 2.0}
MANY = {step: 2.0 + 3.0 / (1 + step) for step in range(0, 101, 10)}


@pytest.fixture
def pair(make_run: MakeRun) -> list[Path]:
    return [make_run("a", FALLING), make_run("b", {**FALLING, 100: 1.9})]


def page_of(paths: list[Path], out: Path, **given: Any) -> str:
    return write_report(paths, out, title="t", **given).read_text(encoding="utf-8")


def test_contents_lead_to_every_section_and_figure(pair: list[Path], tmp_path: Path) -> None:
    page = page_of(pair, tmp_path / "out")
    (contents,) = re.findall(r'<nav aria-label="Contents">.*?</nav>', page, re.DOTALL)
    linked = set(re.findall(r'href="#([^"]*)"', contents))
    sections = set(re.findall(r'<h2 id="([^"]*)"', page))
    parts = set(re.findall(r'<(?:figure|section class="study")[^>]* id="([^"]*)"', page))
    assert sections >= {"to-figures", "to-methods", "to-studies", "to-runs"} and len(parts) == 7
    assert linked == sections | parts


def test_headings_come_in_order(pair: list[Path], tmp_path: Path) -> None:
    """No level is left out, so that a screen reader's outline has no hole. Caveats were an h3 right under the h1."""
    page = page_of(pair, tmp_path / "out")
    levels = [int(level) for level in re.findall(r"<h([1-6])", page)]
    assert levels[0] == 1 and levels.count(1) == 1 and "Caveats</h2>" in page
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_learning_rates_and_gradient_norms_are_those_recorded(make_run: MakeRun, tmp_path: Path) -> None:
    paths = [make_run("a", FALLING, seed=seed) for seed in (0, 1)]
    for path, norm in zip(paths, (2.0, 4.0), strict=True):
        Run(path).replace(
            "metrics",
            [
                {"step": s, "tokens": 128 * s, "loss_nats": 2.0, "lr": 0.5 / s, "grad_norm": norm}
                for s in range(1, 101)
            ],
        )
        Run(path).finish("done", step=100, params=1234, tokens=100 * 128)
    page_of(paths, tmp_path / "out")

    def rows(name: str) -> list[dict[str, str]]:
        text = (tmp_path / "out" / "figures" / f"{name}.csv").read_text(encoding="utf-8")
        return list(csv.DictReader(text.splitlines()))

    assert [float(row["lr"]) for row in rows("learning-rate")] == [0.5 / step for step in range(1, 101)]
    assert {(row["grad_norm"], row["by_seed"]) for row in rows("gradient-norm")} == {("3.0", "2.0 4.0")}
    assert {"lr", "grad_norm"}.isdisjoint(rows("training-loss")[0]), "these have tables of their own"


def test_runs_that_recorded_neither_have_no_such_figures(pair: list[Path]) -> None:
    records = load_runs(pair)
    bare = [
        record.__class__(**{**vars(record), "train": [r.model_copy(update=NEITHER) for r in record.train]})
        for record in records
    ]
    summary = summarize(bare, title="t")
    assert summary["methods"]["a"]["train"][0]["grad_norm"] is None
    assert not plots.recorded(summary["methods"]["a"], plots.NORM)
    assert plots.recorded(summary["methods"]["a"], plots.LOSS)


NEITHER = {"lr": None, "grad_norm": None}


def test_few_validations_are_marked_and_all_in_the_frame(make_run: MakeRun) -> None:
    def look(losses: dict[int, float]) -> tuple[float, set[object]]:
        axes = Figure().add_subplot()
        plots.losses(axes, summarize(load_runs([make_run("a", losses)]), title="t"), View())
        return axes.get_ylim()[1], {line.get_marker() for line in axes.lines if len(line.get_xdata()) > 2}  # type: ignore[arg-type]

    top, marks = look(FALLING)
    assert top > 5.0 and marks == {"o"}
    top, marks = look(MANY)
    assert top < 3.0 and marks == {""}, "with many, the early ones would flatten the rest"


def test_the_values_of_a_chart_are_those_it_shows(pair: list[Path], tmp_path: Path) -> None:
    page = page_of(pair, tmp_path / "out")
    (lists,) = (json.loads(unescape(found)) for found in re.findall(r'data-values="([^"]*)"', page))
    assert len({tuple(each) for each in lists}) == len(lists), "each list stands on the page once"
    charts = re.findall(
        r'<div class="chart" data-axis="(\w+)" data-scale="(\w+)" data-curves="([^"]*)" data-x="([^"]*)" data-y="([^"]*)" '
        r'data-form="(\w+)"',
        page,
    )
    assert len(charts) == page.count('<div class="chart"') and {chart[0] for chart in charts} >= {
        "tokens",
        "step",
        "flops",
    }
    axis, scale, curves, x, y, form = charts[0]
    assert (axis, scale, form) == ("tokens", "linear", "linear")
    found = {method: (lists[at], lists[to], half) for method, at, to, half in json.loads(curves)}
    assert found == {
        0: ([0, 6400, 12800], [5, 3, 2], None),
        1: ([0, 6400, 12800], [5, 3, 1.9], None),
    }
    (low, high), (bottom, top) = json.loads(x), json.loads(y)
    assert low <= 0 < 12800 <= high and bottom < 1.9 < 5 < top


def test_bands_are_among_the_values(make_run: MakeRun) -> None:
    runs = [make_run("a", {0: 5.0, 100: 2.0 + seed}, seed=seed) for seed in (0, 1, 2)]
    summary = summarize(load_runs(runs), title="t")
    chart = drawn.chart("x", lambda axes: plots.losses(axes, summary, View()))
    (curve,) = chart.curves
    assert curve.halves is not None and curve.halves[-1] == summary["methods"]["a"]["final_loss_ci95"]


def test_runs_are_linked_from_where_the_page_is(make_run: MakeRun, tmp_path: Path) -> None:
    name = "javascript:alert(1)#?%<b>"
    path = make_run("a", FALLING, name=name)
    page = page_of([path], tmp_path / "deep" / "out")
    assert 'href="../../runs/javascript%3Aalert%281%29%23%3F%25%3Cb%3E/"' in page
    inside = page_of([path], path / "page")
    assert 'href="../"' in inside


def take(text: str) -> Callable[..., tuple[int, str]]:
    return lambda run, **rule: (100, f"{text} {sorted(rule.items())}")


def test_samples_stand_on_the_page_as_text(pair: list[Path], tmp_path: Path) -> None:
    for path in pair:
        (path / "checkpoints" / "step-100").mkdir(parents=True)
    page = page_of(pair, tmp_path / "out", sampler=take("def f():\n    <b>\x1b[31m"))
    (one, two) = re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)
    assert "<b>" not in one, "escaped"
    assert one == two and unescape(one).startswith("def f():\n    <b>\\x1b[31m"), "lines stay, controls don't"
    assert "('max_tokens', 200)" in unescape(one) and 'href="#to-samples"' in page
    record = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert [(s["method"], s["run"], s["step"]) for s in record["samples"]] == [
        (p_method, path.name, 100) for p_method, path in zip("ab", pair, strict=True)
    ]


def test_where_there_is_no_sample_the_page_says_why(pair: list[Path], tmp_path: Path) -> None:
    def fails(run: Path, **rule: Any) -> tuple[int, str]:
        raise DataError(f"no\ntokenizer <b> for {run.name}")

    page = page_of(pair, tmp_path / "out", sampler=take("x"))
    assert "There are no samples: no checkpoint is kept." in page and "<pre" not in page
    assert "to-samples" not in page
    (pair[0] / "checkpoints" / "step-100").mkdir(parents=True)
    page = page_of(pair, tmp_path / "out", sampler=fails)
    assert re.search(r"There is no sample: no.{1,3}tokenizer &lt;b&gt; for", page)
    assert "There is no sample: no checkpoint is kept." in page

    def breaks(run: Path, **rule: Any) -> tuple[int, str]:
        raise AssertionError("needs two tokens")

    page = page_of(pair, tmp_path / "out", sampler=breaks)
    assert "There is no sample: AssertionError: needs two tokens" in page, (
        "parts of anybody's; the page stays"
    )
    page = page_of(pair, tmp_path / "out")
    assert (
        "sample" not in (tmp_path / "out" / "report.json").read_text() and "There are no samples" not in page
    )


def test_a_sample_is_of_the_first_run_with_a_checkpoint(pair: list[Path]) -> None:
    (pair[1] / "checkpoints" / "step-100").mkdir(parents=True)
    (found,) = samples.samples({"a": pair}, take("x"))
    assert found["run"] == pair[1].name and found["why_not"] == ""


def test_a_drawing_for_a_page_keeps_its_text_and_loses_what_nobody_reads() -> None:
    def build() -> Figure:
        figure = Figure(figsize=(2, 2))
        axes = figure.add_subplot()
        axes.plot([0, 1, 2], [0.123456, 1 / 3, 0.7])
        axes.set_title("loss 1.234567")
        return figure

    raw = for_page(build).decode()
    short = element(raw, "label")
    assert "loss 1.234567</text>" in short and "font-family" in raw and "font-family" not in short
    assert re.search(r'd="[^"]*\d\.\d{4}', raw) and not re.search(r' (?:d|x|y)="[^"]*\d\.\d{3}', short)
    named = set(re.findall(r' id="([^"]*)"', short))
    assert named == set(re.findall(r'(?:href="|url\()#([^")]+)', short)) != set()
    places = [[float(n) for n in re.findall(r"-?\d+\.?\d*", d)] for d in re.findall(r' d="([^"]*)"', raw)]
    rounded = [[float(n) for n in re.findall(r"-?\d+\.?\d*", d)] for d in re.findall(r' d="([^"]*)"', short)]
    # Two digits are kept, so that a place moves by at most half of the last.
    assert all(a == pytest.approx(b, abs=0.0051) for a, b in zip(places, rounded, strict=True))


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("gpt", 10, ["gpt"]),
        ("+ attn_scale and qk", 12, ["+ attn_scale", "and qk"]),
        ("weight_decay_and_warmup_steps", 14, ["weight_decay_", "and_warmup_", "steps"]),
        ("incomprehensibilities", 5, ["incomprehensibilities"]),
        ("two\nlines", 40, ["two", "lines"]),
        ("", 5, [""]),
    ],
)
def test_labels_wrap_at_words(text: str, width: int, lines: list[str]) -> None:
    assert wrapped(text, width).split("\n") == lines


def test_a_study_of_a_page_fits_a_phone(make_run: MakeRun, tmp_path: Path) -> None:
    """Its drawing is at most 5 inches wide: on 400 pixels its 9 points are then 8 pixels high."""
    page = page_of([make_run("a", MANY, seconds=[0.1] * 100), make_run("b", MANY)], tmp_path / "out")
    (study,) = re.findall(r'<section class="study".*?</section>', page, re.DOTALL)
    widths = [float(width) for width in re.findall(r'viewBox="0 0 ([\d.]+) ', study)]
    assert widths and max(widths) <= 360
    assert "min-width" not in study


def summary_with(paths: list[Path]) -> Summary:
    return summarize(load_runs(paths), title="t")


def test_the_ranges_are_those_of_the_drawn_axes(pair: list[Path]) -> None:
    kept: list[Axes] = []
    summary = summary_with(pair)

    def draw(axes: Axes) -> list[plots.Curve]:
        kept.append(axes)
        return plots.gaps(axes, summary, View("step", log=True))

    chart = drawn.chart("x", draw)
    assert (chart.x, chart.y, chart.form) == (kept[0].get_xlim(), kept[0].get_ylim(), "log")
