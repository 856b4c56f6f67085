"""The page: complete, self-contained, deterministic, and safe with hostile text."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
from collections.abc import Callable
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ngptlab.errors import ConfigError
from ngptlab.report import drawn, plots
from ngptlab.report.page import write_report
from ngptlab.report.schema import Summary
from ngptlab.report.summary import summarize
from ngptlab.report.views import View
from ngptlab.stats.records import load_runs
from ngptlab.stats.words import count, nats, rate

MakeRun = Callable[..., Path]

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'`{{ 7*7 }}$\\frac$"


class Page(HTMLParser):
    """Tags with their attributes, the text of every table row by table id, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: dict[str, list[list[str]]] = {}
        self.table, self.text = "", ""
        self.feed(text)
        self.rows = {key: [[cell.strip() for cell in row] for row in rows] for key, rows in self.rows.items()}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self.table = dict(attrs)["id"] or ""
            self.rows[self.table] = []
        elif tag == "tr":
            self.rows[self.table].append([])
        elif tag in ("th", "td"):
            self.rows[self.table][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self.table = ""

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.table and self.rows[self.table] and self.rows[self.table][-1]:
            self.rows[self.table][-1][-1] += data


@pytest.fixture
def paths(make_run: MakeRun) -> list[Path]:
    def run(method: str, seed: int, shift: float, rise: float) -> Path:
        losses = {step: 2.0 + 3.0 / (1 + step / 10) + shift * (50 - step) for step in range(0, 101, 10)}
        losses = {step: loss + 0.01 * seed * (1 + shift) for step, loss in losses.items()}
        length = [losses[100] + rise * i for i in range(5)]
        return make_run(method, losses, seed=seed, seconds=[0.1 + shift] * 100, length=length)

    return [run(m, s, x, r) for m, x, r in (("plain", 0.0, 0.5), ("turned", 0.001, 0.0)) for s in (0, 1, 2)]


def read(out: Path) -> tuple[str, Page, dict[str, Any]]:
    html = (out / "report.html").read_text(encoding="utf-8")
    return (
        html,
        Page(html),
        json.loads((out / "report.json").read_text(encoding="utf-8"), parse_constant=pytest.fail),
    )


def test_the_page_shows_the_numbers_of_the_json(paths: list[Path], tmp_path: Path) -> None:
    assert write_report(paths, tmp_path / "out", title="A title") == tmp_path / "out" / "report.html"
    _, page, numbers = read(tmp_path / "out")
    assert numbers == json.loads(json.dumps(summarize(load_runs(paths), title="A title")))
    assert numbers["headline"] in page.text and numbers["title"] in page.text
    assert all(finding["text"] in page.text for finding in numbers["findings"])
    rows = {row[0]: row[1:] for row in page.rows["methods"]}
    gap = numbers["gaps"]["turned"]
    for column, m in enumerate(numbers["methods"].values()):
        loss = nats(m["final_loss_nats"], m["final_loss_ci95"])
        assert rows["validation loss, end (nats)"][column].startswith(loss)
        assert rows["bits per byte"][column] == f"{m['bits_per_byte']:.4f}"
        assert rows["parameters"][column] == f"{m['params']:,}"
        assert rows["training tokens"][column] == count(m["tokens"])
        assert rows["learning rate"][column] == rate(m["lr"])
        assert rows["tuned by"][column] == (
            f"search {m['search']}3 runs" if m["search"] else "no search linked"
        )
        assert rows["step time (ms)"][column].startswith(f"{1000 * m['step_seconds_median']:.4g}")
        for row, point in zip(page.rows["length"][1:], m["length"], strict=True):
            assert row[column + 1].startswith(nats(point["loss_nats"], point["ci95_nats"]))
    shown = nats(gap["final_gap_nats"], gap["final_gap_ci95"], sign=True)
    assert rows["gap to plain (nats)"][1].startswith(shown)
    assert rows["step time to plain's"][1] == f"{gap['step_time_ratio']:.2f}×"
    assert [row[0] for row in page.rows["runs"][1:]] == [path.name for path in paths]
    assert [row[-1] for row in page.rows["runs"][1:]] == [run["hash"] for run in numbers["runs"]]


def test_the_page_shows_every_warning(make_run: MakeRun, tmp_path: Path) -> None:
    losses = {0: 3.0, 100: 2.0}
    runs = [make_run("a", losses), make_run("b", losses, optim={"lr_grid": []}, env={"data_digest": "other"})]
    write_report(runs, tmp_path / "out", title="t")
    _, page, numbers = read(tmp_path / "out")
    assert len(numbers["warnings"]) >= 4
    assert all(warning in page.text for warning in numbers["warnings"])


def test_the_page_asks_for_nothing(paths: list[Path], tmp_path: Path) -> None:
    write_report(paths, tmp_path, title="t")
    html, page, _ = read(tmp_path)
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", html)
    assert {"link", "iframe", "object", "embed", "base", "img"}.isdisjoint(tag for tag, _ in page.tags)
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    assert policy is not None and policy.startswith(
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:"
    )
    local = [
        value for _, attributes in page.tags for key, value in attributes.items() if key.endswith("href")
    ]
    files = {value for value in local if value and not value.startswith("#")}
    folders = {value for value in files if value.endswith("/")}
    assert len(folders) == len(paths) and all(
        (tmp_path / value / "config.json").is_file() for value in folders
    )
    assert files > folders and all((tmp_path / value).is_file() for value in files - folders)


def test_every_figure_has_its_numbers_and_drawings_beside_the_page(paths: list[Path], tmp_path: Path) -> None:
    write_report(paths, tmp_path, title="t")
    _, page, numbers = read(tmp_path)
    shown = {attributes["id"] for tag, attributes in page.tags if tag == "figure" and "id" in attributes}
    names = ("loss", "loss-end", "gap", "length", "training-loss", "learning-rate", "gradient-norm")
    assert shown == {f"figure-{name}" for name in names}
    for name in (figure.removeprefix("figure-") for figure in shown if figure):
        files = [tmp_path / "figures" / f"{name}.{ending}" for ending in ("csv", "png", "svg")]
        assert files[1].read_bytes().startswith(b"\x89PNG") and "<svg" in files[2].read_text(encoding="utf-8")
        assert files[0].read_text(encoding="utf-8").count("\n") > 3
    rows = list(csv.DictReader((tmp_path / "figures" / "loss.csv").read_text(encoding="utf-8").splitlines()))
    assert [float(row["seconds"]) for row in rows if row["method"] == "plain"] == [
        pytest.approx(0.1 * step) for step in range(0, 101, 10)
    ]
    gaps = list(csv.DictReader((tmp_path / "figures" / "gap.csv").read_text(encoding="utf-8").splitlines()))
    assert {row["equal"] for row in gaps} == {"tokens", "step", "seconds", "flops"}
    ends = [float(row["gap_nats"]) for row in gaps if row["equal"] == "step" and row["at"] == "100.0"]
    assert ends == [numbers["gaps"]["turned"]["final_gap_nats"]]


def test_curves_are_offered_over_what_is_known(paths: list[Path], make_run: MakeRun, tmp_path: Path) -> None:
    def offered(out: Path) -> list[str | None]:
        _, page, _ = read(out)
        return [a["value"] for tag, a in page.tags if tag == "input" and a["name"] == "loss-axis"]

    write_report(paths, tmp_path / "timed", title="t")
    assert offered(tmp_path / "timed") == ["tokens", "step", "seconds", "flops"]
    untimed = make_run("third", {0: 3.0, 100: 2.0}, seconds=[0.1] * 99)
    write_report([*paths, untimed], tmp_path / "untimed", title="t")
    assert offered(tmp_path / "untimed") == ["tokens", "step", "flops"]
    assert (
        f"No axis in seconds: not every step's time is recorded in {untimed.name}."
        in read(tmp_path / "untimed")[1].text
    )


def test_ids_are_unique_and_references_lead_somewhere(paths: list[Path], tmp_path: Path) -> None:
    write_report(paths, tmp_path, title="t")
    html, page, _ = read(tmp_path)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"(?:href=\"|url\()#([^\")]+)", html)) <= set(ids)


