"""Where an exported model comes from: `ngptlab.json`, from which `ngptlab import` makes a run again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors
import torch

import ngptlab
from ngptlab.errors import CheckpointError, ConfigError
from ngptlab.trained import Trained

FORMAT = 1
FILE = "ngptlab.json"


def provenance(trained: Trained, form: str, weights_sha256: str) -> dict[str, Any]:
    """The run, its config and machine, what was measured of these weights, and the digest of their file."""
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
    """What the run recorded of this very step: by training, then by `ngptlab eval`, which replaces it."""
    records = {
        record["eval"]: record for record in trained.run.read("evals") if record["step"] == trained.step
    }
    for name in ("val", "length"):
        path = trained.run.path / "evals" / f"{name}.json"
        if path.is_file():
            record = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(record, dict) and record.get("step") == trained.step and record.get("eval") == name:
                records[name] = record
    return list(records.values())


def read_provenance(folder: Path) -> dict[str, Any]:
    """The `ngptlab.json` of an exported model.

    Raises:
        ConfigError: the folder holds none.
        CheckpointError: it is damaged, or of another version.
    """
    path = folder / FILE
    if not path.is_file():
        raise ConfigError(
            f"{folder}: holds no {FILE}, so no run can be made of it; give a folder that `ngptlab export` made, or "
            "--from for a checkpoint of another implementation"
        )
    try:
        found = dict(json.loads(path.read_text(encoding="utf-8")))
        if found["format"] != FORMAT:
            raise CheckpointError(f"{path}: format {found['format']}, this version reads {FORMAT}")
        kinds = {
            "form": str,
            "config_hash": str,
            "step": int,
            "weights_sha256": str,
            "env": dict,
            "measured": list,
            "config": dict,
        }
        for name, kind in kinds.items():
            if not isinstance(found[name], kind):
                raise CheckpointError(f"{path}: damaged ({name} is {found[name]!r})")
    except (ValueError, TypeError, KeyError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"{path}: damaged ({type(error).__name__}: {error}); export the run again"
        ) from None
    return found
