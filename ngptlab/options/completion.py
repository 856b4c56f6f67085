"""What the Tab key offers: a function for bash, which zsh takes too, made from the parser and the config's fields.

The function holds all words, so that a Tab starts no Python. Imports no torch.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterator
from typing import Literal, get_args, get_origin

from ngptlab import recipes
from ngptlab.config import blank, flatten
from ngptlab.config.words import short
from ngptlab.method_files.shipped import method_names
from ngptlab.options.field_help import LENT, sections

SHELLS = ("bash", "zsh")
METHODS, RECIPES, FIELDS = "$methods", "$recipes", "$fields"
"""Variables of the function for words that many verbs share."""
TAKE_METHODS = ("methods", "method", "base", "against", "diff", "target")
"""Where a verb keeps the methods that it was given."""
START = {"bash": "", "zsh": "autoload -Uz bashcompinit && bashcompinit\n"}
FUNCTION = """# What Tab offers for ngptlab in {shell}, by `ngptlab completion {shell}`. Make it anew after an update.
{start}_ngptlab() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" verb="" option="" options="" first="" values="" number word
    local methods="{methods}"
    local recipes="{recipes}"
    local fields="{fields}"
    COMPREPLY=()
    if [ "$current" = "=" ]; then current=""; fi
    if [ "$COMP_CWORD" -gt 1 ]; then verb="${{COMP_WORDS[1]}}"; fi
    number=2
    for word in "${{COMP_WORDS[2]}}" "${{COMP_WORDS[3]}}"; do
        case "$verb" in
            {nested}) if [ "$COMP_CWORD" -gt "$number" ]; then verb="$verb $word"; number=$((number + 1)); fi ;;
        esac
    done
    case "$verb" in
{verbs}
    esac
    if [ -n "$verb" ] && [ "$COMP_CWORD" -gt "$number" ]; then first=""; fi
    number=$((COMP_CWORD - 1))
    while [ "$number" -gt 0 ]; do
        case "${{COMP_WORDS[number]}}" in
            -*) option="${{COMP_WORDS[number]}}"; break ;;
        esac
        number=$((number - 1))
    done
    case "$verb $option" in
{values}
    esac
    case "$current" in
        -*) COMPREPLY=($(compgen -W "$options" -- "$current")) ;;
        *) COMPREPLY=($(compgen -W "${{values:-$first}}" -- "$current")) ;;
    esac
}}
complete -o default -F _ngptlab ngptlab
"""
"""Where it has no word, the shell offers files."""


def script(shell: str, top: argparse.ArgumentParser, with_fields: Collection[str]) -> str:
    """The text that a shell reads at its start.

    Args:
        top: the parser with all verbs.
        with_fields: verbs that take any field of the config.
    """
    verbs, values, nested = [], [], []
    for name, parser in _all(top):
        fields = [FIELDS] if name in with_fields else []
        options = " ".join([*_own(parser), *fields])
        verbs.append(f'        "{name}") options="{options}"; first="{_first(parser)}" ;;')
        values += [
            f'        "{name} {option}") values="{words}" ;;' for option, words in _values(parser).items()
        ]
        if name and _children(parser):
            nested.append(f'"{name}"')
    values += [f'        *" {option}) values="{words}" ;;' for option, words in _values_of_fields().items()]
    return FUNCTION.format(
        shell=shell,
        start=START[shell],
        methods=" ".join(method_names()),
        recipes=" ".join(recipes.names()),
        fields=" ".join(_fields()),
        nested="|".join(nested),
        verbs="\n".join(verbs),
        values="\n".join(values),
    )


def _children(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """A parser's verbs."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _all(parser: argparse.ArgumentParser, path: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """The parser and all below it, by the words that lead there, as `data prepare`."""
    yield path, parser
    for name, child in _children(parser).items():
        yield from _all(child, f"{path} {name}".strip())


def _own(parser: argparse.ArgumentParser) -> list[str]:
    """A parser's options."""
    return [option for action in parser._actions for option in action.option_strings if option[:2] == "--"]


def _first(parser: argparse.ArgumentParser) -> str:
    """What may stand first behind a verb."""
    for action in parser._actions:
        if not action.option_strings:
            return _words(action)
    return ""


def _values(parser: argparse.ArgumentParser) -> dict[str, str]:
    """By option, the words of which it takes one."""
    return {
        option: words
        for action in parser._actions
        if (words := _words(action))
        for option in action.option_strings
    }


def _words(action: argparse.Action) -> str:
    if action.choices is not None:
        return " ".join(map(str, action.choices))
    if action.type is not None:  # a number, a path
        return ""
    return RECIPES if action.dest == "recipe" else METHODS if action.dest in TAKE_METHODS else ""


def _fields() -> list[str]:
    """Every field of the config as an option, and the short names."""
    paths = dict(flatten(blank()))
    return [f"--{name.replace('_', '-')}" for name in (*paths, *short(paths))]


def _values_of_fields() -> dict[str, str]:
    """By the pattern of an option, its last quote included, the words that a field of the config takes."""
    found = {'--method"': METHODS, f'--{LENT}."*': METHODS}
    shorts = {path: name for name, path in short(dict(flatten(blank()))).items()}
    for section, record in sections(blank()):
        for name, info in type(record).model_fields.items():
            path = f"{section}.{name}" if section else name
            if get_origin(info.annotation) is Literal:
                for option in (path, shorts.get(path)):
                    if option:
                        found[f'--{option.replace("_", "-")}"'] = " ".join(
                            map(str, get_args(info.annotation))
                        )
    return found
