"""Runs of a board whose losses the test chose."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from made_runs import metrics, val
from ngptlab.config import RunConfig
from ngptlab.config.method_name import stem
from ngptlab.draw import style
from ngptlab.errors import DivergedError
from ngptlab.jobs import local
from ngptlab.jobs.cell import Cell, run_of
from ngptlab.jobs.local import SweepStopped
from ngptlab.ledger.book import Ledger
from ngptlab.recipes import recipe
from ngptlab.runs import Run
from ngptlab.studies.board.left import Left
from ngptlab.studies.board.numbers import Board, Row
from ngptlab.studies.board.plan import terms
from ngptlab.studies.board.run import How, board

SMALL = {
    "model.num_layers": "1",
    "model.num_heads": "1",
    "model.d_model": "8",
    "train.steps": "20",
    "train.batch_size": "1",
    "train.context": "16",
    "eval.every": "10",
}
LRS, DECAYS = (2**-9, 2**-8, 2**-7), ("0.0", "0.1")

Loss = Callable[[RunConfig], float]
Rank = Callable[..., tuple[dict[str, Row], Board, Left]]


class Chosen:
    """An executor whose runs end at a loss that the test chose; at 20 they diverge. Stops after `most` runs."""

    def __init__(self, loss: Loss, most: int = 1_000) -> None:
        self.loss, self.most = loss, most
        self.trained: list[tuple[str, float, float, int]] = []

    def prepare(self, cells: Sequence[Cell], out: Path) -> None:
        """Nothing is needed."""

    def train(self, cells: Sequence[Cell], out: Path, request: object) -> dict[str, str]:
        for cell in cells:
            if len(self.trained) == self.most:
                raise SweepStopped(signal.SIGTERM, 0, len(cells))
            config, optim = cell.config, cell.config.optim
            self.trained.append((stem(config.method), optim.lr, optim.weight_decay or 0.0, config.seed))
            run, steps, loss = Run.open(run_of(out, cell), config), config.train.steps, self.loss(config)
            run.replace("metrics", [{**m, "tokens": m["step"] * 16} for m in metrics({0: 5.0, steps: loss})])
            run.replace("timing", [_second(step) for step in range(1, steps + 1)])
            for step, measured in ((0, 6.0), (10, loss + 1), (20, loss)):
                run.append("evals", val(step, measured, 0.01, 1.0))
            (run.path / "env.json").write_text(json.dumps({"data_digest": "d"}))
            if loss < 20:
                run.finish("done", step=steps, params=1, tokens=1, flops_per_token=10)
            else:
                run.fail(DivergedError("loss nan"))
        return {}


def _second(step: int) -> dict[str, Any]:
    return {"step": step, "step_seconds": 0.5, "data_seconds": 0.0}


def by_method(config: RunConfig) -> float:
    """Best at 2^-8 without decay; a seed moves all methods alike, and each a little by itself."""
    means = {"gpt": 2.0, "relu2": 1.9, "qk_norm": 2.3, "dyt": 2.0, "softcap": 30.0}
    own = sum(map(ord, stem(config.method))) % 7
    found = means.get(stem(config.method), 2.0) + 0.05 * config.seed + 0.001 * ((config.seed * own) % 5)
    return found + (0.0 if config.optim.lr == 2**-8 else 0.1) + (config.optim.weight_decay or 0)


@pytest.fixture
def rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rank:
    """A board of the demo with chosen losses: its rows by method, the board, what is left; `trained` is filled if given."""

    monkeypatch.setattr(local, "_digest", lambda config: "d")  # the text of runs that are made up

    def make(*methods: str, loss: Loss = by_method, most: int = 1_000, **how: Any) -> Any:
        executor = Chosen(loss, most)
        given = terms(
            recipe("demo"),
            baseline=methods[0],
            lrs=how.get("lrs", LRS),
            decays=how.get("decays", DECAYS),
            seeds=how.get("seeds", 3),
            overrides=SMALL,
        )
        ledger = Ledger(tmp_path / "runs.jsonl") if how.get("ledger") else None
        if not how.get("drawn"):
            monkeypatch.setattr(
                style, "write", lambda *given, **how: None
            )  # drawing takes longer than all else
        setting = How(out=tmp_path / how.get("out", "board"), executor=executor, ledger=ledger)
        try:
            found, left, _ = board(given, methods, setting, training=how.get("training", True))
        finally:
            how.get("trained", []).extend(executor.trained)
        return {row["method"]: row for row in found["rows"]}, found, left

    return make
