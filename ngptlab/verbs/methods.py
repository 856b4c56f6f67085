"""The verb `methods`: those that there are, and how two differ. Runs no file that is given by its path."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Sequence
from pathlib import Path

from ngptlab import disk
from ngptlab.config.method_name import stem
from ngptlab.method_files.sources import is_path, read
from ngptlab.options.methods import Methods
from ngptlab.terminal import one_line, say


def add(parser: argparse.ArgumentParser) -> None:
    """Give the verb's parser its options."""
    parser.add_argument(
        "files", nargs="*", action=Methods, default=[], metavar="PATH", help="also show files of your own"
    )
    parser.add_argument(
        "--diff",
        nargs=2,
        metavar=("A", "B"),
        help="the difference between two methods' files: names or paths",
    )
    parser.add_argument(
        "--table",
        action="store_true",
        help="as markdown, in groups: source, seams that differ, parameters and operations beside the baseline's in the demo",
    )


def act(options: argparse.Namespace) -> int:
    """List, or compare two files, which may be two versions of one."""
    from ngptlab import methods
    from ngptlab.recipes import recipe

    if options.table:
        from ngptlab.plan import method_table

        demo = recipe("demo")
        table = method_table.rows([*methods.names(), *options.files], demo.config, demo.methods)
        say(method_table.markdown(table))
        return 0
    if not options.diff:
        print_claims([*methods.names(), *options.files], methods.claim)
        return 0
    named, texts = [], []
    for each in options.diff:
        named.append(each if is_path(each) else f"methods/{each}.py")
        text = read(Path(each)).decode("utf-8") if is_path(each) else disk.read_text(methods.path(each))
        texts.append(text.splitlines())
    lines = difflib.unified_diff(texts[0], texts[1], named[0], named[1], lineterm="", n=0)
    say("\n".join(_without_comments(list(lines))))
    return 0


def _without_comments(lines: list[str]) -> list[str]:
    """A difference but for places that differ in comments and blank lines alone: a draft is full of them."""
    starts = [at for at, line in enumerate(lines) if line.startswith("@@")]
    ends = [*starts[1:], len(lines)] if starts else []
    kept = lines[: starts[0]] if starts else []
    for begin, end in zip(starts, ends, strict=True):
        if any(line[1:].strip() and not line[1:].lstrip().startswith("#") for line in lines[begin + 1 : end]):
            kept += lines[begin:end]
    return kept


def print_claims(names: Sequence[str], claim: Callable[[str], str]) -> None:
    """A line for each: its name and what it claims."""
    shown = [stem(name) for name in names]
    width = max(map(len, shown))
    for name, word in zip(names, shown, strict=True):
        say(f"{word:{width}}  {one_line(claim(name))}")
