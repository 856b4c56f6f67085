"""A board of runs whose losses the test chose: ranks, verdicts, edges, what is left, and how it goes on."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
from board_runs import LRS, Rank, by_method

from ngptlab.config import RunConfig
from ngptlab.config.method_name import stem
from ngptlab.errors import ConfigError
from ngptlab.jobs.cost import Cost
from ngptlab.jobs.local import SweepStopped
from ngptlab.ledger.book import Ledger
from ngptlab.stats.estimates import difference, holm
from ngptlab.studies.board import run as module
from ngptlab.studies.board.page import study
from ngptlab.studies.board.table import answer


def test_holm_by_hand_and_monotone() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == [] and holm([0.6, 0.9]) == [1.0, 1.0] and holm([0.04]) == [0.04]
    ps = [0.9, 0.001, 0.2, 0.02, 0.02, 1.0, 0.012]
    adjusted = holm(ps)
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    assert [adjusted[i] for i in order] == sorted(adjusted), "in the order of the p themselves"
    assert all(p <= a <= min(1.0, len(ps) * p) for p, a in zip(ps, adjusted, strict=True))


def test_ranks_verdicts_and_costs(rank: Rank) -> None:
    rows, board, left = rank("gpt", "relu2", "qk_norm", "dyt", "softcap")
    assert [row["rank"] for row in board["rows"]] == [1, 2, 3, 4, None]
    assert board["rows"][0] is rows["relu2"] and board["rows"][-1] is rows["softcap"]
    assert {name: row["verdict"] for name, row in rows.items()} == {
        "relu2": "better",
        "gpt": "baseline",
        "dyt": "undecided",
        "qk_norm": "worse",
        "softcap": None,
    }
    assert rows["softcap"]["state"] == "diverged" and "all 6 settings" in rows["softcap"]["reason"]
    assert left.runs == 0 and answer(board).startswith("Better than gpt: relu2. Worse than gpt: qk_norm.")
    better, base = rows["relu2"], rows["gpt"]
    assert better["seeds"] == [1, 2, 3], "seed 0 chose"
    assert better["against"] == difference(better["losses"], base["losses"])
    ps = [row["against"]["p_t"] for name in ("relu2", "qk_norm", "dyt") if (row := rows[name])["against"]]
    assert [rows[name]["p_holm"] for name in ("relu2", "qk_norm", "dyt")] == holm(ps)  # type: ignore[arg-type]
    tuning = better["tuning"]
    assert tuning is not None and (tuning["runs"], tuning["diverged"], tuning["edges"]) == (6, 0, [])
    assert tuning["settings"] == {"optim.lr": 2**-8, "optim.weight_decay": 0.0}
    assert better["held"] == {"optim.init": "std:0.1"}, "the baseline's, where it fits"
    # From 1 above its end at step 10, straight to its end at step 20.
    reached, mean = better["to_baseline"], better["loss_nats"]
    assert reached is not None and mean is not None and base["loss_nats"] is not None
    assert reached["step"] == pytest.approx(20 - 10 * (base["loss_nats"] - mean))
    assert reached["tokens"] == pytest.approx(reached["step"] * 16) and reached["seconds"] == pytest.approx(
        reached["step"] / 2
    )
    assert reached["flops"] == pytest.approx(10 * reached["tokens"])
    assert base["to_baseline"] is not None and base["to_baseline"]["step"] == 20
    assert rows["qk_norm"]["to_baseline"] is None and better["step_time_ratio"] == 1.0


def test_files_and_page(rank: Rank, tmp_path: Path) -> None:
    _, board, _ = rank("gpt", "relu2", "softcap", drawn=True)
    out = tmp_path / "board"
    assert {path.name for path in out.glob("board.*")} == {
        f"board.{ending}" for ending in ("csv", "json", "md", "png", "svg")
    }
    assert json.loads((out / "board.json").read_text()) == board
    lines = list(csv.DictReader((out / "board.csv").read_text().splitlines()))
    assert [line["method"] for line in lines] == ["relu2", "gpt", "softcap"]
    assert lines[0]["verdict"] == "better" and lines[0]["lr"] == str(2**-8)
    text = (out / "board.md").read_text()
    assert "| 1 | relu2 | 2.0" in text and "unsafe" in text and "| softcap |" in text
    (section,) = study(out / "board.json")
    assert section.rows[0][1].text == "relu2" and b"<svg" in section.svg
    assert section.write is not None
    section.write(tmp_path / "again")
    for ending in ("csv", "md", "png", "svg"):
        assert (tmp_path / "again" / f"board.{ending}").read_bytes() == (out / f"board.{ending}").read_bytes()
    assert json.loads((tmp_path / "again" / "board.json").read_text()) == board


def test_identical_arms_and_single_seeds_are_undecided(rank: Rank) -> None:
    rows, _, _ = rank("gpt", "qk_norm", loss=lambda config: 2 + 0.1 * config.seed)
    assert rows["qk_norm"]["verdict"] == "undecided" and rows["qk_norm"]["p_holm"] == 1.0
    rows, _, _ = rank("gpt", "qk_norm", seeds=1, out="single")
    assert rows["qk_norm"]["verdict"] == "undecided" and rows["qk_norm"]["p_holm"] is None
    assert rows["qk_norm"]["ci95"] is None


def test_edges_are_marked_where_the_loss_still_falls(rank: Rank) -> None:
    def falls(config: RunConfig) -> float:
        slope = 0.1 if stem(config.method) == "gpt" else 0.001
        return (
            by_method(config) - (0.1 if config.optim.lr != 2**-8 else 0) - slope * math.log2(config.optim.lr)
        )

    rows, board, _ = rank("gpt", "dyt", loss=falls)
    edges = {name: tuning["edges"] for name, row in rows.items() if (tuning := row["tuning"])}
    assert edges == {"gpt": ["optim.lr"], "dyt": []}, "a fall below 0.005 nats is none"
    assert board["warnings"] == ["Tuned to the edge of the grid, so the optimum may lie beyond: gpt."]
    assert [doubt["arms"] for doubt in board["doubts"]] == [["gpt"]]


def test_a_seed_that_diverges_is_a_row(rank: Rank) -> None:
    def unlucky(config: RunConfig) -> float:
        return 30.0 if (stem(config.method), config.seed) == ("qk_norm", 2) else by_method(config)

    rows, _, _ = rank("gpt", "qk_norm", "relu2", loss=unlucky)
    assert rows["qk_norm"]["state"] == "diverged" and rows["qk_norm"]["rank"] is None
    assert "1 of 3 runs" in rows["qk_norm"]["reason"] and rows["relu2"]["verdict"] == "better"


def test_a_method_that_cannot_run_is_a_line(rank: Rank, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = module.arm_of

    def some(method: str, *rest: Any) -> Any:
        if method == "dyt":
            raise RuntimeError("mat1 and mat2\nshapes")
        return whole(method, *rest)

    monkeypatch.setattr(module, "arm_of", some)
    rows, _, left = rank("gpt", "dyt", "qk_norm")
    assert (rows["dyt"]["state"], rows["dyt"]["reason"]) == (
        "cannot run",
        "RuntimeError: mat1 and mat2 shapes",
    )
    assert rows["qk_norm"]["rank"] == 2 and left.runs == 0
    with pytest.raises(ConfigError, match="the baseline dyt can't run"):
        rank("dyt", "gpt", out="other")


def test_interrupted_it_goes_on_through_the_ledger(rank: Rank, tmp_path: Path) -> None:
    whole, _, _ = rank("gpt", "qk_norm", out="whole")
    trained: list[tuple[str, float, float, int]] = []
    with pytest.raises(SweepStopped):
        rank("gpt", "qk_norm", ledger=True, most=11, out="first", trained=trained)
    assert [name for name, *_ in trained] == ["gpt"] * 9 + ["qk_norm"] * 2, "method by method, baseline first"
    assert [seed for *_, seed in trained] == [0] * 6 + [1, 2, 3] + [0, 0]
    there = json.loads((tmp_path / "first" / "board.json").read_text())["rows"]
    assert [(row["method"], row["state"], row["reason"]) for row in there] == [
        ("gpt", "ranked", ""),
        ("qk_norm", "not tuned yet", "2 of 6 runs of its grid are over"),
    ]
    assert there[1]["rank"] is None and there[0]["loss_nats"] is not None
    more: list[tuple[str, float, float, int]] = []
    rows, _, _ = rank("gpt", "qk_norm", ledger=True, out="second", trained=more)
    assert len(more) == 18 - 11 and not set(more) & set(trained)
    assert rows["gpt"] == whole["gpt"] and rows["qk_norm"]["losses"] == whole["qk_norm"]["losses"]
    none: list[tuple[str, float, float, int]] = []
    again, _, _ = rank("gpt", "qk_norm", ledger=True, out="second", trained=none)
    assert none == [] and again == rows


def test_pieces_with_one_ledger_make_one_table(rank: Rank, tmp_path: Path) -> None:
    rank("gpt", "relu2", ledger=True, out="monday")
    trained: list[tuple[str, float, float, int]] = []
    rows, board, _ = rank("gpt", "qk_norm", ledger=True, out="tuesday", trained=trained)
    assert {name for name, *_ in trained} == {"qk_norm"}
    assert [(row["rank"], row["method"]) for row in board["rows"]] == [
        (1, "relu2"),
        (2, "gpt"),
        (3, "qk_norm"),
    ]
    assert rows["relu2"]["verdict"] == "better"
    assert sum(1 for _ in Ledger(tmp_path / "runs.jsonl").entries()) == 27


def test_a_plan_trains_nothing_and_says_what_is_left(rank: Rank, monkeypatch: pytest.MonkeyPatch) -> None:
    cost = Cost(step=1.0, rest=0.0, building=10.0)
    monkeypatch.setattr("ngptlab.studies.board.left.cost_here", lambda recipe, names, whole: cost)
    trained: list[tuple[str, float, float, int]] = []
    _, _, left = rank("gpt", "qk_norm", training=False, trained=trained)
    assert trained == [] and (left.tuning, left.fresh, left.seconds) == (12, 6, 18 * 30.0)
    assert "18 runs left (12 to tune, 6 fresh seeds), about 9:00 one after the other" in left.sentence
    with pytest.raises(SweepStopped):
        rank("gpt", "qk_norm", most=7)
    rows, _, left = rank("gpt", "qk_norm", training=False)
    assert (left.tuning, left.fresh) == (6, 2 + 3) and left.seconds == pytest.approx(11 * 10.0)
    assert rows["gpt"]["reason"] == "1 of 3 seeds are over"


def test_the_default_grid_is_around_the_baseline_s_own(rank: Rank) -> None:
    _, board, _ = rank("gpt", lrs=(), decays=(), training=False, most=0)
    assert board["lrs"] == [2**-10, 2**-9, 2**-8, 2**-7, 2**-6]
    assert board["decays"] == pytest.approx([0.15, 0.6])
    assert LRS[1] == board["lrs"][2]
