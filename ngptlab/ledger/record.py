"""A finished run as one JSON object, and back. It has every number that a page, a claim or a table reads, but no weights.

    hash, config, env, summary, fork    as in the run directory
    metrics      {steps, loss_nats: [...], grad_norm: [...], lr: "schedule" or [...]}, a value a step
    step_seconds [...], to four digits
    evals        the lines of evals.jsonl
    skipped      the lines of skipped.jsonl, where there is one
    measured     {name: ...}, what `ngptlab eval` measured later
    methods      {name: text}, the files of methods from outside of this package

`metrics.jsonl`, `evals.jsonl` and `skipped.jsonl` are restored byte for byte, and digests in `summary` prove it. Losses are
float32, so nine digits write them exactly; the learning rate follows from the schedule. Left out are the time of loading data,
the scales of each validation (their means are in `measured` where they were evaluated), and checkpoints.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ngptlab import config as configs
from ngptlab import disk
from ngptlab.config import RunConfig
from ngptlab.config.method_name import name_of, stem
from ngptlab.errors import DataError
from ngptlab.folders import filling
from ngptlab.method_files import copies
from ngptlab.method_files.sources import names_in
from ngptlab.optim.schedule import lr_factor
from ngptlab.runs import Run
from ngptlab.streams import FIELDS, NUMBER, SKIPPED, check_fields
from ngptlab.whole import check_finished

VERSION = 1
NAME = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,200}")
"""Names of files and folders that are allowed in a stranger's record."""
EXACT = ("metrics", "evals", SKIPPED)
"""Streams that are restored byte for byte."""
COLUMNS = ("loss_nats", "grad_norm")
KIND: dict[str, type] = {
    "ledger": int,
    "hash": str,
    "config": dict,
    "env": dict,
    "summary": dict,
    "metrics": dict,
    "step_seconds": list,
    "evals": list,
    "measured": dict,
}

Record = dict[str, Any]


def record_of(run: Run) -> Record:
    """The record of a run that is over.

    Raises:
        CheckpointError: the run is damaged.
        DataError: the run is not over.
    """
    check_finished(run)
    if not run.ending.over:
        raise DataError(f"{run.path}: not finished; train it to its end, or leave it out")
    summary = {**run.summary, "streams": _digests(run)}
    return {
        "ledger": VERSION,
        "hash": run.config.hash,
        "config": run.config.model_dump(mode="json"),
        "env": run.env,
        "summary": summary,
        **({"fork": run.fork} if run.fork else {}),
        **({"methods": texts} if (texts := copies.texts_in(run.config)) else {}),
        "metrics": _packed(run),
        "step_seconds": [float(f"{row['step_seconds']:.4g}") for row in run.read("timing")],
        "evals": run.read("evals"),
        **({SKIPPED: lines} if (lines := run.read(SKIPPED)) else {}),
        "measured": {path.stem: _measured(path) for path in sorted((run.path / "evals").glob("*.json"))},
    }


def _measured(path: Path) -> Any:
    try:
        return disk.read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: damaged ({str(error)[:200]}); measure it again, or remove it") from None


def _digests(run: Run) -> dict[str, Any]:
    return {name: fact for name, fact in run.digests().items() if name in EXACT}


def _packed(run: Run) -> dict[str, Any]:
    """Columns of `metrics.jsonl`; the lines themselves where the columns would not restore every byte."""
    lines, config = run.read("metrics"), run.config
    lr: Any = [line["lr"] for line in lines]
    packed = {
        "steps": len(lines),
        **{name: [short(line[name]) for line in lines] for name in COLUMNS},
        "lr": "schedule" if lr == _scheduled(config, len(lines)) else lr,
    }
    same = _text(unpacked(packed, config)) == run.content("metrics").decode()
    return packed if same else {"lines": lines}


