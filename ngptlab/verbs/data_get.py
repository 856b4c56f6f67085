"""The verb `data get`: corpora that others made, fetched and checked, and the command that trains on them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from ngptlab.config import DataConfig, explain
from ngptlab.data.shards.given_folder import SCHEME
from ngptlab.data.shards.manifest import Manifest
from ngptlab.data.shards.published import PG19, PG19_LABELS, PUBLISHED, default_folder
from ngptlab.errors import ConfigError
from ngptlab.options.types import count
from ngptlab.terminal import remark, say


def add(get: argparse.ArgumentParser) -> None:
    """Give the verb's parser its options."""
    sets = get.add_subparsers(title="what", required=True, metavar="WHAT", parser_class=type(get))
    for name, known in PUBLISHED.items():
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

    pg19 = _books(
        sets, "pg19", "Books of PG19, whole, as the long split of a folder of shards; needs ngptlab[data]."
    )
    pg19.add_argument("--split", choices=PG19_LABELS, default="test", help="default: test, 100 books")
    pg19.add_argument(
        "--repo", default=PG19, metavar="NAME", help=f"dataset repository of a copy (default: {PG19})"
    )
    pg19.add_argument(
        "--revision",
        default="",
        metavar="SHA",
        help="its commit, branch or tag (default: the newest that can be read)",
    )
    pg19.set_defaults(action=_pg19)
    own = _books(sets, "books", "Text of your own, whole, as the long split of a folder of shards.")
    own.add_argument("source", type=Path, metavar="PATH", help="a file or folder, as `data prepare` reads it")
    own.set_defaults(action=_own_books)


def _books(
    sets: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str
) -> argparse.ArgumentParser:
    made = sets.add_parser(name, help=text, description=text, allow_abbrev=False)
    folder = default_folder("fineweb10B")
    made.add_argument(
        "--out",
        type=Path,
        default=folder,
        metavar="DIR",
        help=f"folder with train and val shards (default: {folder})",
    )
    made.add_argument(
        "--tokenizer", default="gpt2", metavar="T", help="the shards' tokenizer (default: gpt2)"
    )
    return made


def check_out(folder: Path) -> None:
    """Hold a folder for shards against what a config can name.

    Raises:
        ConfigError: no run could read it.
    """
    try:
        DataConfig(source=f"{SCHEME}{folder}")
    except ValidationError as error:
        raise ConfigError(f"--out: {explain(error)}") from None


def _shards(options: argparse.Namespace) -> int:
    check_out(options.out)
    from ngptlab.data.prepare.progress import DownloadProgress
    from ngptlab.data.shards.download import download_shards

    with DownloadProgress() as progress:
        manifest = download_shards(
            options.known,
            options.out,
            shards=options.shards,
            revision=options.revision,
            tell=progress.tell,
            note=remark,
        )
    print_splits(manifest)
    say(f"to train on them: {_training(options.out, manifest.tokenizer)}")
    return 0


def print_splits(manifest: Manifest) -> None:
    """A line for each split, with how much it holds."""
    for name, split in manifest.splits.items():
        say(f"{name:6} {len(split.shards)} shards, {split.tokens:,} tokens, {split.documents:,} documents")
    if manifest.cut:
        say(manifest.cut)
    if manifest.left_out:
        say(f"left out: {manifest.left_out:,} documents of the source that can't be read or encoded")


def _pg19(options: argparse.Namespace) -> int:
    from ngptlab.data.prepare.books import pg19

    texts = pg19(options.split, repository=options.repo, revision=options.revision)
    return _add_books(options, texts, PG19_LABELS[options.split])


def _own_books(options: argparse.Namespace) -> int:
    from ngptlab.data.prepare.books import own_books

    return _add_books(options, *own_books(options.source))


def _add_books(options: argparse.Namespace, texts: Iterator[str], label: str) -> int:
    from ngptlab.data.prepare.books import add_books
    from ngptlab.data.prepare.progress import DownloadProgress

    with DownloadProgress() as progress:
        names = add_books(
            texts, label, options.out, vocabulary=options.tokenizer, tell=lambda done: progress.tell(done, 0)
        )
    say(
        f"long   {', '.join(names)} in {options.out}; runs on {SCHEME}{options.out} measure loss by position on them"
    )
    return 0


def _training(folder: Path, tokenizer: str) -> str:
    """The recipes that read the folder, or the options that make any recipe read it."""
    from ngptlab import recipes

    source = f"{SCHEME}{folder}"
    made_for = [name for name in recipes.names() if recipes.recipe(name).config.data.source == source]
    if made_for:
        return " or ".join(f"`ngptlab compare {name}`" for name in made_for)
    return f"--data.source {source} --data.tokenizer {tokenizer}"
