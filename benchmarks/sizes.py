"""The shapes at which steps are measured, and the command line's way of choosing among them."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import torch
from torch import Tensor

from ngptlab.config import Dims
from ngptlab.errors import ConfigError


@dataclass(frozen=True)
class Size:
    """A model and the batch that it trains on."""

    dims: Dims
    batch: int
    context: int
    cuda: bool = False
    """Meant for a GPU, in bfloat16: a step takes minutes on a CPU."""

    @property
    def tokens(self) -> int:
        """Tokens of one step."""
        return self.batch * self.context

    def sample(self, place: torch.device) -> tuple[Tensor, Tensor]:
        """Inputs and targets: random tokens, the same for all. Their values cost nothing, their number does."""
        generator = torch.Generator().manual_seed(0)
        tokens_BS = torch.randint(
            self.dims.vocab_size, (self.batch, self.context + 1), generator=generator
        ).to(place)
        return tokens_BS[:, :-1].contiguous(), tokens_BS[:, 1:].contiguous()


SIZES = {
    "demo": Size(Dims(vocab_size=257, num_layers=4, num_heads=4, d_model=96), 32, 128),
    "bytes": Size(Dims(vocab_size=256, num_layers=4, num_heads=4, d_model=256), 16, 256),
    "gpt2-7m": Size(Dims(vocab_size=50304, num_layers=12, num_heads=1, d_model=64), 4, 1024),
    "gpt2-512": Size(Dims(vocab_size=50304, num_layers=6, num_heads=8, d_model=512), 4, 512),
    "162m": Size(Dims(vocab_size=50304, num_layers=12, num_heads=12, d_model=768), 16, 1024, cuda=True),
}


def check(names: list[str]) -> None:
    """Refuse what this machine can't measure in reasonable time.

    Raises:
        ConfigError: a size for CUDA where there is none, or sizes of both kinds at once.
    """
    wanted = {SIZES[name].cuda for name in names}
    if len(wanted) > 1:
        raise ConfigError("--sizes: sizes for a GPU and for a CPU are measured in runs of their own")
    if True in wanted and not torch.cuda.is_available():
        raise ConfigError(
            f"--sizes {' '.join(names)}: needs a CUDA device and torch sees none; "
            f"on a CPU take {', '.join(name for name, size in SIZES.items() if not size.cuda)}"
        )


def add_sizes(parser: argparse.ArgumentParser, default: list[str]) -> None:
    """The option --sizes."""
    parser.add_argument("--sizes", nargs="+", default=default, choices=list(SIZES), metavar="SIZE")