def unpacked(packed: Mapping[str, Any], config: RunConfig) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl` from their columns.

    Raises:
        DataError: the columns don't fit each other.
    """
    if "lines" in packed:
        return list(packed["lines"])
    steps = packed["steps"]
    # First, because a config may say any number of steps, and a learning rate is made for each.
    if any(len(packed[name]) != steps for name in COLUMNS):
        raise DataError(f"metrics: columns of another length than {steps} steps")
    lr = _scheduled(config, steps) if packed["lr"] == "schedule" else packed["lr"]
    if lr is None:
        raise DataError("metrics: learning rates by a schedule that the config does not say")
    columns: dict[str, Sequence[float]] = {
        "lr": lr,
        **{name: [wide(value) for value in packed[name]] for name in COLUMNS},
    }
    if len(columns["lr"]) != steps:
        raise DataError(f"metrics: {len(columns['lr'])} learning rates of {steps} steps")
    return [
        {
            "step": step,
            "tokens": config.train.tokens_before(step),
            "loss_nats": columns["loss_nats"][step - 1],
            "lr": columns["lr"][step - 1],
            "grad_norm": columns["grad_norm"][step - 1],
        }
        for step in range(1, steps + 1)
    ]


def _scheduled(config: RunConfig, steps: int) -> list[float] | None:
    """Learning rates by the config alone; None where the method has a shape of its own."""
    if config.schedule.shape == "method":
        return None
    return [config.optim.lr * lr_factor(config, step) for step in range(min(steps, config.train.steps))]


def short(value: float) -> float:
    """The shortest number that `wide` turns into this float32. A number that is no float32 is returned as it is."""
    if _float32(value) != value:
        return value
    for digits in range(6, 10):
        shorter = float(f"{value:.{digits}g}")
        # 999999995904.0 has fewer digits as 1e12, and is written as 1000000000000.0.
        if _float32(shorter) == value and len(repr(shorter)) <= len(repr(value)):
            return shorter
    return value


def wide(value: float) -> float:
    """The float32 nearest to a number of at most nine digits. A number of more digits is returned as it is."""
    return _float32(value) if float(f"{value:.9g}") == value else value


def _float32(value: float) -> float:
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return value


def _text(lines: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)


def config_of(record: Record, origin: str) -> RunConfig:
    """The config in a record, after fields, hash and digests were checked.

    Raises:
        DataError: one of them is wrong; the message names `origin` and the error.
    """
    try:
        check_fields(record, KIND)
        if record["ledger"] != VERSION:
            raise ValueError(f"written in form {record['ledger']}, this version reads {VERSION}")
        config = configs.parse(record["config"], origin=origin)
        if config.hash != record["hash"]:
            raise ValueError(f"its config has the hash {config.hash}")
        for name in (config.run_name, *record["measured"]):
            if not NAME.fullmatch(name):
                raise ValueError(f"{name[:80]!r} can't be the name of a file")
        for name, text in record.get("methods", {}).items():
            if name not in names_in(config) or name_of(stem(name), text.encode()) != name:
                raise ValueError(f"method {name[:80]!r} is not what the config names")
        exact = {name: list(record[name]) for name in ("evals", SKIPPED) if name in record}
        for name, lines in exact.items():
            for line in lines:
                check_fields(dict(line), FIELDS[name])
        for seconds in record["step_seconds"]:
            check_fields({"step_seconds": seconds}, {"step_seconds": NUMBER})
        for name, lines in {"metrics": unpacked(record["metrics"], config), **exact}.items():
            if hashlib.sha256(_text(lines).encode()).hexdigest() != _sha256(record, name):
                raise ValueError(f"{name} are not what the run wrote")
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        what = " ".join(str(error).split())[:300]
        raise DataError(f"{origin}: damaged ({what}); restore the file, or take the line out") from None
    return config


def _sha256(record: Record, name: str) -> Any:
    return record["summary"]["streams"][name]["sha256"]


def restore(record: Record, path: Path, origin: str) -> Run:
    """Make the run directory again, without weights.

    Raises:
        DataError: the record is damaged.
        OSError: it can't be written, or something is in its place.
    """
    config = config_of(record, origin)
    with filling(path) as folder:
        run = Run.open(folder, config)
        for name, text in record.get("methods", {}).items():
            copies.keep_text(folder, name, text)
        disk.write_json(folder / "env.json", record["env"])
        if "fork" in record:
            disk.write_json(folder / "fork.json", record["fork"])
        run.replace("metrics", unpacked(record["metrics"], config))
        seconds = enumerate(record["step_seconds"], start=1)
        run.replace("timing", [{"step": step, "step_seconds": value} for step, value in seconds])
        run.replace("evals", record["evals"])
        if SKIPPED in record:
            run.replace(SKIPPED, record[SKIPPED])
        for name, measured in record["measured"].items():
            run.keep_eval(name, measured)
        summary = {**record["summary"], "streams": run.digests(), "from_ledger": True}
        disk.write_json(folder / "summary.json", summary)
    return Run(path)
