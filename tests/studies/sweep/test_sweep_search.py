"""A search: what it tries, what it writes, and that an arm is tuned by nothing less."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from made_runs import metrics, val
from ngptlab.cli import main
from ngptlab.config import RunConfig
from ngptlab.errors import ConfigError, DataError, DivergedError
from ngptlab.jobs.cell import Cell, run_of
from ngptlab.jobs.in_turn import plan
from ngptlab.options import tuned
from ngptlab.recipes import Tuned, recipe
from ngptlab.runs import Run
from ngptlab.stats import search as searches
from ngptlab.stats.search import Search, Tried, find, in_words, made, read, searched_apart, why_untuned
from ngptlab.studies.search import run as module
from ngptlab.studies.search.figure import along

LRS = [repr(2.0**power) for power in range(-10, -4)]
FIELDS = {
    "optim.lr": LRS,
    "optim.weight_decay": ["0", "0.1", "0.3"],
    "optim.alpha_init": ["0.05", "0.2", "0.4"],
}
BEST = {"gpt": (2**-8, 0.1, None), "ngpt": (2**-6, 0.0, 0.2)}

DEMO = replace(recipe("demo"), tuned={"gpt": Tuned(lr=2**-9), "ngpt": Tuned(lr=2**-7)})
"""Before anything was searched."""

Search_ = Callable[..., tuple[Search, Path, list[Cell]]]


def loss_of(config: RunConfig) -> float:
    lr, decay, alpha = BEST[config.method]
    optim = config.optim
    found = 2 + math.log2(optim.lr / lr) ** 2 / 50 + ((optim.weight_decay or 0) - decay) ** 2
    return found + ((optim.alpha_init or 0) - alpha) ** 2 + 0.001 * config.seed if alpha else found


class Chosen:
    """An executor whose runs have the losses that the test chose; and the cells that it trained."""

    def __init__(self) -> None:
        self.trained: list[Cell] = []

    def prepare(self, cells: Sequence[Cell], out: Path) -> None:
        """Nothing is needed."""

    def train(self, cells: Sequence[Cell], out: Path, request: object) -> dict[str, str]:
        for cell in cells:
            path = run_of(out, cell)
            if path.exists():
                continue
            self.trained.append(cell)
            run = Run.open(path, cell.config)
            steps, loss = cell.config.train.steps, loss_of(cell.config)
            run.replace(
                "metrics", [{**m, "tokens": m["step"] * 4096} for m in metrics({0: 5.0, steps: loss})]
            )
            for step in range(0, steps + 1, cell.config.eval.every):
                run.append("evals", val(step, loss if step == steps else 5.0, 0.01, 1.0))
            (path / "env.json").write_text(json.dumps({"data_digest": "d"}))
            if loss < 2.3:
                run.finish("done", step=steps, params=1, tokens=1)
            else:
                run.fail(DivergedError("loss nan"))
        return {}


class Fails(Chosen):
    def train(self, cells: Sequence[Cell], out: Path, request: object) -> dict[str, str]:
        return {cell.config.hash: "killed by SIGKILL" for cell in cells}


@pytest.fixture
def searched(tmp_path: Path) -> Search_:
    """`search` by an executor of the test's; and the cells that were trained."""

    def run(fields: dict[str, list[str]] = FIELDS, **how: Any) -> tuple[Search, Path, list[Cell]]:
        executor, out = Chosen(), tmp_path / how.pop("out", "search")
        found, _ = module.search(
            DEMO, out=out, fields=fields, methods=("gpt", "ngpt"), executor=executor, **how
        )
        return found, out, executor.trained

    return run


def test_it_finds_each_arm_s_best_with_equally_many_runs(searched: Search_) -> None:
    found, out, trained = searched()
    assert found.best("gpt") == ({"optim.lr": 2**-8, "optim.weight_decay": 0.1}, pytest.approx(2.0))
    best = {"optim.lr": 2**-6, "optim.weight_decay": 0.0, "optim.alpha_init": 0.2}
    assert found.best("ngpt") == (best, pytest.approx(2.0))
    assert found.runs("gpt") == found.runs("ngpt") == len(trained) / 2
    assert found.runs("gpt") < 18 < 6 * 3 * 3
    # A decay of 0 is no edge, because nothing is below it.
    assert found.edges("gpt") == found.edges("ngpt") == []
    assert read(out / "search.json") == found
    lines = list(csv.DictReader((out / "search.csv").read_text().splitlines()))
    assert len(lines) == len(trained) and {line["hash"] for line in lines} == {c.config.hash for c in trained}


