"""A verb's help: its options, an example, and the fields of the config by section, with the values that they would have."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from ngptlab import disk, recipes
from ngptlab.config import Frozen, RunConfig
from ngptlab.options.parser import Parser

LENT = "seams"
"""The section whose fields are all alike, and are one line."""


def examples() -> dict[str, str]:
    """A line to begin with for each verb; they name methods, so they are the recipes' (recipes/examples.json)."""
    return dict(disk.read_json(Path(recipes.__file__).parent / "examples.json"))


class FieldHelp(argparse.Action):
    """Shows a verb's help, then every field of the config as this command line would have it; ends the program."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> NoReturn:
        from ngptlab.console import Console
        from ngptlab.listing import Listing
        from ngptlab.overrides import apply

        assert isinstance(parser, Parser)
        name = getattr(namespace, "recipe", None) or "demo"
        found, overrides = recipes.recipe(name), dict(parser.overrides)
        method = str(overrides.get("method", found.methods[0]))
        config = apply(found.arm(method), overrides)
        parser.print_help()
        console = Console()
        console.print(
            f"\nFields of the config, with the values of {name} for {method}. A field whose name no other section has"
        )
        console.print("needs no section: --lr is --optim.lr.")
        for section, record in sections(config):
            console.print()
            if section == LENT:
                console.print(one_line_of_seams(record))
                continue
            table = Listing(f"{section}: {summary(record)}" if section else "the run")
            for heading, kind in (("field", "word"), ("value", "text"), ("meaning", "text")):
                table.add_column(heading, kind)  # type: ignore[arg-type]
            for row in rows(record, section):
                table.add_row(*row)
            console.print(table)
        raise SystemExit(0)


def sections(config: RunConfig) -> list[tuple[str, Frozen]]:
    """The config's own fields under an empty name, then each section."""
    return [("", config), *((name, value) for name, value in config if isinstance(value, Frozen))]


def summary(record: Frozen) -> str:
    """What a section is, in a sentence."""
    return (type(record).__doc__ or "").strip().partition("\n")[0]


def rows(record: Frozen, section: str) -> list[tuple[str, str, str]]:
    """('--train.steps', '600', 'Optimizer steps.') for each of a section's own fields."""
    found = []
    for name, info in type(record).model_fields.items():
        value = getattr(record, name)
        if not isinstance(value, Frozen):
            shown = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
            option = f"--{section}.{name}" if section else f"--{name}"
            found.append((option.replace("_", "-"), shown, " ".join((info.description or "").split())))
    return found


def one_line_of_seams(record: Frozen) -> str:
    """All of `--seams.*` in a line."""
    names = " ".join(name.replace("_", "-") for name, _ in record)
    lent = " ".join(f"{name}={value}" for name, value in record if value is not None)
    return f"seams: --seams.SEAM METHOD lets another method fill one of: {names}" + (
        f" (now {lent})" if lent else ""
    )
