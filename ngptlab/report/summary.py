"""From run records to the numbers of a comparison. Page, figures and `report.json` show only these.

Runs are grouped by method; the first run's method is the baseline, from which every gap is taken. Where a method has runs of
several lengths, the longest are compared and the others are used for the speed-up (`run_lengths`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from ngptlab.config import cooldown_steps
from ngptlab.errors import ConfigError
from ngptlab.report import checks, run_lengths, wording
from ngptlab.report.schema import (
    Difference,
    Gap,
    LengthPoint,
    MethodNumbers,
    OverDocuments,
    RunLine,
    Schedule,
    Summary,
    TrainPoint,
    ValPoint,
)
from ngptlab.stats import doubts, gaps, series
from ngptlab.stats import estimates as stats
from ngptlab.stats.by_document import over_parts, unlike
from ngptlab.stats.costs import Measure, Meter, elapsed
from ngptlab.stats.records import RunRecord, Seeds, ValRow, steady_seconds
from ngptlab.terminal import printable

EQUAL: tuple[Measure, ...] = ("tokens", "seconds", "flops")


def summarize(runs: Sequence[RunRecord], *, title: str) -> Summary:
    """All numbers of the report.

    Raises:
        ConfigError: no run, two runs of one method with the same seeds and length, or two methods without a common step.
    """
    if not runs:
        raise ConfigError("no runs to report on; give at least one finished run")
    arms = _arms(run_lengths.longest(runs))
    labels = _seed_labels(runs)
    methods = {name: _method(arm, labels) for name, arm in arms.items()}
    baseline, *others = arms
    schedule, found = _schedule(arms[baseline][0]), checks.doubts(arms, methods)
    summary: Summary = {
        "title": printable(title),
        "headline": "",
        "findings": [],
        "searches": {name: arm[0].config.optim.search for name, arm in arms.items()},
        "warnings": [*doubts.texts(found, baseline), *run_lengths.set_aside(runs)],
        "doubts": [doubt.plain() for doubt in found],
        "baseline": baseline,
        "methods": methods,
        "gaps": {other: _gap(arms[other], arms[baseline], schedule, labels) for other in others},
        "speedups": run_lengths.speedups(runs),
        "studies": [],
        "schedule": schedule,
        "runs": [_line(run) for arm in arms.values() for run in arm],
        "config": doubts.flat(arms[baseline][0]),
        "config_differences": _differences(arms),
        "env": _env(runs),
    }
    summary["headline"] = wording.headline(summary)
    summary["findings"] = wording.findings(summary)
    json.dumps(summary, allow_nan=False)  # an invariant of our own: every number is finite
    return summary


def _seed_labels(runs: Sequence[RunRecord]) -> dict[Seeds, str]:
    """Seeds as text: '0', or '0/1' (weights/batches) where the runs use several seeds for their batches."""
    short = len({run.config.data.seed for run in runs}) == 1
    return {run.seeds: str(run.seeds[0]) if short else f"{run.seeds[0]}/{run.seeds[1]}" for run in runs}


def _arms(runs: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    arms: dict[str, dict[Seeds, RunRecord]] = {}
    for run in runs:
        arms.setdefault(run.method, {})[run.seeds] = run
    return {method: [arm[seeds] for seeds in sorted(arm)] for method, arm in arms.items()}


def _method(arm: list[RunRecord], labels: dict[Seeds, str]) -> MethodNumbers:
    config = arm[0].config
    last = [run.val[-1] for run in arm]
    losses = [row.loss_nats for row in last]
    seconds, iqr = series.median_iqr(steady_seconds(arm))
    start = _schedule(arm[0])["cooldown_start_step"]
    return {
        "params": arm[0].params,
        "tokens": config.train.tokens,
        "seeds": [labels[run.seeds] for run in arm],
        "lr": config.optim.lr,
        "lr_grid": list(config.optim.lr_grid),
        "lr_note": doubts.tuning_note(arm),
        "search": config.optim.search,
        "search_runs": arm[0].search.runs(config.method) if arm[0].search else None,
        "weight_decay": config.optim.weight_decay,
        "warmup_steps": config.schedule.warmup_steps,
        "final_loss_nats": stats.mean(losses),
        "final_loss_stderr": _error(last),
        "final_loss_ci95": stats.ci95(stats.stderr(losses), len(losses)),
        "stderr_kind": "seeds" if len(arm) > 1 else "validation",
        "final_losses_by_seed": {labels[run.seeds]: run.val[-1].loss_nats for run in arm},
        "bits_per_byte": stats.mean([row.bits_per_byte for row in last]),
        "perplexity": stats.perplexity(stats.mean(losses)),
        "step_seconds_median": seconds,
        "step_seconds_iqr": iqr,
        "tokens_per_second": config.train.step_tokens / seconds if seconds else None,
        "val": _val(arm),
        "train": _train(arm),
        "length": _length(arm),
        "length_documents": min((run.length.documents for run in arm if run.length), default=None),
        "cooldown_start": None if start is None else Meter(arm).at(start),
        "untimed": [run.name for run in arm if elapsed(run) is None],
    }


def _error(rows: Sequence[ValRow]) -> float:
    """Standard error over the seeds; for one seed, over the validation set."""
    over_seeds = stats.stderr([row.loss_nats for row in rows])
    return rows[0].stderr_nats if over_seeds is None else over_seeds


def _val(arm: list[RunRecord]) -> list[ValPoint]:
    tables = [{row.step: row for row in run.val} for run in arm]
    meter = Meter(arm)
    points: list[ValPoint] = []
    for step in series.common_steps([list(table) for table in tables]):
        rows = [table[step] for table in tables]
        losses = [row.loss_nats for row in rows]
        points.append(
            {
                **meter.at(step),
                "loss_nats": stats.mean(losses),
                "stderr": _error(rows),
                "ci95": stats.ci95(stats.stderr(losses), len(losses)),
                "by_seed": losses,
            }
        )
    return points


def _train(arm: list[RunRecord]) -> list[TrainPoint]:
    tables = [{row.step: row for row in run.train} for run in arm]
    steps = series.common_steps([list(table) for table in tables])
    meter = Meter(arm)
    losses = _blocks(steps, [[table[step].loss_nats for step in steps] for table in tables])
    norms = _blocks(steps, [_known([table[step].grad_norm for step in steps]) for table in tables])
    points: list[TrainPoint] = []
    for step, by_seed in losses.items():
        norm = norms.get(step, [])
        points.append(
            {
                **meter.at(step),
                "loss_nats": stats.mean(by_seed),
                "by_seed": by_seed,
                "lr": tables[0][step].lr,
                "grad_norm": stats.mean(norm) if norm else None,
                "grad_norm_by_seed": norm,
            }
        )
    return points


def _known(values: list[float | None]) -> list[float]:
    """The values; none of them where one is missing."""
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else []


def _blocks(steps: list[int], by_seed: Sequence[list[float]]) -> dict[int, list[float]]:
    """Means over blocks of steps, one for each seed, by the block's last step; empty where a seed has no values."""
    if not all(by_seed):
        return {}
    blocks = [series.block_means(steps, values) for values in by_seed]
    return {rows[0][0]: [mean for _, mean in rows] for rows in zip(*blocks, strict=True)}


