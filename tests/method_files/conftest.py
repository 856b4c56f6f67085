"""A method's file of one's own, as `Parts` of the baseline with another attention scale."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ngptlab.method_files import sources

TEXT = '''"""The baseline with sharper attention, for tests.

Source: none.
"""

from __future__ import annotations

from dataclasses import dataclass

from ngptlab.config import Dims
from ngptlab.nn.decoder import Parts
from ngptlab.nn.optimizers import AdamW
from ngptlab.nn.parts import Add, FreeWeights, PlainLogits, RMSNorm, Rotate, SwiGLU


@dataclass(frozen=True)
class Sharp:
    """A factor on the usual scale."""

    factor: float = 1.5

    def build(self, dims: Dims) -> float:
        return self.factor * dims.d_head**-0.5


METHOD = Parts(
    norm=RMSNorm(),
    after_step=FreeWeights(),
    residual=Add(),
    attn_scale=Sharp(),
    qk=Rotate(),
    gate=SwiGLU(),
    logits=PlainLogits(),
    weight_decay=0.1,
    warmup_steps=200,
    optimizer=AdamW(),
)
'''


@pytest.fixture(autouse=True)
def nothing_read() -> Iterator[None]:
    """As in a process of its own."""
    sources.forget()
    yield
    sources.forget()


@pytest.fixture
def idea(work: Path) -> Callable[..., Path]:
    """Writes a method's file into the working directory, with parts of its text replaced."""

    def write(name: str = "my_idea.py", *changes: tuple[str, str]) -> Path:
        text = TEXT
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = work / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write
