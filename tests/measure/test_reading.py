"""Documents read in pieces: equal to one pass, whatever the pieces; memory that does not grow with the square of the length."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from distinct import MODELS
from ngptlab import Decoder, Dims, build_model, methods
from ngptlab.conformance.models import noisy
from ngptlab.measure.length import reading
from ngptlab.measure.length.reading import read_losses
from ngptlab.measure.val.measure import losses
from ngptlab.nn import decoder
from ngptlab.nn.cache import Cache, Past
from ngptlab.nn.rope import Angles, rope_tables

DIMS = Dims(vocab_size=19, num_layers=2, num_heads=2, d_model=16, d_ff=22)
DOCUMENTS = np.random.default_rng(0).integers(0, 19, (3, 71))

every_method = pytest.mark.parametrize("method", MODELS)


def large(method: str) -> Decoder:
    """A float64 model whose losses differ much between positions."""
    return noisy(build_model(method, DIMS, seed=2).double(), 3, scales=0.5, weights=0.3)


@every_method
@settings(max_examples=5, deadline=None)
@given(piece=st.integers(1, 80), cache_bytes=st.sampled_from([1, 100_000, 10**9]))
def test_pieces_give_what_one_pass_gives(method: str, piece: int, cache_bytes: int) -> None:
    model, told = large(method), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "PIECE_POSITIONS", (piece, piece))
        patch.setattr(reading, "CACHE_BYTES", cache_bytes)
        found = read_losses(model, DOCUMENTS, tell=lambda *of: told.append(of))
    plain = losses(model, DOCUMENTS[:, :-1], DOCUMENTS[:, 1:]).numpy()
    # Rounding of float64, some 1e-15 of losses of a few nats, in another order of summation.
    np.testing.assert_allclose(found, plain, rtol=0, atol=1e-12)
    assert plain.std() > 0.1
    assert told[-1] == (plain.size, plain.size) and told == sorted(told)


def test_a_window_and_other_angles_reach_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    model, angles = large("ngpt"), Angles(base=300.0, stretch=3.0)
    found = read_losses(model, DOCUMENTS, angles=angles)
    monkeypatch.setattr(decoder, "rope_tables", partial(rope_tables, angles=angles))
    plain = losses(model, DOCUMENTS[:, :-1], DOCUMENTS[:, 1:]).numpy()
    np.testing.assert_allclose(found, plain, rtol=0, atol=1e-12)
    monkeypatch.undo()
    # A model of one layer and a window of 5 sees five tokens: the same ones at any place of a document. (RoPE's scores
    # depend on distances alone in this method.)
    one = build_model("gpt", DIMS.model_copy(update={"num_layers": 1}), seed=2).double()
    windowed = read_losses(one, DOCUMENTS, window=5)
    for start in (1, 20, 60):
        piece = losses(one, DOCUMENTS[:, start : start + 5], DOCUMENTS[:, start + 1 : start + 6]).numpy()
        np.testing.assert_allclose(windowed[:, start + 4], piece[:, -1], rtol=0, atol=1e-12)
    assert np.abs(windowed - read_losses(one, DOCUMENTS))[:, 5:].max() > 1e-3


def test_losses_of_a_run_in_bfloat16_come_close() -> None:
    model = large("ngpt").float()
    exact = read_losses(model, DOCUMENTS)
    model.compute_dtype = torch.bfloat16
    rough = read_losses(model, DOCUMENTS)
    assert 1e-4 < np.abs(rough - exact).mean() < 0.05 * exact.mean()


class Largest(TorchDispatchMode):
    """The largest tensor that any operation gives, in bytes."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.bytes = max(self.bytes, leaf.untyped_storage().nbytes())
        return result


def largest(length: int) -> int:
    model = build_model("ngpt", Dims(vocab_size=19, num_layers=1, num_heads=2, d_model=8, d_ff=16))
    with Largest() as mode:
        read_losses(model, np.zeros((1, length + 1), dtype=np.int64))
    return mode.bytes


def test_memory_grows_with_the_length_not_its_square(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest of all is the mask of a piece, and keys and values: both linear. The attention itself makes no matrix of
    scores, else that would be the largest, heads times as large as the mask."""
    monkeypatch.setattr(reading, "PIECE_POSITIONS", (64, 64))
    short, long = largest(512), largest(2048)
    assert long <= 4 * short
    keys_and_values, mask = 2 * 8 * 4 * 2048, 64 * 2048
    assert long <= max(keys_and_values, 4 * mask)


@pytest.mark.parametrize(("method", "fewer"), [("gpt", 1), ("difft", 2), ("gqa", 0.5)])
def test_documents_read_at_once_follow_from_what_the_method_keeps(
    method: str, fewer: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method that keeps twice as much has half as many documents in one cache."""
    asked = []
    monkeypatch.setattr(reading, "CACHE_BYTES", 4 * 2 * 2 * 16 * 31 * 4)  # four documents of 31 tokens of gpt
    dims = Dims(vocab_size=19, num_layers=2, num_heads=4, d_model=16, d_ff=16)
    documents_NS = np.arange(8 * 32).reshape(8, 32) % 19

    class Seen(Cache):
        def __init__(self, *given: Any, **more: Any) -> None:
            super().__init__(*given, **more)
            asked.append(self)

    monkeypatch.setattr(reading, "Cache", Seen)
    read_losses(build_model(method, dims), documents_NS)
    assert len(asked) == 8 // (4 / fewer)
    for cache in asked:
        room = cache.layers[0]._room_2BHSK
        assert room is not None and room.shape[3] == 31, "made once, as large as needed"


def test_positions_before_the_text_have_their_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PIECE_POSITIONS", (16, 16))
    model, rooms = build_model("meta_tokens", DIMS), []
    hold = Past._hold
    monkeypatch.setattr(Past, "_hold", lambda self, k, v: rooms.append(self._room_for(k)) or hold(self, k, v))
    read_losses(model, DOCUMENTS)
    assert {room.shape[3] for room in rooms if not room.is_meta} == {
        DOCUMENTS.shape[1] - 1 + model.embed.prefix
    }


def test_a_large_model_reads_32k_tokens_alone_and_in_bounded_pieces() -> None:
    """What the docstring claims for 162M parameters, counted from what is allocated; nothing is."""
    dims = Dims(vocab_size=50304, num_layers=12, num_heads=12, d_model=768)
    with torch.device("meta"):
        model = Decoder(dims, methods.load("ngpt"))
    assert reading._document_bytes(model, 32 * 1024) == 2 * 12 * 768 * 32_768 * 4 == 2_415_919_104
    most = reading.PIECE_POSITIONS[1]
    mask = most * 32_768 * (4 + 1)
    activations = most * (10 * dims.d_model + 4 * dims.d_ff) * 4
    weights = 2 * 4 * sum(p.numel() for p in model.parameters())
    logits = 3 * 4 * 2**24
    assert weights + 2_415_919_104 + mask + activations + logits < 5e9
