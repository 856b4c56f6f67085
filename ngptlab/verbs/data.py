"""The verbs `ngptlab data ...`: a corpus as files, before any run reads it."""

from __future__ import annotations

import argparse
import math
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from pydantic import ValidationError

from ngptlab.config import DataConfig, explain
from ngptlab.data.prepare.progress import PrepareProgress
from ngptlab.errors import ConfigError
from ngptlab.options.types import count, number
from ngptlab.terminal import remark, say
from ngptlab.verbs import data_get

if TYPE_CHECKING:
    from ngptlab.listing import Listing

PICTURES = (".png", ".svg", ".pdf")
BAR = 40  # characters of the longest bar on the terminal


def add_verbs(data: argparse.ArgumentParser) -> None:
    """Give `ngptlab data` its own verbs; each sets `action`."""
    verbs = data.add_subparsers(title="verbs", required=True, metavar="VERB", parser_class=type(data))

    def verb(name: str, action: Callable[[argparse.Namespace], int], summary: str) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        made.set_defaults(action=action)
        return made

    verify = verb("verify", _verify, "Check every byte, token and document of a folder of shards.")
    verify.add_argument("folder", type=Path, metavar="DIR", help="a folder of shards with its manifest.json")
    verify.add_argument(
        "--tokenizer",
        type=Path,
        metavar="FILE",
        help="the tokenizer.json that the shards were made with, if any: bytes of text are counted with it",
    )
    stats = verb("stats", _stats, "Count documents, tokens and bytes, and show how long documents are.")
    stats.add_argument("folder", type=Path, metavar="DIR", help="a folder of shards with its manifest.json")
    stats.add_argument("--out", type=Path, metavar="PNG", help="also draw the histograms into this file")
    _add_prepare(verb("prepare", _prepare, "Turn text into shards; the same command goes on after a stop."))
    data_get.add(verb("get", _no_action, "Fetch a corpus that others made: see `ngptlab data get --help`."))


def _add_prepare(prepare: argparse.ArgumentParser) -> None:
    prepare.add_argument(
        "source",
        metavar="SOURCE",
        help="a text file, or a folder of .txt .md .py .jsonl .jsonl.zst .parquet; stdlib; or hf:DATASET[:CONFIG]",
    )
    prepare.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the shards")
    prepare.add_argument(
        "--tokenizer", default="gpt2", metavar="NAME", help="gpt2 (default), bytes, or a tokenizer.json"
    )
    prepare.add_argument(
        "--end-of-text",
        default="",
        metavar="TOKEN",
        help="of a tokenizer.json: the token before every document",
    )
    prepare.add_argument(
        "--column",
        default="text",
        metavar="NAME",
        help="where a table or a line has the text (default: text)",
    )
    prepare.add_argument("--split", default="", metavar="NAME", help="of hf:DATASET (default: train)")
    prepare.add_argument(
        "--revision",
        default="",
        metavar="NAME",
        help="of hf:DATASET: branch, tag or commit (default: the newest)",
    )
    prepare.add_argument(
        "--bad-documents",
        choices=("stop", "skip"),
        default="stop",
        help="documents that can't be read or encoded: stop at the first (default), or skip and count them",
    )
    prepare.add_argument("--workers", type=count, default=1, metavar="N", help="threads (default: 1)")
    for name, meaning in (("val", "validation"), ("long", "the length evaluation")):
        prepare.add_argument(
            f"--{name}-share", type=number, default=0.05, metavar="X", help=f"documents for {meaning} (0.05)"
        )
    prepare.add_argument(
        "--long-min-tokens", type=count, default=8192, metavar="N", help="shortest document for it (8192)"
    )


def _no_action(options: argparse.Namespace) -> int:
    raise AssertionError("its verbs have actions of their own")


