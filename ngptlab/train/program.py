"""What a step runs of a model, compiled where the device says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ngptlab.device import Device
from ngptlab.nn.decoder import Decoder

VARIANTS = 64
"""Of methods, sizes and batches in one process."""


@dataclass(frozen=True)
class Program:
    """A model's loss and its constraint."""

    loss: Callable[[Tensor, Tensor], Tensor]
    after_step: Callable[[], None]


def program(model: Decoder, device: Device) -> Program:
    """The two as a run on this device calls them."""
    if not device.compile:
        return Program(model.loss, model.after_step)
    from torch._dynamo import config  # takes a second, which those who don't compile need not wait

    # Methods and sizes share the code of one loss; after so many variants of it the compiler would give up without a word.
    config.recompile_limit = max(VARIANTS, config.recompile_limit)
    # A GPU waits while the constraint's operations on every matrix are called one by one; a CPU has none to wait for.
    after_step = torch.compile(model.after_step) if device.place.type == "cuda" else model.after_step
    return Program(torch.compile(model.loss), after_step)