def test_hostile_text_is_text(make_run: MakeRun, tmp_path: Path) -> None:
    losses = {0: 3.0, 50: 2.5, 100: 2.0}
    env = {"data_digest": HOSTILE, "commit": HOSTILE, HOSTILE: {"deep": [HOSTILE, 1e308]}, "odd": "\ud800"}
    name = HOSTILE.replace("/", "_") + "\udcff"
    runs = [
        make_run("_" + HOSTILE, losses, name=name, env=env, length=[1.0, 2.0]),
        make_run("plain", losses, data={"source": f"text:{HOSTILE}"}, name="x\n<b>y"),
    ]
    write_report(runs, tmp_path / "out", title=HOSTILE)
    html, page, numbers = read(tmp_path / "out")
    assert html.count("<script") == 1 and "<img" not in html and "<b>" not in html
    assert [tag for tag, _ in page.tags if tag in ("script", "img", "b")] == ["script"]
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
    assert numbers["title"] == HOSTILE and numbers["baseline"] == "_" + HOSTILE
    assert page.text.count(HOSTILE) > 10  # shown as given: not evaluated, not dropped


def test_the_same_runs_give_the_same_bytes(paths: list[Path], tmp_path: Path) -> None:
    first, second = (write_report(paths, tmp_path / name, title="t") for name in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()
    assert first.with_suffix(".json").read_bytes() == second.with_suffix(".json").read_bytes()


def test_a_report_is_replaced_and_leaves_nothing_behind(paths: list[Path], tmp_path: Path) -> None:
    write_report(paths[:1], tmp_path / "out", title="first")
    write_report(paths, tmp_path / "out", title="second")
    assert "second" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "figures",
        "report.html",
        "report.json",
    ]
    assert (tmp_path / "out" / "figures" / "gap.csv").exists()
    (tmp_path / "out" / "figures" / "mine.png").touch()
    write_report(paths[:1], tmp_path / "out", title="third")
    left = sorted(path.stem for path in (tmp_path / "out" / "figures").glob("*.png"))
    drawn = ["gradient-norm", "learning-rate", "length", "loss", "loss-end", "training-loss"]
    assert left == sorted([*drawn, "mine"])


