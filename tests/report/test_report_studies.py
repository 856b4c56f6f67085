"""Studies on the page: recognized by what their folders hold, told in numbers that are theirs, refused where damaged.

The studies are measured from runs whose numbers the test chose, and written by what writes them otherwise.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ngptlab.cli import main
from ngptlab.errors import ConfigError, DataError
from ngptlab.report.page import write_report
from ngptlab.runs import Run
from ngptlab.stats.cells import CellRow
from ngptlab.studies.cooldown import numbers as cooldowns
from ngptlab.studies.cooldown.files import write_study
from ngptlab.studies.coord.numbers import Point
from ngptlab.studies.ladder import numbers as ladders
from ngptlab.studies.ladder.files import write_ladder
from ngptlab.studies.recognize import recognize
from ngptlab.studies.sweep.files import write_sweep

MakeRun = Callable[..., Path]
Captured = pytest.CaptureFixture[str]
Make = Callable[..., Path]
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'`{{ 7*7 }}"


class Page(HTMLParser):
    """Tags with their attributes; cells of every table by its id, as (text, data-value); all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: dict[str, list[list[tuple[str, str | None]]]] = {}
        self.table, self.text = "", ""
        self.feed(text)
        self.cells = {
            key: [[(cell.strip(), value) for cell, value in row] for row in rows]
            for key, rows in self.cells.items()
        }

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "table":
            self.table = dict(attrs)["id"] or ""
            self.cells[self.table] = []
        elif tag == "tr":
            self.cells[self.table].append([])
        elif tag in ("th", "td"):
            self.cells[self.table][-1].append(("", dict(attrs).get("data-value")))

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.table and self.cells[self.table] and self.cells[self.table][-1]:
            text, value = self.cells[self.table][-1][-1]
            self.cells[self.table][-1][-1] = (text + data, value)

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self.table = ""


@pytest.fixture
def ladder(make_run: MakeRun, tmp_path: Path) -> Make:
    """A ladder a to b in two steps: + norm by -0.2 and + qk by +0.1 in the mean, seeds 0.01 apart."""

    def make(base: str = "a", mode: ladders.Mode = "cumulative", **changes: Any) -> Path:
        rungs = []
        ends = {"a": (2.0, 3.0, 4.0), "+ norm": (1.81, 2.8, 3.79), "+ qk": (1.90, 2.9, 3.90)}
        for label, losses in ends.items():
            runs = [
                make_run("a", {0: 5.0, 100: loss}, seed=seed, name=f"{label}{seed}")
                for seed, loss in enumerate(losses)
            ]
            fields: dict[str, Any] = {
                "label": label,
                "arm": label,
                "seams": () if label == "a" else (label[2:],),
                "lr": 2**-9,
                "lr_of": "a",
                "reason": "",
                "runs": tuple(runs),
            }
            rungs.append(ladders.Rung(**(fields | changes)))
        found = ladders.measure(rungs, recipe="made", base=base, target="b", mode=mode)
        write_ladder(found, tmp_path / "ladder")
        return tmp_path / "ladder"

    return make


