"""All claims with their outcomes: as data, as a page of Markdown, and on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypedDict

from ngptlab.claims import power
from ngptlab.claims.claim import VERDICTS, Claim, Outcome, Source, Verdict, judge
from ngptlab.claims.evidence import Evidence
from ngptlab.console import Console
from ngptlab.disk import write_json, write_text
from ngptlab.listing import Listing
from ngptlab.stats.tables import writing
from ngptlab.terminal import printable

STANDARD = """\
Made by `ngptlab claims`; edit nothing here. Verdicts follow from recorded runs by rules in `ngptlab/claims/rules/`. Statements
and limits stand in `ngptlab/recipes/claims/`.

| Verdict | When |
| --- | --- |
| holds at our scale | three paired seeds or more; the whole 95% interval (Student's t over seeds) lies where the claim says |
| does not hold at our scale | the same, and no part of the interval lies there |
| not yet tested | anything else, with the reason: no runs, too few seeds, an interval across the limit, a learning rate \
that was not tuned or is on the edge of its grid, unequal settings, seeds or hashes that were not recorded, \
a CPU where GPUs were meant |
| out of reach here | the statement needs a context, a size or tokens that no recorded run reaches |

Nothing is corrected for the number of claims, nor for the parts of one: at 95%, about one verdict in forty errs by chance.
Step times have turns in place of seeds: ten interleaved ones, and their quartiles in place of the interval.
A verdict is about the models, tokens and text named in its row, and about no others.

"Seeds needed" by a decided claim are the seeds that it rests on. Any other claim needs the fewest whose 95% interval would
clear the limit, if mean and scatter stay as measured. That number decides in about half of all cases. The distance that seeds
"show" is the least one between a true value and the limit that they find with 80% power (noncentral t; normal seeds, scatter
as measured). "-": nothing was measured over seeds, or only one seed, which has no scatter. A claim may lack other things, too.
"""


class Row(TypedDict):
    """A claim's row in `claims.json` and on the page."""

    id: str
    statement: str
    source: str
    scale: str
    corrected: str
    verdict: Verdict
    verdict_text: str
    measured: str
    our_scale: str
    """Size, tokens, context, data, seeds; empty where nothing was measured."""
    origins: list[str]
    """Files and folders with the measurements."""
    reason: str
    seeds: int
    seeds_needed: int | None
    """Number of seeds that decide, from the mean and scatter of the recorded ones; see `power.needed`."""
    detectable: float | None
    """Least distance from the limit that `seeds` find with 80% power, in the statistic's unit; for a ratio, a logarithm."""
    seeds_text: str
    """`seeds_needed` and `detectable` in words; '-' where the claim is not decided over seeds."""
    hashes: list[str]
    rule: dict[str, Any]
    """The rule's name and its parameters."""


class Group(TypedDict):
    """The claims of one source."""

    title: str
    where: str
    rows: list[Row]


def table(sources: Sequence[Source], evidence: Evidence) -> list[Group]:
    """Every claim of these sources, judged."""
    return [
        {
            "title": source.title,
            "where": source.where,
            "rows": [_row(claim, judge(claim, evidence)) for claim in source.claims],
        }
        for source in sources
    ]


def _row(claim: Claim, outcome: Outcome) -> Row:
    decided = outcome.verdict in ("holds", "does not hold")
    seeds = f"{outcome.seeds} seed{'s' * (outcome.seeds != 1)}"
    scale = "; ".join(dict.fromkeys(setting.text for setting in outcome.settings))
    return {
        "id": claim.id,
        "statement": claim.statement,
        "source": claim.source,
        "scale": claim.scale,
        "corrected": claim.corrected,
        "verdict": outcome.verdict,
        "verdict_text": f"{outcome.verdict} at our scale" if decided else outcome.verdict,
        "measured": outcome.measured,
        "our_scale": ", ".join([scale, *([seeds] if outcome.seeds else [])]) if outcome.measured else "",
        "origins": list(dict.fromkeys(s.origin for s in outcome.settings)) if outcome.measured else [],
        "reason": outcome.reason,
        "seeds": outcome.seeds,
        "seeds_needed": power.needed(outcome),
        "detectable": _digits(smallest[0]) if (smallest := power.detectable(outcome)) else None,
        "seeds_text": power.in_words(outcome),
        "hashes": list(outcome.hashes),
        "rule": {"name": type(claim.rule).__name__, **_plain(asdict(claim.rule))},  # type: ignore[call-overload]
    }


def _digits(value: float) -> float:
    """A number with six digits, because a sum's last digits differ between machines and results must not."""
    return float(f"{value:.6g}")


def _plain(parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters for JSON, which has no infinity: an infinite limit is left out."""
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in parameters.items()
        if value not in (float("inf"), -float("inf"))
    }


def counts(groups: Sequence[Group]) -> str:
    """The count of verdicts in a line: '43 claims; holds: 2, does not hold: 5, ...'."""
    rows = [row for group in groups for row in group["rows"]]
    parts = [(sum(row["verdict"] == verdict for row in rows), verdict) for verdict in VERDICTS]
    return f"{len(rows)} claims; " + ", ".join(f"{verdict}: {count}" for count, verdict in parts)


def write_claims(groups: Sequence[Group], out: Path) -> None:
    """Write claims.md and claims.json into `out`. The same evidence gives the same bytes.

    Raises:
        ConfigError: `out` can't be written.
    """
    with writing(out):
        write_text(out / "claims.md", markdown(groups))
        write_json(out / "claims.json", list(groups))


def markdown(groups: Sequence[Group]) -> str:
    """The text of the page: the standard, then a table and the runs of each source."""
    parts = ["# Claims, and what was measured here\n", STANDARD, f"{counts(groups)}.\n"]
    for group in groups:
        parts.append(f"## {_cell(group['title'])}\n\n{_cell(group['where'])}\n")
        lines = [
            "| Claim | Made at | Measured here | Seeds needed | Verdict |",
            "| --- | --- | --- | --- | --- |",
        ]
        for row in group["rows"]:
            cells = (
                f"`{row['id']}` {row['statement']} ({row['source']})",
                row["scale"],
                f"{row['measured']}. {row['our_scale']}" if row["measured"] else "nothing",
                row["seeds_text"],
                f"**{row['verdict_text']}**" + (f": {row['reason']}" if row["reason"] else ""),
            )
            lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
        parts.append("\n".join(lines) + "\n")
        if runs := _runs(group):
            parts.append(runs)
        if notes := [
            f"- `{row['id']}`: {_cell(row['corrected'])}" for row in group["rows"] if row["corrected"]
        ]:
            parts.append("Said later:\n\n" + "\n".join(notes) + "\n")
    return "\n".join(parts)


def _runs(group: Group) -> str:
    """The files of each measurement, with the config hashes of its runs."""
    lines = []
    for row in group["rows"]:
        if row["origins"]:
            listed = " ".join(row["hashes"]) or "no config hashes recorded"
            lines.append(f"- `{row['id']}`: {_cell(', '.join(row['origins']))}; {_cell(listed)}")
    return "Runs, by config hash:\n\n" + "\n".join(lines) + "\n" if lines else ""


def _cell(text: str) -> str:
    """A text from a stranger's file in a cell of Markdown."""
    return " ".join(printable(text).replace("|", "\\|").replace("<", "&lt;").split())


def print_claims(groups: Sequence[Group], console: Console) -> None:
    """Print verdict and measurement of each claim in a line, then the count."""
    for group in groups:
        listed = Listing(f"{group['title']}, {group['where']}")
        for heading in ("claim", "verdict", "seeds needed", "measured, or why not"):
            listed.add_column(heading, "text" if heading.startswith("measured") else "word")
        for row in group["rows"]:
            why = "; ".join(part for part in (row["measured"], row["reason"]) if part)
            count = "-" if row["seeds_needed"] is None else f"{row['seeds_needed']:,}"
            listed.add_row(row["id"], row["verdict"], count, why)
        console.print(listed)
        console.print()
    console.print(counts(groups), markup=False)
