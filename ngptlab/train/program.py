"""The parts of a model that an update runs, compiled where the device says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ngptlab.device import Device
from ngptlab.nn.decoder import Decoder
from ngptlab.train.gradients import Gradients, Replayed

VARIANTS = 64
"""Variants of methods, sizes and batches in one process."""


@dataclass(frozen=True)
class Program:
    """A model's gradients and its constraint."""

    gradients: Gradients
    after_step: Callable[[], None]


def program(model: Decoder, device: Device) -> Program:
    """The two as a run on this device calls them."""
    if not device.compile:
        return Program(Gradients(model.loss), model.after_step)
    from torch._dynamo import config  # takes a second, which those who don't compile need not wait

    # Methods and sizes share the code of one loss; after so many variants of it the compiler would give up without a word.
    config.recompile_limit = max(VARIANTS, config.recompile_limit)
    # Recomputed, the first block would note its values for the others once more; they have them by then.
    config.skip_fwd_side_effects_in_bwd_under_checkpoint = True
    loss = torch.compile(model.loss)
    if device.place.type != "cuda":
        return Program(Gradients(loss), model.after_step)
    # A GPU waits while the constraint's operations on every matrix are called one by one; a CPU has none to wait for.
    after_step = torch.compile(model.after_step)
    return Program(
        Replayed(loss, list(model.parameters())) if device.records else Gradients(loss), after_step
    )
