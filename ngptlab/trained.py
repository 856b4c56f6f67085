"""The model of a run as training left it: what evaluations, sampling and export start from."""

from __future__ import annotations

from pathlib import Path

from ngptlab.config import DeviceConfig
from ngptlab.device import open_device
from ngptlab.errors import CheckpointError, ConfigError
from ngptlab.initial_model import initial_model
from ngptlab.measure.trained import Trained
from ngptlab.runs import Run
from ngptlab.train.checkpoint import list_checkpoints, load_weights, read_checkpoint, step_of


def open_trained(path: Path, *, step: int | None = None, device: DeviceConfig | None = None) -> Trained:
    """Load a checkpoint of a run, the newest unless `step` is given, every digest verified.

    The device is the run's unless another is given; activations are in the run's dtype there.

    Raises:
        ConfigError: not a run directory, or it has no checkpoint (of that step).
        CheckpointError: the checkpoint is damaged (`step` chooses an earlier one), or another run's.
    """
    run = Run(path)
    checkpoints = {step_of(folder): folder for folder in list_checkpoints(run.path / "checkpoints")}
    if not checkpoints:
        if run.summary.get("from_ledger"):
            raise ConfigError(
                f"{path}: comes from a ledger, which keeps no weights; train it into another folder: "
                f"ngptlab train {path}/config.json --out DIR"
            )
        raise ConfigError(f"{path}: has no checkpoint; train it first: ngptlab train {path}/config.json")
    chosen = max(checkpoints) if step is None else step
    if chosen not in checkpoints:
        kept = ", ".join(map(str, checkpoints))
        raise ConfigError(f"{path}: has no checkpoint of step {chosen}; it has {kept}")
    manifest, files = read_checkpoint(checkpoints[chosen])
    if manifest["config_hash"] != run.config.hash:
        raise CheckpointError(
            f"{checkpoints[chosen]}: belongs to run {manifest['config_hash']}, not {run.config.hash} as "
            f"{run.path / 'config.json'} has it; restore the one that was changed"
        )
    place = open_device(device or run.config.device, run.config.train)
    model = initial_model(run.config)
    load_weights(model, files["model.safetensors"])
    model.to(place.place).requires_grad_(False).eval()
    model.compute_dtype = place.compute_dtype
    return Trained(run, chosen, model)
