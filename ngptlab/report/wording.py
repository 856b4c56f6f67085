"""The numbers in words: which method is ahead, by how much, since when, and beyond the training length.

The words claim no more than the seeds allow: they give the interval over seeds, or say that there is only one.
"""

from __future__ import annotations

from collections.abc import Mapping

from ngptlab.report.schema import Finding, Gap, LengthPoint, Summary
from ngptlab.stats.words import count, nats


def bands(counts: Mapping[str, int], *, of: str = "seeds", band: bool = True, thin: bool = True) -> str:
    """Sentences that explain a figure's bands and thin lines, from the number of seeds behind each method's mean.

    'Bands: 95%, Student's t, n = 3 seeds. Thin lines: single seeds.' One seed has neither, and the text says so.
    """
    several = {name: count for name, count in counts.items() if count > 1}
    sentences = []
    if several and band:
        sentences.append(f"Bands: 95%, Student's t, n = {_numbers(several)} {of}.")
    if several and thin:
        sentences.append("Thin lines: single seeds.")
    if single := [name for name in counts if name not in several]:
        whose = f" ({', '.join(single)})" if several else ""
        sentences.append(f"One seed{whose}: no band." if band else f"One seed{whose}.")
    return " ".join(sentences)


def _numbers(counts: Mapping[str, int]) -> str:
    """Numbers of seeds as text: '3', or '3 (a), 2 (b)' where they differ."""
    if len(set(counts.values())) == 1:
        return str(next(iter(counts.values())))
    return ", ".join(f"{count} ({name})" for name, count in counts.items())


def headline(summary: Summary) -> str:
    """The result of the comparison in one sentence."""
    methods, base, others = summary["methods"], summary["baseline"], list(summary["gaps"])
    after = _after(summary, summary["schedule"]["steps"])
    if not others:
        m = methods[base]
        loss, seeds = nats(m["final_loss_nats"], m["final_loss_ci95"]), len(m["seeds"])
        error = f"± is 95% over {seeds} seeds, Student's t" if seeds > 1 else "one seed"
        return (
            f"After {after} {base} ends at a validation loss of {loss} nats "
            f"({m['bits_per_byte']:.4f} bits per byte; {error}). There is one method, and nothing to compare it with."
        )
    if len(others) == 1:
        final = _final(summary, others[0])
        return f"After {_after(summary, summary['gaps'][others[0]]['final_step'])} {final}"
    best = min(methods, key=lambda name: methods[name]["final_loss_nats"])
    loss = nats(methods[best]["final_loss_nats"])
    if best == base:
        lowest = f"the lowest validation loss of {len(methods)} methods: {loss} nats"
        second = min(others, key=lambda name: summary["gaps"][name]["final_gap_nats"])
        gap = summary["gaps"][second]
        return (
            f"After {after} the baseline {base} has {lowest}. Next is {second}, {_side(gap, 'it')}. {_doubt(gap)} "
            f"{_compared(len(others), base)}"
        )
    gap = summary["gaps"][best]
    return (
        f"After {after} {best} has the lowest validation loss of {len(methods)} methods: {loss} nats. "
        f"It is {_side(gap, f'the baseline {base}')}. {_doubt(gap)} {_compared(len(others), base)}"
    )


def _compared(comparisons: int, base: str) -> str:
    """How many chances a difference had to look large."""
    return f"{comparisons} methods were compared with {base}, and no interval is corrected for that."


def findings(summary: Summary) -> list[Finding]:
    """Sentences on each method beside the headline."""
    found: list[Finding] = []
    for other, gap in summary["gaps"].items():
        first = [_final(summary, other)] if len(summary["gaps"]) > 1 else []
        rest = [_changes(summary, other), _beyond(summary, other), _time(gap, summary["baseline"])]
        found.append({"method": other, "text": " ".join(part for part in [*first, *rest] if part)})
    if not found and (text := _beyond(summary, summary["baseline"])):
        found.append({"method": summary["baseline"], "text": text})
    return found


def _after(summary: Summary, steps: int) -> str:
    return f"{steps:,} steps ({count(steps * summary['schedule']['step_tokens'])} tokens)"


def _final(summary: Summary, other: str) -> str:
    gap, base = summary["gaps"][other], summary["baseline"]
    ours, theirs = nats(gap["final_loss_nats"]), nats(gap["baseline_final_loss_nats"])
    return f"{other} ends {_side(gap, base)} ({ours} against {theirs} nats of validation loss). {_doubt(gap)}"


def _side(gap: Gap, base: str) -> str:
    """'0.0375 nats worse than a': which has the lower loss, in words that need no axis."""
    value = gap["final_gap_nats"]
    if value == 0:
        return f"level with {base}"
    return f"{nats(abs(value))} nats {'better' if value < 0 else 'worse'} than {base}"


