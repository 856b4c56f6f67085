"""The verb `data get`: corpora that others made, fetched and checked, and the command that trains on them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ngptlab.data.adopt import SCHEME
from ngptlab.data.known import KNOWN, default_folder
from ngptlab.verbs.types import count


def add(get: argparse.ArgumentParser) -> None:
    """Give the verb's parser its options."""
    sets = get.add_subparsers(title="what", required=True, metavar="WHAT", parser_class=type(get))
    for name, known in KNOWN.items():
        text = f"Shards of {known.tokenizer}'s tokens from {known.repository}, about {known.shard_tokens / 1e6:.0f}M each."
        made = sets.add_parser(name, help=text, description=text, allow_abbrev=False)
        made.add_argument(
            "--shards",
            type=count,
            default=known.num_train,
            metavar="N",
            help=f"training shards, the first N (default: all {known.num_train})",
        )
        made.add_argument(
            "--out",
            type=Path,
            default=default_folder(name),
            metavar="DIR",
            help=f"default: {default_folder(name)}",
        )
        made.add_argument(
            "--revision",
            default="main",
            metavar="SHA",
            help="commit, branch or tag of the repository (default: main)",
        )
        made.set_defaults(action=_shards, known=known)


def _shards(options: argparse.Namespace) -> int:
    from ngptlab.data.get import get_shards
    from ngptlab.data.progress import Progress

    with Progress() as progress:
        manifest = get_shards(
            options.known,
            options.out,
            shards=options.shards,
            revision=options.revision,
            tell=lambda there, total: progress.tell(there, total, 0),
            note=lambda line: print(line, file=sys.stderr),
        )
    for name, split in manifest.splits.items():
        print(f"{name:6} {len(split.shards)} shards, {split.tokens:,} tokens, {split.documents:,} documents")
    print(f"to train on them: {_training(options.out, manifest.tokenizer)}")
    return 0


def _training(folder: Path, tokenizer: str) -> str:
    """The recipes that read the folder, or the options that make any recipe read it."""
    from ngptlab import recipes

    source = f"{SCHEME}{folder}"
    made_for = [name for name in recipes.names() if recipes.recipe(name).config.data.source == source]
    if made_for:
        return " or ".join(f"`ngptlab compare {name}`" for name in made_for)
    return f"--data.source {source} --data.tokenizer {tokenizer}"
