"""The command line's parser: one-line errors, no abbreviations, and a near name for one that is not there."""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from ngptlab.config import blank, flatten
from ngptlab.config.words import nearest_field
from ngptlab.errors import ConfigError, near, nearest, shown

LONGEST_MESSAGE = 400
"""Characters of a message of argparse, which repeats what it was given however long that is."""
GOES_ON = "a run goes on by itself: give the same command again"
ANSWERS = {
    "resume": GOES_ON,
    "continue": GOES_ON,
    "epochs": "a run is as long as --train.steps says; `ngptlab plan` says how often each token is met then",
    "output": "did you mean '--out'?",
    "out_dir": "did you mean '--out'?",
}
"""What is said of options that others have and that can't be had here."""
NEAR = 0.7
"""How alike two options are where one is a slip of the other."""


class Parser(argparse.ArgumentParser):
    """argparse with one-line errors and no abbreviations."""

    def error(self, message: str) -> NoReturn:
        message = message if len(message) <= LONGEST_MESSAGE else f"{message[: LONGEST_MESSAGE - 3]}..."
        raise ConfigError(f"{message}; `{self.prog} --help` says what is allowed")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """As argparse has it, but with the nearest choice: a list of all verbs hides the one that was meant."""
        if action.choices is None or value in action.choices:
            return
        choices = [str(choice) for choice in action.choices]
        if isinstance(action, argparse._SubParsersAction):
            raise ConfigError(
                f"{shown(value)} is no verb of {self.prog}; {nearest(str(value), choices)} (`{self.prog} --help` lists them)"
            )
        raise argparse.ArgumentError(
            action, f"invalid choice: {shown(value)}; {nearest(str(value), choices)}"
        )

    overrides: Mapping[str, Any] = {}
    """Fields of the config that the command line has, for a verb's help."""

    def options_of(self, verb: str) -> set[str]:
        """The options that a verb has of its own, as `--seeds`."""
        found = self._verb(verb)
        return set(found._option_string_actions) if found else set()

    def tell(self, verb: str, overrides: Mapping[str, Any]) -> None:
        """Tell a verb's parser which fields the command line has, so that its help shows their values."""
        if found := self._verb(verb):
            found.overrides = overrides

    def _verb(self, verb: str) -> Parser | None:
        for action in self._subparsers._group_actions if self._subparsers else ():
            if isinstance(action.choices, dict):
                return action.choices.get(verb)
        return None


def unrecognized(unknown: Sequence[str], own: Iterable[str], *, fields: bool) -> str:
    """What to say of arguments that a verb doesn't know. `fields`: it takes those of the config."""
    option = next((each for each in unknown if each.startswith("-")), "").partition("=")[0]
    hint = _hint(option.lstrip("-").replace("-", "_"), list(own), fields=fields) if option else ""
    return f"unrecognized arguments: {' '.join(unknown)}" + (f"; {hint}" if hint else "")


def _hint(word: str, own: Collection[str], *, fields: bool) -> str:
    if fields and word in ANSWERS:
        return ANSWERS[word]
    if close := near(word, own, cutoff=NEAR):
        return f"did you mean {close!r}?"
    found = nearest_field(word, dict(flatten(blank()))) if fields else ""
    return found.replace("mean '", "mean '--").replace("_", "-") if found.startswith("did you") else ""
