"""The origin of an exported model: `ngptlab.json`, from which `ngptlab import` makes a run again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch

import ngptlab
from ngptlab import disk
from ngptlab.errors import CheckpointError, ConfigError
from ngptlab.export.pickled import shown
from ngptlab.measure.trained import Trained

FORMAT = 1
FILE = "ngptlab.json"
KINDS: dict[str, type | tuple[type, ...]] = {
    "form": str,
    "config_hash": str,
    "step": int,
    "params": int,
    "weights_sha256": str,
    "imported_from": (str, type(None)),
    "env": dict,
    "measured": list,
    "config": dict,
}
"""Fields that an import reads, with their types."""
FORMS = ("ngptlab", "llama")
FOR_PEOPLE = ("format", "run", "exported_with")
"""Other fields that an export writes. They follow from the rest, or have no effect."""


def provenance(trained: Trained, form: str, weights_sha256: str) -> dict[str, Any]:
    """The run with its config and machine, the measurements of these weights, and the digest of their file."""
    run = trained.run
    return {
        "format": FORMAT,
        "form": form,
        "run": run.config.run_name,
        "config_hash": run.config.hash,
        "step": trained.step,
        "params": trained.model.num_params(),
        "weights_sha256": weights_sha256,
        "exported_with": {
            "ngptlab": ngptlab.__version__,
            "torch": torch.__version__,
            "safetensors": safetensors.__version__,
        },
        "imported_from": run.summary.get("imported_from"),
        "env": run.env,
        "measured": measured(trained),
        "config": json.loads(run.config.model_dump_json()),
    }


def measured(trained: Trained) -> list[dict[str, Any]]:
    """Evaluations that the run recorded at this step. One by `ngptlab eval` replaces one by training.

    Losses of the validation text's parts are left out, because they only serve to compare runs.
    """
    records = {
        record["eval"]: record
        for record in trained.run.read("evals")
        if record["step"] == trained.step and record["eval"] != "parts"
    }
    for name in ("val", "length"):
        path = trained.run.path / "evals" / f"{name}.json"
        if path.is_file():
            try:
                record = disk.read_json(path)
            except (OSError, ValueError) as error:
                raise CheckpointError(f"{path}: damaged ({error}); measure it again, or remove it") from None
            if isinstance(record, dict) and record.get("step") == trained.step and record.get("eval") == name:
                records[name] = record
    return list(records.values())


def read_provenance(folder: Path) -> dict[str, Any]:
    """The `ngptlab.json` of an exported model.

    Raises:
        ConfigError: the folder holds none.
        CheckpointError: the file is damaged, or of another version.
    """
    path = folder / FILE
    if not path.is_file():
        raise ConfigError(
            f"{folder}: holds no {FILE}, so no run can be made of it; give a folder that `ngptlab export` made, or "
            "--from for a checkpoint of another implementation"
        )
    try:
        found: dict[str, Any] = dict(disk.read_json(path))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: damaged ({shown(str(error))}); export the run again") from None
    if found.get("format") != FORMAT:
        raise CheckpointError(f"{path}: format {found.get('format')}, this version reads {FORMAT}")
    damaged = [name for name, kind in KINDS.items() if not isinstance(found.get(name), kind)]
    if not damaged and found["step"] < 0:
        damaged = ["step"]
    if not damaged and found["form"] not in FORMS:
        damaged = ["form"]
    if not damaged and not all(_is_record(record) for record in found["measured"]):
        damaged = ["measured"]
    if damaged:
        name = damaged[0]
        raise CheckpointError(f"{path}: damaged ({name} is {found.get(name)!r}); export the run again")
    return found


def unread_facts(found: Mapping[str, Any]) -> list[str]:
    """Names of fields in a `ngptlab.json` that no export writes."""
    return sorted(shown(name) for name in found.keys() - KINDS.keys() - set(FOR_PEOPLE))


def _is_record(value: object) -> bool:
    """Whether a value is a run's record of an evaluation, with its kind and step."""
    return (
        isinstance(value, dict) and isinstance(value.get("eval"), str) and isinstance(value.get("step"), int)
    )
