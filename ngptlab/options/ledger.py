"""The option `--ledger` of verbs that train studies."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ngptlab.errors import ConfigError

if TYPE_CHECKING:
    from ngptlab.ledger.book import Ledger


def add(verb: argparse.ArgumentParser) -> None:
    """Give a study's verb the option that names a ledger."""
    verb.add_argument(
        "--ledger",
        type=Path,
        metavar="PATH",
        help="file (.jsonl) or folder of finished runs: those that are in it are not trained again, new ones are added",
    )


def ledger_of(options: argparse.Namespace) -> Ledger | None:
    """The ledger that a study was given.

    Raises:
        ConfigError: the path is no ledger.
    """
    from ngptlab.ledger.book import Ledger

    if options.ledger is not None and getattr(options, "smoke", False):
        raise ConfigError("--ledger: a smoke test's losses mean nothing; leave one of them out")
    return None if options.ledger is None else Ledger(options.ledger)
