"""The least memory: never more than what `plan` counts, and told before anything is built."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ngptlab import ConfigError, Dims, RunConfig, build_model, methods, sizes
from ngptlab.config import DeviceConfig, TrainConfig
from ngptlab.plan.memory import num_params, step_memory
from ngptlab.sizes import CONTAINER_LIMITS, Part, check_fits, host_bytes, in_bytes, training_parts

SHAPES = [
    (Dims(vocab_size=257, num_layers=3, num_heads=2, d_model=64), 8, 64, 0),
    (Dims(vocab_size=4096, num_layers=2, num_heads=2, d_model=128), 2, 16, 1),
    (Dims(vocab_size=17, num_layers=4, num_heads=2, d_model=8, d_ff=500), 4, 16, 0),
    (Dims(vocab_size=17, num_layers=4, num_heads=2, d_model=64, d_ff=4), 4, 128, 2),
]


@pytest.mark.parametrize(
    "shape", SHAPES, ids=[f"D{dims.d_model}-T{context}" for dims, _, context, _ in SHAPES]
)
@pytest.mark.parametrize("method", methods.names())
def test_it_is_a_lower_bound_and_not_a_far_one(method: str, shape: tuple[Dims, int, int, int]) -> None:
    """Else a run would be refused that fits, or one that is ten times too large would be begun."""
    dims, batch, context, micro = shape
    config = methods.resolve(
        RunConfig(
            name="x",
            method=method,
            model=dims,
            train=TrainConfig(steps=10, batch_size=batch, context=context),
            device=DeviceConfig(micro_batch=micro),
        )
    )
    blocks, embeddings, activations, tokens = (part.bytes for part in training_parts(config))
    assert tokens == 2 * 8 * config.train.largest_batch * context
    narrow = step_memory(config, place="cuda", value_bytes=2)
    assert activations <= narrow.activations, "bfloat16's activations are the least"
    for memory in (narrow, step_memory(config, place="cpu", value_bytes=4)):
        model = memory.weights + memory.gradients + memory.moments
        assert blocks + embeddings <= model
        least = blocks + embeddings + activations
        # What an optimizer keeps beyond three moments may be squares of a matrix's sides, which no number of weights bounds.
        squares = max(0, memory.moments - 3 * 4 * num_params(config))
        assert least <= memory.total
        if method != "bigram":  # whose table, five times as long as the vocabulary, no other method has
            assert (memory.total - squares) / 5 < least


@pytest.mark.parametrize("method", ["gpt", "ngpt", "unet", "parallel", "relu2"])
def test_it_is_one_with_less_memory(method: str) -> None:
    """Recomputed and divided among eight."""
    dims, batch, context, _ = SHAPES[0]
    settings = TrainConfig(steps=10, batch_size=8 * batch, context=context)
    device = DeviceConfig(micro_batch=batch, recompute="on", shard="optimizer")
    config = methods.resolve(RunConfig(name="x", method=method, model=dims, train=settings, device=device))
    blocks, embeddings, activations, _ = (part.bytes for part in training_parts(config))
    memory = step_memory(config, place="cuda", value_bytes=2, processes=8)
    assert memory.activations / 5 < activations <= memory.activations
    assert blocks + embeddings <= memory.weights + memory.gradients + memory.moments


def test_the_message_names_sizes_and_fields() -> None:
    parts = [
        Part("small", 10, {"a.b": 3}),
        Part("large", 3 * 10**12, {"train.batch_size": 8, "train.context": 10**6}),
    ]
    with pytest.raises(ConfigError) as caught:
        check_fits(parts, 24 * 10**9, what="a step", where="this machine")
    assert str(caught.value) == (
        "a step takes 3 TB at least, 3 TB of them for large; this machine has 24 GB: lower train.context (1,000,000)"
    )
    check_fits(parts, 3 * 10**12 + 10, what="a step", where="this machine")


def test_sizes_for_people() -> None:
    assert [in_bytes(size) for size in (5_000, 12_345_678, 10**9, 25_300_000_000, 10**18, 10**30)] == [
        "0.005 MB",
        "12.3 MB",
        "1 GB",
        "25.3 GB",
        "1 EB",
        "1,000,000,000,000 EB",
    ]


def test_a_container_has_less_than_its_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = host_bytes()
    assert 10**8 < whole < 10**15
    limits = [tmp_path / path.name for path in CONTAINER_LIMITS]
    monkeypatch.setattr(sizes, "CONTAINER_LIMITS", limits)
    limits[0].write_text("max\n")
    assert host_bytes() >= whole, "no limit"
    limits[1].write_text("1000000\n")
    assert host_bytes() == 1_000_000


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"d_model": 10**9, "num_heads": 1}, "model.d_model"),
        ({"vocab_size": 10**9}, "model.vocab_size"),
        ({"d_ff": 10**9}, "model.d_ff"),
        ({"d_model": 2**53, "num_heads": 1}, "model.d_model"),
    ],
)
def test_a_model_that_no_machine_holds_is_not_built(changes: dict[str, int], field: str) -> None:
    dims = {"vocab_size": 17, "num_layers": 1, "num_heads": 2, "d_model": 64, **changes}
    start = time.perf_counter()
    with pytest.raises(ConfigError, match=rf"the model takes .* this machine has .*{field}"):
        build_model("gpt", Dims(**dims))
    assert time.perf_counter() - start < 2


@pytest.mark.parametrize("seed", [-1, 2**32, 2**64, pytest.param(10**5000, id="long")])
def test_a_seed_has_32_bits(seed: int) -> None:
    """torch's generator takes no more of it: seed 2**32 gave the weights of seed 0."""
    with pytest.raises(ConfigError, match="from 0 to 4294967295"):
        build_model("gpt", Dims(vocab_size=17, num_layers=1, num_heads=2, d_model=8), seed=seed)