def _verify(options: argparse.Namespace) -> int:
    from ngptlab.data.shards.verify import verify

    checked = verify(options.folder, vocabulary=str(options.tokenizer or ""))
    manifest = checked.manifest
    data_get.print_splits(manifest)
    say(f"checked: digests, headers, lengths; all tokens below {manifest.vocab_size} ({manifest.tokenizer})")
    if checked.unchecked:
        say(
            f"checked: documents are as many as the manifest says; not its bytes of text: {checked.unchecked}"
        )
    else:
        say("checked: documents and bytes of text are as many as the manifest says")
    counts = ", ".join(f"{documents:,} of {name}" for name, documents in checked.compared.items())
    say(f"checked: no document is in two splits ({counts} compared)")
    say(f"{options.folder}: all is well")
    return 0


def _stats(options: argparse.Namespace) -> int:
    from ngptlab.console import Console
    from ngptlab.data.shards.stats import draw, histogram, stats

    if options.out and options.out.suffix.lower() not in PICTURES:
        raise ConfigError(f"--out {options.out}: a picture's name ends in {', '.join(PICTURES)}")
    manifest, splits = stats(options.folder)
    console = Console()
    totals = _table("split", "documents", "tokens", "bytes per token", "median length", "longest")
    for split in splits:
        ends = (
            [f"{median(split.lengths):,.0f}", f"{split.lengths.max():,}"]
            if len(split.lengths)
            else ["-", "-"]
        )
        totals.add_row(
            split.name, f"{split.documents:,}", f"{split.tokens:,}", f"{split.bytes_per_token:.3f}", *ends
        )
    console.print(f"{manifest.source}, tokens of {manifest.tokenizer}", markup=False)
    console.print(totals)
    for split in splits:
        bins = histogram(split.lengths)
        tallest = max((documents for _, _, documents in bins), default=1)
        table = _table(f"{split.name}: tokens", "documents", "")
        for low, high, documents in bins:
            bar = "█" * math.ceil(BAR * documents / tallest)
            table.add_row(f"{low:,} - {high - 1:,}", f"{documents:,}", bar)
        console.print()
        console.print(table)
    if options.out:
        draw(splits, options.out, title=f"{manifest.source}, tokens of {manifest.tokenizer}")
        say(f"The picture: {options.out}")
    return 0


def _table(*headings: str) -> Listing:
    from ngptlab.listing import Listing

    table = Listing()
    for index, heading in enumerate(headings):
        table.add_column(heading, "number" if index and heading else "word")
    return table


def _prepare(options: argparse.Namespace) -> int:
    from ngptlab.data.prepare.out_folder import prepare_out_folder
    from ngptlab.data.prepare.text_to_shards import Paused
    from ngptlab.data.text.sources import find
    from ngptlab.train.stop import listen

    place = options.source
    if place != "stdlib" and not place.startswith(("text:", "hf:")):
        place = f"text:{place}"
    try:
        data = DataConfig(
            source=place,
            tokenizer=options.tokenizer,
            end_of_text=options.end_of_text,
            val_share=options.val_share,
            long_share=options.long_share,
        )
    except ValidationError as error:
        raise ConfigError(f"data prepare: {explain(error)}") from None
    data_get.check_out(options.out)
    source = find(place, column=options.column, split=options.split, revision=options.revision)
    try:
        with listen() as request, PrepareProgress() as progress:
            manifest = prepare_out_folder(
                data,
                options.out,
                long_min_tokens=options.long_min_tokens,
                workers=options.workers,
                tell=progress.tell,
                source=source,
                skip_bad=options.bad_documents == "skip",
                note=progress.note,
                stopped=lambda: request.signal_number is not None,
            )
    except Paused as paused:
        assert request.signal_number is not None
        name = signal.Signals(request.signal_number).name
        remark(f"ngptlab: stopped by {name}; {paused}, and the same command goes on from there")
        return 128 + request.signal_number
    data_get.print_splits(manifest)
    end = f" --data.end-of-text {shlex.quote(options.end_of_text)}" if options.end_of_text else ""
    say(f"to train on them: --data.source shards:{options.out} --data.tokenizer {options.tokenizer}{end}")
    return 0