def test_it_goes_on_with_what_is_there(searched: Search_) -> None:
    first, _, trained = searched()
    again, _, more = searched()
    assert again == first and trained and not more


def test_a_budget_is_said(searched: Search_) -> None:
    found, _, _ = searched(points=5)
    assert found.runs("gpt") == found.runs("ngpt") == 5 and "stopped at 5 settings each" in found.how


def test_an_edge_is_named(searched: Search_) -> None:
    found, _, _ = searched({**FIELDS, "optim.lr": LRS[:3]})
    assert found.edges("gpt") == ["optim.lr"] and found.edges("ngpt") == ["optim.lr"]


@pytest.mark.parametrize(("inside", "edges"), [(2.003, []), (2.006, ["optim.init"]), (None, ["optim.init"])])
def test_an_edge_counts_where_the_loss_still_falls_towards_it(
    searched: Search_, inside: float | None, edges: list[str]
) -> None:
    """A method that normalizes its rows has one loss at every initial scale, up to rounding."""
    cells = [
        Tried(hash="a", method="gpt", seed=0, settings={"optim.init": scale}, status="done", loss_nats=loss)
        for scale, loss in (("std:0.02", 2.0), ("std:0.05", inside), ("std:0.1", 2.5))
        if loss is not None
    ]
    if inside is None:  # the value between was never tried
        cells[-1] = cells[-1].model_copy(update={"settings": {"optim.init": "std:0.1", "optim.lr": 0.1}})
    found = searches.made(
        recipe="demo", how="", space={"optim.init": ["std:0.02"]}, fixed={"gpt": {}}, cells=cells
    )
    assert found.edges("gpt") == edges


def test_a_seed_mean_decides(searched: Search_) -> None:
    found, _, trained = searched(seeds=3)
    assert found.seeds == {0, 1, 2} and found.runs("gpt") == len(trained) / 2
    assert found.best("ngpt") is not None and found.best("ngpt")[1] == pytest.approx(2.001)  # type: ignore[index]


def test_a_file_that_was_changed_is_refused(searched: Search_, tmp_path: Path) -> None:
    found, out, _ = searched()
    changes: list[Callable[[Any], None]] = [
        lambda held: held["tried"][3].update(loss_nats=1.0),
        lambda held: held["tried"][3].update(method="other"),
        lambda held: held["tried"][3]["settings"].update({"optim.lr": 1.0}),
        lambda held: held["space"]["optim.lr"].append("1.0"),
        lambda held: held["fixed"]["gpt"].update({"train.steps": "9"}),
    ]
    for change in changes:
        held = json.loads((out / "search.json").read_text())
        change(held)
        (tmp_path / "x.json").write_text(json.dumps(held))
        with pytest.raises(DataError, match=rf"search {found.search}: its content has the hash"):
            read(tmp_path / "x.json")
    for text in ("[]", "{", '{"search": "0"}'):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(DataError, match="no search"):
            read(tmp_path / "x.json")


def arm(found: Search, method: str = "ngpt", **optim: Any) -> RunConfig:
    """The config of a run that links the search, as `compare --tuned` makes it."""
    changed = replace(DEMO, tuned={method: tuned.tuned_by(found, method, DEMO)})
    (config,) = plan(
        changed, methods=[method], seeds=1, overrides={f"optim.{k}": v for k, v in optim.items()}
    )
    return config


def test_an_arm_is_tuned_by_what_was_searched_and_nothing_else(searched: Search_) -> None:
    found, _, _ = searched()
    config = arm(found)
    assert (config.seed, config.data.seed) == (1, 1), "the seed that chose is not reported"
    assert (config.optim.lr, config.optim.alpha_init, config.optim.search) == (2**-6, 0.2, found.search)
    assert why_untuned(config, {1, 2}, found) is None

    def why(config: RunConfig, seeds: set[int] = {1}, search: Search | None = found) -> str:  # noqa: B006
        said = why_untuned(config, seeds, search)
        assert said is not None
        return said

    assert why(config, {0, 1}) == f"biased: seed 0 chose these settings in search {found.search}"
    assert "is not beside the runs" in why(config, search=None)
    assert "no search is linked" in why(arm(found, search=""))
    assert "though a grid of learning rates is named" in why(arm(found, search="", lr_grid=["0.1", "0.2"]))
    assert "other settings best (optim.weight_decay 0.0, here 0.1" in why(arm(found, weight_decay=0.1))
    longer = config.model_copy(update={"train": config.train.model_copy(update={"steps": 1200})})
    assert "made at other settings (train.steps 600, here 1200)" in why(longer)
    assert "has no result for it" in why(config.model_copy(update={"method": "qk_norm"}))
    edge, _, _ = searched({**FIELDS, "optim.lr": LRS[:3]}, out="edge")
    assert "on the edge" in why(arm(edge), search=edge)


