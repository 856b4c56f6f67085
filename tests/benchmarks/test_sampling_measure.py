"""A measurement of sampling at a tiny size. What it says of time is not looked at."""

from __future__ import annotations

from benchmarks.sampling import measure
from benchmarks.sizes import Size
from benchmarks.steps import bench_device
from ngptlab.config import Dims
from ngptlab.methods import names

TINY = Size(Dims(vocab_size=17, num_layers=1, num_heads=2, d_model=8), batch=2, context=6)


def test_a_method_is_measured() -> None:
    row = measure("tiny", TINY, names()[0], 5, 4, bench_device(cuda=False, compiled=False))
    assert (row.size, row.method, row.length, row.turns) == ("tiny", names()[0], 5, 4)
    assert row.cached_seconds.median > 0 and row.again_seconds.median > 0 and row.speedup.median > 0