def _length(arm: list[RunRecord]) -> list[LengthPoint]:
    """Points of the length evaluation. Standard errors are over several seeds, else over several documents."""
    recorded = [run.length for run in arm if run.length]
    tables = [{(b["from"], b["to"]): b for b in length.bins} for length in recorded]
    own = any(length.documents > 1 for length in recorded)
    points: list[LengthPoint] = []
    for start, stop in sorted(set.intersection(*map(set, tables))) if tables else ():
        bins = [table[start, stop] for table in tables]
        losses = [b["loss_nats"] for b in bins]
        loss, over_seeds = stats.mean(losses), stats.stderr(losses)
        points.append(
            {
                "from": start,
                "to": stop,
                "loss_nats": loss,
                "stderr_nats": (bins[0].get("stderr_nats") if own else None)
                if over_seeds is None
                else over_seeds,
                "ci95_nats": stats.ci95(over_seeds, len(losses)),
                "by_seed": losses,
                "perplexity": stats.perplexity(loss),
            }
        )
    return points


def _gap(arm: list[RunRecord], base: list[RunRecord], schedule: Schedule, labels: dict[Seeds, str]) -> Gap:
    """A method minus the baseline in loss, and its ratio in step time."""
    track = gaps.track(arm, base)
    meter = Meter(arm)
    changes = gaps.crossovers(track.steps, track.gap_nats, lambda step: meter.between(step)["tokens"])
    last = changes[-1]["step"] if changes else None
    start = schedule["cooldown_start_step"]
    (ours, _), (theirs, _) = (series.median_iqr(steady_seconds(runs)) for runs in (arm, base))
    return {
        "paired_seeds": [labels[seeds] for seeds in track.pairs],
        "steps": track.steps,
        "gap_nats": track.gap_nats,
        "stderr": track.stderr,
        "ci95": track.ci95,
        "by_seed": track.by_seed,
        "count": track.count,
        "final_step": track.steps[-1],
        "final_loss_nats": track.final_losses[0],
        "baseline_final_loss_nats": track.final_losses[1],
        "final_gap_nats": track.gap_nats[-1],
        "final_gap_stderr": track.stderr[-1] if track.stderr else None,
        "final_gap_ci95": track.ci95[-1] if track.ci95 else None,
        "final_difference": stats.difference(*track.final_pairs) if track.pairs else None,
        **_over_parts(arm, base, track.steps[-1]),
        "crossovers": changes,
        "last_sign_change_step": last,
        "in_cooldown": None if last is None or start is None else last >= start,
        "step_time_ratio": ours / theirs if ours and theirs else None,
        "at_equal": {measure: curve for measure in EQUAL if (curve := gaps.at_equal(arm, base, measure))},
    }


