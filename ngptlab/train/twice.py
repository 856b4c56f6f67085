"""Whether a method's blocks may run twice (`device.recompute`): tried on a toy model, bit for bit."""

from __future__ import annotations

import torch
from torch import Tensor

from ngptlab.config import Dims
from ngptlab.errors import ConfigError
from ngptlab.nn.decoder import Decoder, Parts

DIMS = Dims(vocab_size=17, num_layers=3, num_heads=2, d_model=16, d_ff=24)
SEQUENCES, LENGTH = 2, 8


def check_recomputes(parts: Parts, name: str) -> None:
    """Hold the gradients of a method whose blocks run twice against those where they run once.

    Raises:
        ConfigError: they differ, or a second run is not possible. Often a block has random numbers, or counts its calls.
    """
    with torch.random.fork_rng(devices=[]):
        try:
            kept = _gradients(parts, recompute=False)
        except ConfigError:
            return  # the method takes no model of these sizes, so the run itself has to tell
        try:
            again = _gradients(parts, recompute=True)
        except RuntimeError as error:  # torch's own, where the second run has other tensors than the first
            line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise _refused(name, f"a block can't run a second time ({line})") from None
    for parameter, grad in kept.items():
        if not torch.equal(grad, again[parameter]):
            raise _refused(name, f"a block that runs a second time gives {parameter} another gradient")


def _gradients(parts: Parts, *, recompute: bool) -> dict[str, Tensor]:
    model = Decoder(DIMS, parts)
    model.reset(0)
    model.recompute = recompute
    torch.manual_seed(0)
    tokens_BT = torch.randint(DIMS.vocab_size, (SEQUENCES, LENGTH + 1))
    model.loss(tokens_BT[:, :-1], tokens_BT[:, 1:]).backward()  # type: ignore[no-untyped-call]
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def _refused(name: str, why: str) -> ConfigError:
    return ConfigError(f"device.recompute: {name} does not work with it, because {why}; leave it out")
