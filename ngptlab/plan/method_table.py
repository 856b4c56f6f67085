"""Every method that there is, in one table: what it changes, where it is from, and what it costs beside the baseline."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import torch

from ngptlab import methods
from ngptlab.config import RunConfig
from ngptlab.config.method_name import stem
from ngptlab.nn.cost import mean_token_flops
from ngptlab.nn.decoder import Decoder, Parts

GROUPS: dict[str, tuple[str, ...]] = {
    "Normalization and the sphere": ("norm", "after_step", "residual"),
    "Attention": ("attn_scale", "qk", "attention", "value", "mask", "attn_out"),
    "MLP": ("gate", "mlp"),
    "Stream and skips": ("init", "stream", "block"),
    "Embeddings and head": ("embed", "head", "logits"),
    "Loss and batches": ("loss", "context", "batch_stages"),
    "Optimizers": ("optimizer", "weight_decay", "warmup_steps", "schedule", "average"),
}
"""Every seam once. A method stands in the first group that has one of its seams."""
BASES, COMBINATIONS, UNCHANGED = "Baselines", "Combinations", "No seam changed"
MANY_GROUPS = 3
"""From so many groups on, a method is a combination."""
SOURCE = re.compile(
    r"arXiv:\d{4}\.\d{5}|github\.com/[\w./-]*\w|[\w-]+/[\w-]+(?:, records? \d+(?: (?:and|to) \d+)?)?"
)


@dataclass(frozen=True)
class Row:
    """A method."""

    group: str
    name: str
    claim: str
    source: str
    base: str
    """The arm from which fewest of its seams differ."""
    seams: tuple[str, ...]
    """Those that differ from its base's."""
    more_params: float
    """Parameters over the baseline's, minus 1."""
    more_flops: float
    """Operations of a training over the baseline's, minus 1."""


def rows(names: Iterable[str], config: RunConfig, arms: Sequence[str]) -> list[Row]:
    """A row for each method, at the sizes of `config`; the first of `arms` is the baseline."""
    parts = {name: methods.load(name) for name in arms}
    params, flops = cost(parts[arms[0]], config)
    found = []
    for name in names:
        own = methods.load(name)
        bases = arms[:1] if name in arms else arms
        base = min(bases, key=lambda arm: len(differing(parts[arm], own)))
        its_params, its_flops = cost(own, config)
        changed = differing(parts[base], own)
        group = BASES if name in arms else f"Variants of {base}" if base != arms[0] else group_of(changed)
        found.append(
            Row(
                group=group,
                name=stem(name),
                claim=methods.claim(name),
                source=source(methods.text(name)),
                base=base,
                seams=changed,
                more_params=its_params / params - 1,
                more_flops=its_flops / flops - 1,
            )
        )
    return found


def cost(parts: Parts, config: RunConfig) -> tuple[int, int]:
    """Parameters, and operations for each token of a training."""
    with torch.device("meta"):
        params = Decoder(config.model, parts).num_params()
    return params, mean_token_flops(config.model, parts, config.train)


def differing(a: Parts, b: Parts) -> tuple[str, ...]:
    """Seams that differ."""
    return tuple(seam.name for seam in fields(Parts) if getattr(a, seam.name) != getattr(b, seam.name))


def group_of(seams: Sequence[str]) -> str:
    """The group of a method that changes these seams of the baseline."""
    touched = [group for group, its in GROUPS.items() if set(its) & set(seams)]
    if not touched:
        return UNCHANGED
    return COMBINATIONS if len(touched) >= MANY_GROUPS else touched[0]


def source(text: str) -> str:
    """What a method's docstring names first as its source; '' where it names none."""
    found = SOURCE.search(text.partition("Source:")[2].partition("\n\n")[0].partition('"""')[0])
    return found.group() if found else ""


def markdown(table: Sequence[Row]) -> str:
    """The table, a heading for each group."""
    order = [
        BASES,
        *GROUPS,
        *sorted({row.group for row in table} - {BASES, COMBINATIONS, *GROUPS}),
        COMBINATIONS,
    ]
    lines = []
    for group in order:
        its = [row for row in table if row.group == group]
        if its:
            lines += [f"## {group}", "", *_head(sorted({row.base for row in its})), *map(_line, its), ""]
    return "\n".join(lines[:-1])


def _head(bases: Sequence[str]) -> list[str]:
    titles = (
        "Method",
        "What it changes",
        "Source",
        f"Seams that differ from {' or '.join(bases)}",
        "Parameters",
        "FLOPs",
    )
    return [f"| {' | '.join(titles)} |", "| --- | --- | --- | --- | ---: | ---: |"]


def _line(row: Row) -> str:
    seams = " ".join(f"`{seam}`" for seam in row.seams)
    claim = row.claim.replace("|", r"\|")
    return f"| `{row.name}` | {claim} | {row.source} | {seams} | {_percent(row.more_params)} | {_percent(row.more_flops)} |"


def _percent(more: float) -> str:
    return f"{100 * more:+z.1f}%" if more else "0"
