"""`ngptlab eval --evals length`: loss by position of whole documents, far beyond the training context."""

from __future__ import annotations

import argparse
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ngptlab.errors import DataError
from ngptlab.measure.labels import identity, labels
from ngptlab.measure.progress import Progress
from ngptlab.options.types import count, positive
from ngptlab.terminal import say

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ngptlab.measure.trained import Trained


def add(options: argparse._ArgumentGroup) -> None:
    """Add the options that only this evaluation has."""
    options.add_argument(
        "--factor", type=count, default=32, metavar="F", help="how many training contexts far (default: 32)"
    )
    options.add_argument(
        "--documents", type=count, default=64, metavar="N", help="documents to read, at most (default: 64)"
    )
    options.add_argument(
        "--text",
        type=Path,
        metavar="PATH",
        help="read these documents: a file or folder of .txt .md .py .jsonl .jsonl.zst (default: the long documents that "
        "the run held out)",
    )
    options.add_argument(
        "--bins",
        choices=("log", "linear"),
        default="log",
        help="four bins to each doubling of the position, or two to a training context (default: log)",
    )
    options.add_argument(
        "--window",
        type=count,
        metavar="W",
        help="each token attends to itself and the W - 1 tokens before it",
    )
    options.add_argument(
        "--rope-base",
        type=positive,
        metavar="B",
        help="another base of RoPE than 10000. NTK-aware scaling by S is B = 10000 S^(K / (K - 2)), K the width of a head",
    )
    options.add_argument(
        "--rope-scale", type=positive, metavar="S", help="position interpolation: positions divided by S"
    )


def need() -> None:
    """It needs no optional dependency."""


def act(models: Sequence[Trained], options: argparse.Namespace, out: Path) -> None:
    """Read, keep raw losses and means in each run, print, write tables and figure over all."""
    from ngptlab.console import Console
    from ngptlab.measure.length.show import print_length, write_length

    # Documents are loaded first, so that a wrong path costs no reading.
    texts = [_documents(trained, options) for trained in models]
    measured = {}
    for label, trained, documents_NS in zip(labels(models), models, texts, strict=True):
        measured[label] = _measure(label, trained, documents_NS, options)
        print_length(label, measured[label], Console())
    write_length(measured, out)
    for warning in _warnings(models, measured, options):
        say(f"Warning: {warning}")
    say(f"Tables and figure: {out / 'length'}.csv, .json, .png, .svg")


def _documents(trained: Trained, options: argparse.Namespace) -> NDArray[np.int64]:
    from ngptlab.data.corpus import open_data
    from ngptlab.data.text.sources import documents
    from ngptlab.data.tokens.choose import tokenizer
    from ngptlab.measure.length.measure import long_documents, long_texts

    config = trained.config
    tokens = options.factor * config.train.context
    if options.text:
        source = str(options.text)
        texts = (document.text for document in documents(f"text:{options.text}"))
        found = long_texts(
            texts,
            tokenizer(config.data.tokenizer, config.data.end_of_text),
            tokens=tokens,
            limit=options.documents,
        )
    else:
        corpus = open_data(config)
        source = f"the long documents of {trained.run.path}"
        found = long_documents(
            corpus.long, end_of_text=corpus.end_of_text, tokens=tokens, limit=options.documents
        )
    if not len(found):
        raise DataError(
            f"{source}: no document has {tokens:,} tokens, {options.factor} training contexts of "
            f"{config.train.context}; give a smaller --factor, or longer documents by --text PATH"
        )
    return found


def _measure(
    label: str, trained: Trained, documents_NS: NDArray[np.int64], options: argparse.Namespace
) -> dict[str, Any]:
    from ngptlab.measure.length.measure import binned, linear_edges, log_edges, up_to
    from ngptlab.measure.length.numbers import Length
    from ngptlab.measure.length.reading import read_losses
    from ngptlab.measure.length.show import write_raw
    from ngptlab.nn.rope import Angles

    count, length = documents_NS.shape[0], documents_NS.shape[1] - 1
    context = trained.config.train.context
    given = {"base": options.rope_base, "stretch": options.rope_scale}
    angles = Angles(**{name: value for name, value in given.items() if value is not None})
    with Progress(label) as progress:
        progress.begin("length")
        losses_NT = read_losses(
            trained.model, documents_NS, window=options.window, angles=angles, tell=progress.tell
        )
    edges = (log_edges if options.bins == "log" else linear_edges)(length, context)
    octaves = [0, *(context * 2**k for k in range(length.bit_length()) if context * 2**k < length), length]
    record: Length = {
        "eval": "length",
        "step": trained.step,
        "context": context,
        "documents": count,
        "documents_sha256": hashlib.sha256(documents_NS.astype("<i8").tobytes()).hexdigest(),
        "window": options.window,
        "rope_base": options.rope_base,
        "rope_scale": options.rope_scale,
        "octaves": binned(losses_NT, octaves),
        "bins": binned(losses_NT, edges),
        "up_to": up_to(losses_NT, edges),
    }
    kept = trained.run.keep_eval(_name(options), record)
    write_raw(kept.with_suffix(".npz"), losses_NT)
    return {**record, "of": identity(trained)}


def _name(options: argparse.Namespace) -> str:
    """Name of the files in the run: `length`, then the variant, so that one variant does not replace another."""
    parts = ["length"]
    if options.text:
        parts.append(re.sub(r"[^\w-]+", "-", options.text.name.partition(".")[0]) or "text")
    for name, value in (
        ("window", options.window),
        ("base", options.rope_base),
        ("scale", options.rope_scale),
    ):
        if value is not None:
            parts.append(f"{name}{value:g}")
    return "-".join(parts)


def _warnings(
    models: Sequence[Trained], measured: dict[str, dict[str, Any]], options: argparse.Namespace
) -> list[str]:
    found = []
    if len({trained.config.data.tokenizer for trained in models}) > 1:
        found.append("the runs have different tokenizers: nats a token can't be compared")
    elif len({record["documents_sha256"] for record in measured.values()}) > 1:
        found.append(
            "the runs read different documents, or different lengths of them; give one --text and one context"
        )
    few = min(record["documents"] for record in measured.values())
    if few < min(8, options.documents):
        found.append(f"only {few} documents are long enough; the standard error is itself uncertain")
    for trained in models:
        kind, _, place = trained.config.data.source.partition(":")
        if options.text and kind == "text":
            read, trained_on = options.text.resolve(), Path(place).expanduser().resolve()
            if read == trained_on or trained_on in read.parents or read in trained_on.parents:
                found.append(
                    f"{trained.run.path.name} was trained on text from {trained_on}: these documents may be known"
                )
    return found
