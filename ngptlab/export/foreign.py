"""Make a run from a checkpoint of a public implementation of nGPT, with the matching method and sizes from the tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ngptlab import methods
from ngptlab.config import RunConfig, parse
from ngptlab.errors import CheckpointError, ConfigError
from ngptlab.export.foreign_fields import CheckpointFields, check_tensors, read_fields
from ngptlab.export.foreign_names import NVIDIA_SCALED, State, from_modded_nanogpt, from_nvidia, rescaled
from ngptlab.export.foreign_state import read_file, state_of
from ngptlab.export.imported import write_run
from ngptlab.export.imported_tokenizer import find_tokenizer
from ngptlab.export.pickled import shown
from ngptlab.runs import Run

CONTEXT = 1024
"""Tokens in a training sequence of both public trainers, where neither checkpoint nor option gives another number."""
DEFAULT_WIDTH = 1024
"""The width of the default `base_scale` in NVIDIA's `GPTConfig`, which does not depend on `n_embd`."""


@dataclass(frozen=True)
class Implementation:
    """How the checkpoints of a public implementation are read."""

    convert: Callable[[Mapping[str, Tensor], int], State]
    """Converts its state dict, given the number of heads, to our names and layout."""
    normalized: str
    """A tensor that only its normalized model has."""
    fields: tuple[str, ...]
    """The fields of its `GPTConfig`."""
    head_width: str = ""
    """A tensor with the width of a head, where there is one."""
    scaled: tuple[str, ...] = ()
    """Endings of names of tensors that the normalized model stores relative to `base_scale`."""
    note: str = ""
    """A note for the user on the result."""
    plain_note: str = ""
    """A further note where the model is not normalized."""


