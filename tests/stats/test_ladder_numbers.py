"""What a ladder says of runs whose numbers the test chose."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from made_runs import linked, metrics
from ngptlab import config as configs
from ngptlab.runs import Run
from ngptlab.studies.ladder.files import as_csv, print_ladder, write_ladder
from ngptlab.studies.ladder.numbers import Ladder, Mode, Rung, measure

Written = Callable[..., dict[str, bytes]]
LABELS = {"a": (), "+ norm": ("norm",), "+ qk": ("attn_scale", "qk"), "+ gate": ("gate",)}


def make_run(
    folder: Path,
    arm: str,
    seed: int,
    loss: float,
    *,
    seconds: float,
    device: str = "cpu",
    lr: float = 0.01,
    grid: Sequence[float] = (),
) -> Path:
    """A finished run of ten steps, with this loss at its end; with a grid, tuned by a search over it."""
    fields: dict[str, Any] = {
        "name": "made",
        "method": "a",
        "seed": seed,
        "seams": {} if arm == "a" else {"norm": arm.replace("+ ", "")},
        "model": {"vocab_size": 8, "num_layers": 1, "num_heads": 1, "d_model": 4},
        "data": {"seed": seed},
        "optim": {"lr": lr, "lr_grid": list(grid)},
        "train": {"steps": 10, "batch_size": 8, "context": 16},
    }
    config = linked(configs.parse(fields, origin="a test"), folder.parent)
    run = Run.open(folder / config.run_name, config)
    for step, value in ((0, 5.0), (10, loss)):
        row = {"step": step, "eval": "val", "loss_nats": value, "stderr_nats": 0.25, "bits_per_byte": 1.0}
        run.append("evals", row)
    run.replace("metrics", metrics({0: 5.0, 10: loss}))
    for step in range(1, 11):
        # The first steps are slow, as with compilation; they must not count.
        run.append("timing", {"step": step, "step_seconds": seconds if step > 1 else 100.0})
    (run.path / "env.json").write_text(json.dumps({"device": device, "data_digest": "d"}))
    run.finish("done", step=10, params=7)
    return run.path


def rung(label: str, runs: Sequence[Path], **changes: Any) -> Rung:
    fields: dict[str, Any] = {
        "label": label,
        "arm": label,
        "seams": LABELS[label],
        "lr": 0.01,
        "lr_of": "a",
        "reason": "",
        "runs": tuple(runs),
    }
    return Rung(**(fields | changes))


def made(
    folder: Path, losses: dict[str, list[float]], mode: Mode = "cumulative", **changes: dict[str, Any]
) -> Ladder:
    rungs = []
    for number, (label, values) in enumerate(losses.items(), start=1):
        change = changes.get(label, {})
        tuned = {"lr": change.get("lr", 0.01), "grid": change.pop("grid", ())}
        runs = [
            make_run(folder / "runs", label, seed, loss, seconds=number, **tuned)
            for seed, loss in enumerate(values)
        ]
        rungs.append(rung(label, runs, **changes.get(label, {})))
    return measure(rungs, recipe="made", base="a", target="b", mode=mode)


def test_steps_are_paired_by_seed(tmp_path: Path) -> None:
    """Seeds far apart, steps close together: only pairs can tell."""
    found = made(tmp_path, {"a": [1.0, 3.0, 5.0], "+ norm": [1.1, 3.2, 5.3], "+ qk": [0.6, 2.7, 4.8]})
    first, norm, qk = found["rungs"]
    assert first["adds"] is None
    assert first["final_loss_nats"] == pytest.approx(3.0, abs=1e-12)
    assert first["final_loss_stderr"] == pytest.approx(2 / math.sqrt(3), abs=1e-12)
    assert first["stderr_over"] == "seeds" and first["seeds"] == [0, 1, 2]
    assert norm["adds"] and qk["adds"]
    assert (norm["adds"]["against"], qk["adds"]["against"]) == ("a", "+ norm")
    assert norm["adds"]["nats"] == pytest.approx(0.2, abs=1e-12) and norm["adds"]["pairs"] == 3
    assert norm["adds"]["stderr"] == pytest.approx(0.1 / math.sqrt(3), abs=1e-12)
    assert norm["adds"]["ci95"] == pytest.approx(4.302652729749464 * 0.1 / math.sqrt(3), abs=1e-12)
    assert qk["adds"]["nats"] == pytest.approx(-0.5, abs=1e-12)
    assert qk["adds"]["stderr"] == pytest.approx(0.0, abs=1e-12)
    assert [r["step_seconds_median"] for r in found["rungs"]] == [1.0, 2.0, 3.0]


def test_leave_one_out_compares_with_the_first(tmp_path: Path) -> None:
    found = made(tmp_path, {"a": [2.0], "+ norm": [2.5], "+ qk": [2.1]}, "leave-one-out")
    adds = [r["adds"] for r in found["rungs"]]
    assert adds[1] and adds[2] and {adds[1]["against"], adds[2]["against"]} == {"a"}
    assert (adds[1]["nats"], adds[2]["nats"]) == (pytest.approx(0.5), pytest.approx(0.1))


def test_one_seed_has_the_validation_sets_error_and_none_of_its_own_steps(tmp_path: Path) -> None:
    found = made(tmp_path, {"a": [2.0], "+ norm": [1.0]})
    norm = found["rungs"][1]
    assert (norm["final_loss_stderr"], norm["stderr_over"]) == (0.25, "validation")
    assert norm["adds"] and norm["adds"]["stderr"] is None and norm["adds"]["ci95"] is None
    assert any(w.startswith("One seed") for w in found["warnings"])


def test_a_rung_without_result_is_named_and_stepped_over(tmp_path: Path) -> None:
    losses: dict[str, list[float]] = {"a": [2.0], "+ norm": [9.0], "+ qk": [1.5]}
    found = made(tmp_path, losses, **{"+ norm": {"reason": "diverged with seed 1"}})
    _, norm, qk = found["rungs"]
    assert norm["final_loss_nats"] is None and norm["adds"] is None and norm["stderr_over"] == ""
    assert qk["adds"] and qk["adds"]["against"] == "a" and qk["adds"]["nats"] == pytest.approx(-0.5)
    assert found["warnings"][0] == "No result for + norm: diverged with seed 1."


def test_leave_one_out_without_its_first_rung_compares_nothing(tmp_path: Path) -> None:
    losses = {"a": [2.0], "+ norm": [2.5], "+ qk": [2.1]}
    found = made(tmp_path, losses, "leave-one-out", a={"reason": "diverged"})
    assert [r["adds"] for r in found["rungs"]] == [None, None, None]


def test_warnings(tmp_path: Path) -> None:
    grid = (0.01, 0.02, 0.04)
    found = made(
        tmp_path,
        {"a": [2.0, 2.0], "+ norm": [2.0, 2.0], "+ qk": [2.0, 2.0]},
        **{"a": {"grid": grid}, "+ qk": {"lr": 0.02, "grid": grid}},
    )
    text = "\n".join(found["warnings"])
    assert "Settings of a, learning rate 0.01: on the edge of what search" in text
    assert "not tuned, for + norm:" in text and "+ qk:" not in text
    assert "changes along with the seams at + qk (0.01 to 0.02)" in text
    assert "Two seeds" in text


def test_three_tuned_seeds_have_no_warning(tmp_path: Path) -> None:
    grid = (0.005, 0.01, 0.02)
    found = made(
        tmp_path, {"a": [2.0] * 3, "+ norm": [2.0] * 3}, **{"a": {"grid": grid}, "+ norm": {"grid": grid}}
    )
    assert found["warnings"] == []


def test_other_machines_are_told(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path, label, 0, 2.0, seconds=1, device=device)
        for label, device in (("a", "cpu"), ("+ norm", "cuda"))
    ]
    rungs = [rung("a", runs[:1]), rung("+ norm", runs[1:])]
    found = measure(rungs, recipe="made", base="a", target="b", mode="cumulative")
    assert any("step times can't be compared" in w for w in found["warnings"])


def test_csv_has_a_line_a_rung(tmp_path: Path) -> None:
    found = made(
        tmp_path, {"a": [2.0], "+ norm": [1.5], "+ qk": [1.0]}, **{"+ norm": {"reason": 'a, "b"\n=c'}}
    )
    rows = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert [row["rung"] for row in rows] == ["0", "1", "2"]
    assert rows[2]["seams"] == "attn_scale qk" and rows[2]["adds_against_rung"] == "0"
    assert float(rows[2]["adds_nats"]) == -1.0 and float(rows[2]["final_loss_nats"]) == 1.0
    assert rows[1]["final_loss_nats"] == "" and rows[1]["reason"] == 'a, "b"\n=c'


def test_table(tmp_path: Path) -> None:
    found = made(
        tmp_path, {"a": [2.0, 2.2], "+ norm": [1.5, 1.5], "+ qk": [1.0, 1.1]}, **{"+ norm": {"reason": "why"}}
    )
    console = Console(width=120, record=True, file=io.StringIO())
    print_ladder(found, console)
    text = console.export_text()
    assert (
        "95% over 2 seeds" in text
        and "2.1000 ± 1.2706" in text
        and "-1.0500 ± 0.6353" in text
        and "3000.0" in text
    )
    assert "+ norm: no result, why" in text and "Warning: Two seeds" in text


def test_files(tmp_path: Path, written: Written) -> None:
    found = made(
        tmp_path, {"a": [2.0, 2.2], "+ norm": [1.5, 1.5], "+ qk": [1.0, 1.1]}, **{"+ norm": {"reason": "$x$"}}
    )
    files = written(write_ladder, found, "ladder")
    assert files["ladder.csv"].decode() == as_csv(found)
