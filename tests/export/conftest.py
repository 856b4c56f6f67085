"""Finished runs without training: weights far from their initial values, so that a wrong place or order shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ngptlab.config import RunConfig
from ngptlab.export.imported import write_run
from ngptlab.initial_model import initial_model
from ngptlab.trained import Trained, open_trained

MODEL = {"vocab_size": 263, "num_layers": 2, "num_heads": 2, "d_model": 16, "d_ff": 26}


@pytest.fixture
def make_trained(make_config: Callable[..., RunConfig], tmp_path: Path) -> Callable[..., Trained]:
    """A model of a method with every scale off by some half of its value, opened from a run directory."""

    def make(method: str = "gpt", *, name: str = "", **changes: Any) -> Trained:
        config = make_config(method, **{"model": MODEL, **changes})
        model, generator = initial_model(config), torch.Generator().manual_seed(5)
        with torch.no_grad():
            for key, weight in model.named_parameters():
                noise = torch.randn(weight.shape, generator=generator)
                weight.mul_(torch.exp(0.5 * noise)) if key.endswith(".stored") else weight.add_(0.2 * noise)
        path = tmp_path / (name or f"run-{method}")
        write_run(config, dict(model.named_parameters()), path, step=config.train.steps, origin="a test")
        return open_trained(path)

    return make
