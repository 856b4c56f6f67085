"""Checkpoints: safetensors and a manifest with digests, published by one rename.

    checkpoints/step_000200/model.safetensors      weights by name
                            optimizer.safetensors  'name:key' -> tensor, AdamW's moments
                            manifest.json          {format, step, config_hash, files: {name: {bytes, sha256}}, streams, sha256}

`streams` says the same of each stream of the run up to that step, so that a resumed run knows its records again. `sha256` is
of the manifest's other fields; manifests of before have none.

Order of a save: files, fsync each, manifest, fsync, fsync of the folder, rename, fsync of the parent. A kill at any point
leaves the old checkpoints whole. safetensors has no checksum of its own, hence the manifest's. It is taken of each piece as
that is written, so that a save needs no memory but for one tensor that is not in the CPU's.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ngptlab import disk
from ngptlab.disk import create, fsync_folder, naming, open_regular, replacing, sync
from ngptlab.errors import CheckpointError
from ngptlab.folders import filling, own, remove, remove_at_once
from ngptlab.train.tensor_bytes import num_bytes, pieces

FORMAT = 1
PREFIX = "step_"
STEP = re.compile(rf"{PREFIX}\d+", re.ASCII)
SHOWN = 2_000
"""Characters of what does not fit that a message repeats. A stranger's file may have a hundred thousand names."""
FILES = ("model.safetensors", "optimizer.safetensors")
GATHERED_BYTES = 1 << 18
"""Of small tensors, which are written together. The pieces of large ones are longer."""
Content = Mapping[str, Mapping[str, Tensor]]
"""The tensors of a checkpoint: of each of `FILES`, by name."""


def save_checkpoint(
    folder: Path,
    *,
    step: int,
    config_hash: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    keep: int,
    lasting: Callable[[Collection[int]], Collection[int]] = lambda steps: (),
    streams: Mapping[str, Any] | None = None,
) -> Path:
    """`write_checkpoint` of what a model and its optimizer have now.

    Raises:
        CheckpointError: as `write_checkpoint` and `content_of`.
    """
    return write_checkpoint(
        folder,
        content_of(model, optimizer),
        step=step,
        config_hash=config_hash,
        keep=keep,
        lasting=lasting,
        streams=streams,
    )


def write_checkpoint(
    folder: Path,
    content: Content,
    *,
    step: int,
    config_hash: str,
    keep: int,
    lasting: Callable[[Collection[int]], Collection[int]] = lambda steps: (),
    streams: Mapping[str, Any] | None = None,
    between: Callable[[], object] = lambda: None,
) -> Path:
    """Write the checkpoint of `step` and remove all but the newest `keep` and those that `lasting` chooses among all steps.

    `streams` is what the run has recorded so far, as `Run.digests` gives it; None where it has recorded nothing. `between` is
    called before each piece is written. What it raises ends the save, and nothing of that is left.

    Raises:
        CheckpointError: it can't be written (disk full, permissions); earlier checkpoints are untouched.
    """
    target = checkpoint_path(folder, step)
    try:
        with filling(own(folder) / target.name) as temporary:
            files = {
                name: _write(temporary / name, pieces(tensors), size=num_bytes(tensors), between=between)
                for name, tensors in content.items()
            }
            _write_manifest(temporary, step=step, config_hash=config_hash, files=files, streams=streams)
            # A damaged checkpoint of the same step may stand there; it was passed over on resume, so it may go.
            remove(target)
    except OSError as error:
        where = error.filename if error.filename == str(folder) else target
        raise CheckpointError(
            f"{where}: can't be saved ({error.strerror or error}); free space or give another --out, then run again"
        ) from None
    # Later ones are damaged: they were passed over on resume, and must not count among those kept.
    published = list_checkpoints(folder)
    newest = published.index(target) + 1
    stay = lasting([step_of(path) for path in published[:newest]])
    passed = [path for path in published[: max(0, newest - keep)] if step_of(path) not in stay]
    for old in passed + published[newest:]:
        with contextlib.suppress(OSError):
            remove_at_once(old)
    return target


