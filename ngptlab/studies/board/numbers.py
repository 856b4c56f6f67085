"""The content of board.json: one row for each method, ranked by the final loss over fresh seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from typing_extensions import TypedDict

from ngptlab.stats import doubts, series
from ngptlab.stats import estimates as stats
from ngptlab.stats.costs import CostBetween, Meter, token_seconds
from ngptlab.stats.doubts import Doubt, Doubted
from ngptlab.stats.estimates import Difference
from ngptlab.stats.records import RunRecord
from ngptlab.stats.search import Search, Value
from ngptlab.studies.target.rule import ROUNDING_NATS, on_the_way

CONTEXTS = 8
"""Length, in training contexts, at which the loss on long documents is reported."""
LEVEL = 0.05
"""Chance of any wrong verdict on the whole board, by Holm."""

State = Literal["ranked", "not tuned yet", "no seeds yet", "diverged", "failed", "cannot run"]
Verdict = Literal["baseline", "better", "worse", "undecided"]


@dataclass(kw_only=True)
class Standing:
    """A method's progress, read from its run directories."""

    name: str
    state: State
    reason: str = ""
    """Why the method is not ranked; for a ranked method, what is missing."""
    held: dict[str, str] = field(default_factory=dict)
    tuned_alone: bool = False
    search: Search | None = None
    """The method's grid as a search, once all of it is over."""
    method: str = ""
    """The method's name in the search."""
    runs: list[RunRecord] = field(default_factory=list)
    """Runs with fresh seeds, in the order of the seeds."""


class Tuning(TypedDict):
    """A method's tuning budget and its result, without the losses that the grid was judged by."""

    runs: int
    """Number of runs of the grid, with those that diverged."""
    diverged: int
    search: str
    settings: dict[str, Value]
    edges: list[str]
    """Fields whose best value is the last one tried, with the loss still falling towards it."""


class Row(TypedDict):
    """One method. Losses are in nats; None: there is no such number."""

    method: str
    rank: int | None
    state: State
    reason: str
    verdict: Verdict | None
    seeds: list[int]
    runs: list[str]
    losses: list[float]
    """Final validation losses, by seed."""
    loss_nats: float | None
    ci95: float | None
    """Half-width of the mean's 95% interval over the seeds by Student's t."""
    against: Difference | None
    """Difference to the baseline, over the seeds that both have."""
    p_holm: float | None
    """p of the two-sided paired t test, adjusted by Holm over all ranked methods."""
    to_baseline: CostBetween | None
    """Cost to reach the baseline's mean final loss, between two validations; None where it was never reached."""
    step_time_ratio: float | None
    """Median seconds per token over the baseline's. It is not reliable, because runs are not interleaved."""
    params: int | None
    long_loss_nats: float | None
    """Loss on long documents at the last positions before `CONTEXTS` contexts."""
    tuning: Tuning | None
    held: dict[str, str]
    """Settings that the recipe tuned and the board held fixed, by field."""


class Board(Doubted):
    """The content of `board.json`."""

    recipe: str
    baseline: str
    lrs: list[float]
    decays: list[float]
    first_seed: int
    """The first of the fresh seeds."""
    max_seeds: int
    """Most fresh seeds of each method."""
    level: float
    steps: int
    tokens: int
    """Tokens of each run."""
    rows: list[Row]
    """Ranked methods by rank, then the others in the order given."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Facts about a board that are known before any run."""

    recipe: str
    lrs: list[float]
    decays: list[float]
    first_seed: int
    max_seeds: int
    steps: int
    tokens: int


def measure(standings: Sequence[Standing], setting: Setting) -> Board:
    """The board's numbers. The first method is the baseline."""
    base = standings[0]
    rows = [_row(each, base) for each in standings]
    _judge(rows)
    ranked = sorted(
        (row for row in rows if row["state"] == "ranked"), key=lambda row: row["loss_nats"] or 0.0
    )
    for rank, row in enumerate(ranked, start=1):
        row["rank"] = rank
    found = _doubts(standings)
    return {
        "recipe": setting.recipe,
        "baseline": base.name,
        "lrs": setting.lrs,
        "decays": setting.decays,
        "first_seed": setting.first_seed,
        "max_seeds": setting.max_seeds,
        "level": LEVEL,
        "steps": setting.steps,
        "tokens": setting.tokens,
        "rows": [*ranked, *(row for row in rows if row["rank"] is None)],
        "warnings": _warnings(found, standings),
        "doubts": [doubt.plain() for doubt in found],
    }