def _doubt(gap: Gap) -> str:
    """The interval of the final gap over seeds, in sentences."""
    value, half = gap["final_gap_nats"], gap["final_gap_ci95"]
    if half is None:
        known = "The difference is from one seed, so nothing says how far another would move it."
        return f"{known}{_by_document(gap)}"
    seeds = f"{len(gap['paired_seeds'])} paired seeds" if gap["paired_seeds"] else "unpaired seeds"
    seeds += " (Student's t)"
    interval = f"{nats(value - half, sign=True)} to {nats(value + half, sign=True)}"
    verdict = "" if abs(value) > half else ". That includes zero, so no difference is shown"
    return f"The 95% interval over {seeds} is {interval}{verdict}."


def _by_document(gap: Gap) -> str:
    """The interval of a gap from one seed each over documents of the validation text. It is never an error over seeds."""
    found = gap["over_parts"]
    if gap["not_over_parts"]:
        return f" The two are not paired over the validation text: {gap['not_over_parts']}."
    if found is None or found["ci95"] is None:
        return ""
    low, high = (nats(found["mean_nats"] + sign * found["ci95"], sign=True) for sign in (-1, 1))
    return (
        f" Paired over the {found['parts']:,} {found['of']}s of the validation text, its 95% interval is {low} to {high}. "
        "That says nothing of other seeds."
    )


def _changes(summary: Summary, other: str) -> str:
    gap, base = summary["gaps"][other], summary["baseline"]
    values = zip(gap["steps"], gap["gap_nats"], strict=True)
    first = next((value for step, value in values if step > 0 and value != 0), None)
    if first is None:
        return ""
    leader, follower = (base, other) if first > 0 else (other, base)
    if sum(step > 0 for step in gap["steps"]) == 1:
        return "There is one validation after step 0, so nothing is known of the gap on the way."
    if not gap["crossovers"]:
        return (
            f"{leader} is ahead of {follower} at every validation after step 0: the gap never changes sign."
        )
    last, start = gap["crossovers"][-1], summary["schedule"]["cooldown_start_step"]
    place = "" if start is None else f", {'inside' if gap['in_cooldown'] else 'before'} the cooldown"
    place += "" if start is None else f" (from step {start:,})"
    where = f"near step {last['step']:,.0f} ({count(last['tokens'])} tokens){place}"
    if len(gap["crossovers"]) == 1:
        return f"The gap changes sign once, {where}; until then {leader} is ahead."
    return f"The gap changes sign {len(gap['crossovers'])} times, last {where}; {leader} is ahead at first."


def _beyond(summary: Summary, method: str) -> str:
    """A sentence on the loss at the longest positions, compared with the baseline and with the training context."""
    context, base = summary["schedule"]["context"], summary["baseline"]
    far = longest(summary["methods"][method]["length"], context)
    if far is None:
        return ""
    text = f"the loss of {method} is {nats(far['loss_nats'], far['ci95_nats'])} nats"
    rises = {method: _rise(summary, method)}
    theirs = longest(summary["methods"][base]["length"], context) if method != base else None
    if theirs is not None and (theirs["from"], theirs["to"]) == (far["from"], far["to"]):
        text += f" against {nats(theirs['loss_nats'], theirs['ci95_nats'])} of {base}"
        rises[base] = _rise(summary, base)
    changes = " and ".join(f"{rise} for {name}" for name, rise in rises.items() if rise)
    notes = f" From the end of the training context it changes by {changes}." if changes else ""
    if far["ci95_nats"] is not None or (theirs is not None and theirs["ci95_nats"] is not None):
        notes += " ± is 95% over the seeds by Student's t."
    positions = f"positions {far['from']:,} to {far['to']:,}"
    return f"At {far['to'] / context:.3g}× the training context, {positions}, {text}.{notes}"


def longest(length: list[LengthPoint], context: int) -> LengthPoint | None:
    """The bin farthest beyond the training context; None where no bin lies beyond it."""
    return max((p for p in length if p["to"] > context), key=lambda p: p["to"], default=None)


def _rise(summary: Summary, method: str) -> str | None:
    """Loss at the longest positions minus loss in the last bin inside the training context."""
    length, context = summary["methods"][method]["length"], summary["schedule"]["context"]
    inside = max((p for p in length if p["to"] <= context), key=lambda p: p["to"], default=None)
    far = longest(length, context)
    return nats(far["loss_nats"] - inside["loss_nats"], sign=True) if far and inside else None


def _time(gap: Gap, base: str) -> str:
    ratio = gap["step_time_ratio"]
    return "" if ratio is None else f"A step takes {ratio:.2f}× the time of {base}'s (medians)."