def remove_later(folder: Path, step: int) -> None:
    """Remove the checkpoints beyond a step to which a run goes back.

    Raises:
        CheckpointError: one can't be removed.
    """
    for path in list_checkpoints(folder):
        if step_of(path) > step:
            try:
                remove_at_once(path)
            except OSError as error:
                raise CheckpointError(
                    f"{path}: can't be removed ({error.strerror}); mend that, then run again"
                ) from None


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step is published."""
    return folder / f"{PREFIX}{step:06d}"


def list_checkpoints(folder: Path) -> list[Path]:
    """Published checkpoints, oldest first."""
    found = [path for path in folder.glob(f"{PREFIX}*") if STEP.fullmatch(path.name)]
    return sorted(found, key=step_of)


def step_of(checkpoint: Path) -> int:
    """The step that a published checkpoint is of."""
    return int(checkpoint.name.removeprefix(PREFIX))


def resume(
    folder: Path,
    *,
    config_hash: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    warn: Callable[[str], None],
    check_records: Callable[[dict[str, Any]], object] = lambda manifest: None,
    take_weights: Callable[[dict[str, Tensor]], None] | None = None,
    take_state: Callable[[dict[str, Tensor]], None] | None = None,
    falls_back: bool = True,
) -> int:
    """Load the newest sound checkpoint into model and optimizer; returns its step, 0 where there is none.

    A damaged checkpoint is named through `warn`, and the one before it is taken. The same happens where `check_records`
    refuses a manifest with a CheckpointError, because the run's records up to there are not sound. `take_weights` gets
    tensors by name in place of the model, `take_state` what `optimizer_tensors` gave in place of the optimizer.
    Raises:
        CheckpointError: there are checkpoints and none of them is sound; or the newest isn't, and nobody `falls_back`.
    """
    checkpoints, newest_fault = list_checkpoints(folder), ""
    for path in reversed(checkpoints):
        try:
            manifest, files = read_checkpoint(path)
            if manifest["config_hash"] == config_hash:
                check_records(manifest)
        except CheckpointError as error:
            newest_fault = newest_fault or str(error)
            if not falls_back:
                raise CheckpointError(
                    f"{error}; give --checkpoint.damaged fall_back to go on from the one before, or restore it"
                ) from None
            warn(f"{path.name} is passed over ({error}); falling back to the one before")
            continue
        if manifest["config_hash"] != config_hash:
            raise CheckpointError(
                f"{path}: belongs to run {manifest['config_hash']}, not {config_hash}; give another --out"
            )
        weights = files["model.safetensors"]
        take_weights(weights) if take_weights else load_weights(model, weights)
        state = files["optimizer.safetensors"]
        take_state(state) if take_state else load_optimizer(model, optimizer, state)
        return int(manifest["step"])
    if checkpoints:
        raise CheckpointError(
            f"{folder}: no sound checkpoint among {len(checkpoints)} ({newest_fault}); remove the run to train it anew"
        )
    return 0


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """Manifest and tensors of a checkpoint, every digest verified.

    Raises:
        CheckpointError: something is missing, cut, or changed.
    """
    try:
        manifest = disk.read_json(path / "manifest.json")
        if manifest.get("sha256", own := _digest(manifest)) != own:
            raise CheckpointError(f"{path}: damaged (its manifest does not match its own sha256)")
        if manifest["format"] != FORMAT:
            raise CheckpointError(f"{path}: format {manifest['format']}, this version reads {FORMAT}")
        if path.name != f"{PREFIX}{manifest['step']:06d}":
            raise CheckpointError(f"{path}: damaged (its manifest is of step {manifest['step']})")
        if set(manifest["files"]) != set(FILES) or not isinstance(manifest["config_hash"], str):
            raise CheckpointError(f"{path}: damaged (its manifest lists other files, or no config)")
        for name, facts in manifest["files"].items():
            with disk.open_regular(path / name) as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != facts["sha256"]:
                    raise CheckpointError(f"{path}: damaged ({name} does not match its sha256)")
        return manifest, {name: load_tensors(path / name) for name in manifest["files"]}
    # RuntimeError and MemoryError are torch's, of a stranger's shapes and dtypes.
    except (
        *(OSError, ValueError, KeyError, TypeError, AttributeError),
        *(SafetensorError, RuntimeError, MemoryError),
    ) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: damaged ({type(error).__name__}: {error})") from None


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors in a file of safetensors, which is mapped: what is not there takes no memory.

    Raises:
        OSError: it can't be read, or is no regular file.
        SafetensorError, RuntimeError, KeyError, TypeError, ValueError, MemoryError: it is damaged.
    """
    with disk.open_regular(path) as file:
        # safetensors takes paths in UTF-8 only. A file's descriptor gives such a path, whatever its folder is called.
        return load_file(path if disk.is_utf8(str(path)) else f"/dev/fd/{file.fileno()}")