@pytest.fixture
def cooldown(make_run: MakeRun, tmp_path: Path) -> Make:
    """b is 0.115 behind a where the short cooldown starts, 0.215 where the long one does; then ahead by 0.315 and 0.415.

    Of two lengths: a reaches in 200 steps a little more than b in 100.
    """

    def make(arms: str = "ab") -> Path:
        starts = {(100, 0.3): 70, (100, 0.1): 90, (200, 0.3): 140, (200, 0.1): 180}
        behind, ahead = {0.3: 0.2, 0.1: 0.1}, {0.3: 0.4, 0.1: 0.3}
        legs = []

        def leg(
            arm: str,
            seed: int,
            losses: Mapping[int, float],
            frac: float,
            start: int,
            schedule: dict[str, Any],
        ) -> None:
            path = make_run(arm, losses, seed=seed, data={"seed": seed}, schedule=schedule)
            shape = "linear" if frac else ""
            fields: dict[str, Any] = {"path": path, "status": "done", "reason": ""}
            legs.append(cooldowns.Leg(config=Run(path).config, frac=frac, shape=shape, start=start, **fields))

        for seed in (0, 1):
            for arm in arms:
                losses = {0: 6.0, 100: 4.0 + 1.1 * seed, 200: 3.9 + 1.1 * seed}
                losses |= {
                    start: 4.0 + 1.1 * seed + (behind[frac] + 0.03 * seed if arm == "b" else 0)
                    for (_, frac), start in starts.items()
                }
                leg(arm, seed, losses, 0.0, 200, {"shape": "constant"})
                for (steps, frac), start in starts.items():
                    end = (
                        3.0
                        + 1.1 * seed
                        - (ahead[frac] + 0.2 if steps == 200 else 0)
                        - (ahead[frac] + 0.03 * seed if arm == "b" else 0)
                    )
                    schedule = {"cooldown_frac": frac, "cooldown_shape": "linear"}
                    leg(arm, seed, {0: 6.0, steps: end}, frac, start, schedule)
        write_study(cooldowns.measure(legs, name="made"), tmp_path / "cooldown")
        return tmp_path / "cooldown"

    return make


@pytest.fixture
def sweep(tmp_path: Path) -> Make:
    """Parabolas whose lowest points move by one power of two per doubling under sp, and not at all under mup."""

    def make(method: str = "a", **changes: Any) -> Path:
        rows = []
        for param, shift in (("sp", -1.0), ("mup", 0.0)):
            for width, doublings in ((32, 0), (64, 1), (128, 2)):
                for power in range(-12, -4):
                    for seed in (0, 1):
                        fields: dict[str, Any] = {
                            "method": method,
                            "param": param,
                            "width": width,
                            "lr": 2.0**power,
                            "seed": seed,
                            "hash": "x",
                            "status": "done",
                            "final_loss_nats": 2
                            + 0.1 * (power + 7.25 - shift * doublings) ** 2
                            + 0.01 * seed,
                        }
                        rows.append(CellRow(**(fields | changes)))
        (tmp_path / "sweep").mkdir()
        write_sweep(rows, (), tmp_path / "sweep")
        return tmp_path / "sweep"

    return make


@pytest.fixture
def coord(tmp_path: Path) -> Make:
    """Sizes that grow as width ** power; their changes don't."""

    def make(power: float = 0.1, method: str = "a", **changes: Any) -> Path:
        points = [
            asdict(Point(width, seed, step, kind, width**power, 1.0 if step else 0.0))
            for width in (32, 64, 128)
            for seed in (0, 1)
            for step in range(4)
            for kind in ("scores", "logits")
        ]
        record = {
            "method": method,
            "param": {"rules": "mup"},
            "config": {"lr": 0.01},
            "points": points,
            **changes,
        }
        (tmp_path / "coord").mkdir()
        (tmp_path / "coord" / "coord.json").write_text(json.dumps(record))
        return tmp_path / "coord"

    return make


def report(*paths: Path, out: Path) -> tuple[Page, dict[str, Any]]:
    """The page as `ngptlab report` makes it."""
    given = recognize(paths)
    page = write_report(given.runs, out, title="t", studies=given.studies)
    html = page.read_text(encoding="utf-8")
    numbers = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    return Page(html), numbers


def answer(folder: Path) -> str:
    _, numbers = report(folder, out=folder.parent / "page")
    assert len(numbers["studies"]) == 1 and numbers["headline"] == numbers["studies"][0]["answer"]
    return str(numbers["headline"]).replace("\u00a0", " ").replace("−", "-")


def test_a_ladder_is_told(ladder: Make, tmp_path: Path) -> None:
    assert answer(ladder()) == (
        "Of 2 steps from a to b, taken one after another, norm lowers the loss most, by 0.200 ± 0.025 nats (95% over 3 "
        "paired seeds, Student's t). qk raises it most, by 0.100 ± 0.025 nats (95% over 3 paired seeds, Student's t)."
    )
    numbers = json.loads((tmp_path / "ladder" / "ladder.json").read_text())
    numbers["mode"] = "leave-one-out"
    (tmp_path / "ladder" / "ladder.json").write_text(json.dumps(numbers))
    assert (
        "2 steps taken back from b one at a time, qk matters most: without it the loss rises by 0.100 ± 0.025"
        in answer(tmp_path / "ladder")
    )


