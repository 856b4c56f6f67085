"""How much text a folder of shards holds, and how long its documents are: numbers, and a picture of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from ngptlab.data.shards.manifest import Manifest, locate_manifest, read_manifest
from ngptlab.data.shards.stream import TokenStream
from ngptlab.data.shards.verify import NO_MANIFEST

if TYPE_CHECKING:
    from ngptlab.draw.panels import Figure

I64 = npt.NDArray[np.int64]


class SplitStats(NamedTuple):
    """One split that isn't empty."""

    name: str
    documents: int
    tokens: int
    """Number of tokens, end-of-text tokens included."""
    bytes_per_token: float
    """UTF-8 bytes of text per token."""
    lengths: I64
    """Tokens of each whole document, without its end-of-text, in order. Shape [documents]."""


def stats(folder: Path) -> tuple[Manifest, list[SplitStats]]:
    """Count the documents of every split that isn't empty; totals are the manifest's.

    Raises:
        DataError: the manifest or a shard is missing, or a header contradicts its file's length.
    """
    manifest = read_manifest(locate_manifest(folder), NO_MANIFEST)
    splits = []
    for name, split in manifest.splits.items():
        if split.tokens:
            stream = TokenStream(manifest.paths(folder, name))
            lengths = np.fromiter(map(len, stream.documents(0, manifest.end_of_text)), dtype=np.int64)
            per_token = split.text_bytes / split.tokens
            splits.append(SplitStats(name, split.documents, split.tokens, per_token, lengths))
    return manifest, splits


def histogram(lengths: I64) -> list[tuple[int, int, int]]:
    """(low, high, count) of documents with low <= length < high. The bins are 0, then powers of two without gaps."""
    # The exponent of each length: 0 for 0, 1 for 1, 2 for 2 and 3, 3 for 4 .. 7. frexp is exact below 2**53.
    _, exponents = np.frexp(lengths.astype(np.float64))
    counts = np.bincount(exponents) if len(lengths) else np.zeros(0, dtype=np.int64)
    bins = [(2**e // 2, 2**e, int(count)) for e, count in enumerate(counts)]
    first = next((number for number, (_, _, count) in enumerate(bins) if count), 0)
    return bins[first:]


def draw(splits: list[SplitStats], path: Path, *, title: str) -> None:
    """Draw the histograms of all splits as one picture. The suffix of its name decides the format.

    Raises:
        OSError: the file can't be written.
    """
    from ngptlab.draw.style import write_one  # late: only a picture needs matplotlib, and it is slow to load

    path.parent.mkdir(parents=True, exist_ok=True)
    write_one(path, lambda: _histograms(splits, title), style={}, dpi=150)


def _histograms(splits: list[SplitStats], title: str) -> Figure:
    from ngptlab.draw.panels import grid

    figure, panels = grid(len(splits), 1, (6.4, 1.2 + 1.9 * len(splits)), sharex=True)
    for (ax,), split in zip(panels, splits, strict=True):
        bins = histogram(split.lengths)
        lows = [max(low, 0.5) for low, _, _ in bins]  # a logarithmic axis has no 0
        widths = [high - low for low, (_, high, _) in zip(lows, bins, strict=True)]
        ax.bar(lows, [count for _, _, count in bins], widths, align="edge", edgecolor="white", linewidth=0.5)
        ax.set_xscale("log", base=2)
        ax.set_ylabel("documents")
        facts = f"{split.documents:,} documents, {split.tokens:,} tokens, {split.bytes_per_token:.2f} bytes a token"
        ax.set_title(f"{split.name}: {facts}", fontsize=9, loc="left")
        ax.spines[["top", "right"]].set_visible(False)
    panels[-1][0].set_xlabel("tokens in a document")
    figure.suptitle(title, fontsize=10, parse_math=False)
    return figure
