"""A run made of a checkpoint of a public implementation of nGPT: the matching method, sizes read off the tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ngptlab import methods
from ngptlab.config import RunConfig, parse
from ngptlab.errors import CheckpointError, ConfigError
from ngptlab.export.foreign_names import State, from_modded_nanogpt, from_nvidia
from ngptlab.export.imported import write_run
from ngptlab.export.pickled import read_pickled
from ngptlab.runs import Run

COMPILED = "_orig_mod."
"""What torch.compile puts before every name."""


@dataclass(frozen=True)
class Implementation:
    """How a public implementation's checkpoints are read."""

    convert: Callable[[Mapping[str, Tensor], int], State]
    """From its state dict and the number of heads to our names and layout."""
    normalized: str
    """A tensor that only its normalized model has."""
    head_width: str = ""
    """A tensor as wide as a head, where there is one."""
    note: str = ""
    """What a user must know of the result."""


IMPLEMENTATIONS = {
    "modded-nanogpt": Implementation(
        from_modded_nanogpt,
        "logits_scaler.scale",
        "transformer.h.0.attn.qk_scaler.scale",
        "its RoPE tables are rounded to bfloat16 and ours are not: logits differ by as much as that does",
    ),
    "nvidia-ngpt": Implementation(
        from_nvidia,
        "sz",
        note="its public RoPE is no rotation (issue 10 of NVIDIA's repository) and ours is one: a model trained with it does "
        "NOT give the same logits here, and a worse loss; one trained with a corrected, interleaved RoPE does",
    ),
}


@dataclass(frozen=True)
class Told:
    """What a checkpoint does not say."""

    num_heads: int | None = None
    base_width: int = 0
    """The width at which muP changes nothing, where it was trained with muP."""
    context: int = 1024
    """Tokens in a training sequence."""
    tokenizer: str = "gpt2"
    data_source: str = "text:unknown"
    """Text to measure it on; by default none that exists."""


def import_foreign(
    source: Path, out: Path, implementation: str, told: Told, *, may_unpickle: bool
) -> tuple[Run, str]:
    """The run, and a note on what the user must know of it.

    Raises:
        ConfigError: a pickled file that may not be read, or the number of heads is not to be known.
        CheckpointError: it can't be read, or is not that implementation's.
    """
    known = IMPLEMENTATIONS[implementation]
    found = _read(source, may_unpickle)
    state, step = _state(found, source)
    given = found.get("model_args")
    arguments: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    if any(
        name not in state or state[name].ndim != 2 for name in ("transformer.wte.weight", "lm_head.weight")
    ):
        raise CheckpointError(
            f"{source}: not a checkpoint of {implementation}; its tensors are {', '.join(list(state)[:5])}, ..."
        )
    num_heads = _num_heads(state, known, arguments, told)
    method = methods.counterpart(implementation, "normalized" if known.normalized in state else "plain")
    try:
        tensors = known.convert(state, num_heads)
        config = _config(tensors, method, num_heads, step, told)
        run = write_run(config, tensors, out, step=step, origin=f"checkpoint of {implementation}")
    except (CheckpointError, RuntimeError, IndexError) as error:  # torch's, where a tensor has another shape
        raise CheckpointError(f"{source}: not a checkpoint of {implementation}: {error}") from None
    return run, known.note


def _read(source: Path, may_unpickle: bool) -> dict[str, Any]:
    if not source.is_file():
        raise ConfigError(f"{source}: no such file; give a checkpoint's")
    if source.suffix == ".safetensors":
        try:
            return dict(load_file(source))
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{source}: can't be read ({error})") from None
    if not may_unpickle:
        raise ConfigError(
            f"{source}: a file of torch.save, which is a pickle; give --allow-pickle to read the tensors in it, and nothing "
            "but tensors and plain values, or turn it into .safetensors"
        )
    found = read_pickled(source)
    if not isinstance(found, dict):
        raise CheckpointError(f"{source}: holds {type(found).__name__}, a checkpoint is a dict")
    return found


def _state(found: Mapping[str, Any], source: Path) -> tuple[State, int]:
    """The state dict in float32, and the step where the file says it."""
    inner = found.get("model", found)
    step = found.get("step", found.get("iter_num", 1))
    if not isinstance(inner, Mapping) or not all(isinstance(value, Tensor) for value in inner.values()):
        raise CheckpointError(f"{source}: holds no state dict, neither by itself nor under 'model'")
    state = {str(name).removeprefix(COMPILED): tensor.float() for name, tensor in inner.items()}
    return state, max(1, step) if isinstance(step, int) else 1


def _num_heads(state: State, known: Implementation, arguments: Mapping[str, Any], told: Told) -> int:
    width = state["transformer.wte.weight"].shape[1]
    said = arguments.get("n_head")
    if known.head_width in state:
        said = width // state[known.head_width].numel()
    if told.num_heads and said and told.num_heads != said:
        raise ConfigError(f"--num-heads {told.num_heads}: the checkpoint has {said}")
    heads = told.num_heads or said
    if not isinstance(heads, int) or heads < 1:
        raise ConfigError(
            f"the checkpoint does not say how many heads its {width} channels are; give --num-heads"
        )
    if width % heads:
        raise ConfigError(f"--num-heads {heads}: does not divide the width {width}")
    return heads


def _config(tensors: State, method: str, num_heads: int, step: int, told: Told) -> RunConfig:
    vocab_size, d_model = tensors["E_in"].shape
    blocks = {name.split(".")[1] for name in tensors if name.startswith("blocks.")}
    fields = {
        "name": "imported",
        "method": method,
        "model": {
            "vocab_size": vocab_size,
            "num_layers": len(blocks),
            "num_heads": num_heads,
            "d_model": d_model,
            "d_ff": tensors["blocks.0.mlp.W_u"].shape[0] if "blocks.0.mlp.W_u" in tensors else 0,
        },
        "data": {"source": told.data_source, "tokenizer": told.tokenizer},
        "param": {"rules": "mup", "base_width": told.base_width} if told.base_width else {},
        "schedule": {"warmup_steps": 0, "cooldown_frac": 0.0},
        "train": {"steps": step, "context": told.context},
    }
    return methods.resolve(parse(fields, origin="the checkpoint"))