def test_one_seed_and_a_doubtful_step_are_called_so(ladder: Make, tmp_path: Path) -> None:
    path = ladder() / "ladder.json"
    numbers = json.loads(path.read_text())
    numbers["rungs"][1]["adds"] |= {"stderr": None, "ci95": None, "pairs": 1}
    numbers["rungs"][2]["adds"] |= {"stderr": 0.05, "ci95": 0.12}
    path.write_text(json.dumps(numbers))
    said = answer(path.parent)
    assert "by 0.2000 nats (one seed: nothing says how far another would move it)" in said
    assert "by 0.100 ± 0.120 nats (95% over 3 paired seeds, Student's t; that includes zero)" in said


def test_a_cooldown_study_is_told(cooldown: Make, tmp_path: Path) -> None:
    page, numbers = report(cooldown(), out=tmp_path / "page")
    study, speedup = numbers["studies"]
    assert study["answer"].replace("−", "-").replace("\u00a0", " ") == (
        "b minus a after 200 steps, in nats (± 95% over 2 paired seeds, Student's t): with a cooldown over 0.1 of the run "
        "(linear) it goes from +0.115 ± 0.191 to -0.315 ± 0.191; with a cooldown over 0.3 of the run (linear) it goes from "
        "+0.215 ± 0.191 to -0.415 ± 0.191."
    )
    points = [
        found["points"][0]
        for found in json.loads((tmp_path / "cooldown" / "cooldown.json").read_text())["speedups"]
    ]
    factors = [
        f"{point['factor']['value']:.2f}× (cooldown {frac} linear, 100 steps; "
        for point, frac in zip(points, (0.1, 0.3), strict=True)
    ]
    assert all(1.4 < point["factor"]["value"] < 2 for point in points) and all(
        factor in speedup["answer"] for factor in factors
    )
    assert "at the greatest length that is measured in both, a needs between" in speedup["answer"]
    assert speedup["answer"].endswith("over 2 schedules. Nothing is extrapolated.")
    assert study["files"] == [
        f"studies/1-cooldown/cooldown.{ending}" for ending in ("csv", "json", "png", "svg")
    ]
    assert speedup["files"] == [f"studies/1-cooldown/speedup.{ending}" for ending in ("csv", "png", "svg")]
    rows = list(
        csv.DictReader(
            (tmp_path / "page" / "studies" / "1-cooldown" / "cooldown.csv").read_text().splitlines()
        )
    )
    assert [row["arm"] for row in rows] == [row[0] for row in study["rows"]] and len(rows) == 12
    assert len(page.cells["study-2"]) == 1 + 2 * 2, "points of two schedules, of two lengths each"


def test_a_study_of_one_method_is_told(cooldown: Make, tmp_path: Path) -> None:
    assert answer(cooldown("a")) == (
        "After 200 steps a ends lowest with a cooldown over 0.3 of the run (linear): 2.950 ± 6.988 nats, 4.450 ± 6.988 nats "
        "without one (± 95% over 2 seeds, Student's t)."
    )


def test_a_sweep_is_told(sweep: Make) -> None:
    assert answer(sweep()) == (
        "Per doubling of width the best learning rate moves, in powers of two (± one standard error of the line through the "
        "widths), by -1.00 ± 0.00 for a under SP (the best learning rate does not carry over); +0.00 ± 0.00 "
        "for a under muP (the best learning rate carries over)."
    )


@pytest.mark.parametrize(("power", "verdict"), [(0.1, "passes"), (-0.5, "fails")])
def test_a_coordinate_check_is_told(coord: Make, power: float, verdict: str) -> None:
    said = answer(coord(power, passed=verdict == "fails"))
    assert said.startswith(f"a under mup {verdict}: "), "computed, not read"
    assert (
        f"'scores' at step 2, has {power:+.2f} ± 0.00 (95%, Student's t), and {power:+.2f} at its steepest doubling"
        in said
    )
    assert said.endswith("(widths 32 to 128, 2 seeds).")


