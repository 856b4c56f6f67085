"""Every kind of file that the package reads, with what reads it. SECURITY.md has a line for each."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from template import BYTES, SCRATCH

from ngptlab.cli import main
from ngptlab.data.prepare.datatrove_steps import steps
from ngptlab.data.shards import hub
from ngptlab.errors import LabError
from ngptlab.measure.tasks import files as tasks
from ngptlab.studies.trial import files as trials

Read = Callable[[], int]


class Kind(NamedTuple):
    """A file of the template, and what reads it."""

    at: str
    """Its path; where it has a star, the only one of that form."""
    read: tuple[Read, ...]
    """The quickest first: it meets every payload in `make faults`, the others some."""
    before: Callable[[], object] = lambda: None
    """What is done in a copy of the template before something is put into it."""


def kind(at: str, *read: str | Read, before: Callable[[], object] = lambda: None) -> Kind:
    return Kind(at, tuple(line(each) if isinstance(each, str) else each for each in read), before)


def line(command: str) -> Read:
    """A command line."""
    return lambda: main(command.split())


def call(act: Callable[[], object]) -> Read:
    """What a verb does that needs an extra, or a network; errors of a line end it as they would end the verb."""

    def do() -> int:
        try:
            act()
        except (LabError, OSError) as error:
            print(f"ngptlab: {error}")
            return 2
        return 0

    return do


def _with_tiktokens_cache() -> int:
    os.environ["TIKTOKEN_CACHE_DIR"] = "tiktoken"
    return main(["data", "prepare", "texts", "--out", "new", "--tokenizer", "gpt2"])


def _cached_commit() -> None:
    hub.hub_cache = lambda: Path("hub")
    hub._cached_commit("a/b", "main")


WATCH, SHOW = "watch . --once", "report run own --out page"
ADD, EXPORT, JUDGE = "ledger l.jsonl --add run", "export run e", "claims run --out judged"
SAMPLE, GO_ON = "sample run a --max-tokens 2", "train run.json --out killed"
PREPARE, SKIP = "data prepare {} --out new --tokenizer bytes", " --bad-documents skip"
TRAIN_ON = "train run.json --data.source shards:shards --out n"
FOREIGN = "import {} back --from {}"
CHECKPOINT = "checkpoints/step_000008"
BLOCK = f"{SCRATCH}/block_00000_of_00001"
merge = call(lambda: steps(BYTES, Path("merged"), Path(SCRATCH))[1]())


def encode() -> None:
    """Blocks of the very files that are there: a copy's have other paths."""
    steps(BYTES, Path("merged"), Path(SCRATCH))[0](None, 0, 1)


def study(name: str) -> Kind:
    return kind(f"{name}/{name}.json", f"report {name} --out page", f"claims {name} --out judged")


