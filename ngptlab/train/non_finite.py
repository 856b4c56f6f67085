"""How a run ends at a loss or gradient that is not finite, and what is kept to look at.

    non_finite/state.json           step, loss, gradient norm, windows of the batch, and whether there are weights
               batch.safetensors    inputs and targets, [B, T] each
               model.safetensors    the weights before the update, where they are known

Nothing of it is a pickle, and nothing takes it for a checkpoint: it has another place, other names and no manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from safetensors.torch import save

from ngptlab.config import RunConfig
from ngptlab.disk import write_bytes, write_json
from ngptlab.errors import DivergedError
from ngptlab.folders import filling, remove

FOLDER = "non_finite"


def diverged(what: str, config: RunConfig, *, at_start: bool = False) -> DivergedError:
    """The error that ends the run, with what to do."""
    if at_start:  # no rate has moved anything yet
        return DivergedError(
            f"{what}; the method gives that at its initial weights: look for a division or a root of zero in its parts"
        )
    return DivergedError(f"{what}; lower --optim.lr (now {config.optim.lr:g})")


def keep_state(
    run_path: Path,
    facts: Mapping[str, Any],
    batch: Mapping[str, NDArray[Any]],
    weights: Mapping[str, torch.Tensor],
) -> None:
    """Write the folder, whole or not at all, in place of an earlier one. `weights` is empty where they are not known.

    Raises:
        OSError: it can't be written.
    """
    target = run_path / FOLDER
    with filling(target) as temporary:
        tensors = {name: torch.from_numpy(values) for name, values in batch.items()}
        write_bytes(temporary / "batch.safetensors", save(tensors))
        if weights:
            on_cpu = {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}
            write_bytes(temporary / "model.safetensors", save(on_cpu))
        # Numbers of it may be infinite, which JSON has not; they are words.
        write_json(temporary / "state.json", facts)
        remove(target)
