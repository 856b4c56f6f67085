"""The file of a foreign checkpoint, and the state dict in it: plain tensors under the names of the model's own modules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ngptlab.disk import check_regular
from ngptlab.errors import CheckpointError, ConfigError
from ngptlab.export.foreign_names import State
from ngptlab.export.pickled import Record, read_pickled, shown

MODEL = "model"
"""The key of the state dict in a trainer's file. A file without this key is a state dict itself."""
WRAPPERS = {"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""Parts of names that torch.compile, DDP, FSDP and checkpointed activations add wherever they wrap a module."""


def read_file(source: Path, *, may_unpickle: bool) -> dict[Any, Any]:
    """The file's content, by name.

    Raises:
        ConfigError: there is no such file, or it is a pickle and may not be read.
        CheckpointError: it can't be read, or holds no dict.
    """
    try:
        check_regular(source)
    except FileNotFoundError:
        raise ConfigError(f"{source}: no such file; give a checkpoint's") from None
    except OSError as error:
        raise ConfigError(f"{source}: {error.strerror}; give a checkpoint's file") from None
    if source.suffix == ".safetensors":
        try:
            return dict(load_file(source))
        # safetensors raises these for a damaged file, torch for a dtype that it lacks.
        except (
            OSError,
            SafetensorError,
            RuntimeError,
            MemoryError,
            KeyError,
            TypeError,
            ValueError,
        ) as error:
            raise CheckpointError(
                f"{source}: can't be read ({shown(' '.join(str(error).split()))})"
            ) from None
    if not may_unpickle:
        raise ConfigError(
            f"{source}: a file of torch.save, which is a pickle; give --allow-pickle to read the tensors in it, and nothing "
            "but tensors and plain values, or turn it into .safetensors"
        )
    found = read_pickled(source)
    if not isinstance(found, dict):
        raise CheckpointError(f"{source}: holds {_kind(found)}, a checkpoint is a dict")
    # A pickle can give an OrderedDict attributes that hide its methods, so its methods are not called.
    return dict(dict.items(found))


def state_of(found: Mapping[Any, Any], source: Path) -> State:
    """The state dict in float32, under names without the parts that wrappers of modules add.

    Raises:
        CheckpointError: it holds something else, two tensors of one name, or tensors with more numbers than the file has.
    """
    inner = found.get(MODEL, found)
    if not isinstance(inner, dict):
        save = "; save its model.state_dict()" if isinstance(inner, Record) else ""
        raise CheckpointError(f"{source}: {MODEL!r} is {_kind(inner)}, not a state dict{save}")
    entries = dict(dict.items(inner))
    others = [key for key, value in entries.items() if type(key) is not str or not isinstance(value, Tensor)]
    if others or not entries:
        what = f" ({shown(others[0])} is {_kind(entries[others[0]])})" if others else ""
        raise CheckpointError(f"{source}: holds no state dict, neither by itself nor under {MODEL!r}{what}")
    plain = {key: _plain(key, value, source) for key, value in entries.items()}
    stored = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in plain.values()
    }
    # Several tensors may share one storage.
    if sum(tensor.nbytes for tensor in plain.values()) > 2 * sum(stored.values()):
        raise CheckpointError(f"{source}: its tensors share their numbers; save each tensor by itself")
    state: State = {}
    for key, tensor in plain.items():
        name = ".".join(part for part in key.split(".") if part not in WRAPPERS)
        if name in state:
            raise CheckpointError(f"{source}: holds {shown(name)} twice, wrapped and not; save one of them")
        state[name] = tensor.float()
    return state


def _plain(key: str, value: Tensor, source: Path) -> Tensor:
    """The tensor without attributes, which a pickle may have given it."""
    if type(value) in (Tensor, nn.Parameter):
        try:
            tensor = Tensor.detach(value)
            if (
                type(tensor) is Tensor
                and tensor.layout is torch.strided
                and tensor.device.type == "cpu"
                and tensor.is_floating_point()
                and not (tensor.is_quantized or tensor.is_nested)
                and tensor.untyped_storage().nbytes() >= tensor.nbytes
            ):
                return tensor
        except RuntimeError:  # a meta tensor has no memory
            pass
    raise CheckpointError(
        f"{source}: {shown(key)} is no plain tensor of floating-point numbers ({_kind(value)}); save it as one"
    )


def _kind(value: object) -> str:
    if type(value) in (Tensor, nn.Parameter):
        assert isinstance(value, Tensor)
        return f"a tensor of {str(value.dtype).removeprefix('torch.')}, {tuple(value.shape)}"
    return f"a {type(value)!r}" if isinstance(value, Record) else type(value).__name__
