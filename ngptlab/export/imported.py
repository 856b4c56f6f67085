"""Make a run directory, which `open_trained` opens, for weights that were trained elsewhere or exported before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from ngptlab import config as configs
from ngptlab import disk
from ngptlab.config import RunConfig
from ngptlab.data.shards.format import file_sha256
from ngptlab.errors import CheckpointError, ConfigError
from ngptlab.export.config_file import check_config_file
from ngptlab.export.imported_tokenizer import moved_tokenizer
from ngptlab.export.llama import check_gains, check_parts, own_weights
from ngptlab.export.provenance import FILE, read_provenance, unread_facts
from ngptlab.export.write import WEIGHTS
from ngptlab.initial_model import initial_model
from ngptlab.method_files.copies import read_copies
from ngptlab.nn.decoder import Decoder
from ngptlab.runs import Run
from ngptlab.train.checkpoint import load_tensors, load_weights, save_checkpoint


def import_export(
    source: Path,
    out: Path,
    tokenizer: str | None = None,
    end_of_text: str | None = None,
    *,
    tell: Callable[[str], None] = lambda note: None,
) -> Run:
    """Make a run of a folder that `export` wrote, with bit-equal weights. No code in the folder is run unless it is trusted.

    Args:
        tokenizer: this machine's file of the tokenizer that the run was trained with.
        end_of_text: the tokenizer's token before every document, where the run named one.
        tell: called with notes on what was not used of the folder.

    Raises:
        ConfigError: the folder is no export, the tokenizer differs from the run's, or `out` is not empty.
        CheckpointError: a file is damaged, files contradict each other, or the weights are not those that were exported.
    """
    facts = read_provenance(source)
    config = configs.parse(facts["config"], origin=f"{source / FILE}: config")
    if config.hash != facts["config_hash"]:
        raise CheckpointError(
            f"{source / FILE}: its config has the hash {config.hash}, not {facts['config_hash']}"
        )
    read_copies(source, config)
    if tokenizer is not None or end_of_text is not None:
        config = moved_tokenizer(config, source, tokenizer, end_of_text)
        tell(
            f"tokenizer {config.data.tokenizer}: the same one; its path is in the config, whose hash is another"
        )
    tensors = _read(source / WEIGHTS, facts["weights_sha256"])

    def check(model: Decoder) -> None:
        if model.num_params() != facts["params"]:
            raise CheckpointError(
                f"{source / FILE}: params is {facts['params']}, it has {model.num_params()}"
            )
        if facts["form"] == "llama":
            check_parts(model.parts)
            check_gains(model, tensors, str(source / WEIGHTS))
        unread = check_config_file(source, model, config, facts["form"])
        unread += [f"{name} of {FILE}" for name in unread_facts(facts)]
        if unread:
            tell(f"not known here and left out: {', '.join(unread)}")

    if facts["form"] == "llama":
        own = own_weights(tensors)
    else:
        own = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    return write_run(
        config,
        own,
        out,
        step=facts["step"],
        origin=f"{facts['form']} export" + (f" of {of}" if (of := facts["imported_from"]) else ""),
        env=facts["env"],
        measured=facts["measured"],
        check=check,
    )


def _read(path: Path, sha256: str) -> dict[str, Tensor]:
    try:
        if file_sha256(path) != sha256:
            raise CheckpointError(
                f"{path}: not the weights that were exported (its sha256 is not that in {FILE}); trained on, they are no "
                "longer that run's"
            )
        return load_tensors(path)
    except CheckpointError:
        raise
    # safetensors raises these for a damaged file, torch for wrong shapes and unknown dtypes.
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError, MemoryError) as error:
        raise CheckpointError(f"{path}: can't be read ({type(error).__name__}: {error})") from None


def write_run(
    config: RunConfig,
    tensors: Mapping[str, Tensor],
    out: Path,
    *,
    step: int,
    origin: str,
    env: Mapping[str, Any] | None = None,
    measured: Sequence[Mapping[str, Any]] = (),
    check: Callable[[Decoder], None] = lambda model: None,
) -> Run:
    """A finished run with one checkpoint of these weights. `origin` describes in words where they come from.

    Args:
        check: called with the model and its weights before anything is written; raises an error where the model is wrong.

    Raises:
        CheckpointError: the weights do not fit the config's model.
        ConfigError: `out` is not empty.
    """
    taken = ConfigError(f"{out}: is there and not empty; give a new run directory")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise taken
    model = initial_model(config)
    load_weights(model, dict(tensors))
    check(model)
    run = Run.open(out, config)
    # No optimizer comes with them: its file in the checkpoint is empty.
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with run.lock():
        if run.done:  # another import made it in the meantime
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
            disk.write_json(run.path / "env.json", dict(env))
        for record in measured:
            run.append("evals", dict(record))
        run.finish("done", step=step, params=model.num_params(), imported_from=origin)
    return run
