"""Groups of cells that are trained as one program (stacks), and their size.

The rule of `auto` comes from measurements (docs/speed-log.md, `python -m benchmarks.stacked`). A stack saves the fixed cost of
every operation, but its working set no longer fits the caches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

from ngptlab import methods
from ngptlab.config import RunConfig
from ngptlab.device import on_cuda
from ngptlab.errors import ConfigError
from ngptlab.jobs.cell import Cell
from ngptlab.stack.probe import refusal
from ngptlab.stack.stackable import stack_key, why_not
from ngptlab.train.checkpoint import list_checkpoints, step_of

Cells = tuple[Cell, ...]

CPU_MODELS, CPU_STEP = 8, 2**16
"""On a CPU: models of a stack, and the greatest product of a step's tokens and d_model at which it is faster."""
CUDA_MODELS, CUDA_WIDTH, CUDA_STEP, CUDA_LOGITS = 16, 256, 2**21, 2**30
"""On a GPU: models of a stack; d_model, and tokens of a micro-batch times d_model, up to which it is formed; and logits of a
micro-batch that it may hold, 4 GB in float32. Measured at width 64, ten models, compiled, on an H200: at 2,048 tokens 4.6 to 7.6
times the cells an hour, depending on the method; at 32,768, where one model keeps the GPU busy, 1.3 to 1.6 times."""


def size(config: RunConfig, choice: int | None) -> int:
    """Number of models in a stack for such runs; 1 where single runs are faster. `choice` None: by the rule."""
    if choice is not None:
        return choice
    if not on_cuda(config.device):
        return CPU_MODELS if config.train.step_tokens * config.model.d_model <= CPU_STEP else 1
    tokens = config.train.context * (config.device.micro_batch or config.train.batch_size)
    width = config.model.d_model
    if width > CUDA_WIDTH or tokens * width > CUDA_STEP:
        return 1
    return max(1, min(CUDA_MODELS, CUDA_LOGITS // (tokens * config.model.vocab_size)))


def stacks(
    cells: Sequence[Cell],
    run_of: Callable[[Cell], Path],
    *,
    choice: int | None,
    workers: int,
    note: Callable[[str], None],
) -> list[Cells]:
    """Cells in groups, each to be trained by one worker, in the order of their first cells.

    A group has cells of the same shape at the same step, and is small enough to leave work for every worker. Methods that
    can't be stacked are named through `note`.
    """
    groups: dict[tuple[str, int], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((stack_key(cell.config), _newest(run_of(cell))), []).append(cell)
    refused: dict[str, str] = {}
    found: list[Cells] = []
    for group in groups.values():
        config = group[0].config
        most = min(size(config, choice), -(-len(group) // workers))
        if most > 1 and config.arm not in refused:
            refused[config.arm] = why_not(config) or refusal(
                methods.load(config.method, config.seams.lenders)
            )
            if refused[config.arm]:
                note(f"{config.arm}: its runs are trained one by one; {refused[config.arm]}")
        found += _split(group, 1 if refused.get(config.arm) else most)
    return sorted(found, key=lambda group: cells.index(group[0]))


def _split(group: Sequence[Cell], most: int) -> list[Cells]:
    """Parts of at most `most` cells, of nearly equal size."""
    parts = -(-len(group) // max(1, most))
    ends = [round(len(group) * part / parts) for part in range(parts + 1)]
    return [tuple(group[start:end]) for start, end in pairwise(ends)]


def _newest(run_path: Path) -> int:
    """The step of a run's newest checkpoint, 0 where it has none."""
    checkpoints = list_checkpoints(run_path / "checkpoints")
    return step_of(checkpoints[-1]) if checkpoints else 0


def stack_choice(text: str) -> int | None:
    """The option --stack: None for `auto`, 1 for `off`, else a number from 2 on.

    Raises:
        ConfigError: the text is none of these.
    """
    if text == "auto":
        return None
    if text == "off":
        return 1
    if text.isdecimal() and len(text) < 10 and int(text) > 1:
        return int(text)
    raise ConfigError(f"--stack: given {text!r}; give auto, off, or a number from 2 on")
