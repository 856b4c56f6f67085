"""The nGPT paper's recipes, number by number (arXiv:2410.01131, tables 2 and 3)."""

from __future__ import annotations

import pytest
import torch

from ngptlab.config import RunConfig
from ngptlab.methods import load, resolve
from ngptlab.nn.decoder import Decoder
from ngptlab.optim.schedule import lr_factor
from ngptlab.recipes import recipe


def arms(name: str) -> list[RunConfig]:
    found = recipe(name)
    return [resolve(found.arm(method)) for method in found.methods]


@pytest.mark.parametrize(
    ("name", "counts"),
    [("paper-05b", [468_189_184, 468_491_520]), ("paper-1b", [1_025_638_400, 1_026_177_280])],
)
def test_parameters_with_the_papers_vocabulary(name: str, counts: list[int]) -> None:
    """Table 2 has 468.2 and 468.4, 1025.7 and 1026.1 million: gains of its norms are a tenth of a million more, and digits
    are cut."""
    found = []
    for arm in arms(name):
        with torch.device("meta"):
            dims = arm.model.model_copy(update={"vocab_size": 32_000})
            found.append(Decoder(dims, load(arm.method)).num_params())
    assert found == counts


@pytest.mark.parametrize(
    ("name", "layers", "heads", "width"), [("paper-05b", 24, 16, 1024), ("paper-1b", 36, 20, 1280)]
)
def test_settings_of_the_paper(name: str, layers: int, heads: int, width: int) -> None:
    gpt, normalized = arms(name)
    assert gpt.model == normalized.model and gpt.name == name
    dims = gpt.model
    assert (dims.num_layers, dims.num_heads, dims.d_model, dims.d_ff) == (layers, heads, width, 4 * width)
    for arm in (gpt, normalized):
        assert (arm.train.batch_size, arm.train.tokens) == (512, 52_428_800_000)
        assert (arm.optim.lr, arm.optim.betas, arm.optim.grad_clip) == (1e-3, (0.9, 0.95), 1.0)
        assert arm.schedule.shape == "cosine" and lr_factor(arm, arm.train.steps - 1) < 1e-6
    assert (gpt.schedule.warmup_steps, gpt.optim.weight_decay) == (2000, 0.1)
    assert (normalized.schedule.warmup_steps, normalized.optim.weight_decay) == (0, 0.0)