def test_the_page_shows_what_was_searched(searched: Search_, tmp_path: Path) -> None:
    found, out, _ = searched()
    assert {path.name for path in out.iterdir()} >= {f"search.{e}" for e in ("csv", "json", "png", "svg")}
    assert main(["report", str(out), "--out", str(tmp_path / "page")]) == 0
    page = json.loads((tmp_path / "page" / "report.json").read_text())
    (study,) = page["studies"]
    assert study["kind"] == "search" and found.search in study["answer"]
    assert [row[0] for row in study["rows"]] == ["gpt", "ngpt"]
    assert study["rows"][0][1] == found.runs("gpt")
    for name in study["files"]:
        assert (tmp_path / "page" / name).is_file()


def test_a_panel_holds_all_else_at_the_best(searched: Search_) -> None:
    found, _, _ = searched()
    curve = along(found, "gpt", "optim.weight_decay")
    assert curve == [(0, pytest.approx(2.01)), (1, pytest.approx(2.0)), (2, pytest.approx(2.04))]
    assert along(found, "gpt", "optim.alpha_init") == []
    assert min(along(found, "ngpt", "optim.lr"), key=lambda point: point[1])[1] == pytest.approx(2.0)


def test_searches_over_other_values_are_not_alike(searched: Search_) -> None:
    found, _, _ = searched()
    fewer, _, _ = searched({**FIELDS, "optim.weight_decay": ["0", "0.1"]}, out="fewer")
    assert searched_apart(("gpt", found), ("ngpt", found)) is None
    assert searched_apart(("gpt", found), ("ngpt", fewer)) is not None
    assert searched_apart(("gpt", found), ("ngpt", None)) is None, "that it is missing is another doubt"


def test_a_method_of_which_everything_was_tried_is_tuned_alike(searched: Search_) -> None:
    """It can't be given more runs; one of which something is left was given too few."""
    found, _, _ = searched({"optim.lr": LRS[1:4], "optim.alpha_init": ["0.05", "0.1", "0.2", "0.4"]})
    assert found.runs("gpt") == 3 < found.runs("ngpt") and found.exhausted("gpt")
    assert searched_apart(("gpt", found), ("ngpt", found)) is None
    assert not any("not tuned alike" in line for line in in_words(found))
    short = made(
        **{**found_fields(found), "cells": [c for c in found.cells if c.settings["optim.lr"] != 2**-8]}
    )
    assert not short.exhausted("gpt")
    assert searched_apart(("gpt", short), ("ngpt", short)) == f"2 and {short.runs('ngpt')} runs"
    assert any("not tuned alike" in line for line in in_words(short))


def found_fields(found: Search) -> dict[str, Any]:
    return {name: getattr(found, name) for name in ("recipe", "how", "space", "fixed")}


