"""A run directory for weights that were trained elsewhere, or before: what `open_trained` opens."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from ngptlab import config as configs
from ngptlab.config import RunConfig
from ngptlab.disk import write_json
from ngptlab.errors import CheckpointError, ConfigError
from ngptlab.experiment import initial_model
from ngptlab.export.llama import own_weights
from ngptlab.export.provenance import FILE, read_provenance
from ngptlab.export.write import WEIGHTS
from ngptlab.runs import Run
from ngptlab.train.checkpoint import load_weights, save_checkpoint


def import_export(source: Path, out: Path) -> Run:
    """Make a run of a folder that `export` wrote, weights bit-equal. No code in the folder is run.

    Raises:
        ConfigError: the folder is no export, or `out` is not empty.
        CheckpointError: something is damaged, or the weights are not those that were exported.
    """
    facts = read_provenance(source)
    config = configs.parse(facts["config"], origin=f"{source / FILE}: config")
    if config.hash != facts["config_hash"]:
        raise CheckpointError(
            f"{source / FILE}: its config has the hash {config.hash}, not {facts['config_hash']}"
        )
    tensors = _read(source / WEIGHTS, facts["weights_sha256"])
    if facts["form"] == "llama":
        tensors = own_weights(tensors)
    else:
        tensors = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    return write_run(
        config,
        tensors,
        out,
        step=facts["step"],
        origin=f"{facts['form']} export",
        env=facts["env"],
        measured=facts["measured"],
    )


def _read(path: Path, sha256: str) -> dict[str, Tensor]:
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise CheckpointError(
                f"{path}: not the weights that were exported (its sha256 is not that in {FILE}); trained on, they are no "
                "longer that run's"
            )
        return load(content)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: can't be read ({error})") from None


def write_run(
    config: RunConfig,
    tensors: Mapping[str, Tensor],
    out: Path,
    *,
    step: int,
    origin: str,
    env: Mapping[str, Any] | None = None,
    measured: Sequence[Mapping[str, Any]] = (),
) -> Run:
    """A finished run with one checkpoint, of these weights; `origin` says in words where they come from.

    Raises:
        CheckpointError: the weights do not fit the config's model.
        ConfigError: `out` is not empty.
    """
    taken = ConfigError(f"{out}: is there and not empty; give a new run directory")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise taken
    model = initial_model(config)
    load_weights(model, dict(tensors))
    run = Run.open(out, config)
    # No optimizer comes with them: its file in the checkpoint is empty.
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with run.lock():
        if run.done:  # another import was faster
            raise taken
        save_checkpoint(
            run.path / "checkpoints",
            step=step,
            config_hash=config.hash,
            model=model,
            optimizer=optimizer,
            keep=2,
        )
        if env:
            write_json(run.path / "env.json", dict(env))
        for record in measured:
            run.append("evals", dict(record))
        run.finish("done", step=step, params=model.num_params(), imported_from=origin)
    return run