def test_a_size_that_ran_away_fails_the_check(coord: Make) -> None:
    folder = coord()
    text = (folder / "coord.json").read_text()
    (folder / "coord.json").write_text(text.replace(f'"size": {128**0.1}', '"size": NaN'))
    assert "a under mup: fails, because the size of 'scores' is zero or not finite" in answer(folder)


def test_speed_ups_of_the_runs_given_are_shown(make_run: MakeRun, tmp_path: Path) -> None:
    falling = {0: 5.0, 50: 3.0, 100: 2.0}
    runs = [make_run("a", falling), make_run("b", falling | {50: 2.5})]
    page, numbers = report(*runs, out=tmp_path / "page")
    assert numbers["studies"] == [] and "Speed-up of these runs" in page.text
    assert "For the loss of b after 100 steps (2.0000 nats) a needs 1.00 times the tokens" in page.text
    rows = [[text for text, _ in row] for row in page.cells["study-1"]]
    assert rows[2][7] == "1.00×" and len(rows) == 3
    hrefs = [attributes["href"] or "" for tag, attributes in page.tags if tag == "a"]
    files = {href for href in hrefs if not href.startswith("#")}
    assert "figures/speedup.csv" in files and all((tmp_path / "page" / file).exists() for file in files)


def test_studies_stand_beside_runs(
    ladder: Make, cooldown: Make, sweep: Make, coord: Make, make_run: MakeRun, tmp_path: Path
) -> None:
    runs = [make_run(method, {0: 5.0, 50: 3.0, 100: 2.0}, name=f"run {method}") for method in "ab"]
    out = tmp_path / "page"
    page, numbers = report(*runs, ladder(), cooldown(), sweep(), coord(), out=out)
    assert [study["kind"] for study in numbers["studies"]] == [
        "ladder",
        "cooldown",
        "speed-up",
        "sweep",
        "coordinate check",
    ]
    assert list(numbers["methods"]) == ["a", "b"] and len(numbers["runs"]) == 2
    shown = {key: rows for key, rows in page.cells.items() if key.startswith("study-")}
    assert list(shown) == [f"study-{number}" for number in range(1, 7)], "the runs' own speed-up first"
    for study, rows in zip(numbers["studies"], list(shown.values())[1:], strict=True):
        assert study["answer"] in page.text and study["caption"] in page.text and study["title"] in page.text
        assert all(warning in page.text for warning in study["warnings"])
        assert [text for text, _ in rows[0]] == study["columns"]
        for row, values in zip(rows[1:], study["rows"], strict=True):
            for (text, data), value in list(zip(row, values, strict=True))[1:]:
                assert (
                    text == value if isinstance(value, str) else data == ("" if value is None else str(value))
                )
    hrefs = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert all(path in hrefs for study in numbers["studies"] for path in study["files"])
    beside = {str(path.relative_to(out)) for path in out.glob("studies/*/*")}
    assert beside == {path for study in numbers["studies"] for path in study["files"]}
    plots = [
        attributes
        for tag, attributes in page.tags
        if tag == "svg" and "max-width" in (attributes.get("style") or "")
    ]
    assert len(plots) == 6
    widths = [float((plot["viewbox"] or "").split()[2]) for plot in plots]
    assert max(widths) <= 360, "points: a phone shows 5 inches without scrolling"
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    html = (out / "report.html").read_text(encoding="utf-8")
    assert len(ids) == len(set(ids)) and set(re.findall(r"(?:href=\"|url\()#([^\")]+)", html)) <= set(ids)
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)|#333333|#dddddd|#000000", html)
    first = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    report(*runs, *(tmp_path / name for name in ("ladder", "cooldown", "sweep", "coord")), out=out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == first, "the same bytes"

    (out / "studies" / "2-cooldown" / "mine.txt").write_text("")
    report(*runs, out=out)
    assert [path.name for path in out.glob("studies/*/*")] == ["mine.txt"], "what a page wrote goes with it"


def test_hostile_text_is_text(ladder: Make, sweep: Make, coord: Make, tmp_path: Path) -> None:
    folders = [
        ladder(HOSTILE, lr_of=HOSTILE, arm=HOSTILE),
        sweep(HOSTILE, hash=HOSTILE),
        coord(method=HOSTILE),
    ]
    path = tmp_path / "ladder" / "ladder.json"
    path.write_text(path.read_text().replace('"recipe": "made"', '"recipe": "\\udcff"'))
    page, numbers = report(*folders, out=tmp_path / "page")
    html = (tmp_path / "page" / "report.html").read_text(encoding="utf-8")
    assert "<script>a" not in html and "<img" not in html
    assert {tag for tag, _ in page.tags}.isdisjoint({"img"})
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
    assert all(HOSTILE in study["title"] or study["kind"] == "sweep" for study in numbers["studies"])
    assert page.text.count(HOSTILE) > 10, "shown as given"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("ladder.json", "", "Expecting value"),
        ("ladder.json", "[" * 100_000, "nested too deeply"),
        ("ladder.json", '{"recipe": "x"}', "base"),
        ("cooldown.json", '{"name": NaN}', "no JSON number"),
        ("sweep.json", '{"cells": [1]}', "cells.0"),
        ("sweep.json", '{"cells": [], "x": 1e999}', "too large a number"),
        (
            "coord.json",
            '{"method": "a", "param": {"rules": "sp"}, "config": {"lr": 1}, "points": []}',
            "fewer than two widths",
        ),
    ],
)
def test_a_foreign_file_is_one_line(
    tmp_path: Path, capsys: Captured, name: str, text: str, said: str
) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / name).write_text(text)
    assert main(["report", str(tmp_path / "study"), "--out", str(tmp_path / "page")]) == 2
    err = capsys.readouterr().err
    assert name in err and said in err and len(err.splitlines()) == 1
    assert not (tmp_path / "page").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda ladder: ladder["rungs"][1]["adds"].update(against="nobody"),
        lambda ladder: ladder["rungs"][1]["adds"].update(nats="-0.1"),
        lambda ladder: ladder["rungs"][0].update(final_loss_stderr=-1.0),
        lambda ladder: ladder["rungs"][0].update(lr=0.0),
        lambda ladder: ladder["rungs"][0].update(lr=10**400),
        lambda ladder: ladder.update(mode="sideways"),
        lambda ladder: ladder.update(rungs=[]),
    ],
    ids=["no such rung", "text", "negative error", "no rate", "huge rate", "mode", "empty"],
)
def test_numbers_that_make_no_sense_are_one_line(
    ladder: Make, tmp_path: Path, capsys: Captured, change: Callable[[Any], None]
) -> None:
    path = ladder() / "ladder.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    assert main(["report", str(path.parent), "--out", str(tmp_path / "page")]) == 2
    err = capsys.readouterr().err
    assert "ladder.json" in err and len(err.splitlines()) == 1


def test_what_is_given_is_recognized(make_run: MakeRun, ladder: Make, coord: Make, tmp_path: Path) -> None:
    runs = [make_run(method, {0: 3.0, 100: 2.0}) for method in ("b", "a")]
    (tmp_path / "ladder" / "runs").mkdir(parents=True)
    folders = (ladder(), coord())
    found = recognize([runs[0], *folders, runs[1], folders[0]])
    assert found.runs == tuple(runs) and [path.name for path in found.studies] == [
        "ladder.json",
        "coord.json",
    ]
    made = tuple(sorted(run for run in (tmp_path / "runs").iterdir()))
    assert recognize([tmp_path / "runs"]).runs == recognize([tmp_path]).runs == made, (
        "runs, and a comparison's folder"
    )
    with pytest.raises(
        ConfigError,
        match=r"absent: not a run directory .* \(board.json, cooldown.json, coord.json, ladder.json",
    ):
        recognize([tmp_path / "absent"])


def test_a_study_that_is_not_there_any_more(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        write_report((), tmp_path / "page", title="t", studies=[tmp_path / "ladder.json"])
