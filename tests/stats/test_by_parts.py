"""The gap of two runs over the documents of one text, against plain computation and against the error of a validation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ngptlab.errors import ConfigError
from ngptlab.measure.val.measure import clustered_stderr
from ngptlab.stats.by_document import over_parts, unlike
from ngptlab.stats.estimates import stderr, t95
from ngptlab.stats.records import Parts


def parts(tokens: list[int], losses: list[float], **changes: Any) -> Parts:
    return Parts.model_validate(
        {"step": 9, "of": "document", "tokens": tokens, "loss_nats": losses} | changes
    )


def test_it_is_the_clustered_error_of_the_differences() -> None:
    draw = np.random.default_rng(0)
    tokens = draw.integers(1, 400, 30)
    ours, theirs = draw.normal(3, 0.5, 30), draw.normal(3, 0.5, 30)
    found = over_parts(parts(tokens.tolist(), ours.tolist()), parts(tokens.tolist(), theirs.tolist()))
    gap = ours - theirs
    assert found["mean_nats"] == pytest.approx(
        (tokens * ours).sum() / tokens.sum() - (tokens * theirs).sum() / tokens.sum()
    )
    assert found["stderr"] == pytest.approx(clustered_stderr(tokens.astype(float), gap), rel=1e-12)
    assert found["ci95"] == pytest.approx(t95(29) * (found["stderr"] or 0))
    assert (found["of"], found["parts"], found["tokens"]) == ("document", 30, int(tokens.sum()))


def test_of_documents_of_one_size_it_is_the_paired_error() -> None:
    ours, theirs = [3.0, 2.0, 4.0, 3.5], [3.2, 2.1, 4.4, 3.6]
    found = over_parts(parts([7] * 4, ours), parts([7] * 4, theirs))
    assert found["stderr"] == pytest.approx(stderr([a - b for a, b in zip(ours, theirs, strict=True)]))
    assert found["mean_nats"] == pytest.approx(-0.2)


def test_what_a_document_does_to_both_cancels() -> None:
    """Each model's own loss is known to 0.5; their gap, the same in every document, exactly."""
    ours = parts([5, 9, 2], [1.0, 2.0, 3.0])
    found = over_parts(ours, parts([5, 9, 2], [1.25, 2.25, 3.25]))
    assert found["mean_nats"] == pytest.approx(-0.25) and found["stderr"] == pytest.approx(0, abs=1e-12)


def test_one_document_has_no_error() -> None:
    found = over_parts(parts([5], [1.0]), parts([5], [2.0]))
    assert (found["mean_nats"], found["stderr"], found["ci95"]) == (-1.0, None, None)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (parts([5, 8], [1.0, 2.0]), "tokens differ in 1 of 2 documents"),
        (parts([5], [1.0]), "2 documents against 1"),
        (parts([5, 9], [1.0, 2.0], of="window"), "one is by documents, the other by windows"),
        (parts([5, 9], [1.0, 2.0], of="window block"), "one is by documents, the other by window blocks"),
    ],
)
def test_other_documents_are_not_paired(other: Parts, why: str) -> None:
    ours = parts([5, 9], [1.0, 2.0])
    assert unlike(ours, other) == why
    with pytest.raises(ConfigError, match=f"not paired by document: {why}"):
        over_parts(ours, other)
    assert unlike(ours, ours) == "" and math.isfinite(over_parts(ours, ours)["mean_nats"])
