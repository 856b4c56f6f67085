"""What each method's model writes, for the page. The models are read by whoever calls, because a page imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ngptlab.errors import LabError
from ngptlab.report.schema import Sample
from ngptlab.terminal import one_line

MAX_TOKENS = 200
"""Most tokens of a sample: enough to see how a model writes, and a second or two on a CPU for a small one."""
TEMPERATURE = 0.8
"""Below 1, because a small model at 1 writes mostly noise. Always the likeliest token would repeat itself for ever."""
SEED = 0
MAX_WORDS = 300
"""Most characters that are shown of an error."""


class Sampler(Protocol):
    """Interface of what draws a sample."""

    def __call__(self, run: Path, *, max_tokens: int, temperature: float, seed: int) -> tuple[int, str]:
        """The step of the model and the text that it writes from an end of text on. Raises LabError where it can't."""


def samples(runs: Mapping[str, Sequence[Path]], sampler: Sampler) -> list[Sample]:
    """A sample of each method, from the first of its runs that has a checkpoint; where none has one, why there is none."""
    return [_sample(method, paths, sampler) for method, paths in runs.items()]


def _sample(method: str, paths: Sequence[Path], sampler: Sampler) -> Sample:
    found: Sample = {
        "method": method,
        "run": "",
        "step": None,
        "text": "",
        "why_not": "",
        "max_tokens": MAX_TOKENS,
        "temperature": TEMPERATURE,
        "seed": SEED,
    }
    path = next((path for path in paths if any((path / "checkpoints").glob("*"))), None)
    if path is None:
        return {**found, "why_not": "no checkpoint is kept"}
    found["run"] = path.resolve().name
    try:
        step, text = sampler(path, max_tokens=MAX_TOKENS, temperature=TEMPERATURE, seed=SEED)
    except LabError as error:
        return {**found, "why_not": one_line(str(error))}
    # A stranger's parts may fail at lengths that no training has, and the page needs no sample.
    except Exception as error:
        return {**found, "why_not": one_line(f"{type(error).__name__}: {error}")[:MAX_WORDS]}
    return {**found, "step": step, "text": text}