KINDS: dict[str, Kind] = {
    "config, YAML": kind("run.yaml", "config run.yaml", "plan run.yaml"),
    "config, JSON": kind("run.json", "config run.json", "plan run.json"),
    "run: config.json": kind("run/config.json", WATCH, SAMPLE, JUDGE, SHOW),
    "run: env.json": kind("run/env.json", WATCH, ADD, EXPORT, JUDGE, SHOW),
    "run: summary.json": kind("run/summary.json", WATCH, ADD, "train run.json --out run", JUDGE, SHOW),
    "run: fork.json": kind("run/fork.json", ADD, SHOW),
    "run: metrics.jsonl": kind("run/metrics.jsonl", WATCH, ADD, SHOW),
    "run: timing.jsonl": kind("run/timing.jsonl", WATCH, SHOW),
    "run: evals.jsonl": kind("run/evals.jsonl", WATCH, EXPORT, SHOW),
    "run: scales.jsonl": kind("run/scales.jsonl", ADD, SHOW),
    "run: skipped.jsonl": kind("run/skipped.jsonl", ADD, SHOW),
    "run: tensorboard/": kind("run/tensorboard/events.out.tfevents.1", "track run --to tensorboard", WATCH),
    "run: streams of one that goes on": kind("killed/metrics.jsonl", WATCH, GO_ON),
    "run: evals/*.json": kind("run/evals/val.json", ADD, EXPORT, JUDGE, SHOW),
    "checkpoint: manifest.json": kind(f"killed/{CHECKPOINT}/manifest.json", GO_ON),
    "checkpoint: model.safetensors": kind(f"run/{CHECKPOINT}/model.safetensors", SAMPLE, EXPORT),
    "checkpoint: optimizer.safetensors": kind(f"killed/{CHECKPOINT}/optimizer.safetensors", GO_ON),
    "method, a copy": kind("own/methods/my_idea*.py", "sample own a --max-tokens 2", SHOW),
    "method, its origins": kind("own/methods/origins.json", "train run.json --method my_idea.py --out own"),
    "ledger": kind(
        "ledger.jsonl",
        *("ledger ledger.jsonl --check", "ledger ledger.jsonl --csv t.csv"),
        *("ledger ledger.jsonl --restore back", "claims . --out judged"),
    ),
    "shards: manifest.json": kind(
        "shards/manifest.json", "data verify shards", "data stats shards", TRAIN_ON
    ),
    "shards: .bin": kind("shards/train_000000.bin", "data verify shards", "data stats shards", TRAIN_ON),
    "text: .txt .md .py": kind("texts/00.txt", PREPARE.format("texts"), PREPARE.format("texts") + SKIP),
    "text: .jsonl": kind("lines/a.jsonl", PREPARE.format("lines"), PREPARE.format("lines") + SKIP),
    "text: .jsonl.zst": kind("packed/a.jsonl.zst", PREPARE.format("packed"), PREPARE.format("packed") + SKIP),
    "text: .parquet": kind("rows/a.parquet", PREPARE.format("rows"), PREPARE.format("rows") + SKIP),
    "tokenizer.json": kind("tokenizer.json", "data prepare texts --out new --tokenizer tokenizer.json"),
    "tiktoken's cache": kind("tiktoken/6d1cbeee0f20b3d9449abfede4726ed8212e3aee", _with_tiktokens_cache),
    "the hub's cache": kind("hub/datasets--a--b/refs/main", call(_cached_commit)),
    "preparation: progress.json": kind(
        "begun/progress.json", "data prepare texts --out begun --tokenizer bytes"
    ),
    "preparation: block.json": kind(f"{BLOCK}.json", merge, before=encode),
    "preparation: block.npy": kind(f"{BLOCK}.npy", merge, before=encode),
    "preparation: block.tokens": kind(f"{BLOCK}.tokens", merge, before=encode),
    "export: ngptlab.json": kind("export/ngptlab.json", "import export back"),
    "export: config.json": kind("export/config.json", "import export back"),
    "export: model.safetensors": kind("export/model.safetensors", "import export back"),
    "foreign .safetensors": kind(
        "checkpoint.safetensors", FOREIGN.format("checkpoint.safetensors", "modded-nanogpt")
    ),
    "foreign .pt": kind(
        "checkpoint.pt",
        FOREIGN.format("checkpoint.pt", "modded-nanogpt --allow-pickle"),
        FOREIGN.format("checkpoint.pt", "nvidia-ngpt --allow-pickle"),
        FOREIGN.format("checkpoint.pt", "modded-nanogpt"),
    ),
    "search.json": kind(
        "search/search.json",
        *("compare run.json --tuned search/search.json --seeds 0", "report search --out page"),
    ),
    **{
        f"study: {name}.json": study(name)
        for name in ("ladder", "cooldown", "sweep", "coord", "board", "target")
    },
    "table, .csv": kind("tables/demo-scales.csv", "claims tables --out judged"),
    "table, .json": kind("tables/demo-lr-grid.json", "claims tables --out judged"),
    "tries.jsonl": kind("tries/tries.jsonl", call(lambda: trials.recorded(Path("tries"), "k"))),
    "steps.json of a try": kind(
        "tries/steps.json", call(lambda: trials.steps_of(Path("tries"), 60.0, lambda: 7))
    ),
    "task, .jsonl": kind(
        "tasks/arc_easy.jsonl", call(lambda: tasks._from_json(Path("tasks/arc_easy.jsonl"), tasks.Choices))
    ),
    "task, .txt.bz2": kind(
        "tasks/hellaswag_val_full.txt.bz2",
        call(lambda: tasks._from_text(Path("tasks/hellaswag_val_full.txt.bz2"))),
    ),
}

A_DOCUMENT = 600 << 20
"""Bytes of memory for a document, which has 256 MiB at most."""
MORE_MEMORY = {
    "text: .jsonl": A_DOCUMENT,
    "text: .jsonl.zst": A_DOCUMENT,
    # pydantic holds what is wrong once for each field that is missing.
    **{kind: 200 << 20 for kind in KINDS if kind.startswith("study: ")},
}
"""Bytes that are taken besides what any kind may take."""
