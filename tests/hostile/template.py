"""A small one of every kind of file that the package reads, to put something hostile in its place."""

from __future__ import annotations

import bz2
import contextlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import torch
import zstandard

from made_runs import config_of, search_of
from ngptlab import config as configs
from ngptlab.cli import main
from ngptlab.config import DataConfig
from ngptlab.experiment import train
from ngptlab.export.write import export
from ngptlab.initial_model import initial_model
from ngptlab.ledger.book import Ledger
from ngptlab.methods import text as method_text
from ngptlab.stats.search import plain
from ngptlab.studies.trial.numbers import Setting, diverged
from ngptlab.trained import open_trained
from tiny import tiny_config, write_texts

RESULTS = Path(__file__).parents[2] / "results"
BYTES = DataConfig(source="text:texts", tokenizer="bytes", val_share=0.2)
SCRATCH = "scratch"
TOKENIZER: dict[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": {"type": "WhitespaceSplit"},
    "post_processor": None,
    "decoder": None,
    "model": {"type": "WordLevel", "vocab": {"the": 0, "cat": 1, "</s>": 2, "?": 3}, "unk_token": "?"},
}


def make(home: Path) -> None:
    """Fill a folder, in which one works. Paths in configs are relative to it, so it can be copied."""
    with (
        contextlib.chdir(home),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        write_texts(Path("texts"))
        _small_ones()
        _studies()
        config = tiny_config(Path("texts"), "ngpt", eval={"at": [2]})
        run = train(config, Path("run"))
        Path("run.json").write_text(configs.dump(config))
        Path("run.yaml").write_text(json.dumps(config.model_dump(mode="json")))
        run.keep_eval("val", [line for line in run.read("evals") if line["eval"] == "val"][-1])
        (run.path / "fork.json").write_text(json.dumps({"run": "trunk", "hash": "0" * 8, "step": 3}))
        Path("run/tensorboard").mkdir()
        for name in ("skipped.jsonl", "tensorboard/events.out.tfevents.1"):
            Path("run", name).touch()
        shutil.copytree("run", "killed")
        Path("killed/summary.json").unlink()
        Path("my_idea.py").write_text(method_text("gpt"))
        assert main(["train", "run.json", "--method", "my_idea.py", "--out", "own"]) == 0
        assert main(["data", "prepare", "texts", "--out", "shards", "--tokenizer", "bytes"]) == 0
        export(open_trained(run.path), Path("export"))
        torch.save({"model": dict(initial_model(config).state_dict())}, "checkpoint.pt")
        shutil.copy("export/model.safetensors", "checkpoint.safetensors")
        Ledger(Path("ledger.jsonl")).add([run])


A_TRY: Setting = {
    "method": "my_idea",
    "against": "gpt",
    "recipe": "demo",
    "key": "k",
    "checks": [],
    "lrs": [0.001],
    "steps": 5,
    "recipe_steps": 5,
    "budget_seconds": 60.0,
    "folder": "out",
}


def _small_ones() -> None:
    lines = b"".join(
        json.dumps({"text": f"the cat sat on mat {n} " * 20}).encode() + b"\n" for n in range(20)
    )
    for name, content in (
        ("lines/a.jsonl", lines),
        ("packed/a.jsonl.zst", zstandard.compress(lines)),
        ("rows/a.parquet", b"PAR1"),
        ("tasks/arc_easy.jsonl", b'{"query": "a", "choices": ["b", "c"], "gold": 0}\n'),
        ("tasks/hellaswag_val_full.txt.bz2", bz2.compress(b"a\n0\nb\nc\nd\ne\n")),
        ("tables/demo-scales.csv", (RESULTS / "demo-scales.csv").read_bytes()),
        ("tables/demo-lr-grid.json", (RESULTS / "demo-lr-grid.json").read_bytes()),
        ("tries/tries.jsonl", json.dumps(diverged(A_TRY, {}, seconds=1.0)).encode() + b"\n"),
        ("tries/steps.json", b'{"budget_seconds": 60.0, "steps": 7}\n'),
        ("begun/progress.json", b"{}"),
        ("tokenizer.json", json.dumps(TOKENIZER).encode()),
        ("tiktoken/6d1cbeee0f20b3d9449abfede4726ed8212e3aee", b"IQ== 0\n"),
        ("hub/datasets--a--b/refs/main", b"0" * 40),
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)


def _studies() -> None:
    config = config_of("gpt")
    search = search_of(config, config.optim.lr_grid)
    for name, content in (
        ("ladder/ladder.json", (RESULTS / "demo-ladder.json").read_text()),
        ("cooldown/cooldown.json", (RESULTS / "demo-cooldown.json").read_text()),
        ("search/search.json", json.dumps(plain(search))),
        ("sweep/sweep.json", "[]"),
        ("coord/coord.json", "{}"),
        ("board/board.json", "{}"),
        ("target/target.json", "{}"),
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(content)
