"""What a run is, in a few lines before it begins."""

from __future__ import annotations

from pathlib import Path

from ngptlab.config import RunConfig
from ngptlab.data.corpus import Corpus
from ngptlab.device import Device, describe
from ngptlab.nn.decoder import Decoder


def introduce(config: RunConfig, path: Path, model: Decoder, device: Device, corpus: Corpus) -> list[str]:
    """Its folder; method, size and tokens; where and how it is computed; and how a text of one document was cut."""
    train, facts = config.train, describe(device)
    there = corpus.manifest.splits["train"].tokens
    where = f"{facts['device']} ({facts['device_name']})"
    length = f"{train.tokens:,} tokens ({train.steps:,} steps of {train.step_tokens:,})"
    lines = [
        f"in {path}",
        f"{config.arm}, {model.num_params():,} parameters; {length} of {config.data.source}, which has {there:,} for training",
        f"on {where}, {facts['compute_dtype']}, {facts['threads']} thread{'s' * (facts['threads'] != 1)}"
        + (", compiled" if device.compile else ""),
    ]
    return [*lines, corpus.manifest.cut] if corpus.manifest.cut else lines
