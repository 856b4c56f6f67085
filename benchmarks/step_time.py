"""Time of a training step of every method, interleaved in one process: `python -m benchmarks.step_time [--methods A B]`.

A step is forward, loss, backward, clipping, AdamW and the weights' constraint. Methods take turns step by step, so that
what else the machine does hits them alike; ratios are to the first method, of steps taken in the same turn.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from ngptlab.config import Dims, OptimConfig
from ngptlab.methods import build_model, load, names
from ngptlab.nn.decoder import Decoder
from ngptlab.optim.groups import adamw

SIZES = {
    "demo": (Dims(vocab_size=257, num_layers=4, num_heads=4, d_model=96), 32, 128),
    "bytes": (Dims(vocab_size=256, num_layers=4, num_heads=4, d_model=256), 16, 256),
    "gpt2-7m": (Dims(vocab_size=50304, num_layers=12, num_heads=1, d_model=64), 4, 1024),
}


@dataclass(frozen=True)
class Row:
    """One method at one size; ratio is to the first method, with the quartiles of the turns."""

    size: str
    method: str
    step_seconds_median: float
    ratio_median: float
    ratio_quartiles: tuple[float, float]
    turns: int


class Stepper:
    """A model and its optimizer, one step a call."""

    def __init__(self, method: str, dims: Dims) -> None:
        self.model: Decoder = build_model(method, dims, seed=0)
        decay = load(method).weight_decay
        self.optimizer = adamw(self.model, OptimConfig(lr=1e-3, weight_decay=decay))

    def step(self, tokens: torch.Tensor, targets: torch.Tensor) -> float:
        """Seconds of one step."""
        start = time.perf_counter()
        self.model.loss(tokens, targets).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.model.after_step()
        self.optimizer.zero_grad(set_to_none=True)
        return time.perf_counter() - start


def measure(size: str, methods: list[str], turns: int) -> list[Row]:
    """All methods at one size, interleaved."""
    dims, batch, context = SIZES[size]
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(dims.vocab_size, (batch, context + 1), generator=generator)
    steppers = [Stepper(method, dims) for method in methods]
    for stepper in steppers:
        for _ in range(2):
            stepper.step(tokens[:, :-1], tokens[:, 1:])
    seconds = np.array([[s.step(tokens[:, :-1], tokens[:, 1:]) for s in steppers] for _ in range(turns)])
    ratios = seconds / seconds[:, :1]
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75], axis=0)
    medians = np.median(seconds, axis=0)
    return [
        Row(
            size,
            m,
            round(float(medians[i]), 5),
            round(float(middle[i]), 4),
            (round(float(low[i]), 4), round(float(high[i]), 4)),
            turns,
        )
        for i, m in enumerate(methods)
    ]


def main() -> None:
    """Parse, measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--methods", nargs="+", default=names(), help="the first is the baseline of the ratios"
    )
    parser.add_argument("--sizes", nargs="+", default=["demo", "bytes"], choices=list(SIZES))
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("out/bench/step_time.json"))
    options = parser.parse_args()
    rows = [row for size in options.sizes for row in measure(size, options.methods, options.turns)]
    for row in rows:
        low, high = row.ratio_quartiles
        print(
            f"{row.size:8} {row.method:14} {row.step_seconds_median * 1e3:8.1f} ms  "
            f"{row.ratio_median:.3f} ({low:.3f}..{high:.3f})"
        )
    machine = {
        "torch": torch.__version__,
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(
        json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=2) + "\n"
    )
    print(options.out)


if __name__ == "__main__":
    main()
