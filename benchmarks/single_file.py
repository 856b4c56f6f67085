"""Models out of single-file trainers: scripts in which model, data loader and training loop follow one another.

The layout is that of modded-nanogpt and its forks: `GPT(GPTConfig(vocab_size, n_layer, n_head, n_embd))` whose
`forward(idx, targets, return_logits=False)` gives (logits, loss), and `norm_weights()` where weights are constrained. Only
what stands above the data loader is executed. It is executed, though: name files that you trust.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from benchmarks.sizes import Size
from benchmarks.steps import LR, Stepper, compiled_or_not
from ngptlab.device import Device
from ngptlab.errors import ConfigError
from ngptlab.train.gradients import Gradients

CUT = "Our own simple Distributed Data Loader"
STUBS = ("tyro", "wandb")
"""Imported at the top of such files for their command line and their logging, and not needed by the model."""


def module_file(text: str) -> tuple[str, Path]:
    """LABEL=PATH, as argparse wants its types.

    Raises:
        argparse.ArgumentTypeError: it is something else, or there is no such file.
    """
    label, equals, path = text.partition("=")
    if not (label and equals and path):
        raise argparse.ArgumentTypeError(f"given {text!r}; write LABEL=PATH")
    if not Path(path).is_file():
        raise argparse.ArgumentTypeError(f"{path}: no such file")
    return label, Path(path)


def model_source(text: str) -> str:
    """The part of a trainer's source that defines the model, without the lines that read the script itself.

    Raises:
        ConfigError: there is no data loader to cut at.
    """
    head, found, _ = text.partition(CUT)
    if not found:
        raise ConfigError(f"no line holds {CUT!r}; the file has another layout")
    lines, kept, indent = head.splitlines()[:-1], [], None
    for line in lines:
        if "open(sys.argv[0])" in line:
            indent = len(line) - len(line.lstrip())
            continue
        if indent is not None and line.strip() and len(line) - len(line.lstrip()) > indent:
            continue  # the body of that `with`
        indent = None
        kept.append(line)
    return "\n".join(kept) + "\n"


def load_module(path: Path) -> ModuleType:
    """The model's part of a trainer as a module, under a name of its own.

    Raises:
        ConfigError: as `model_source`.
    """
    source = model_source(path.read_text(encoding="utf-8"))
    module = ModuleType(f"benchmarks_peer_{path.stem}_{len(sys.modules)}")
    sys.modules[module.__name__] = module  # dataclasses look their module up
    stubs = {stub: ModuleType(stub) for stub in STUBS if stub not in sys.modules}
    sys.modules |= stubs
    try:
        exec(compile(source, path.name, "exec"), module.__dict__)
    finally:
        # Whoever imports the real one later must not get an empty one.
        for stub in stubs:
            del sys.modules[stub]
    return module


def stepper(label: str, path: Path, size: Size, device: Device) -> Stepper:
    """A trainer's model as a contestant.

    Raises:
        ConfigError: as `model_source`.
    """
    module, dims = load_module(path), size.dims
    config = module.GPTConfig(
        vocab_size=dims.vocab_size, n_layer=dims.num_layers, n_head=dims.num_heads, n_embd=dims.d_model
    )
    model = module.GPT(config).to(device.place)
    forward = compiled_or_not(model, device)

    def loss(tokens: Tensor, targets: Tensor) -> Tensor:
        with autocast(device):
            result: Any = forward(tokens, targets, return_logits=False)  # type: ignore[call-arg]
        return result[1]  # type: ignore[no-any-return]

    constraint = getattr(model, "norm_weights", lambda: None)
    return Stepper(label, model, Gradients(loss), fused_adamw(model), constraint, device)


def autocast(device: Device) -> torch.autocast:
    """What public trainers do on a GPU to compute in bfloat16; nothing on a CPU."""
    place = device.place.type
    return torch.autocast(place, dtype=torch.bfloat16, enabled=place == "cuda")


def fused_adamw(model: torch.nn.Module) -> torch.optim.AdamW:
    """The optimizer of every contestant that is not ours, with our betas."""
    return torch.optim.AdamW(model.parameters(), lr=LR, betas=(0.9, 0.95), fused=True)