def _row(each: Standing, base: Standing) -> Row:
    ranked = each.state == "ranked"
    losses = [run.val[-1].loss_nats for run in each.runs]
    return {
        "method": each.name,
        "rank": None,
        "state": each.state,
        "reason": each.reason,
        "verdict": ("baseline" if each is base else "undecided") if ranked else None,
        "seeds": [run.config.seed for run in each.runs],
        "runs": [run.name for run in each.runs],
        "losses": losses,
        "loss_nats": stats.mean(losses) if ranked else None,
        "ci95": stats.half95(losses) if ranked else None,
        "against": _against(each, base) if ranked and each is not base else None,
        "p_holm": None,
        "to_baseline": _to_baseline(each, base) if ranked else None,
        "step_time_ratio": _step_time_ratio(each, base) if ranked else None,
        "params": each.runs[0].params if each.runs else None,
        "long_loss_nats": _long_loss(each.runs) if ranked else None,
        "tuning": _tuning(each),
        "held": each.held,
    }


def _against(each: Standing, base: Standing) -> Difference | None:
    if base.state != "ranked":
        return None
    theirs = {run.seeds: run.val[-1].loss_nats for run in base.runs}
    pairs = [(run.val[-1].loss_nats, theirs[run.seeds]) for run in each.runs if run.seeds in theirs]
    return stats.difference([a for a, _ in pairs], [b for _, b in pairs]) if pairs else None


def _to_baseline(each: Standing, base: Standing) -> CostBetween | None:
    """Cost to the target, on the mean curve over the seeds; zero where the untrained model is below the target."""
    if base.state != "ranked":
        return None
    target = stats.mean([run.val[-1].loss_nats for run in base.runs])
    curves = [{row.step: row.loss_nats for row in run.val} for run in each.runs]
    mean = [(step, stats.mean([c[step] for c in curves])) for step in series.common_steps(curves)]
    step = on_the_way([mean], target)["median_step"]
    return None if step is None else Meter(each.runs).between(step)


def _step_time_ratio(each: Standing, base: Standing) -> float | None:
    ours, theirs = token_seconds(each.runs), token_seconds(base.runs) if base.runs else None
    return ours / theirs if ours and theirs else None


def _long_loss(runs: Sequence[RunRecord]) -> float | None:
    found = []
    for run in runs:
        end = CONTEXTS * run.config.train.context
        found += [part["loss_nats"] for part in (run.length.bins if run.length else ()) if part["to"] == end]
    return stats.mean(found) if runs and len(found) == len(runs) else None


def _tuning(each: Standing) -> Tuning | None:
    search = each.search
    if search is None:
        return None
    best = search.best(each.method)
    return {
        "runs": search.runs(each.method),
        "diverged": sum(cell.status == "diverged" for cell in search.cells),
        "search": search.search,
        "settings": best[0] if best else {},
        "edges": search.edges(each.method),
    }


def _judge(rows: Sequence[Row]) -> None:
    """Verdicts by Holm over all methods that are compared; a method without a p value counts with p = 1."""
    compared = [row for row in rows if row["against"] is not None]
    ps = []
    for row in compared:
        against = row["against"]
        assert against is not None
        p, error = against["p_t"], against["stderr"]
        ps.append(1.0 if p is None or error is None or error < ROUNDING_NATS else p)
    for row, p in zip(compared, stats.holm(ps), strict=True):
        against = row["against"]
        assert against is not None
        if against["pairs"] < 2:
            continue
        row["p_holm"] = p
        if p < LEVEL:
            row["verdict"] = "better" if against["mean"] < 0 else "worse"


def _warnings(found: Sequence[Doubt], standings: Sequence[Standing]) -> list[str]:
    """The sentences of the doubts. All methods on an edge share one sentence, because on a large board they are many."""
    edges = [each.name for each in standings if each.runs and each.search and each.search.edges(each.method)]
    told = [d for d in found if not (d.kind == "tuning" and len(d.arms) == 1 and d.arms[0] in edges)]
    text = f"Tuned to the edge of the grid, so the optimum may lie beyond: {', '.join(edges)}."
    return [*([text] if edges else []), *doubts.texts(told, standings[0].name)]


def _doubts(standings: Sequence[Standing]) -> list[Doubt]:
    """Every doubt about these numbers, the gravest first."""
    base = standings[0]
    whole = {each.name: each.runs for each in standings if each.state == "ranked"}
    found = []
    if base.state != "ranked":
        text = f"The baseline {base.name} has no result: {base.reason or base.state}. There is no verdict on any method."
        found.append(Doubt(kind="missing", text=text))
    found += [*doubts.learned_nothing(whole), *doubts.settings(whole), *doubts.tuning(whole)]
    if alone := [each.name for each in standings if each.tuned_alone and each is not base]:
        text = (
            f"The recipe has settings that it tuned for {', '.join(alone)} alone, which are held fixed here; methods without "
            "such settings have the baseline's where they take them. So these had more tuning."
        )
        found.append(Doubt(kind="tuning", text=text))
    if few := [name for name, runs in whole.items() if len(runs) < 3]:
        text = f"Fewer than three seeds for {', '.join(few)}: a claim needs three at least."
        found.append(Doubt(kind="seeds", text=text))
    return [*found, *doubts.provenance(whole)]
