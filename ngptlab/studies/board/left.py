"""How much of a board is left to train."""

from __future__ import annotations

from dataclasses import dataclass

from ngptlab.errors import DivergedError
from ngptlab.jobs.cost import cost_here
from ngptlab.stats.estimates import mean
from ngptlab.studies.board.standing import Work
from ngptlab.train.progress import clock


@dataclass(frozen=True, kw_only=True)
class Left:
    """Runs that are not over."""

    tuning: int
    fresh: int
    seconds: float | None
    """Their time in training steps, one after the other, from each method's own runs, else from all. None: no run yet."""

    @property
    def runs(self) -> int:
        """Number of all runs."""
        return self.tuning + self.fresh

    @property
    def sentence(self) -> str:
        """The runs and their time as part of a sentence."""
        if not self.runs:
            return "nothing is left to train"
        time = "" if self.seconds is None else f", about {clock(self.seconds)} one after the other"
        return f"{self.runs} runs left ({self.tuning} to tune, {self.fresh} fresh seeds){time}"


def left_of(work: Work) -> Left:
    """Runs that are left of the requested methods."""
    tuning, fresh, known = list[int](), list[int](), list[float | None]()
    for arm in work.arms:
        grid = work.grid(arm)
        tuning.append(sum(not row.over for row in grid))
        # An untuned method's seeds are not known yet, but their number is.
        fresh.append(work.terms.seeds if tuning[-1] else len(work.unfinished(work.fresh(arm))))
        seconds = [row.seconds for row in grid if row.status == "done" and row.seconds]
        known.append(mean(seconds) if seconds else None)
    usual = [each for each in known if each is not None]
    counts = [a + b for a, b in zip(tuning, fresh, strict=True)]
    total = sum(n * (each or mean(usual)) for n, each in zip(counts, known, strict=True)) if usual else None
    return Left(tuning=sum(tuning), fresh=sum(fresh), seconds=total)


def probed(left: Left, work: Work) -> Left:
    """Add an estimate, measured by a few steps of the baseline, where no run is over yet and the baseline can be measured."""
    if left.seconds is not None or not left.runs:
        return left
    recipe = work.terms.recipe
    try:
        cost = cost_here(recipe, [work.terms.baseline], whole=True)
    except DivergedError:  # at this learning rate; the grid has others
        return left
    seconds = left.runs * cost.whole(recipe.config, recipe.config.train.steps)
    return Left(tuning=left.tuning, fresh=left.fresh, seconds=seconds)
