"""Doubts about a comparison, as sentences. Doubts change no number, and the page shows all of them."""

from __future__ import annotations

from ngptlab.report.schema import MethodNumbers
from ngptlab.stats.doubts import Arms, Doubt, learned_nothing, left_out, provenance, settings, tuning


def doubts(arms: Arms, methods: dict[str, MethodNumbers]) -> list[Doubt]:
    """Every doubt about this comparison, the gravest first."""
    about_runs = [*learned_nothing(arms), *settings(arms), *tuning(arms), *left_out(arms)]
    return [*about_runs, *_seeds(arms, methods), *provenance(arms), *_length(arms, methods)]


def _seeds(arms: Arms, methods: dict[str, MethodNumbers]) -> list[Doubt]:
    found: list[str] = []
    single = [name for name, m in methods.items() if len(m["seeds"]) == 1]
    if single:
        found.append(
            f"One seed for {', '.join(single)}: no error is shown, and nothing says how much another seed would move the "
            "loss."
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
    return [Doubt(kind="seeds", text=text) for text in found]


def _length(arms: Arms, methods: dict[str, MethodNumbers]) -> list[Doubt]:
    missing = [run.name for arm in arms.values() for run in arm if run.length is None]
    if len(missing) == sum(map(len, arms.values())):
        return []
    found = [f"No length evaluation in {', '.join(missing)}."] if missing else []
    if len({m["length_documents"] for m in methods.values() if m["length"]}) > 1:
        found.append("The length evaluations did not read the same number of documents.")
    return [Doubt(kind="length", text=text) for text in found]
