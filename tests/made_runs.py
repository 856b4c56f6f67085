"""Run directories with numbers chosen by the test: what `ngptlab train` leaves, without training."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ngptlab import config as configs
from ngptlab.config import RunConfig
from ngptlab.runs import Run
from ngptlab.stats.search import FOLDER, Search, Tried, fixed_of, made

MakeRun = Callable[..., Path]

ENV = {"python": "3.11.7", "torch": "2.13.0", "device": "cpu", "data_digest": "d1", "commit": "c0ffee"}


def config_of(method: str, seed: int = 0, *, steps: int = 100, **changes: Any) -> RunConfig:
    """A small config: 8 x 16 tokens a step, a cooldown over the last 30%. `changes` are by section."""
    fields: dict[str, Any] = {
        "name": "made",
        "method": method,
        "seed": seed,
        "model": {"vocab_size": 8, "num_layers": 1, "num_heads": 1, "d_model": 4},
        "optim": {"lr": 2**-9, "lr_grid": [2**-10, 2**-9, 2**-8], "weight_decay": 0.1},
        "schedule": {"warmup_steps": 5, "cooldown_frac": 0.3},
        "train": {"steps": steps, "batch_size": 8, "context": 16},
        "eval": {"every": 1000},
    }
    for section, values in changes.items():
        fields[section] = {**fields.get(section, {}), **values} if isinstance(values, dict) else values
    return configs.parse(fields, origin="a test")


def search_of(config: RunConfig, grid: Sequence[float], seed: int = 99) -> Search:
    """A search over these learning rates at all else that a config has, in which its own rate was best."""
    cells = []
    for lr in grid:
        tried = config.model_copy(
            update={"seed": seed, "optim": config.optim.model_copy(update={"lr": lr, "lr_grid": ()})}
        )
        cells.append(
            Tried(
                hash=tried.hash,
                method=config.method,
                seed=seed,
                settings={"optim.lr": lr},
                status="done",
                loss_nats=2.0 if lr == config.optim.lr else 3.0,
            )
        )
    return made(
        recipe=config.name,
        how="made",
        space={"optim.lr": [str(lr) for lr in grid]},
        fixed={config.method: fixed_of(config, ["optim.lr"])},
        cells=cells,
    )


def linked(config: RunConfig, study: Path) -> RunConfig:
    """A config that links a search over its `lr_grid`, which is put into the folder of its study; without a grid, none."""
    if not config.optim.lr_grid:
        return config
    found = search_of(config, config.optim.lr_grid)
    (study / FOLDER).mkdir(parents=True, exist_ok=True)
    (study / FOLDER / f"{found.search}.json").write_text(found.model_dump_json(by_alias=True))
    return config.model_copy(update={"optim": config.optim.model_copy(update={"search": found.search})})


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Write one run directory and return its path."""
    return run_maker(tmp_path)


def run_maker(folder: Path) -> MakeRun:
    """Write run directories below `folder / "runs"`."""

    def make(
        method: str,
        losses: dict[int, float],
        *,
        seed: int = 0,
        stderr: float = 0.01,
        bits_per_byte: float = 1.5,
        seconds: Sequence[float] = (),
        length: Sequence[float] = (),
        length_stderr: float | None = 0.05,
        documents: int = 4,
        name: str | None = None,
        env: dict[str, Any] | None = None,
        status: str = "done",
        parts: tuple[Sequence[int], Sequence[float]] | None = None,
        **changes: Any,
    ) -> Path:
        last = max(losses)
        config = linked(config_of(method, seed, **{"steps": last, **changes}), folder)
        run = Run.open(folder / "runs" / (name or config.run_name), config)
        run.rewind({})  # it may have been made before
        for step, loss in sorted(losses.items()):
            run.append("evals", val(step, loss, stderr, bits_per_byte))
        if parts:
            row = {"step": last, "eval": "parts", "of": "document"}
            run.append("evals", {**row, "tokens": list(parts[0]), "loss_nats": list(parts[1])})
        run.replace("metrics", metrics(losses, config.train.tokens_before))
        for step, value in enumerate(seconds, start=1):
            run.append("timing", {"step": step, "step_seconds": value, "data_seconds": 0.0})
        if length:
            bins = length_bins(length, length_stderr)
            row = {"step": last, "eval": "length", "context": 16, "documents": documents, "bins": bins}
            run.append("evals", row)
        (run.path / "env.json").write_text(json.dumps(ENV if env is None else env))
        run.finish(status, step=last, params=1234, tokens=last * 128)
        return run.path

    return make


def metrics(
    losses: dict[int, float], tokens_before: Callable[[int], int] = lambda step: step * 128
) -> Iterator[dict[str, Any]]:
    """Lines of every step; between two validations the loss is that of the one to come."""
    measured = sorted(losses)
    for step in range(1, measured[-1] + 1):
        loss = losses[next(at for at in measured if at >= step)]
        yield {
            "step": step,
            "tokens": tokens_before(step),
            "loss_nats": loss + 0.1,
            "lr": 0.1,
            "grad_norm": 1.0,
        }


def ending(run: Run) -> dict[str, Any]:
    """The summary without what differs from run to run: the time, and digests, one of which is of times."""
    timed = ("streams", "train_seconds")
    return {name: value for name, value in run.summary.items() if name not in timed}


def val(step: int, loss: float, stderr: float, bits_per_byte: float) -> dict[str, Any]:
    """A validation row as the trainer writes it."""
    return {
        "step": step,
        "eval": "val",
        "loss_nats": loss,
        "stderr_nats": stderr,
        "bits_per_byte": bits_per_byte,
        "tokens": 4096,
    }


def length_bins(losses: Sequence[float], stderr: float | None) -> list[dict[str, Any]]:
    """Bins 0-16, 16-32, 32-64, ... with these losses."""
    edges = [0, *(16 * 2**i for i in range(len(losses)))]
    return [
        {"from": a, "to": b, "loss_nats": loss, "stderr_nats": stderr}
        for a, b, loss in zip(edges, edges[1:], losses, strict=False)
    ]
