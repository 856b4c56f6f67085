"""What makes a comparison doubtful, as sentences. Nothing here changes a number, and no doubt is silent."""

from __future__ import annotations

from ngptlab.analysis.doubts import SEEDS, Arms, differing, learned_nothing, name_fields, provenance, unequal
from ngptlab.report.schema import MethodNumbers


def warnings(arms: Arms, methods: dict[str, MethodNumbers]) -> list[str]:
    """Every doubt about this comparison, the gravest first."""
    about_runs = [*learned_nothing(arms), *_settings(arms), *_tuning(methods), *_seeds(arms, methods)]
    return [*about_runs, *provenance(arms), *_length(arms, methods)]


def _settings(arms: Arms) -> list[str]:
    found = []
    for method, runs in arms.items():
        if fields := differing(runs, SEEDS):
            found.append(f"Runs of {method} differ in more than their seeds: {name_fields(fields)}.")
    baseline, *others = arms
    for other in others:
        if fields := unequal(arms[baseline][0], arms[other][0]):
            found.append(
                f"{other} and {baseline} differ in more than method, optimizer and warm-up: "
                f"{name_fields(fields)}."
            )
    return found


def _tuning(methods: dict[str, MethodNumbers]) -> list[str]:
    notes = {name: f"{m['lr']:.4g}: {m['lr_note']}" for name, m in methods.items() if m["lr_note"]}
    found = [f"Learning rate of {name}, {note}." for name, note in notes.items()]
    if len({tuple(sorted(m["lr_grid"])) for m in methods.values()}) > 1:
        found.append("The learning rates were chosen from different grids: the methods were not tuned alike.")
    return found


def _seeds(arms: Arms, methods: dict[str, MethodNumbers]) -> list[str]:
    found = []
    single = [name for name, m in methods.items() if len(m["seeds"]) == 1]
    if single:
        found.append(
            f"One seed for {', '.join(single)}: the standard error shown is that of the validation set, "
            "and nothing says how much another seed would move the loss."
        )
    pairs = [name for name, m in methods.items() if len(m["seeds"]) == 2]
    if pairs:
        found.append(f"Two seeds for {', '.join(pairs)}: a claim needs three at least.")
    baseline, *others = arms
    own = {run.seeds for run in arms[baseline]}
    shared = {other: own & {run.seeds for run in arms[other]} for other in others}
    if apart := [other for other in others if not shared[other]]:
        found.append(
            f"No seed shared with {baseline}: {', '.join(apart)}. Their gaps are those of unpaired means."
        )
    if partly := [o for o in others if shared[o] and {run.seeds for run in arms[o]} != own]:
        found.append(
            f"Seeds other than {baseline}'s: {', '.join(partly)}. Their gaps use the shared ones only."
        )
    return found


def _length(arms: Arms, methods: dict[str, MethodNumbers]) -> list[str]:
    missing = [run.name for arm in arms.values() for run in arm if run.length is None]
    if len(missing) == sum(map(len, arms.values())):
        return []
    found = [f"No length evaluation in {', '.join(missing)}."] if missing else []
    if len({m["length_documents"] for m in methods.values() if m["length"]}) > 1:
        found.append("The length evaluations did not read the same number of documents.")
    return found