def test_a_folder_that_cannot_be_written(paths: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="can't be written"):
        write_report(paths, tmp_path / "file" / "out", title="t")


def test_no_report_without_finished_runs(make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not finished"):
        write_report([make_run("a", {0: 3.0, 10: 2.0}, status="stopped")], tmp_path / "out", title="t")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("num_methods", [1, 2, 30])
def test_any_number_of_methods(make_run: MakeRun, tmp_path: Path, num_methods: int) -> None:
    runs = [make_run(f"m{i}", {0: 3.0, 100: 2.0 + i / 10}) for i in range(num_methods)]
    write_report(runs, tmp_path / "out", title="t")
    _, page, numbers = read(tmp_path / "out")
    assert len(numbers["gaps"]) == num_methods - 1
    assert ("Gap to m0" in page.text) == (num_methods > 1)
    assert "No length evaluation is recorded" in page.text


DRAWN = {
    "losses": plots.losses,
    "end": partial(plots.losses, from_step=60),
    "gaps": plots.gaps,
    "training": plots.training,
    "rates": partial(plots.training, what=plots.RATE),
    "norms": partial(plots.training, what=plots.NORM),
    "lengths": lambda axes, summary, view: plots.lengths(axes, summary),
}


def draw(name: str, summary: Summary, view: View = View()) -> str:  # noqa: B008  a view can't change
    return drawn.inline(name, lambda axes: DRAWN[name](axes, summary, view=view))


@pytest.mark.parametrize("view", [View("tokens"), View("seconds", log=True), View("flops")], ids=str)
@pytest.mark.parametrize("name", DRAWN)
def test_figures_take_their_colours_from_the_page(paths: list[Path], name: str, view: View) -> None:
    svg = draw(name, summarize(load_runs(paths), title="t"), view)
    assert svg.startswith('<svg class="plot" role="img"') and svg.endswith("</svg>")
    inks = {"none", "currentColor", "var(--grid)", "var(--series-0)", "var(--series-1)"}
    assert set(re.findall(r"stroke: ([^;\"]+)", svg)) <= inks
    assert "var(--series-1)" in svg
    assert not re.search(r"#[0-9a-f]{6}\b(?!\w)", re.sub(r'"#[^"]*"|\(#', "", svg))


def test_figures_mark_the_cooldown_the_context_and_the_crossover(paths: list[Path]) -> None:
    summary = summarize(load_runs(paths), title="t")
    assert ">cooldown<" in draw("losses", summary) and ">cooldown<" in draw("end", summary)
    assert ">training context<" in draw("lengths", summary)
    (crossing,) = summary["gaps"]["turned"]["at_equal"]["tokens"]["crossovers"]
    assert crossing == pytest.approx(summary["gaps"]["turned"]["crossovers"][0]["tokens"])
    curve = {**summary["gaps"]["turned"]["at_equal"]["tokens"], "crossovers": []}
    without = {**summary["gaps"]["turned"], "at_equal": {"tokens": curve}}
    fewer = draw("gaps", {**summary, "gaps": {"turned": without}})  # type: ignore[typeddict-item]
    assert draw("gaps", summary).count("<use") == fewer.count("<use") + 1


def test_cooldowns_at_different_seconds_are_marked_apart(paths: list[Path]) -> None:
    """Over tokens both methods cool down at the same place; over seconds the slower one does so later."""
    summary = summarize(load_runs(paths), title="t")
    start = {"step": 70, "tokens": 70 * 128, "seconds": 20.0, "flops": 1}
    slower = {**summary["methods"]["turned"], "cooldown_start": start}
    apart: Any = {**summary, "methods": {**summary["methods"], "turned": slower}}
    over = {measure: draw("losses", apart, View(measure)) for measure in ("tokens", "seconds")}
    assert {measure: svg.count("stroke-dasharray: 1,2") for measure, svg in over.items()} == {
        "tokens": 1,
        "seconds": 2,
    }


def test_numbers_in_words() -> None:
    assert nats(3.328, 0.0031) == "3.3280\u00a0±\u00a00.0031"
    assert nats(-0.064, 0.03, sign=True) == "−0.064\u00a0±\u00a00.030"
    assert (nats(0.5, sign=True), nats(None), nats(2.0, 0.0)) == ("+0.5000", "–", "2.0000\u00a0±\u00a00.0000")
    # The last digit of a sum is another on another machine, and must not turn the sign of what is shown as zero.
    assert nats(-1e-17, sign=True) == "+0.0000" and nats(-1e-17) == "0.0000"
    assert [count(x) for x in (999, 12345, 2457600, 2.5e9, None)] == ["999", "12.3k", "2.46M", "2.5B", "–"]
    assert (rate(2**-9), rate(0.003), rate(2**-13)) == ("2⁻⁹", "0.003", "2⁻¹³")