IMPLEMENTATIONS = {
    "modded-nanogpt": Implementation(
        from_modded_nanogpt,
        "logits_scaler.scale",
        ("vocab_size", "n_layer", "n_head", "n_embd", "mup_width_mult"),
        head_width="transformer.h.0.attn.qk_scaler.scale",
        note="its RoPE tables are rounded to bfloat16 and ours are not: logits differ by as much as that does",
    ),
    "nvidia-ngpt": Implementation(
        from_nvidia,
        "sz",
        (
            "vocab_size", "n_layer", "n_head", "n_embd", "block_size", "base_scale", "use_nGPT", "bias", "dropout",
        ),
        scaled=NVIDIA_SCALED,
        note="its public RoPE is no rotation (issue 10 of NVIDIA's repository) and ours is one: a model trained with it does "
        "NOT give the same logits here, but a worse loss; a model trained with a corrected, interleaved RoPE gives the same",
        plain_note="its norms add 1e-6 to the mean square and ours float32's epsilon, 1.2e-7: logits differ slightly where "
        "hidden states are small",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class ImportOptions:
    """Facts that a checkpoint may lack. None: the user did not give them."""

    num_heads: int | None = None
    base_width: int | None = None
    """The base width, at which muP changes nothing, of a model trained with muP."""
    base_scale: float | None = None
    """The number that a normalized model's initial scales were relative to."""
    context: int | None = None
    """Tokens in a training sequence."""
    tokenizer: str | None = None
    end_of_text: str | None = None
    """The token before every document, for a tokenizer from a file."""
    data_source: str = "text:unknown"
    """Text to measure the model on; the default is a source that does not exist."""


def import_foreign(
    source: Path, out: Path, implementation: str, options: ImportOptions, *, may_unpickle: bool
) -> tuple[Run, list[str]]:
    """The run, with notes for the user on what was used of the checkpoint and what was assumed.

    Raises:
        ConfigError: the file is pickled and may not be read, or an option contradicts the checkpoint or is missing.
        CheckpointError: the checkpoint can't be read, contradicts itself, or is of another implementation.
    """
    known = IMPLEMENTATIONS[implementation]
    found = read_file(source, may_unpickle=may_unpickle)
    state = state_of(found, source)
    if any(
        name not in state or state[name].ndim != 2 for name in ("transformer.wte.weight", "lm_head.weight")
    ):
        names = ", ".join(shown(name) for name in list(state)[:5])
        raise CheckpointError(f"{source}: not a checkpoint of {implementation}; its tensors are {names}, ...")
    checkpoint = read_fields(found, source, known.fields)
    normalized = known.normalized in state
    _check_against_tensors(checkpoint, state, normalized, source)
    heads = _num_heads(state, known, checkpoint, options, source)
    ratio, notes = _scale_ratio(state, known, normalized, checkpoint, options)
    base_width = _base_width(state, known, checkpoint, options)
    method = methods.counterpart(implementation, "normalized" if normalized else "plain")
    try:
        tensors = known.convert(rescaled(state, known.scaled, ratio), heads)
        _check_finite(tensors)
        config, more = _config(tensors, method, heads, base_width, checkpoint, options)
        run = write_run(config, tensors, out, step=checkpoint.step, origin=f"checkpoint of {implementation}")
    except ConfigError:
        raise
    # torch raises some of these for a tensor of another shape.
    except (ValueError, RuntimeError, IndexError) as error:
        raise CheckpointError(
            f"{source}: not a checkpoint of {implementation}: {shown(' '.join(str(error).split()), 500)}"
        ) from None
    of_model = [known.note] if normalized or not known.plain_note else [known.note, known.plain_note]
    return run, [*of_model, *checkpoint.notes(), *notes, *more]


def _check_against_tensors(
    checkpoint: CheckpointFields, state: State, normalized: bool, source: Path
) -> None:
    blocks = {name.split(".")[2] for name in state if name.startswith("transformer.h.")}
    rows, width = state["transformer.wte.weight"].shape
    facts = {"vocab_size": rows, "n_embd": width, "n_layer": len(blocks), "use_nGPT": normalized}
    check_tensors(checkpoint, facts, source)
    biases = [name for name in state if name.endswith(".bias")]
    if biases or checkpoint.values.get("bias"):
        where = biases[0] if biases else checkpoint.places["bias"]
        raise CheckpointError(
            f"{source}: has biases ({shown(where)}), and no model here has; allowed is bias false"
        )


def _num_heads(
    state: State, known: Implementation, checkpoint: CheckpointFields, options: ImportOptions, source: Path
) -> int:
    width = state["transformer.wte.weight"].shape[1]
    if known.head_width in state:
        counted = width // max(1, state[known.head_width].numel())
        check_tensors(checkpoint, {"n_head": counted}, source)
        checkpoint.values["n_head"] = counted
    heads = _agreed("num-heads", options.num_heads, checkpoint.values.get("n_head"))
    if heads is None:
        raise ConfigError(
            f"the checkpoint does not say how many heads its {width} channels are; give --num-heads"
        )
    if heads < 1 or width % heads:
        raise ConfigError(f"num_heads {heads:g}: does not divide the width {width}")
    return int(heads)


def _agreed(option: str, by_option: float | None, in_checkpoint: float | None) -> float | None:
    """The value of an option or of the checkpoint.

    Raises:
        ConfigError: both have a value, and the two differ.
    """
    if (
        by_option is not None
        and in_checkpoint is not None
        and not math.isclose(by_option, in_checkpoint, rel_tol=1e-6)
    ):
        raise ConfigError(
            f"--{option} {by_option:g}: the checkpoint has {in_checkpoint:g}; leave the option out"
        )
    return by_option if in_checkpoint is None else in_checkpoint


def _scale_ratio(
    state: State,
    known: Implementation,
    normalized: bool,
    checkpoint: CheckpointFields,
    options: ImportOptions,
) -> tuple[float, list[str]]:
    """The factor from stored scales to ours, which are relative to 1/sqrt(d_model); and a note where it is not 1.

    Raises:
        ConfigError: neither option nor checkpoint gives `base_scale`.
    """
    if options.base_scale is not None and not (known.scaled and normalized):
        raise ConfigError("--base-scale: is for normalized models of --from nvidia-ngpt; leave it out")
    if not known.scaled:
        return 1.0, []
    base_scale = _agreed("base-scale", options.base_scale, checkpoint.values.get("base_scale"))
    if not normalized:  # base_scale is then only the spread of initial values
        if base_scale is not None:
            checkpoint.effectless.append("base_scale")
        return 1.0, []
    width = state["transformer.wte.weight"].shape[1]
    ours, default = width**-0.5, DEFAULT_WIDTH**-0.5
    if base_scale is None and width != DEFAULT_WIDTH:
        raise ConfigError(
            f"the checkpoint does not say its base_scale; train.py's is 1/sqrt(n_embd), {ours:.6g} here, GPTConfig's default "
            f"1/sqrt({DEFAULT_WIDTH}), {default:.6g}; give --base-scale"
        )
    ratio = ours / (default if base_scale is None else base_scale)
    if math.isclose(ratio, 1.0, rel_tol=1e-12):
        return 1.0, []
    return ratio, [
        f"base_scale: stored scales ({', '.join(known.scaled)}) are multiplied by {ratio:g}, which leaves their effective "
        "values what they were; in further training they move by other steps"
    ]


def _check_finite(tensors: State) -> None:
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{name} holds numbers that are not finite")


def _base_width(
    state: State, known: Implementation, checkpoint: CheckpointFields, options: ImportOptions
) -> int:
    """The base width, at which muP changes nothing; 0 for a model that was not trained with muP.

    Raises:
        ConfigError: an option contradicts the checkpoint, or the implementation has no muP.
        CheckpointError: the base width is not a whole number.
    """
    if "mup_width_mult" not in known.fields:
        if options.base_width:
            raise ConfigError("--base-width: this implementation has no muP; leave it out")
        return 0
    width, multiple = state["transformer.wte.weight"].shape[1], checkpoint.values.get("mup_width_mult")
    if multiple is None:
        return options.base_width or 0
    base = round(width / multiple)
    if base < 1 or not math.isclose(base * multiple, width, rel_tol=1e-6):
        raise CheckpointError(f"mup_width_mult is {multiple:g}: {width} over it is no whole width")
    _agreed("base-width", options.base_width, base)
    return 0 if base == width else base


def _config(
    tensors: State,
    method: str,
    num_heads: int,
    base_width: int,
    checkpoint: CheckpointFields,
    options: ImportOptions,
) -> tuple[RunConfig, list[str]]:
    vocab_size, d_model = tensors["E_in"].shape
    blocks = {name.split(".")[1] for name in tensors if name.startswith("blocks.")}
    tokenizer, note = find_tokenizer(options.tokenizer, options.end_of_text or "", vocab_size)
    context = _agreed("context", options.context, checkpoint.values.get("block_size"))
    notes = [note]
    if context is None:
        notes.append(f"context: {CONTEXT} tokens are assumed; --context says another number")
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
        "data": {
            "source": options.data_source, "tokenizer": tokenizer, "end_of_text": options.end_of_text or "",
        },
        "param": {"rules": "mup", "base_width": base_width} if base_width else {},
        "schedule": {"warmup_steps": 0, "cooldown_frac": 0.0},
        "train": {"steps": checkpoint.step, "context": int(context or CONTEXT)},
    }  # fmt: skip
    return methods.resolve(parse(fields, origin="the checkpoint")), notes