def load_weights(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy weights into the model.

    Raises:
        CheckpointError: names or shapes differ from the model's.
    """
    try:
        model.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        why = " ".join(str(error).split())
        raise CheckpointError(
            f"the checkpoint does not fit the model ({why[:SHOWN]}{'...' if len(why) > SHOWN else ''})"
        ) from None


def size_in_bytes(model: nn.Module, state_values: int) -> int:
    """Bytes of a checkpoint's tensors, with so many values of the optimizer, taken to be as wide as the weights."""
    widest = max(parameter.element_size() for parameter in model.parameters())
    return sum(parameter.nbytes for parameter in model.parameters()) + state_values * widest


def content_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> Content:
    """The tensors of a checkpoint themselves, wherever they are; the next update changes them.

    Raises:
        CheckpointError: the optimizer keeps something else than tensors.
    """
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    return dict(zip(FILES, (weights, _kept(model, optimizer)), strict=True))


def copy_of(content: Content) -> Content:
    """The same tensors as they are now, in memory of their own, the CPU's; a GPU's updates so far are waited for.

    Not through pinned memory: a thread that waits for the copies there, or gives it back, could spoil the recording of a CUDA
    graph in another thread.
    """
    return {
        name: {
            key: tensor.to("cpu", copy=True, memory_format=torch.contiguous_format)
            for key, tensor in tensors.items()
        }
        for name, tensors in content.items()
    }


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What the optimizer keeps, on the CPU, 'name:key' -> tensor.

    Raises:
        CheckpointError: it keeps something else than tensors.
    """
    return {entry: value.cpu().contiguous() for entry, value in _kept(model, optimizer).items()}


def _kept(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    found = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            if not isinstance(value, Tensor):
                raise CheckpointError(
                    f"the optimizer keeps {key!r} of {name} as {type(value).__name__}; only tensors can be saved, so take "
                    "another optimizer, or one of torch's own"
                )
            found[f"{name}:{key}"] = value.detach()
    return found


def load_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave.

    Raises:
        CheckpointError: it is of a parameter that the model lacks.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    order = [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for entry, tensor in tensors.items():
        name, _, key = entry.rpartition(":")
        if name not in order:
            raise CheckpointError(f"the checkpoint's optimizer has {entry!r}, which the model lacks")
        state.setdefault(order.index(name), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def copy_checkpoint(
    source: Path, manifest: dict[str, Any], folder: Path, *, config_hash: str, streams: Mapping[str, Any]
) -> None:
    """Copy a checkpoint that was found sound, with this manifest, to a run of another hash, which has recorded `streams`."""
    target = own(own(folder) / source.name)
    for name in manifest["files"]:
        size = (source / name).stat().st_size
        with open_regular(source / name) as old, replacing(target / name, size=size) as new:
            shutil.copyfileobj(old, new)
    _write_manifest(
        target, step=manifest["step"], config_hash=config_hash, files=manifest["files"], streams=streams
    )
    fsync_folder(target)


def _write_manifest(
    folder: Path, *, step: int, config_hash: str, files: dict[str, Any], streams: Mapping[str, Any] | None
) -> None:
    manifest: dict[str, Any] = {"format": FORMAT, "step": step, "config_hash": config_hash, "files": files}
    if streams is not None:
        manifest["streams"] = dict(streams)
    manifest["sha256"] = _digest(manifest)
    text = (json.dumps(manifest, indent=2) + "\n").encode()
    _write(folder / "manifest.json", [text], size=len(text))


def _digest(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of a manifest's fields, however they are laid out; its own digest is left out."""
    fields = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _write(
    path: Path,
    parts: Iterable[bytes | memoryview],
    *,
    size: int,
    between: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """Put a new file of `size` bytes on the disk, part by part; gives what a manifest says of it."""
    digest = hashlib.sha256()
    with naming(path, size), create(path, gathered=GATHERED_BYTES) as file:
        for part in parts:
            between()
            digest.update(part)
            file.write(part)
        sync(file)
    return {"bytes": size, "sha256": digest.hexdigest()}