def _over_parts(arm: list[RunRecord], base: list[RunRecord], step: int) -> OverDocuments:
    """The final gap over documents, for one run against one. Several seeds have an error over seeds, which is better."""
    found: OverDocuments = {"over_parts": None, "not_over_parts": ""}
    if len(arm) > 1 or len(base) > 1:
        return found
    ours, theirs = arm[0].parts, base[0].parts
    if ours is None or theirs is None or {ours.step, theirs.step} != {step}:
        return found
    if why := unlike(ours, theirs):
        return {"over_parts": None, "not_over_parts": why}
    return {"over_parts": over_parts(ours, theirs), "not_over_parts": ""}


def _schedule(run: RunRecord) -> Schedule:
    schedule, train = run.config.schedule, run.config.train
    cooldown = cooldown_steps(run.config) if schedule.shape == "wsd" else 0
    return {
        "shape": schedule.shape,
        "steps": train.steps,
        "step_tokens": train.step_tokens,
        "context": train.context,
        "cooldown_shape": schedule.cooldown_shape if cooldown else None,
        "cooldown_steps": cooldown,
        "cooldown_start_step": train.steps - cooldown if cooldown else None,
    }


def _line(run: RunRecord) -> RunLine:
    return {
        "name": run.name,
        "hash": run.config.hash,
        "method": run.method,
        "seed": run.config.seed,
        "data_seed": run.config.data.seed,
        "status": "done",
        "steps": run.config.train.steps,
        "final_loss_nats": run.val[-1].loss_nats,
        "commit": run.env.get("commit"),
    }


def _differences(arms: doubts.Arms) -> list[Difference]:
    """Settings in which the methods' first runs differ."""
    records = {method: doubts.flat(arm[0]) for method, arm in arms.items()}
    fields = doubts.differing([arm[0] for arm in arms.values()], ("method",))
    return [{"field": f, "values": {m: r.get(f, "none") for m, r in records.items()}} for f in fields]


def _env(runs: Sequence[RunRecord]) -> dict[str, list[str]]:
    keys = dict.fromkeys(key for run in runs for key in run.env)
    return {key: list(dict.fromkeys(run.env[key] for run in runs if key in run.env)) for key in keys}