def test_a_linked_search_is_found_beside_the_study_or_shipped(
    searched: Search_, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, out, _ = searched()
    config = arm(found)
    assert find(config, tmp_path) is None
    (tmp_path / "searches").mkdir()
    (out / "search.json").rename(tmp_path / "searches" / f"{found.search}.json")
    assert find(config, tmp_path) == found
    monkeypatch.setattr(searches, "SHIPPED", tmp_path / "searches")
    assert find(config) == found


def test_values_that_a_method_refuses_are_none_of_its(searched: Search_) -> None:
    told: list[str] = []
    found, _, _ = searched(tell=told.append)
    assert sum("gpt without optim.alpha_init" in line for line in told) == 3
    assert "optim.alpha_init" not in found.best("gpt")[0]  # type: ignore[index]


def test_values_that_are_refused_together_end_no_search(
    searched: Search_, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is fine alone; the point counts as one that diverges, and is no run."""
    whole = module.Fitting.__call__

    def fits(self: module.Fitting, config: RunConfig) -> RunConfig:
        if config.optim.lr == 2**-8 and config.optim.weight_decay == 0.3:
            raise ConfigError("not together")
        return whole(self, config)

    monkeypatch.setattr(module.Fitting, "__call__", fits)
    found, _, _ = searched()
    assert found.best("gpt") == ({"optim.lr": 2**-8, "optim.weight_decay": 0.1}, pytest.approx(2.0))
    assert not any(
        c.settings.items() >= {"optim.lr": 2**-8, "optim.weight_decay": 0.3}.items() for c in found.cells
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--search"], "over what"),
        (["--search", "--lrs", "2^-9", "--widths", "32"], "one width"),
        (["--search", "--lrs", "2^-9", "2^-9"], "name each once"),
        (["--search", "--lrs", "2^-9", "--grid", "seed=1,2"], "--seeds"),
        (["--search", "--lrs", "2^-9", "--seeds", "0"], "at least 1"),
        (["--search", "--lrs", "2^-9", "--points", "0"], "at least 1"),
        (["--lrs", "2^-9", "--points", "3"], "goes with --search"),
    ],
)
def test_wrong_use_is_one_line(arguments: list[str], words: str, capsys: Any, tmp_path: Path) -> None:
    assert main(["sweep", "demo", *arguments, "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert not (tmp_path / "out").exists()


def test_other_fields_have_what_they_had_in_the_search(searched: Search_) -> None:
    """The recipe may have been tuned since; an arm with its settings would not be the one that was searched."""
    demo = replace(DEMO, tuned={"gpt": Tuned(lr=2**-9, settings={"optim.init": "std:0.1"})})
    found, _, _ = searched()
    best = tuned.tuned_by(found, "gpt", demo)
    assert best.settings == {"optim.weight_decay": 0.1} and best.lr == 2**-8, "the default initial scale"
    (config,) = plan(replace(demo, tuned={"gpt": best}), methods=["gpt"], seeds=1, overrides={})
    assert why_untuned(config, {1}, found) is None
    before = replace(DEMO, tuned={"gpt": Tuned(lr=2**-9, settings={"optim.init": "std:0.1"})})
    fixed = found.model_copy(update={"fixed": {"gpt": {"optim.init": "std:0.05"}}})
    assert tuned.tuned_by(fixed, "gpt", before).settings["optim.init"] == "std:0.05"


def test_a_search_without_the_method_or_a_learning_rate(
    searched: Search_, tmp_path: Path, capsys: Any
) -> None:
    _, out, _ = searched()
    search = str(out / "search.json")
    assert (
        main(["compare", "demo", "--tuned", search, "--methods", "gpt", "qk_norm", "--out", str(tmp_path)])
        == 2
    )
    assert "has no result for qk_norm; it tried gpt, ngpt" in capsys.readouterr().err
    no_lr, out, _ = searched({"optim.weight_decay": ["0", "0.1"]}, out="no")
    with pytest.raises(DataError, match="no learning rate"):
        tuned.tuned_by(no_lr, "gpt", DEMO)


def test_a_failed_cell_ends_the_search_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"failed \(killed by SIGKILL\); mend that"):
        module.search(recipe("demo"), out=tmp_path / "out", fields=FIELDS, methods=("gpt",), executor=Fails())


def test_a_searched_whole_number_comes_back_whole(searched: Search_) -> None:
    """An arm with the warm-up that the search chose is tuned: 30 steps are not 30.0."""
    found, out, _ = searched({"optim.lr": LRS, "schedule.warmup_steps": ["60", "30"]})
    again = read(out / "search.json")
    assert again == found and again.best("gpt")[0]["schedule.warmup_steps"] == 30  # type: ignore[index]
    assert "30.0" not in (out / "search.json").read_text()
    said = why_untuned(arm(again, "gpt"), {1}, again)
    assert said is None or said.startswith("on the edge"), said


def test_one_value_under_two_spellings_is_one_value(searched: Search_) -> None:
    told: list[str] = []
    fields = {"optim.lr": LRS, "optim.weight_decay": ["0.1", "1e-1", "0", "none", "0.3"]}
    found, _, trained = searched(fields, tell=told.append)
    assert "gpt without optim.weight_decay 1e-1: the same as 0.1" in told
    # ngpt's own decay is 0.
    assert "ngpt without optim.weight_decay none: the same as 0" in told
    hashes = [cell.config.hash for cell in trained]
    assert len(set(hashes)) == len(hashes) and found.runs("gpt") == found.runs("ngpt")


def test_an_ill_typed_value_is_an_error_and_no_refusal(searched: Search_) -> None:
    for values in ({"optim.weight_decay": ["0", "O.1"]}, {"optim.betas": ["0.9", "0.8"]}):
        with pytest.raises(ConfigError, match=r"optim\.(weight_decay|betas).*given"):
            searched({"optim.lr": LRS, **values})


def test_learning_rates_are_given_in_one_place(capsys: Any, tmp_path: Path) -> None:
    command = ["sweep", "demo", "--search", "--lrs", "2^-9", "--grid", "optim.lr=0.1,0.2"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 2
    assert "optim.lr: give the learning rates by --lrs" in capsys.readouterr().err
