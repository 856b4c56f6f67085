"""The points: one size changes along an axis, and its operations are those counted."""

from __future__ import annotations

import pytest

from ngptlab.bench.axes import AXES, FULL, NUM_HEADS, QUICK, Grid
from ngptlab.bench.fit import exponent
from ngptlab.flops import token_flops

both = pytest.mark.parametrize("grid", [FULL, QUICK], ids=["full", "quick"])


@both
@pytest.mark.parametrize("axis", AXES)
def test_one_size_changes(grid: Grid, axis: str) -> None:
    sizes = grid.along[axis]
    assert list(sizes) == sorted(set(sizes)) and len(sizes) >= 5, (
        "three points at least for a fit with an error"
    )
    for size, point in zip(sizes, grid.points(axis), strict=True):
        assert {
            "width": point.dims.d_model,
            "depth": point.dims.num_layers,
            "context": point.context,
            "vocabulary": point.dims.vocab_size,
            "batch": point.batch,
        } == {**grid.base, axis: size}
        assert point.dims.num_heads == NUM_HEADS
        assert point.flops == point.batch * point.context * token_flops(point.dims, point.context).total


@both
def test_expected_exponents(grid: Grid) -> None:
    """Batch is exactly 1; context lies above 1 for attention, width below 2 for attention and head, the others below 1."""
    expected = {
        axis: exponent(grid.along[axis], [point.flops for point in grid.points(axis)]).value for axis in AXES
    }
    assert expected["batch"] == pytest.approx(1, abs=1e-12)
    assert 1.05 < expected["context"] < 2 and 1.5 < expected["width"] < 2
    assert 0.8 < expected["depth"] < 1 and 0.5 < expected["vocabulary"] < 1
