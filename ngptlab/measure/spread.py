"""Many values summed up in a few numbers: mean and spread in every evaluation of weights and activations."""

from __future__ import annotations

from typing import Annotated, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from typing_extensions import TypedDict

LEVELS = {"min": 0.0, "q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95, "max": 1.0}
"""Name of a quantile -> fraction of values at or below it."""


class Spread(TypedDict):
    """Mean, standard deviation, and the quantiles of `LEVELS`."""

    mean: float
    std: Annotated[float, Field(ge=0)]
    min: float
    q05: float
    q25: float
    q50: float
    q75: float
    q95: float
    max: float


def spread(values: NDArray[np.float64]) -> Spread:
    """Mean, standard deviation and quantiles of all entries; between two values a quantile is interpolated.

    The standard deviation divides by the number of values, not by one less.
    """
    quantiles = np.quantile(values, list(LEVELS.values()))
    found = {"mean": values.mean(), "std": values.std(), **dict(zip(LEVELS, quantiles, strict=True))}
    return cast(Spread, {name: float(value) for name, value in found.items()})


def percentiles(values: NDArray[np.float64]) -> list[float]:
    """The 0th to the 100th percentile, 101 numbers, which show a distribution without a choice of bins."""
    return [float(value) for value in np.quantile(values, np.linspace(0, 1, 101))]
