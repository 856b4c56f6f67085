"""A checkpoint's files, written piece by piece, have the bytes that safetensors itself makes at once."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, load_file, save
from torch import Tensor

from ngptlab.errors import CheckpointError
from ngptlab.train import tensor_bytes
from ngptlab.train.checkpoint import write_checkpoint
from ngptlab.train.tensor_bytes import NAMES, num_bytes, pieces

Tensors = dict[str, Tensor]


def of_every_dtype() -> Tensors:
    """Two of each, not in the order in which they are written."""
    draws = torch.Generator().manual_seed(0)
    named = [f"{name}.{dtype}" for dtype in NAMES for name in ("b", "a")]
    named = [named[place] for place in torch.randperm(len(named), generator=draws)]
    dtypes = {str(dtype): dtype for dtype in NAMES}
    return {
        name: torch.randint(0, 2, (3, 5), generator=draws).to(dtypes[name.partition(".")[2]])
        for name in named
    }


def odd_shapes() -> Tensors:
    return {
        "scalar": torch.tensor(3.5),
        "scalar of float64": torch.tensor(-0.1, dtype=torch.float64),
        "step": torch.tensor(7, dtype=torch.int64),
        "empty": torch.zeros(0),
        "empty rows": torch.zeros(4, 0, 2, dtype=torch.bfloat16),
        "long": torch.arange(3 * 1000, dtype=torch.float32),
        "odd": torch.arange(7, dtype=torch.uint8),
    }


def odd_names() -> Tensors:
    names = ("", "a", "B", "aa", "é", "z", 'a "quote" \\', "\n\t\x01\x7f", "\u2028", "日本", "😀", "\ue000")
    return {name: torch.full((2,), float(number)) for number, name in enumerate(names)}


def no_tensors() -> Tensors:
    return {}


ALL = [of_every_dtype, odd_shapes, odd_names, no_tensors]


def written(tensors: Tensors) -> bytes:
    return b"".join(pieces(tensors))


@pytest.mark.parametrize("make", ALL, ids=lambda make: make.__name__)
def test_the_bytes_are_those_of_safetensors(
    make: Callable[[], Tensors], monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = make()
    expected = save(tensors)
    for size in (1, 7, 4096, 1 << 20):
        monkeypatch.setattr(tensor_bytes, "PIECE_BYTES", size)
        assert written(tensors) == expected
    assert num_bytes(tensors) == len(expected)


def test_a_file_on_the_disk(tmp_path: Path) -> None:
    """The manifest has its size and digest, and safetensors reads it."""
    tensors = {**of_every_dtype(), **odd_shapes()}
    content = {"model.safetensors": tensors, "optimizer.safetensors": {}}
    path = write_checkpoint(tmp_path / "checkpoints", content, step=1, config_hash="0", keep=2)
    found = (path / "model.safetensors").read_bytes()
    assert found == save(tensors)
    digest = re.search(r'"bytes": (\d+),\s+"sha256": "(\w+)"', (path / "manifest.json").read_text())
    assert digest and digest.groups() == (str(len(found)), hashlib.sha256(found).hexdigest())
    back = load_file(path / "model.safetensors")
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype and back[name].shape == tensor.shape
        assert written({"": back[name]}) == written({"": tensor})


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: dict(sorted(tensors.items())),  # by name alone
        lambda tensors: dict(sorted(tensors.items(), key=lambda item: -item[1].element_size())),
    ],
)
def test_other_orders_would_be_seen(
    change: Callable[[Tensors], Tensors], monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = of_every_dtype()
    monkeypatch.setattr(tensor_bytes, "_in_order", lambda given: list(change(dict(given))))
    assert written(tensors) != save(tensors)


def test_views_are_written_as_they_are_seen() -> None:
    """Of a matrix that lies transposed, a row of a stack, a parameter with a gradient."""
    stack = torch.arange(24.0).reshape(2, 3, 4)
    weight = torch.nn.Parameter(torch.ones(2, 3, dtype=torch.float64))
    views = {"transposed": stack[0].T, "row": stack[1], "weight": weight, "every second": stack[0, :, ::2]}
    copies = {
        name: view.detach().clone(memory_format=torch.contiguous_format) for name, view in views.items()
    }
    assert written(views) == save(copies)


def test_nothing_is_copied() -> None:
    """So the memory that a save takes does not grow with the model. Every piece lies in its tensor, and is a short one."""
    tensor = torch.arange(1_000_000, dtype=torch.float32)
    _, *rest = pieces({"a": tensor})
    place = tensor.data_ptr()
    for piece in rest:
        assert torch.frombuffer(piece, dtype=torch.uint8).data_ptr() == place
        assert len(piece) <= tensor_bytes.PIECE_BYTES
        place += len(piece)
    assert place == tensor.data_ptr() + tensor.nbytes


def test_where_numbers_begin_with_their_high_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """The format has the low byte first on every machine. Here all bytes come turned round, number by number."""
    tensors = {
        "a": torch.tensor([1.5, -2.0]),
        "b": torch.tensor([1, 258], dtype=torch.int16),
        "c": torch.tensor([1 + 2j]),
    }
    monkeypatch.setattr(sys, "byteorder", "big")
    made = written(tensors)
    monkeypatch.undo()
    turned = load(made)
    for name, tensor in tensors.items():
        parts = torch.view_as_real(tensor) if tensor.is_complex() else tensor
        assert turned[name].numpy().tobytes() == parts.numpy().byteswap().tobytes()


def test_a_dtype_that_the_format_lacks() -> None:
    with pytest.raises(CheckpointError, match=r"^w is of complex128, which .* can't hold; keep it") as caught:
        written({"w": torch.zeros(2, dtype=torch.complex128)})
    assert "\n" not in str(caught.value)
